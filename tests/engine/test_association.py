"""Datagrams straight out of this machine: sockets per family, and names that nobody waits for."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from hosier.engine import resolve, udp
from hosier.engine.association import ASK_AGAIN, LOOK_UPS, WAITING, DirectAssociation, Vetted
from hosier.engine.dial import Departures
from hosier.engine.egress import Association, DirectEgress
from hosier.engine.resolve import Resolver
from hosier.engine.segments import Cut, Lane, Traffic
from hosier.engine.task import Task
from hosier.engine.udp import Sizes, Sockaddrs, Views
from hosier.errors import PolicyDenied
from hosier.protocol.address import IPV4, IPV6, NAME, Address, parse_address

from .harness import PATIENCE, Lab, Run, receive, until

BUFFER = 1 << 20
LOOPBACK = (IPV4, b"\x7f\0\0\x01")


class User:
    """Who has the association."""

    def __init__(self) -> None:
        self.sent = Traffic()
        self.received = Traffic()
        self.heard: list[tuple[bytes, Any]] = []
        self.places: list[tuple[str, int]] = []

    def from_targets(self, views: Views, sizes: Sizes, sockaddrs: Sockaddrs) -> None:
        self.heard += [(bytes(v[:n]), place[:2]) for v, n, place in zip(views, sizes, sockaddrs, strict=False)]

    def joined_from_target(self, cut: Cut, octets: int, sockaddr: tuple[Any, ...]) -> bool:
        return False

    def reached(self, host: str, port: int) -> None:
        self.places.append((host, port))


def everything(addresses: Sequence[Address]) -> Sequence[Address]:
    return addresses


class Way:
    """An association, and its user."""

    def __init__(self, lab: Lab, vet: Vetted = everything) -> None:
        self._vet = vet
        self.user = User()
        self.resolver = Resolver(lab.loop)
        self.association = DirectAssociation(lab.engine, self.resolver, self.user, buffer=BUFFER)

    def lane(self, target: Address, sources: Departures | None = None) -> Lane:
        return self.association.lane(target, self._vet, sources)

    def close(self) -> None:
        self.association.close()
        self.resolver.close()


def target(lab: Lab, host: str = "127.0.0.1") -> socket.socket:
    sock = lab.own(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind((host, 0))
    return sock


def port(sock: socket.socket) -> int:
    number: int = sock.getsockname()[1]
    return number


def test_one_socket_for_each_family(run: Run) -> None:
    """Made when the first target of a family is named; all its datagrams come from it."""

    async def main(lab: Lab) -> None:
        way = Way(lab)
        assert lab.engine.sockets == 0
        sources = set()
        for _ in range(3):
            one = target(lab)
            way.lane(Address(*LOOPBACK, port(one))).send([b"x"], 1)
            sources.add((await until_received(one))[1])
        assert lab.engine.sockets == 1
        assert len(sources) == 1
        assert way.user.places == [("127.0.0.1", port(sock)) for sock in lab._sockets]
        one.sendto(b"answer", sources.pop())
        await until(lambda: way.user.heard)
        assert way.user.heard == [(b"answer", ("127.0.0.1", port(one)))]
        way.close()
        way.close()

    async def until_received(sock: socket.socket) -> tuple[bytes, Any]:
        await until(lambda: readable(sock))
        found: tuple[bytes, Any] = sock.recvfrom(100)
        return found

    run(main)


def readable(sock: socket.socket) -> bool:
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    return True


def test_what_must_not_be_reached(run: Run) -> None:
    """Before a socket is made for it."""

    def vet(addresses: Sequence[Address]) -> Sequence[Address]:
        raise PolicyDenied("no")

    async def main(lab: Lab) -> None:
        way = Way(lab, vet)
        with pytest.raises(PolicyDenied):
            way.lane(Address(*LOOPBACK, 53))
        assert lab.engine.sockets == 0
        way.close()

    run(main)


def test_a_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent meanwhile waits, in order, headers and all; the look-up is asked for once."""
    asked: list[bytes] = []

    def look_up(name: bytes) -> Any:
        asked.append(name)
        return (LOOPBACK,)

    monkeypatch.setattr(resolve, "_look_up", look_up)

    async def main(lab: Lab) -> None:
        way = Way(lab)
        one = target(lab)
        lane = way.lane(Address(NAME, b"one.example", port(one)))
        assert lane.place is None
        lane.send([b"a", b"b"], 1)
        lane.send([b"H", b"c"], 2)
        assert lab.engine.held == 4
        assert [await receive(one) for _ in range(3)] == [b"a", b"b", b"Hc"]
        assert lab.engine.held == 0
        assert lane.place == ("127.0.0.1", port(one))
        lane.send([b"d"], 1)
        assert await receive(one) == b"d"
        assert asked == [b"one.example"]
        assert way.user.places == [("127.0.0.1", port(one))]
        assert way.user.sent.datagrams == 4
        way.close()

    run(main)


