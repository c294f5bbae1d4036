"""Where bulk under a security layer is read to: two frames at once, each as a whole."""

from functools import cache
from typing import Final

__all__ = ("FrameBuffers", "keep_what_is_freed")

_KEPT: Final = 4 << 20


class FrameBuffers:
    """Buffers for the call under way, as large as frames have been; what is in them means nothing afterwards."""

    __slots__ = ("_pairs",)

    def __init__(self) -> None:
        self._pairs = (bytearray(), bytearray()), (bytearray(), bytearray())

    def whole(self, size: int) -> tuple[bytearray, bytearray]:
        """For two times so many octets."""
        (_, first), (_, second) = self._pairs
        if len(first) != size or len(second) != size:
            _resize(first, size)
            _resize(second, size)
        return first, second

    def apart(self, header_size: int, size: int) -> tuple[bytearray, bytearray, bytearray, bytearray]:
        """For the header and the rest of one frame of ``size`` octets, and of another."""
        size -= header_size
        for header, rest in self._pairs:
            if len(header) != header_size or len(rest) != size:
                _resize(header, header_size)
                _resize(rest, size)
        return *self._pairs[0], *self._pairs[1]


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
