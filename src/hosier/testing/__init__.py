"""Helpers for tests of programs that use or extend Hosier: no I/O, no secrets, nothing third-party."""

from .cuts import every_cut
from .pair import ConnectionPair
from .toy import (
    ToyClientExchange,
    ToyFraming,
    ToyKind,
    ToyLayer,
    ToyMessage,
    ToyServerExchange,
)

__all__ = (
    "ConnectionPair",
    "ToyClientExchange",
    "ToyFraming",
    "ToyKind",
    "ToyLayer",
    "ToyMessage",
    "ToyServerExchange",
    "every_cut",
)
