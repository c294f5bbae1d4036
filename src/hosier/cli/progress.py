"""How much has gone, told on a terminal while it goes: a line that is written anew, and gone at the end."""

import os
import sys
from time import monotonic
from typing import Any, Final

from .endings import say

__all__ = ("MUCH", "TELL_EVERY", "ProgressLine", "add_progress_option", "is_wanted")

MUCH: Final = 1 << 20
"""Octets before progress is told."""

TELL_EVERY: Final = 0.5
"""Seconds."""


def add_progress_option(parser: Any, condition: str) -> None:
    """Adds ``--progress``; ``condition`` is that of ``auto``, beside a terminal."""
    words = f"tell how much has gone: always, never, or (auto) on a terminal, {condition}"
    parser.add_argument("--progress", choices=("auto", "always", "never"), default="auto", help=words)


def is_wanted(wanted: str, condition: bool = True) -> bool:
    """What the option comes to."""
    return wanted == "always" or (wanted == "auto" and condition and os.isatty(2))


class ProgressLine:
    """The line, on standard error. Not for two threads."""

    def __init__(self) -> None:
        self._told = ""
        self._looked = monotonic()
        self._before = 0

    def tell(self, up: int, down: int, rate: float) -> None:
        """Octets each way, and both together in a second."""
        line = f"hosier: {_size(up)} up, {_size(down)} down, {_size(rate)}/s"
        sys.stderr.write(f"\r{line:<{len(self._told)}}")
        sys.stderr.flush()
        self._told = line

    def look(self, up: int, down: int) -> None:
        """For what goes on and on, at intervals: tells while octets flow in bulk, and stops when none do."""
        now, moved = monotonic(), up + down
        fresh = moved - self._before
        if fresh >= MUCH or (fresh and self._told):
            self.tell(up, down, fresh / max(now - self._looked, 0.001))
        elif not fresh:
            self.wipe()
        self._looked, self._before = now, moved

    def say(self, text: str) -> None:
        """Another line, which stays."""
        self.wipe()
        say(text)

    def wipe(self) -> None:
        """Nothing is left of it."""
        if self._told:
            sys.stderr.write(f"\r{'':<{len(self._told)}}\r")
            sys.stderr.flush()
            self._told = ""


def _size(octets: float) -> str:
    for unit in ("B", "kB", "MB"):
        if octets < 1000:
            return f"{octets:.3g} {unit}"
        octets /= 1000
    return f"{octets:.4g} GB"
