"""UDP sockets in the engine: batches, the one peer, joined arrivals, errors that ICMP reports."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest

from hosier.engine import udp
from hosier.engine.events import EPOLLIN
from hosier.engine.joining import FIRST_TRY, TRY_AGAIN
from hosier.engine.ports import PortRange
from hosier.engine.segments import Cut, Traffic, can_segment, segment_option
from hosier.engine.udp import AT_ONCE, RUNS_AT_ONCE, DatagramSocket, Sizes, Sockaddrs, Views, datagram_socket
from hosier.protocol.address import IPV4, Address, parse_address

from ..own_ports import own_ports
from .harness import Lab, Run, until

LOOPBACK = Address(IPV4, b"\x7f\0\0\x01", 0)
BUFFER = 1 << 20

joins = pytest.mark.skipif(not can_segment(), reason="this kernel knows no UDP_SEGMENT")


class Ours:
    """A socket of the engine's, and what it handed on."""

    def __init__(self, lab: Lab, *, for_a_peer: bool = False, takes_runs: bool = False) -> None:
        self.traffic = Traffic()
        self.heard: list[tuple[bytes, Any]] = []
        self.batches: list[int] = []
        self.runs: list[list[int]] = []
        self._takes_runs = takes_runs
        self.udp = DatagramSocket(
            lab.engine,
            datagram_socket(LOOPBACK, buffer=BUFFER),
            self.traffic,
            self._from_anyone,
            self._from_peer if for_a_peer else None,
            self._run,
        )
        self.place = self.udp.sock.getsockname()

    def _from_anyone(self, views: Views, sizes: Sizes, sockaddrs: Sockaddrs) -> None:
        self.batches.append(len(sizes))
        self.heard += [(bytes(v[:n]), place) for v, n, place in zip(views, sizes, sockaddrs, strict=False)]

    def _from_peer(self, views: Views, sizes: Sizes) -> None:
        self.batches.append(len(sizes))
        self.heard += [(bytes(v[:n]), None) for v, n in zip(views, sizes, strict=False)]

    def _run(self, cut: Cut, octets: int, sockaddr: tuple[Any, ...]) -> bool:
        self.runs.append(cut.sizes(octets))
        if self._takes_runs:
            sizes = cut.sizes(octets)
            self.heard += [(bytes(v[:n]), sockaddr) for v, n in zip(cut.views, sizes, strict=False)]
        return self._takes_runs

    async def has(self, count: int) -> None:
        await until(lambda: len(self.heard) == count, f"{count} datagrams")

    @property
    def data(self) -> list[bytes]:
        return [data for data, _ in self.heard]


