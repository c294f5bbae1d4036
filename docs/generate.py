"""Draws the state diagrams in docs/protocol.md from the tables in hosier.protocol.states.

``python docs/generate.py`` writes them, ``python docs/generate.py --check`` exits 1 if they are stale.
"""

import argparse
import re
import sys
from pathlib import Path

from hosier.protocol.states import CLIENT, FINAL, SERVER, State, Table

PAGE = Path(__file__).with_name("protocol.md")
TABLES: dict[str, tuple[Table, State]] = {
    "server": (SERVER, State.AWAIT_OPENING),
    "client": (CLIENT, State.SEND_OPENING),
}


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


def drawn(page: str) -> str:
    """The page with its diagrams replaced by fresh ones."""
    for name, (table, first) in TABLES.items():
        begin, end = f"<!-- {name} states: made by docs/generate.py -->", f"<!-- end of {name} states -->"
        fresh = f"{begin}\n{diagram(table, first)}\n{end}"
        page, found = re.subn(f"{re.escape(begin)}.*?{re.escape(end)}", fresh, page, flags=re.DOTALL)
        if found != 1:
            raise SystemExit(f"{PAGE.name} has {found} places for the {name} diagram instead of one")
    return page


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is stale")
    check: bool = parser.parse_args().check
    page = PAGE.read_text(encoding="utf-8")
    fresh = drawn(page)
    if check and page != fresh:
        print(f"{PAGE} is stale: run python docs/generate.py", file=sys.stderr)
        return 1
    if not check:
        PAGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
