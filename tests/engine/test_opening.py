from __future__ import annotations

import pytest

from hosier.engine.opening import FRAMES_AT_ONCE, open_frames
from hosier.errors import RemoteProtocolError
from hosier.testing import ToyLayer

LAYER = ToyLayer()
FRAME = LAYER.wrap(b"data")


@pytest.mark.parametrize("octets", [bytes, memoryview])
@pytest.mark.parametrize("rest", [b"", FRAME[:1], FRAME[:-1]])
@pytest.mark.parametrize("count", [0, 1, 2, FRAMES_AT_ONCE - 1])
def test_whole_frames_and_the_beginning_of_one(count: int, rest: bytes, octets: type) -> None:
    last = len(FRAME) if count else 0
    assert open_frames(LAYER, octets(FRAME * count + rest)) == (b"data" * count, len(FRAME) * count, last, False)


def test_the_size_of_the_last_one() -> None:
    large = LAYER.wrap(bytes(1000))
    both = FRAME + large
    assert open_frames(LAYER, both + FRAME[:3]) == (b"data" + bytes(1000), len(both), len(large), False)


@pytest.mark.parametrize("rest", [FRAME[:1], FRAME, FRAME * 1000])
def test_not_too_many_at_once(rest: bytes) -> None:
    """What is left may be whole frames; who comes again finds out."""
    many = FRAME * FRAMES_AT_ONCE
    assert open_frames(LAYER, many + rest) == (b"data" * FRAMES_AT_ONCE, len(many), len(FRAME), True)
    assert open_frames(LAYER, many) == (b"data" * FRAMES_AT_ONCE, len(many), len(FRAME), False)


def test_a_forged_one_spoils_those_before_it() -> None:
    with pytest.raises(RemoteProtocolError):
        open_frames(LAYER, FRAME * 2 + b"\x02" + FRAME)