def theirs(lab: Lab, place: Any = None, host: str = "127.0.0.1") -> socket.socket:
    sock = lab.own(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind((host, 0))
    if place is not None:
        sock.connect(place)
    return sock


def numbers(count: int, start: int = 0) -> list[bytes]:
    return [b"%06d" % number for number in range(start, start + count)]


def test_what_is_sent_arrives_with_its_sender(run: Run) -> None:
    async def main(lab: Lab) -> None:
        ours = Ours(lab)
        ann, bob = theirs(lab, ours.place), theirs(lab, ours.place)
        ann.send(b"a")
        bob.send(b"")
        ann.send(b"c" * 65507)
        await until(lambda: len(ours.heard) == 3)
        assert ours.heard == [(b"a", ann.getsockname()), (b"", bob.getsockname()), (b"c" * 65507, ann.getsockname())]
        ours.udp.close()
        ours.udp.close()

    run(main)


def test_many(run: Run) -> None:
    """In order, in batches that grow and are bounded."""

    async def main(lab: Lab) -> None:
        ours = Ours(lab)
        peer = theirs(lab, ours.place)
        for data in numbers(300):
            peer.send(data)
        await until(lambda: len(ours.heard) == 300)
        assert ours.data == numbers(300)
        assert AT_ONCE in ours.batches
        assert max(ours.batches) <= AT_ONCE
        ours.udp.close()

    run(main)


def test_only_the_peer(run: Run) -> None:
    """What others have sent before is looked at; what they send later the kernel drops."""

    async def main(lab: Lab) -> None:
        ours = Ours(lab, for_a_peer=True)
        ann, bob = theirs(lab, ours.place), theirs(lab, ours.place)
        ann.send(b"a1")
        bob.send(b"b1")
        ours.udp.connect(ann.getsockname())
        with suppress(ConnectionRefusedError):  # it is told so
            bob.send(b"b2")
        ann.send(b"a2")
        await until(lambda: len(ours.heard) == 3)
        assert ours.heard == [(b"a1", ann.getsockname()), (b"b1", bob.getsockname()), (b"a2", ann.getsockname())]
        await lab.settle()  # the queue was seen empty since
        with suppress(ConnectionRefusedError):
            bob.send(b"b3")
        ann.send(b"a3")
        await until(lambda: len(ours.heard) == 4)
        assert ours.heard[3] == (b"a3", None)
        ours.udp.close()

    run(main)


async def busy(ours: Ours, peer: socket.socket) -> int:
    """Keeps the socket busy until it tries to have arrivals joined; how many datagrams that took."""
    sent = 0
    while not ours.udp._joining.on:
        for data in numbers(16, sent):
            peer.send(data)
        sent += 16
        await ours.has(sent)
        assert sent < 10_000
    return sent


@joins
@pytest.mark.parametrize("takes_runs", [False, True])
@pytest.mark.parametrize("connected", [False, True])
def test_joined_arrivals(run: Run, takes_runs: bool, connected: bool) -> None:
    """A busy socket has them joined: nothing is lost, cut or swapped, whoever takes them."""

    async def main(lab: Lab) -> None:
        ours = Ours(lab, for_a_peer=connected, takes_runs=takes_runs)
        peer = theirs(lab, ours.place)
        if connected:
            ours.udp.connect(peer.getsockname())
        expected: list[bytes] = []
        for step in range(40):
            batch = numbers(32, 32 * step)
            batch[-1] = batch[-1][: 1 + step % 6]
            expected += batch
            peer.sendmsg(batch, segment_option(6))
            expected.append(b"single %d" % step)
            peer.send(expected[-1])
            await ours.has(len(expected))
        assert ours.data == expected
        assert ours.runs
        assert all(sizes[:31] == [6] * 31 for sizes in ours.runs)
        assert ours.udp._joining.on
        ours.udp.close()

    run(main)


@joins
def test_a_try_that_joined_nothing_ends(run: Run) -> None:
    """To receive joined datagrams costs more: a socket whose peers send single ones goes back."""

    async def main(lab: Lab) -> None:
        ours = Ours(lab)
        peer = theirs(lab, ours.place)
        sent = await busy(ours, peer)
        while ours.udp._joining.on:
            for data in numbers(16, sent):
                peer.send(data)
            sent += 16
            await ours.has(sent)
            assert sent < 10_000
        assert ours.data == numbers(sent)
        assert ours.udp._joining._next_try == FIRST_TRY * TRY_AGAIN
        assert not ours.runs
        ours.udp.close()

    run(main)


@joins
@pytest.mark.parametrize("waiting", [32, 200])
def test_a_try_ends_although_more_always_waits(run: Run, waiting: int) -> None:
    """Peers that answer at once, as on the same machine: whenever the socket has its turn, as many wait as before."""

    async def main(lab: Lab) -> None:
        ours = Ours(lab)
        peer = theirs(lab, ours.place)
        on: list[bool] = []
        sent = 0
        while len(ours.heard) < 4000:
            for data in numbers(len(ours.heard) + waiting - sent, sent):
                peer.send(data)
            sent = len(ours.heard) + waiting
            ours.udp.on_edge(ours.udp, EPOLLIN)
            on.append(ours.udp._joining.on)
        assert ours.data == numbers(len(ours.heard))
        assert 0 < sum(on) <= 8, "turns of two tries"
        ours.udp.close()

    run(main)


@joins
def test_singles_where_some_were_joined_before(run: Run) -> None:
    """They still come in large batches."""

    async def main(lab: Lab) -> None:
        ours = Ours(lab, takes_runs=True)
        peer = theirs(lab, ours.place)
        before = await busy(ours, peer)
        peer.sendmsg(numbers(32), segment_option(6))
        await ours.has(before + 32)
        assert ours.runs == [[6] * 32]
        ours.batches.clear()
        for data in numbers(300):
            peer.send(data)
        await ours.has(before + 332)
        assert ours.data[before + 32 :] == numbers(300)
        assert ours.udp._joining.on
        assert max(ours.batches) == AT_ONCE
        ours.udp.close()

    run(main)


@joins
def test_many_runs_leave_others_their_turn(run: Run) -> None:
    async def main(lab: Lab) -> None:
        ours = Ours(lab, takes_runs=True)
        peer = theirs(lab, ours.place)
        before = await busy(ours, peer)
        for start in range(0, 640, 32):
            peer.sendmsg(numbers(32, start), segment_option(6))
        taken = [0]
        while taken[-1] < 20:
            ours.udp.on_edge(ours.udp, EPOLLIN)
            taken.append(len(ours.runs))
        assert max(later - earlier for earlier, later in pairwise(taken)) == RUNS_AT_ONCE
        assert ours.data[before:] == numbers(640)
        ours.udp.close()

    run(main)


def test_errors_by_icmp_are_counted_and_harmless(run: Run) -> None:
    async def main(lab: Lab) -> None:
        ours = Ours(lab)
        gone = theirs(lab)
        nowhere = gone.getsockname()
        gone.close()
        peer = theirs(lab, ours.place)
        for _ in range(3):
            ours.udp.sock.sendto(b"x", nowhere)
            await lab.settle()
        await until(lambda: ours.traffic.dropped == {"icmp error": 3})
        peer.send(b"still here")
        await until(lambda: ours.heard)
        assert ours.data == [b"still here"]
        ours.udp.close()

    run(main)


def test_a_peer_that_is_gone_is_no_reason_to_end(run: Run) -> None:
    """The error that the socket is told of does not hide what it has received."""

    async def main(lab: Lab) -> None:
        ours = Ours(lab, for_a_peer=True)
        peer = theirs(lab, ours.place)
        ours.udp.connect(peer.getsockname())
        place = peer.getsockname()
        peer.close()
        ours.udp.sock.send(b"anybody?")
        await until(lambda: ours.traffic.dropped.get("icmp error"))
        again = lab.own(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        again.bind(place)
        again.connect(ours.place)
        again.send(b"back")
        await until(lambda: ours.heard)
        ours.udp.close()

    run(main)


# --- making them ---


@pytest.mark.parametrize("connected", [False, True])
def test_pieces_are_put_together_where_the_system_does_not(connected: bool) -> None:
    """Windows."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(20)
        sock = udp._GatheringSocket(int(socket.AF_INET), int(socket.SOCK_DGRAM))
        if connected:
            sock.connect(peer.getsockname())
        place = None if connected else peer.getsockname()
        assert sock.sendmsg([b"head", memoryview(b"body")], (), 0, place) == 8
        assert peer.recv(100) == b"headbody"
        sock.close()


def test_port_range() -> None:
    """The free one of the range, wherever the search begins; an error when all are taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        low = free_pair(holder)
        for _ in range(8):
            sock = datagram_socket(LOOPBACK, buffer=BUFFER, ports=PortRange(low, low + 1))
            assert sock.getsockname()[1] == low + 1
            sock.close()
        with pytest.raises(OSError, match=f"no free port in {low}-{low}") as caught:
            datagram_socket(LOOPBACK, buffer=BUFFER, ports=PortRange(low, low))
        assert caught.value.errno == errno.EADDRINUSE


def free_pair(holder: socket.socket) -> int:
    """A port that the holder takes, and after which another one is free."""
    for low in own_ports():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, suppress(OSError):
            other.bind(("127.0.0.1", low + 1))
            holder.bind(("127.0.0.1", low))
            return low
    raise AssertionError("no free ports")


def test_an_address_that_is_not_ours() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match=r".") as caught:
        datagram_socket(parse_address("192.0.2.1", 0), buffer=BUFFER)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    assert len(os.listdir("/proc/self/fd")) == before


def test_ipv6_does_not_take_ipv4_along() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    try:
        six = datagram_socket(parse_address("::", 0), buffer=BUFFER)
    except OSError:
        pytest.skip("this machine has no IPv6")
    taken = six.getsockname()[1]
    four = datagram_socket(parse_address("0.0.0.0", 0), buffer=BUFFER, ports=PortRange(taken, taken))
    four.close()
    six.close()
