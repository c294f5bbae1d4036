"""Datagrams under a layer: opened on their way in, wrapped on their way out, each for itself."""

from __future__ import annotations

import errno

import pytest

from hosier.engine import segments
from hosier.engine.layered_datagrams import NOT_GENUINE, WrappingLane, opened
from hosier.engine.segments import Traffic
from hosier.testing import ToyLayer

from .test_segments import PLACE, Kernel, lane


def frame(data: bytes) -> bytes:
    return ToyLayer().wrap_datagram(data)


def wrapping(kernel: Kernel) -> tuple[WrappingLane, Traffic]:
    below, _, _ = lane(kernel)
    traffic = Traffic()
    return WrappingLane(below._socket, PLACE, ToyLayer(), traffic), traffic


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_can", {103: True, 104: True})


def test_opened() -> None:
    """What is dropped is counted, and the others keep their order; a short one may be looked at beyond its end."""
    traffic = Traffic()
    packets = [frame(b"first"), b"in clear", frame(b""), frame(b"cut")[:-1], frame(b"x" * 1000)]
    views = [memoryview(packet + bytes(100)) for packet in packets]
    plain, sizes = opened(ToyLayer(), views, [len(packet) for packet in packets], traffic)
    assert [bytes(view[:size]) for view, size in zip(plain, sizes, strict=True)] == [b"first", b"", b"x" * 1000]
    assert all(view[4] is not None for view in plain)
    assert traffic.dropped == {NOT_GENUINE: 2}


def test_wrapped_one_by_one() -> None:
    kernel = Kernel()
    way, traffic = wrapping(kernel)
    way.send([b"HH", b"aaaa", b"HH", b"bb"], 2)
    assert kernel.sent == [[frame(b"HHaaaa")], [frame(b"HHbb")]]
    assert (traffic.datagrams, traffic.payload, traffic.dropped) == (2, 6, {})
    assert way.place == PLACE
    way.place = None
    assert way.place is None


def test_what_cannot_be_sent() -> None:
    """Dropped below is dropped above."""
    kernel = Kernel(lambda datagrams, _: errno.EAGAIN if b"full" in datagrams[0] else 0)
    way, traffic = wrapping(kernel)
    way.send([b"HH", b"full", b"HH", b"room"], 2)
    way.send([bytes(ToyLayer.max_datagram + 1)], 1)
    assert (traffic.datagrams, traffic.payload) == (1, 4)
    assert traffic.dropped == {"no room": 1, "too large": 1}
