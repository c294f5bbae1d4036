"""Runs of datagrams: the same ones arrive whatever the kernel does with them, in fewer calls where it can."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import hosier
from hosier.client import runs as module
from hosier.client.envelope import Envelope
from hosier.client.runs import Runs
from hosier.engine.segments import can_segment, segment_option
from hosier.testing import ScriptedServer, send, stall

from .harness import PATIENCE, opening

ONE = ("192.0.2.1", 53)
HEADER = b"\x00\x00\x00\x01\xc0\x00\x02\x01\x00\x35"

needs_runs = pytest.mark.skipif(not can_segment(), reason="this system has no runs")

SIZES = {
    "nothing": [],
    "one": [5],
    "alike": [100] * 10,
    "a shorter last one": [100] * 5 + [7],
    "growing": [1, 2, 3, 4],
    "falling": [4, 3, 2, 1],
    "empty ones": [0, 0, 5, 0],
    "more than a run takes": [10] * 150,
    "more octets than a run takes": [9000] * 20,
    "all kinds": [3, 3, 1200, 1200, 1200, 8, 0, 70, 70, 70, 60],
}


class Counting(socket.socket):
    """Counts the calls."""

    sent = 0

    def sendmsg(self, *args: Any) -> int:
        self.sent += 1
        return super().sendmsg(*args)


class Refusing(Counting):
    """A route or device that takes no runs."""

    number = errno.EIO

    def sendmsg(self, *args: Any) -> int:
        self.sent += 1
        raise OSError(self.number, "no runs here")


@pytest.fixture
def relay() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(PATIENCE)
        yield sock


def make(relay: socket.socket, kind: type[socket.socket] = Counting, envelope: Envelope | None = None) -> Runs:
    sock = kind(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(relay.getsockname())

    def send_packet(packet: bytes) -> None:
        sock.send(packet)

    return Runs(sock, envelope or Envelope(), send_packet)


def payloads(sizes: list[int]) -> list[bytes]:
    return [bytes([number % 256]) * size for number, size in enumerate(sizes)]


def heard(relay: socket.socket, count: int) -> list[bytes]:
    return [relay.recv(65_535) for _ in range(count)]


@pytest.mark.parametrize("kind", [Counting, Refusing])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_sent(relay: socket.socket, sizes: list[int], kind: type[Counting]) -> None:
    """All of them, in their order, each by itself; whether the kernel takes runs or not."""
    runs = make(relay, kind)
    with runs._udp:
        for _ in range(2):
            runs.send(HEADER, payloads(sizes))
            assert heard(relay, len(sizes)) == [HEADER + payload for payload in payloads(sizes)]
    relay.setblocking(False)
    with pytest.raises(BlockingIOError):
        relay.recv(1)


@needs_runs
def test_few_calls(relay: socket.socket) -> None:
    runs = make(relay)
    assert isinstance(runs._udp, Counting)
    with runs._udp:
        runs.send(HEADER, payloads([100] * 64 + [100] * 10 + [3]))
        assert runs._udp.sent == 2
        assert len(heard(relay, 75)) == 75


@needs_runs
def test_refused_once(relay: socket.socket) -> None:
    """Not tried again for a while, unless there was no room only; other errors are the caller's."""
    runs = make(relay, Refusing)
    assert isinstance(runs._udp, Refusing)
    with runs._udp:
        for _ in range(3):
            runs.send(HEADER, payloads([10] * 3))
        assert runs._udp.sent == 1
        assert len(heard(relay, 9)) == 9
        other = make(relay, Refusing)
        assert isinstance(other._udp, Refusing)
        with other._udp:
            other._udp.number = errno.ENOBUFS
            for _ in range(2):
                other.send(HEADER, payloads([10] * 3))
            assert other._udp.sent == 2
            assert len(heard(relay, 6)) == 6
            other._udp.number = errno.ENETDOWN
            with pytest.raises(OSError, match="no runs here"):
                other.send(HEADER, payloads([10] * 3))


def test_what_does_not_fit(relay: socket.socket) -> None:
    """Fragments if they were asked for, else an error as ``sendto`` has it."""
    runs = make(relay, envelope=Envelope(fragment_size=300))
    with runs._udp:
        runs.send(HEADER, [bytes(400), bytes(5)])
        pieces = heard(relay, 3)
        assert [(piece[2], len(piece)) for piece in pieces] == [(1, 300), (0x82, 120), (0, 15)]
    runs = make(relay)
    with runs._udp, pytest.raises(OSError, match="too long"):
        runs.send(HEADER, [bytes(65_498)] * 2)


