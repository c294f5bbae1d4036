"""The ways in which a stream may deliver the same octets."""

from collections.abc import Iterator

__all__ = ("every_cut",)


def every_cut(data: bytes) -> Iterator[tuple[bytes, ...]]:
    """The octets whole, octet by octet, and cut in two at every place; no piece is empty.

    Whoever reads a stream must come to the same end for all of them (S5-REQ-03). Empty data has no cut at all.
    """
    if data:
        yield (data,)
    if len(data) > 1:
        yield tuple(data[i : i + 1] for i in range(len(data)))
    # Two octets have one cut only, and it was made octet by octet.
    if len(data) > 2:
        for i in range(1, len(data)):
            yield data[:i], data[i:]
