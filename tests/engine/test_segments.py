"""Runs of datagrams: one call for many, and what happens when the kernel will not take them together."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from hosier.engine import segments
from hosier.engine.segments import FULL_FOR, REFUSED_FOR, ClosedLane, Cut, SocketLane, Traffic, segment_size

PLACE = ("192.0.2.1", 53)
ROUTE = (errno.EMSGSIZE, errno.EINVAL, errno.EIO, errno.EPERM)
ROOM = (errno.EAGAIN, errno.ENOBUFS)


class Kernel:
    """A socket that fails as it is told to; ``sent`` is what went out, a run as one entry."""

    def __init__(self, fails: Callable[[list[bytes], bool], int] = lambda datagrams, run: 0) -> None:
        self.sent: list[list[bytes]] = []
        self.calls = 0
        self._fails = fails

    def sendmsg(self, pieces: Any, ancillary: Any = (), flags: int = 0, place: Any = None) -> int:
        data = b"".join(pieces)
        datagrams = [data]
        if ancillary:
            [(level, kind, value)] = ancillary
            assert (level, kind) == (17, 103)
            size = int.from_bytes(value, "little")
            datagrams = [data[start : start + size] for start in range(0, len(data), size)]
        self.calls += 1
        assert place in (PLACE, None)
        if code := self._fails(datagrams, bool(ancillary)):
            raise OSError(code, os.strerror(code))
        self.sent.append(datagrams)
        return len(data)

    def sendto(self, piece: Any, place: Any) -> int:
        return self.sendmsg([piece], (), 0, place)


def lane(kernel: Kernel, place: Any = PLACE) -> tuple[SocketLane, Traffic, Any]:
    traffic = Traffic()
    sock = SimpleNamespace(sock=kernel, engine=SimpleNamespace(now=1000.0), fd=3)
    return SocketLane(sock, place, traffic), traffic, sock.engine  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_can", {103: True, 104: True})


RUN = [b"aaaa", b"bbbb", b"cc"]


def test_one_call_for_a_run() -> None:
    kernel = Kernel()
    way, traffic, _ = lane(kernel)
    way.send(RUN, 1)
    assert kernel.sent == [RUN]
    assert (traffic.datagrams, traffic.payload, traffic.dropped) == (3, 10, {})


def test_headers_are_no_payload() -> None:
    kernel = Kernel()
    way, traffic, _ = lane(kernel, None)
    way.send([b"HH", b"aaaa", b"HH", b"bbbb", b"HH", b"c"], 2)
    assert kernel.sent == [[b"HHaaaa", b"HHbbbb", b"HHc"]]
    assert (traffic.datagrams, traffic.payload) == (3, 9)


@pytest.mark.parametrize(("pieces", "width"), [([b"abc"], 1), ([b"H", b"ab"], 2), ([b""], 1)])
def test_a_single_one(pieces: list[bytes], width: int) -> None:
    kernel = Kernel()
    for place in (PLACE, None):
        way, traffic, _ = lane(kernel, place)
        way.send(pieces, width)
        assert (traffic.datagrams, traffic.payload) == (1, len(pieces[-1]))
    assert kernel.sent == [[b"".join(pieces)]] * 2


@pytest.mark.parametrize(
    ("code", "seconds"), [(code, REFUSED_FOR) for code in ROUTE] + [(code, FULL_FOR) for code in ROOM]
)
def test_a_refused_run_goes_one_by_one(code: int, seconds: float) -> None:
    """And so do the next ones of that lane for a while; after that it tries again."""
    kernel = Kernel(lambda datagrams, run: code if run else 0)
    way, traffic, engine = lane(kernel)
    way.send(RUN, 1)
    assert kernel.sent == [[one] for one in RUN]
    assert kernel.calls == 1 + len(RUN)
    engine.now += seconds - 0.1
    way.send(RUN, 1)
    assert kernel.calls == 1 + 2 * len(RUN)
    engine.now += 0.2
    way.send(RUN, 1)
    assert kernel.calls == 2 + 3 * len(RUN)
    assert (traffic.datagrams, traffic.payload, traffic.dropped) == (9, 30, {})


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.EMSGSIZE, "too large"),
        (errno.EAGAIN, "no room"),
        (errno.ENOBUFS, "no room"),
        (errno.ENETUNREACH, "unreachable"),
        (errno.EHOSTUNREACH, "unreachable"),
        (errno.EPERM, "unreachable"),
        (errno.EINVAL, "unreachable"),
    ],
)
def test_a_failure_costs_its_own_datagram_only(code: int, reason: str) -> None:
    kernel = Kernel(lambda datagrams, run: code if b"bbbb" in datagrams else 0)
    way, traffic, _ = lane(kernel)
    way.send(RUN, 1)
    assert kernel.sent == [[b"aaaa"], [b"cc"]]
    assert (traffic.datagrams, traffic.payload, traffic.dropped) == (2, 6, {reason: 1})
    way.send([b"bbbb"], 1)
    assert traffic.dropped == {reason: 2}


def test_another_ones_error_costs_nothing() -> None:
    """An ICMP error for an earlier datagram is told by the next call, once: that is tried again."""
    told = [errno.ECONNREFUSED]
    kernel = Kernel(lambda datagrams, run: told.pop() if told else 0)
    way, traffic, _ = lane(kernel)
    way.send(RUN, 1)
    told.append(errno.ECONNREFUSED)
    way.send([b"x"], 1)
    told.append(errno.ECONNREFUSED)
    way.send(RUN, 1)
    assert (traffic.datagrams, traffic.dropped) == (7, {})
    told.append(errno.ECONNREFUSED)
    way._send_one([b"y"])
    assert kernel.sent[-1] == [b"y"]


def test_it_does_not_remember_what_icmp_said() -> None:
    told = [errno.ECONNREFUSED]
    kernel = Kernel(lambda datagrams, run: told.pop() if told else 0)
    way, _, _ = lane(kernel)
    way.send(RUN, 1)
    way.send(RUN, 1)
    assert kernel.sent[-1] == RUN


def test_nothing_is_sent_twice_through_a_closed_socket() -> None:
    kernel = Kernel(lambda datagrams, run: errno.EBADF)
    way, traffic, _ = lane(kernel)
    way._socket.fd = -1
    way.send(RUN, 1)
    assert traffic.dropped == {"unreachable": 3}


def test_a_kernel_without_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would ignore what it does not know, and send one large datagram: it is not asked at all."""
    monkeypatch.setattr(segments, "_can", {103: False, 104: False})
    kernel = Kernel()
    way, traffic, _ = lane(kernel)
    way.send(RUN, 1)
    assert kernel.sent == [[one] for one in RUN]
    assert traffic.datagrams == 3
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert not segments.join_arrivals(sock)