def test_names_do_not_hold_up_the_rest(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that does not answer; what waits for it is bounded, and given back at the end."""
    monkeypatch.setattr(Resolver, "_begin", lambda self: None)

    async def main(lab: Lab) -> None:
        way = Way(lab)
        slow = way.lane(Address(NAME, b"slow.example", 53))
        slow.send([b"x"] * (WAITING + 5), 1)
        assert lab.engine.held == WAITING
        assert way.user.sent.dropped == {"too many waiting": 5}
        one = target(lab)
        way.lane(Address(*LOOPBACK, port(one))).send([b"fast"], 1)
        assert await receive(one) == b"fast"
        way.close()
        assert lab.engine.held == 0
        assert way.user.sent.dropped == {"too many waiting": 5, "unresolved": WAITING}

    run(main)


def test_who_gives_a_look_up_up_takes_nobody_with_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One association ends while a session and another association wait for the same name."""
    answer = threading.Event()

    def look_up(name: bytes) -> Any:
        assert answer.wait(PATIENCE)
        return (LOOPBACK,)

    monkeypatch.setattr(resolve, "_look_up", look_up)

    async def main(lab: Lab) -> None:
        leaver, stayer = Way(lab), Way(lab)
        stayer.association.resolver = leaver.resolver
        one = target(lab)
        name = Address(NAME, b"one.example", port(one))
        leaver.lane(name).send([b"x"], 1)
        await lab.settle()
        story = lab.story(lambda task: leaver.resolver.look_up(task, name))
        stayer.lane(name).send([b"y"], 1)
        await lab.settle()
        leaver.association.close()
        await lab.settle()
        answer.set()
        await until(lambda: story.ended, "the session has its answer")
        assert story.result == [Address(*LOOPBACK, port(one))]
        assert await receive(one) == b"y"
        stayer.close()
        leaver.close()

    run(main)


def test_its_look_ups_are_its_sources(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Resolver, "_begin", lambda self: None)

    async def main(lab: Lab) -> None:
        way = Way(lab)
        ours = DirectAssociation(lab.engine, way.resolver, way.user, buffer=BUFFER, source="somebody")
        ours.lane(Address(NAME, b"slow.example", 53), everything).send([b"x"], 1)
        await lab.settle()
        assert [*way.resolver._waiting._waiting] == ["somebody"]
        ours.close()
        await lab.settle()
        assert not way.resolver._waiting.size
        assert not way.resolver._asked
        way.close()

    run(main)


def test_names_under_look_up_are_bounded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Resolver, "_begin", lambda self: None)

    async def main(lab: Lab) -> None:
        way = Way(lab)
        for number in range(LOOK_UPS + 3):
            way.lane(Address(NAME, b"%d.example" % number, 53)).send([b"x", b"y"], 1)
        assert way.user.sent.dropped == {"too many names": 6}
        assert len(way.association._look_ups) == LOOK_UPS
        way.close()

    run(main)


