"""Makes what the pages take from the source: the state diagrams of protocol.md, the keys of configuration.md.

``python docs/generate.py`` writes them, ``python docs/generate.py --check`` exits 1 if they are stale.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from hosier.cli import serve
from hosier.config.forms import in_words, toml
from hosier.config.keys import Key, keys_of, leaves
from hosier.config.settings import ServeSettings
from hosier.policy.rules import Rule
from hosier.protocol.states import CLIENT, FINAL, SERVER, State, Table

FOLDER = Path(__file__).parent


def diagram(table: Table, first: State) -> str:
    """One arrow for each pair of states, labelled with every input that leads along it."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first.name}"]
    for state, steps in table.items():
        labels: dict[State, list[str]] = {}
        for symbol, target in steps.items():
            labels.setdefault(target, []).append(symbol.name)
        lines += [f"    {state.name} --> {target.name}: {', '.join(names)}" for target, names in labels.items()]
    lines += [f"    {state.name} --> [*]" for state in table if state in FINAL]
    return "\n".join([*lines, "```"])


def key_table() -> str:
    """A row for each key: its option, what it may be, its default, what it is for."""
    options = options_by_key()
    rows = ["| key | option | value | default | meaning |", "|---|---|---|---|---|"]
    for path, key in leaves(ServeSettings):
        option = options.get(".".join(path)) or options.get(path[0], "")
        about = f"{in_words(key.hint)} | {default(key)} | {key.description.replace('``', '`')}"
        rows.append(f"| `{'.'.join(path)}` | {option and f'`{option}`'} | {about} |")
    return "\n".join(rows)


def rule_table() -> str:
    """A row for each key of a rule."""
    rows = ["| key | value | meaning |", "|---|---|---|"]
    for key in keys_of(Rule):
        rows.append(f"| `{key.name}` | {in_words(key.hint)} | {key.description.replace('``', '`')} |")
    return "\n".join(rows)


def default(key: Key) -> str:
    nothing = key.default in (None, ()) or isinstance(key.default, Mapping)
    return "" if nothing else f"`{toml(key.default)}`"


def options_by_key() -> dict[str, str]:
    parsers = argparse.ArgumentParser().add_subparsers()
    serve.add_parser(parsers)
    return {action.dest: action.option_strings[-1] for action in parsers.choices["serve"]._actions}


def parts() -> Iterator[tuple[str, str, str]]:
    """Page, name and text of everything that is made."""
    yield "protocol.md", "server states", diagram(SERVER, State.AWAIT_OPENING)
    yield "protocol.md", "client states", diagram(CLIENT, State.SEND_OPENING)
    yield "configuration.md", "keys", key_table()
    yield "rules.md", "rule keys", rule_table()


def fresh_pages() -> dict[Path, str]:
    """Every page with what is made in it, made anew."""
    pages: dict[Path, str] = {}
    for name, part, text in parts():
        page = FOLDER / name
        begin, end = f"<!-- {part}: made by docs/generate.py -->", f"<!-- end of {part} -->"
        before, found_begin, rest = pages.get(page, page.read_text(encoding="utf-8")).partition(begin)
        _, found_end, after = rest.partition(end)
        if not (found_begin and found_end):
            raise SystemExit(f"{name} has no place for the {part}")
        pages[page] = f"{before}{begin}\n{text}\n{end}{after}"
    return pages


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is stale")
    check: bool = parser.parse_args().check
    stale = {page: text for page, text in fresh_pages().items() if page.read_text(encoding="utf-8") != text}
    for page, text in stale.items():
        if check:
            print(f"{page} is stale: run python docs/generate.py", file=sys.stderr)
        else:
            page.write_text(text, encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
