"""Where bulk under a security layer is read to."""

from __future__ import annotations

from hosier.engine.frame_buffers import BULK_FRAMES, MOST_FRAMES, FrameBuffers, at_once_after, keep_what_is_freed


def test_they_fit_whatever_is_asked_for() -> None:
    """One after the other, larger and smaller: no octet too many may be read, or the next frame lost its beginning."""
    buffers = FrameBuffers()
    for size in (65_471, 20_000, 60_000, 60_000):
        assert list(map(len, buffers.whole(size))) == MOST_FRAMES * [size]
        assert list(map(len, buffers.apart(4, size))) == MOST_FRAMES * [4, size - 4]
        assert list(map(len, buffers.apart(2, size))) == MOST_FRAMES * [2, size - 2]


def test_frames_lie_one_after_the_other() -> None:
    buffers = FrameBuffers()
    alternating = buffers.apart(4, 60_000)
    expected = [buffer for pair in buffers.pairs for buffer in pair]
    assert all(buffer is other for buffer, other in zip(alternating, expected, strict=True))


def test_they_are_the_same_again() -> None:
    """That is what they are for: new ones would cost as much as the copy that they save."""
    buffers = FrameBuffers()
    before = buffers.whole(30_000)
    assert len({id(buffer) for buffer in before}) == MOST_FRAMES
    assert all(buffer is kept for buffer, kept in zip(buffers.whole(30_000), before, strict=True))
    apart = buffers.apart(4, 60_000)
    assert all(buffer is kept for buffer, kept in zip(buffers.apart(4, 60_000), apart, strict=True))


def test_more_of_them_where_they_take_little_time() -> None:
    few, many = BULK_FRAMES, MOST_FRAMES
    assert [at_once_after(few, seconds) for seconds in (0.0, 0.0007, 0.0008, 1.0)] == [many, many, few, few]
    assert [at_once_after(many, seconds) for seconds in (0.0, 0.0014, 0.0016, 1.0)] == [many, many, few, few]


def test_what_is_freed_is_kept_once_and_for_all() -> None:
    keep_what_is_freed()
    before = keep_what_is_freed.cache_info().misses
    keep_what_is_freed()
    assert keep_what_is_freed.cache_info().misses == before == 1
