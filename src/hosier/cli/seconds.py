"""Options that are a time in seconds."""

import argparse
from typing import Final

__all__ = ("seconds",)

_MOST: Final = 1_000_000
"""About what a system's own calls can wait."""


def seconds(text: str) -> float:
    """What argparse makes of such an option. Raises ArgumentTypeError, which it tells in a line."""
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number <= _MOST:  # nor what is no number at all, and compares with none
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write seconds, more than 0 and at most {_MOST}")
    return number
