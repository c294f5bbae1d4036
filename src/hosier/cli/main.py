"""``hosier VERB ...``: finds the verb and runs it."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final, NoReturn

from .. import __version__
from ..errors import ConfigError
from .endings import NOBODY_READS

__all__ = ("main",)

_VERBS: Final = ("serve", "run", "connect", "forward", "listen", "probe", "passwd", "config", "top", "usage")
"""Each a module here; one that is asked for loads without the others, which may be slow to load."""


class _Parser(argparse.ArgumentParser):
    """A mistake costs one line, not a page."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"hosier: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, or 2 for mistakes of the user's, which cost a line each."""
    try:
        return _main(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:  # whatever was going on: we end as any program does, with the signal's own status
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
        raise


def _main(arguments: Sequence[str]) -> int:
    parser = _Parser(prog="hosier", description="Everything SOCKS.")
    parser.add_argument("--version", action="version", version=f"hosier {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for verb in arguments[:1] if arguments[:1] and arguments[0] in _VERBS else _VERBS:
        import_module(f".{verb}", __package__).add_parser(verbs)
    chosen, rest = parser.parse_known_args(arguments)
    if rest:
        verbs.choices.get(arguments[0], parser).error(f"unrecognized arguments: {' '.join(rest)}")
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
