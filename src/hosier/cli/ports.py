"""Options that are a port."""

import argparse

__all__ = ("listen_port", "port")


def port(text: str) -> int:
    """A port to connect to. Raises ArgumentTypeError, which costs the user a line."""
    return _port(text, 1)


def listen_port(text: str) -> int:
    """A port to listen on, 0 is any. Raises ArgumentTypeError."""
    return _port(text, 0)


def _port(text: str, least: int) -> int:
    if not (text.isascii() and text.isdigit() and least <= int(text[:6]) <= 0xFFFF):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: {least} to 65535 are")
    return int(text)
