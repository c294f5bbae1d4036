"""What several commands read in the same way: ports, and how many seconds."""

import argparse
from math import isfinite

__all__ = ("listen_port", "port", "seconds")


def port(text: str) -> int:
    """A port to connect to. Raises ArgumentTypeError, which costs the user a line."""
    return _port(text, 1)


def listen_port(text: str) -> int:
    """A port to listen on, 0 is any. Raises ArgumentTypeError."""
    return _port(text, 0)


def seconds(text: str) -> float:
    """A time to wait, more than none and not for ever. Raises ArgumentTypeError."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not (number > 0 and isfinite(number)):
        raise argparse.ArgumentTypeError(f"{text!r} is no time to wait: write seconds, more than 0")
    return number


def _port(text: str, least: int) -> int:
    if not (text.isascii() and text.isdigit() and least <= int(text[:6]) <= 0xFFFF):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: {least} to 65535 are")
    return int(text)
