"""Names of targets as a rule writes them, and the one form in which names are compared.

A name is what the client asked for, before it is looked up: not what it stands for, nor what else stands for the same.
"""

import re
from typing import Final, NamedTuple

from ..errors import ConfigError, LocalProtocolError
from ..protocol.address import NAME, parse_address

__all__ = ("NamePattern", "parse_pattern", "plain_name")

_FOREIGN: Final = re.compile(r"[\s\\:/%@?#]")
"""What no name of a target holds, but a URL, an address with a port or a slip of the hand does."""

_EXPECTED: Final = "write www.example.com, .example.com (with all below) or *.example.com (only what is below)"


def plain_name(octets: bytes) -> str | None:
    """A requested name as names are compared: in small letters, without the dot at its end, in A-labels.

    None for a name with a backslash: resolvers read it as an escape, so one name could be written in many ways.
    """
    if b"\\" in octets:
        return None
    octets = octets.removesuffix(b".")
    if octets.isascii():
        return octets.decode("ascii").lower()
    text = octets.decode("utf-8", "backslashreplace")
    try:
        return text.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return text.lower()


class NamePattern(NamedTuple):
    """Which names are meant: the pieces between the stars, or one name, and perhaps what is below it."""

    pieces: tuple[str, ...]
    """In plain form. One piece: a name as a whole."""

    below: bool = False
    """Whether all that is below the name is meant, too."""

    @property
    def key(self) -> str | None:
        """What an index finds it by: the name, or ``.domain`` for names that end so; None: nothing is fit for that."""
        if len(self.pieces) == 1:
            return f".{self.pieces[0]}" if self.below else self.pieces[0]
        _, dot, domain = self.pieces[-1].partition(".")
        return f".{domain}" if dot else None

    def matches(self, name: str) -> bool:
        """Whether a plain name is meant. Takes time in proportion to its length, whatever the pattern."""
        first, *others = self.pieces
        if not others:
            return name == first or (self.below and name.endswith(first) and name[-len(first) - 1] == ".")
        *inner, last = others
        if len(name) < len(first) + len(last) or not (name.startswith(first) and name.endswith(last)):
            return False
        at, end = len(first), len(name) - len(last)
        for piece in inner:
            found = name.find(piece, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return True


def parse_pattern(text: str) -> NamePattern:
    """Reads ``www.example.com``, ``.example.com`` or a text with stars, each of which stands for any characters.

    Raises ConfigError; also for an address, which has no name.
    """
    whole = text.removesuffix(".")
    below = whole.startswith(".")
    name = whole[1:] if below else whole
    try:
        address = parse_address(name, 0).canonical()
    except LocalProtocolError:
        raise ConfigError(f"{text!r} is no name of a target: {_EXPECTED}") from None
    labels = name.split(".")
    if address.kind != NAME or (len(labels) > 1 and all(label.isdecimal() or label == "*" for label in labels)):
        raise ConfigError(f"{text!r} is an address: write it under networks")
    if "" in labels or _FOREIGN.search(name) or (below and "*" in name):
        raise ConfigError(f"{text!r} is no name of a target: {_EXPECTED}")
    if any("*" in label and not label.isascii() for label in labels):
        raise ConfigError(f"{text!r} has a star beside letters that are not ASCII: names are compared in A-labels")
    return NamePattern(tuple(address.octets.decode("ascii").lower().split("*")), below)
