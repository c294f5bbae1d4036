"""``hosier VERB ...``: finds the verb and runs it."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from .. import __version__
from ..errors import ConfigError
from . import config, passwd, serve, top

__all__ = ("main",)

_VERBS = (serve, passwd, config, top)


class _Parser(argparse.ArgumentParser):
    """A mistake costs one line, not a page."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"hosier: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, or 2 for mistakes of the user's, which cost a line each."""
    parser = _Parser(prog="hosier", description="Everything SOCKS.")
    parser.add_argument("--version", action="version", version=f"hosier {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for verb in _VERBS:
        verb.add_parser(verbs)
    chosen = parser.parse_args(arguments)
    try:
        code: int = chosen.run(chosen)
    except ConfigError as error:
        for line in str(error).splitlines():
            print(f"hosier: {line}", file=sys.stderr)
        return 2
    return code