def in_a_run(relay: socket.socket, packets: list[bytes], place: tuple[str, int]) -> None:
    relay.sendmsg(packets, segment_option(len(packets[0])), 0, place)


def one_by_one(relay: socket.socket, packets: list[bytes], place: tuple[str, int]) -> None:
    for packet in packets:
        relay.sendto(packet, place)


ways = pytest.mark.parametrize("answer", [pytest.param(in_a_run, marks=needs_runs), one_by_one])
Answer = Callable[[socket.socket, list[bytes], tuple[str, int]], None]


@ways
@pytest.mark.parametrize("can_join", [True, False])
def test_received(relay: socket.socket, answer: Answer, can_join: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one call or several; other senders, broken ones and fragments among them."""
    if not can_join:
        monkeypatch.setattr(module, "join_arrivals", lambda sock: False)
        if answer is in_a_run:
            pytest.skip("what is not joined by the kernel arrives one by one")
    runs = make(relay)
    other = b"\x00\x00\x00\x03\x01x\x00\x35"
    packets = [HEADER + bytes(2), HEADER + b"ab", other + b"four", b"\xff" * 12, HEADER + b"cd"]
    packets += [b"\x00\x00\x01" + HEADER[3:] + b"fr", b"\x00\x00\x82" + HEADER[3:] + b"ag", HEADER + b"z"]
    expected = [(bytes(2), ONE), (b"ab", ONE), (b"four", ("x", 53)), (b"cd", ONE), (b"frag", ONE), (b"z", ONE)]
    with runs._udp:
        answer(relay, packets, runs._udp.getsockname())
        found: list[tuple[bytes, tuple[str, int]]] = []
        while len(found) < len(expected):
            found += runs.receive()
            runs.receive_more(found)
        assert found == expected
        runs.receive_more(found)
        assert found == expected


@needs_runs
def test_joined_arrivals_take_one_call(relay: socket.socket) -> None:
    runs = make(relay)
    with runs._udp:
        in_a_run(relay, [HEADER + bytes(10)] * 40, runs._udp.getsockname())
        assert runs.receive() == [(bytes(10), ONE)] * 40


def test_collecting_has_an_end(relay: socket.socket) -> None:
    runs = make(relay)
    with runs._udp:
        one_by_one(relay, [HEADER + b"x"] * 100, runs._udp.getsockname())
        found = runs.receive()
        runs.receive_more(found)
        assert len(found) == 64


# --- through the socket-like object ---


@pytest.fixture
def datagrams(relay: socket.socket) -> Iterator[hosier.ProxiedDatagramSocket]:
    reply = b"\x05\x00\x00\x01\x7f\x00\x00\x01" + relay.getsockname()[1].to_bytes(2, "big")
    with ExitStack() as stack:
        server = stack.enter_context(ScriptedServer(opening(send(reply), stall())))
        made = stack.enter_context(hosier.associate(server.url, timeout=PATIENCE))
        made.settimeout(PATIENCE)
        yield made


@ways
def test_many_and_single_ones(relay: socket.socket, datagrams: hosier.ProxiedDatagramSocket, answer: Answer) -> None:
    """Both verbs, in any order, lose nothing and keep the order."""
    assert datagrams.send_many([b"one", b"two", b"3"], ONE) == 3
    assert heard(relay, 3) == [HEADER + b"one", HEADER + b"two", HEADER + b"3"]
    answer(relay, [HEADER + bytes([number]) for number in range(20)], datagrams.getsockname())
    assert datagrams.recvfrom() == (b"\x00", ONE)
    assert datagrams.recvfrom(0) == (b"", ONE)
    found: list[tuple[bytes, tuple[str, int]]] = []
    while len(found) < 18:
        found += datagrams.recv_many()
    assert found == [(bytes([number]), ONE) for number in range(2, 20)]
    assert datagrams.sendto(b"last", ("example.com", 53)) == 4
    assert relay.recv(100).endswith(b"\x0bexample.com\x00\x35last")


def test_limits(datagrams: hosier.ProxiedDatagramSocket) -> None:
    datagrams.settimeout(0.05)
    for receive in (datagrams.recv_many, datagrams.recvfrom):
        with pytest.raises(TimeoutError):
            receive()
    datagrams.settimeout(0)
    with pytest.raises(BlockingIOError):
        datagrams.recv_many()


def test_news_of_earlier_datagrams(relay: socket.socket, datagrams: hosier.ProxiedDatagramSocket) -> None:
    """Nobody at the relay: it is nobody's error."""
    relay.close()
    for _ in range(3):
        datagrams.send_many([b"x"] * 5, ONE)
    datagrams.settimeout(0.05)
    with pytest.raises(TimeoutError):
        datagrams.recv_many()
