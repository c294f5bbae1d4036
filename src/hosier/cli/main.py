"""``hosier VERB ...``: finds the verb and runs it."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final, NoReturn

from .. import __version__
from ..errors import ConfigError
from .endings import NOBODY_READS

__all__ = ("main",)

_VERBS: Final = ("serve", "connect", "forward", "listen", "probe", "passwd", "config")
"""Modules beside this one. Only what runs is loaded: a connection through ssh should not wait for a server's parts."""


class _Parser(argparse.ArgumentParser):
    """A mistake costs one line, not a page."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"hosier: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, or 2 for mistakes of the user's, which cost a line each."""
    parser = _Parser(prog="hosier", description="Everything SOCKS.")
    parser.add_argument("--version", action="version", version=f"hosier {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    given = sys.argv[1:] if arguments is None else arguments
    for verb in [verb for verb in given[:1] if verb in _VERBS] or _VERBS:
        import_module(f".{verb}", __package__).add_parser(verbs)
    chosen = parser.parse_args(given)
    try:
        code: int = chosen.run(chosen)
    except ConfigError as error:
        for line in str(error).splitlines():
            print(f"hosier: {line}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # who read what we print has seen enough, as with `| head`
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())
        return NOBODY_READS
    return code
