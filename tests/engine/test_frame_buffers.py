"""Where bulk under a security layer is read to."""

from __future__ import annotations

from hosier.engine.frame_buffers import FrameBuffers, keep_what_is_freed


def test_they_fit_whatever_is_asked_for() -> None:
    """One after the other, larger and smaller: no octet too many may be read, or the next frame lost its beginning."""
    buffers = FrameBuffers()
    for size in (65_471, 20_000, 60_000, 60_000):
        assert list(map(len, buffers.whole(size))) == [size, size]
        assert list(map(len, buffers.apart(4, size))) == [4, size - 4, 4, size - 4]
        assert list(map(len, buffers.apart(2, size))) == [2, size - 2, 2, size - 2]


def test_they_are_the_same_again() -> None:
    """That is what they are for: new ones would cost as much as the copy that they save."""
    buffers = FrameBuffers()
    first, second = buffers.whole(30_000)
    assert first is not second
    assert buffers.whole(30_000)[0] is first
    header, rest, *other = buffers.apart(4, 60_000)
    again = buffers.apart(4, 60_000)
    assert again[0] is header
    assert again[1] is rest
    assert all(buffer is kept for buffer, kept in zip(again[2:], other, strict=True))


def test_what_is_freed_is_kept_once_and_for_all() -> None:
    keep_what_is_freed()
    before = keep_what_is_freed.cache_info().misses
    keep_what_is_freed()
    assert keep_what_is_freed.cache_info().misses == before == 1
