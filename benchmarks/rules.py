"""What rules cost: a short session with all that an operator switches on, and a decision among ten thousand rules.

python benchmarks/rules.py                 5 rounds, about two minutes; results/DATE-rules.{json,md}
python benchmarks/rules.py --quick         one round of a tenth, to see whether it runs

- session: CPU per short session of a bare server, of the same once more (A/A), of Dante without authentication (where
  it is installed), and of one with a password, 1,000 rules, accounting, metrics and a log line each.
- decision: one among 10, 1,000 and 10,000 rules of five kinds, of which the last holds; in this process, without a
  server.

What the full server is told besides its rules is in ``accounting.ACCOUNTING``.
"""

import argparse
import datetime
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from generator import HERE

sys.path.insert(0, str(HERE.parent / "src"))  # the decisions of this checkout

from ipaddress import ip_network

import measure
from accounting import ACCOUNTING
from generator import LOAD_CORE, LoadError, Target, job, pin
from operating import LOGIN, users_file
from peers import Dante, Hosier, MissingPeer, Peer, Server, running

from hosier.policy.facts import Facts
from hosier.policy.rulebook import Rulebook
from hosier.policy.rules import Rule
from run import commit, keep, machine

RULES = 1_000
BOOKS = (10, 1_000, 10_000)
DECISIONS = 20_000
SESSIONS = 6_000


# --- sessions ---


def rules_text(count: int) -> str:
    """So many rules of five kinds that do not hold, and one that does."""
    kinds = (
        'action = "deny"\nusers = ["user{n}"]\nports = [25]',
        'action = "deny"\nnames = [".bad{n}.example"]',
        'action = "allow"\ngroups = ["staff"]\nnetworks = ["10.{high}.{low}.0/24"]',
        'action = "deny"\nclients = ["100.64.{high}.{low}"]',
        'action = "allow"\nusers = ["user{n}"]\ntimes = ["mon-fri 08:00-18:00"]',
    )
    rules = [kinds[n % 5].format(n=n, high=n >> 8, low=n & 255) for n in range(count - 1)]
    rules.append('action = "allow"\nnetworks = ["127.0.0.0/8"]')
    return "\n[groups]\nstaff = ['ann']\n" + "".join(f"\n[[rules]]\n{rule}\n" for rule in rules)


@contextmanager
def full() -> Iterator[Server]:
    """Everything switched on."""
    with tempfile.TemporaryDirectory() as folder, users_file() as users:
        Path(folder).chmod(0o755)
        path = Path(folder) / "hosier.toml"
        settings = ACCOUNTING.format(folder=folder)
        path.write_text(f'users_file = "{users}"\n{settings}{rules_text(RULES)}', encoding="utf-8")
        peer = Hosier("hosier-full", log="text", options=("--config", str(path)))
        with running(peer) as server:
            yield server
        log = peer.output()
        assert log is not None  # it has one
        log.unlink()


def short(server: Server, target: Target, sessions: int, *more: object) -> float:
    """CPU microseconds per session, after a warm-up."""

    def run(count: int) -> None:
        arguments = ("short", "--proxy", server.proxy, "--timeout", 90, "--awake", "--targets", target.echo)
        with job(*arguments, "--sessions", count, *more) as load:
            failures = load.line()["failures"]
        time.sleep(0.05)  # the server's last closes
        if failures:
            raise LoadError(f"{failures} of {count} sessions failed")

    run(500)
    before = measure.cpu_ns(server.pid)
    run(sessions)
    return (measure.cpu_ns(server.pid) - before) / 1e3 / sessions


def sessions_of(kind: str, target: Target, sessions: int) -> float | None:
    """The figure of one server; None: it cannot be had here."""
    if kind == "full":
        with full() as server:
            return short(server, target, sessions, *LOGIN)
    peer: Peer = Dante() if kind == "dante" else Hosier()
    with suppress(MissingPeer):
        peer.prepare()
        with running(peer) as server:
            return short(server, target, sessions)
    return None


# --- decisions ---


