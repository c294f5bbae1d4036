"""Frames of a security layer that lie behind one another: opened together, but not too many at once."""

from typing import Final

from .layers import Layer

__all__ = ("FRAMES_AT_ONCE", "open_frames")

FRAMES_AT_ONCE: Final = 32
"""Empty ones are so small that one read brings 2048; each costs as much as many octets of a large one."""


def open_frames(layer: Layer, data: bytes | bytearray | memoryview) -> tuple[bytes, int, int, bool]:
    """What is in the first whole frames, how many octets these have, how many the last one of them; and whether there
    were so many that the rest may hold whole ones, too."""
    unwrap = layer.unwrap
    found = unwrap(data)
    if found is None:
        return b"", 0, 0, False
    plain, size = found
    if size == len(data):  # nearly always
        return plain, size, size, False
    pieces, taken = [plain], size
    with memoryview(data) as view:
        while taken < len(view) and len(pieces) < FRAMES_AT_ONCE and (found := unwrap(view[taken:])) is not None:
            plain, size = found
            pieces.append(plain)
            taken += size
    return b"".join(pieces), taken, size, len(pieces) == FRAMES_AT_ONCE and taken < len(data)
