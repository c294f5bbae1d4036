"""Where bulk under a security layer is read to: some frames at once, each as a whole."""

from functools import cache
from typing import Final

__all__ = ("BULK_FRAMES", "MOST_FRAMES", "FrameBuffers", "Room", "at_once_after", "keep_what_is_freed")

Room = bytearray | memoryview
"""Where octets can be read to."""

BULK_FRAMES: Final = 4
"""Frames moved in a turn, at first. Each turn costs calls and some hundred steps of Python, whose code and data the
last frame's arithmetic has driven out of the processor's caches; four sealed frames take about a millisecond."""

MOST_FRAMES: Final = 8
"""The same where they take little time: signed ones take a third."""

LONGEST: Final = 0.0015
"""Seconds that a full turn of more than four frames may take: others wait for it."""

_KEPT: Final = 4 << 20


class FrameBuffers:
    """Buffers for the call under way, as large as frames have been; what is in them means nothing afterwards."""

    __slots__ = ("_alternating", "_header_size", "_rest_size", "_rests", "pairs")

    def __init__(self) -> None:
        self.pairs = tuple((bytearray(), bytearray()) for _ in range(MOST_FRAMES))
        """Header and rest of each frame, as ``apart`` gives them, one after the other."""
        self._alternating = tuple(buffer for pair in self.pairs for buffer in pair)
        self._rests = self._alternating[1::2]
        self._header_size = self._rest_size = 0

    def whole(self, size: int) -> tuple[bytearray, ...]:
        """For so many octets each."""
        if size != self._rest_size:
            self._resize_rests(size)
        return self._rests

    def apart(self, header_size: int, size: int) -> tuple[bytearray, ...]:
        """For the header and the rest of one frame of ``size`` octets, and of the next ones."""
        if size - header_size != self._rest_size:
            self._resize_rests(size - header_size)
        if header_size != self._header_size:
            self._header_size = header_size
            for header, _ in self.pairs:
                _resize(header, header_size)
        return self._alternating

    def _resize_rests(self, size: int) -> None:
        self._rest_size = size
        for rest in self._rests:
            _resize(rest, size)


def at_once_after(frames: int, seconds: float) -> int:
    """How many to move in a turn, after one of so many has taken so long."""
    if frames < MOST_FRAMES:
        return MOST_FRAMES if seconds < LONGEST / 2 else frames
    return BULK_FRAMES if seconds > LONGEST else frames


def _resize(buffer: bytearray, size: int) -> None:
    have = len(buffer)
    if have > size:
        del buffer[size:]
    elif have < size:
        buffer += bytes(size - have)


@cache
def keep_what_is_freed() -> None:
    """The C library gives the end of its heap back to the system whenever 128 KiB of it are free, which with frames of
    64 KiB is the case after each of them: the next one then pays for its pages anew, a sixth of the cost of a signed
    one. Once a block that was larger has come and gone, twice its size may stay (mallopt(3), M_TRIM_THRESHOLD)."""
    bytes(_KEPT)
