"""``hosier usage``: who has used how much of which budget, and giving it back."""

import argparse
import sys
import time
from typing import Any

from ..errors import ConfigError
from ..observe.access_log import printable
from ..server.ledger import Entry, Ledger

__all__ = ("add_parser",)

_EPILOG = """\
Keys are "user ann", "source 192.0.2.7", "group staff", "listener 0.0.0.0:1080", "rule 'mail'" and "all". A server that
runs learns of what is forgotten within a second.

examples:
  hosier usage /var/lib/hosier/usage.db | head
  hosier usage /var/lib/hosier/usage.db --budget monthly --key 'user ann' --reset
"""


def add_parser(verbs: Any) -> None:
    """Adds the verb to the command."""
    parser = verbs.add_parser(
        "usage",
        help="show who has used how much of their budgets, or forget it",
        description="Octets in a usage_file of hosier serve, most first.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--budget", metavar="NAME", help="of this budget only")
    parser.add_argument("--key", metavar="KEY", help="of this user, source, group, listener or rule only")
    parser.add_argument("--reset", action="store_true", help="forget it: all of it may be used again")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints a table, or how much was forgotten; 0. Raises ConfigError."""
    budget, key = arguments.budget, arguments.key
    if arguments.reset and budget is key is None:
        raise ConfigError("what is to be forgotten? write --budget NAME, --key KEY or both")
    ledger = Ledger(arguments.file, new=False)
    try:
        if arguments.reset:
            count = ledger.reset(budget, key)
            print(f"hosier: {count} {'entry' if count == 1 else 'entries'} forgotten", file=sys.stderr)
            return 0
        entries = ledger.entries()
    except OSError as error:
        raise ConfigError(str(error)) from None
    finally:
        ledger.close()
    wanted = {
        (name, whose): entry
        for (name, whose), entry in entries.items()
        if budget in (None, name) and key in (None, whose)
    }
    _show(wanted)
    return 0


def _show(entries: dict[tuple[str, str], Entry]) -> None:
    width = max((len(str(entry.octets)) for entry in entries.values()), default=0)
    width = max(width, len("octets"))
    column = max((len(printable(name)) for name, _ in entries), default=0)
    column = max(column, len("budget"))
    print(f"{'octets':>{width}}  {'since':10}  {'budget':{column}}  key")
    for (name, key), entry in sorted(entries.items(), key=lambda item: (-item[1].octets, item[0])):
        since = time.strftime("%Y-%m-%d", time.gmtime(entry.since)) if entry.since else "ever"
        print(f"{entry.octets:>{width}}  {since:10}  {printable(name):{column}}  {printable(key)}")
