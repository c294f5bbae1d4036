"""Checks that every decoder of a stream must pass."""

from collections.abc import Callable
from typing import Any

import pytest

from hosier.errors import RemoteProtocolError

Decoder = Callable[[bytes], tuple[Any, int] | None]


def check_whole(decode: Decoder, data: bytes, message: object) -> None:
    """The data is exactly this message: every beginning needs more, whatever follows is left alone, buffers of both
    kinds will do (S5-REQ-03)."""
    for size in range(len(data)):
        assert decode(data[:size]) is None, size
    for tail in (b"", b"\x00", b"\x05\x01\x00", b"\xff" * 300):
        assert decode(data + tail) == (message, len(data))
        assert decode(bytearray(data + tail)) == (message, len(data))  # type: ignore[arg-type]


def check_broken(decode: Decoder, data: bytes, about: str, *, at: int | None = None) -> RemoteProtocolError:
    """The data is refused once ``at`` octets of it are there (default: all), with the same words from then on."""
    first = len(data) if at is None else at
    for size in range(first):
        assert decode(data[:size]) is None, size
    for size in range(first, len(data) + 1):
        with pytest.raises(RemoteProtocolError, match=about) as caught:
            decode(data[:size])
    return caught.value