def test_what_waits_is_bounded_for_all(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the engine may hold."""
    monkeypatch.setattr(Resolver, "_begin", lambda self: None)

    async def main(lab: Lab) -> None:
        lab.engine.held_limit = lab.engine.room = 100
        way = Way(lab)
        way.lane(Address(NAME, b"slow.example", 53)).send([bytes(60), bytes(60)], 1)
        assert lab.engine.held == 60
        assert way.user.sent.dropped == {"too many waiting": 1}
        way.close()

    run(main)


@pytest.mark.parametrize("failure", ["unresolved", "refused target"])
def test_a_name_that_leads_nowhere(run: Run, monkeypatch: pytest.MonkeyPatch, failure: str) -> None:
    """It is left alone for a while, then asked for again."""
    answers: list[Any] = [socket.gaierror(socket.EAI_NONAME, "no such name"), (LOOPBACK,)]
    if failure == "refused target":
        answers[0] = ((IPV4, b"\x0a\0\0\x01"),)
    asked: list[bytes] = []

    def look_up(name: bytes) -> Any:
        asked.append(name)
        return answers[len(asked) - 1]

    def vet(addresses: Sequence[Address]) -> Sequence[Address]:
        if addresses[0].octets[0] == 10:
            raise PolicyDenied("no")
        return addresses

    monkeypatch.setattr(resolve, "_look_up", look_up)

    async def main(lab: Lab) -> None:
        way = Way(lab, vet)
        way.resolver._seconds = 0.0
        one = target(lab)
        lane = way.lane(Address(NAME, b"one.example", port(one)))
        lane.send([b"a", b"b"], 1)
        await until(lambda: way.user.sent.dropped == {failure: 2})
        lane.send([b"c"], 1)
        assert way.user.sent.dropped == {failure: 3}
        assert len(asked) == 1
        lab.engine.now += ASK_AGAIN + 1
        lane.send([b"d"], 1)
        assert await receive(one) == b"d"
        way.close()

    run(main)


def test_a_name_with_an_address_of_a_family_that_is_lacking(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = udp.datagram_socket

    def only_ipv4(address: Address, **more: Any) -> Any:
        if address.kind == IPV6:
            raise OSError(97, "Address family not supported by protocol")
        return real(address, **more)

    monkeypatch.setattr("hosier.engine.association.datagram_socket", only_ipv4)
    monkeypatch.setattr(resolve, "_look_up", lambda _: ((IPV6, bytes(15) + b"\x01"), LOOPBACK))

    async def main(lab: Lab) -> None:
        way = Way(lab)
        one = target(lab)
        way.lane(Address(NAME, b"both.example", port(one))).send([b"x"], 1)
        assert await receive(one) == b"x"
        with pytest.raises(OSError, match="not supported"):
            way.lane(parse_address("::1", 53))
        way.close()

    run(main)


def test_a_crash_in_a_look_up_is_reported(run: Run) -> None:
    def vet(_: Sequence[Address]) -> Sequence[Address]:
        raise ZeroDivisionError("a fault")

    async def main(lab: Lab) -> None:
        way = Way(lab, vet)
        way.lane(Address(NAME, b"localhost", 53)).send([b"x"], 1)
        await until(lambda: lab.crashes)
        assert "a look-up crashed" in lab.crashes.pop()["message"]
        assert lab.engine.held == 0
        way.close()

    run(main)


def test_the_egress_makes_it(run: Run) -> None:
    async def main(lab: Lab) -> None:
        resolver = Resolver(lab.loop)
        egress = DirectEgress(lab.engine, resolver)
        user = User()

        async def work(task: Task) -> Association:
            return await egress.associate(task, user, buffer=BUFFER)

        story = lab.story(work)
        assert story.ended
        one = target(lab)
        story.result.lane(Address(*LOOPBACK, port(one)), everything).send([b"x"], 1)
        assert await receive(one) == b"x"
        story.result.close()
        resolver.close()

    run(main)