def book(count: int) -> Rulebook:
    """The same kinds of rules, here."""
    rules = []
    for n in range(count - 1):
        kinds = (
            Rule(action="deny", users=[f"user{n}"], ports=[25]),
            Rule(action="deny", names=[f".bad{n}.example"]),
            Rule(action="allow", groups=["staff"], networks=[ip_network(((10 << 24) + (n << 8), 24))]),
            Rule(action="deny", clients=[ip_network(((100 << 24) + (n << 4), 28))]),
            Rule(action="allow", users=["ann"], ports=[1000 + n]),
        )
        rules.append(kinds[n % 5])
    return Rulebook([*rules, Rule(action="allow")], {"staff": ["ann"]})


def decision(rules: Rulebook, count: int) -> float:
    """Microseconds of CPU for one."""
    facts = Facts(
        client=bytes((192, 0, 2, 1)),
        user="ann",
        groups=rules.groups_of("ann"),
        name="www.example.com",
        address=bytes((198, 51, 100, 1)),
        port=443,
    )
    began = time.process_time()
    for _ in range(count):
        rules.decide(facts)
    return (time.process_time() - began) / count * 1e6


# --- rounds ---


def one_round(number: int, target: Target, books: dict[int, Rulebook], part: int) -> dict[str, float | None]:
    """The servers take turns, each round in another order."""
    kinds = ("bare", "again", "dante", "full")
    figures: dict[str, float | None] = {}
    for kind in kinds[number % 4 :] + kinds[: number % 4]:
        measure.await_free_ports()
        figures[f"{kind}_cpu_us"] = sessions_of(kind, target, SESSIONS // part)
    for count in sorted(books, key=lambda count: (count * 7 + number) % 11):
        figures[f"decision_{count}_us"] = decision(books[count], DECISIONS // part)
    return figures


def report(results: dict[str, Any]) -> str:
    rounds = results["figures"]

    def of(key: str) -> list[float]:
        return [one[key] for one in rounds if one[key] is not None]

    def ratio(ours: str, *theirs: str) -> str:
        if not all(of(key) for key in theirs):
            return "not measured"
        pairs = zip(of(ours), *(of(key) for key in theirs), strict=True)
        return f"{statistics.median(first / statistics.mean(others) for first, *others in pairs):.2f}"

    about = results["machine"]
    of_machine = f"{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, Python {about['python']}"
    lines = [
        f"# Rules, {results['date']}",
        "",
        f"Commit {results['commit']}, {results['rounds']} interleaved rounds, on {of_machine}.",
        "",
        "| server | CPU µs per short session, median | range |",
        "|---|---|---|",
    ]
    titles = {
        "bare": "bare",
        "again": "bare again (A/A)",
        "dante": "Dante, bare",
        "full": "password, 1,000 rules, accounting, metrics, log",
    }
    for kind, title in titles.items():
        values = of(f"{kind}_cpu_us")
        told = (
            f"{statistics.median(values):.1f} | {min(values):.1f} to {max(values):.1f}" if values else "not measured | "
        )
        lines.append(f"| {title} | {told} |")
    lines += [
        "",
        "| bar | is | wanted |",
        "|---|---|---|",
        f"| full beside bare | {ratio('full_cpu_us', 'bare_cpu_us', 'again_cpu_us')} | at most 1.35 |",
        f"| full beside Dante's bare one | {ratio('full_cpu_us', 'dante_cpu_us')} | below 1 |",
        f"| a decision, 10,000 rules beside 10 | {ratio('decision_10000_us', 'decision_10_us')} | at most 3 |",
        "",
        "| rules | CPU µs per decision, median | range |",
        "|---|---|---|",
    ]
    for count in BOOKS:
        values = of(f"decision_{count}_us")
        lines.append(f"| {count} | {statistics.median(values):.2f} | {min(values):.2f} to {max(values):.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round of a tenth; nothing is kept")
    parser.add_argument("--no-save", action="store_true", help="only print")
    options = parser.parse_args()
    rounds, part = (1, 10) if options.quick else (options.rounds, 1)
    books = {count: book(count) for count in BOOKS}
    pin(LOAD_CORE)()
    target = Target("--awake")
    figures = []
    try:
        for number in range(rounds):
            figures.append(one_round(number, target, books, part))
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    finally:
        target.close()
    results = {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "machine": machine(),
        "rounds": rounds,
        "figures": figures,
    }
    text = report(results)
    print(text)
    if not (options.no_save or options.quick):
        keep("rules", results, text)


if __name__ == "__main__":
    main()