def test_support_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_can", {})
    assert not segments._supports(9999)
    assert segments._can == {9999: False}
    asked = []
    monkeypatch.setattr(socket, "socket", lambda *_: asked.append(1))
    assert not segments._supports(9999)
    assert not asked


def test_closed_lane() -> None:
    traffic = Traffic()
    ClosedLane(traffic, "refused target").send([b"H", b"a", b"H", b"b"], 2)
    assert traffic.dropped == {"refused target": 2}
    assert ClosedLane(traffic, "").place is None


@pytest.mark.parametrize(
    ("ancillary", "size"),
    [
        ([], 0),
        ([(17, 104, (1200).to_bytes(4, "little"))], 1200),
        ([(0, 8, b"\x01\0\0\0"), (17, 104, b"\x05\0\0\0")], 5),
        ([(0, 104, b"\x05\0\0\0")], 0),
    ],
)
def test_segment_size(ancillary: list[tuple[int, int, bytes]], size: int) -> None:
    assert segment_size(ancillary) == size


def test_cut() -> None:
    buffer = memoryview(b"AAaaBBbbCCc" + bytes(70_000))
    cut = Cut(buffer, 4)
    assert cut.sizes(11) == [4, 4, 3]
    assert cut.sizes(8) == [4, 4]
    heads, bodies = cut.parts(11, 2)
    assert [bytes(head) for head in heads] == [b"AA", b"BB", b"CC"]
    assert [bytes(body) for body in bodies] == [b"aa", b"bb", b"c"]
    assert [bytes(body) for body in cut.parts(8, 2)[1]] == [b"aa", b"bb"]  # what was kept is not changed
    for header in range(20):
        cut.parts(8, header)
    assert len(cut._parts) <= segments.KEPT_PARTS


def test_joined_and_apart_again() -> None:
    """On a real kernel: what a peer sends as a run arrives as one, until that is switched off."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs,
    ):
        ours.bind(("127.0.0.1", 0))
        ours.setblocking(False)
        theirs.connect(ours.getsockname())
        if not segments.join_arrivals(ours):
            pytest.skip("this kernel cannot join datagrams")
        option = segments.segment_option(4)
        theirs.sendmsg(RUN, option)
        assert not segments.part_arrivals(ours)  # there is something to read: not now
        data, ancillary, _, _ = ours.recvmsg(100, 64)
        assert (data, segment_size(ancillary)) == (b"".join(RUN), 4)
        theirs.send(b"")
        assert not segments.part_arrivals(ours)  # that is something, too
        assert ours.recv(100) == b""
        assert segments.part_arrivals(ours)
        theirs.sendmsg(RUN, option)
        assert [ours.recvmsg(100, 64)[:2] for _ in RUN] == [(one, []) for one in RUN]
