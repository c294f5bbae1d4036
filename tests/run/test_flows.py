"""Datagrams of a program inside, to servers and errors outside."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hosier.client.names import FakeNames
from hosier.engine.poller import Engine
from hosier.errors import ProxyConnectionError, reply_error
from hosier.protocol.address import Address
from hosier.run import flows as module
from hosier.run.doorman import Doorman
from hosier.run.doors import Doors
from hosier.run.flows import Flows
from hosier.run.voice import Voice

from .egresses import ScriptedEgress, place, ways_of

pytestmark = [pytest.mark.linux]

Play = Callable[..., Any]
HOSTS = ["198.51.100.1", "2001:db8::1"]


@pytest.fixture
def echo() -> Iterator[Address]:
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(60)

        def serve() -> None:
            while True:
                data, client = server.recvfrom(65536)
                if data == b"stop":
                    return
                server.sendto(data, client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield place(server.getsockname())
        with socket.socket(type=socket.SOCK_DGRAM) as end:
            end.sendto(b"stop", server.getsockname())
        thread.join()


class Gateway:
    def __init__(self, outcome: Address | OSError, names: FakeNames | None = None) -> None:
        self.outcome = outcome
        self.names = names
        self.asked: list[str] = []
        self.associations = 0
        self.flows: Flows
        self.messages, self._pen = os.pipe()

    def __call__(self, engine: Engine, doors: Doors) -> None:
        egress = ScriptedEgress(engine, lambda _: self.outcome)  # type: ignore[arg-type,return-value]
        self.asked = egress.asked
        associate = egress.associate

        async def counted(*arguments: Any, **more: Any) -> Any:
            self.associations += 1
            if isinstance(self.outcome, OSError):
                raise self.outcome
            return await associate(*arguments, **more)

        egress.associate = counted  # type: ignore[method-assign]
        doorman = Doorman(doors.network)
        self.flows = Flows(engine, doors, doorman, ways_of(egress, self.names), Voice(fd=self._pen))

    def said(self) -> list[str]:
        os.close(self._pen)
        with open(self.messages, encoding="utf-8") as pipe:
            return pipe.read().splitlines()


def program_socket(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(20)
    return sock


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("connected", [True, False])
def test_answers_come_from_where_one_has_sent(play: Play, echo: Address, host: str, connected: bool) -> None:
    gateway = Gateway(echo)

    def program() -> list[object]:
        with program_socket(host) as sock:
            if connected:
                sock.connect((host, 443))
            found: list[object] = []
            for size in (1, 1200, 0, 30_000):
                data = os.urandom(size)
                sock.send(data) if connected else sock.sendto(data, (host, 443))
                answer, sender = sock.recvfrom(65536)
                found.append([answer == data, *sender[:2]])
            return found

    assert play(gateway, program) == [[True, host, 443]] * 4
    assert gateway.associations == 1
    assert len(gateway.asked) == 1


def test_a_burst_keeps_its_order_and_its_sizes(play: Play, echo: Address) -> None:
    def program() -> bool:
        with program_socket("198.51.100.1") as sock:
            sock.connect(("198.51.100.1", 443))
            sock.send(b"first")
            sock.recv(99)
            sent = [bytes([number]) * size for number, size in enumerate([1200] * 20 + [700] + [0] + [1300] * 5 + [9])]
            for data in sent:
                sock.send(data)
            return [sock.recv(65536) for _ in sent] == sent

    assert play(Gateway(echo), program)


def test_two_places_are_two_flows(play: Play, echo: Address) -> None:
    names = FakeNames()
    web, mail = names.addresses_for("web.example").ipv4, names.addresses_for("mail.example").ipv6
    gateway = Gateway(echo, names)

    def program() -> list[object]:
        found: list[object] = []
        for host in (web, mail):
            with program_socket(host) as sock:
                sock.sendto(b"x", (host, 443))
                found.append(sock.recvfrom(9)[1][0])
        return found

    assert play(gateway, program) == [web, mail]
    assert sorted(gateway.asked) == ["mail.example:443", "web.example:443"]


@pytest.mark.parametrize("host", HOSTS)
def test_a_proxy_without_udp_is_an_icmp_error_at_once_and_one_line(play: Play, host: str) -> None:
    """So that QUIC falls back; and the proxy is not asked again for a while."""
    gateway = Gateway(reply_error(7, "the proxy"))

    def program() -> list[int]:
        found = []
        for port in (443, 444):
            with program_socket(host) as sock:
                sock.connect((host, port))
                sock.send(b"x")
                try:
                    sock.recv(9)
                except OSError as error:
                    found.append(error.errno or 0)
        return found

    assert play(gateway, program) == [errno.ECONNREFUSED] * 2
    assert gateway.associations == 1
    (line,) = gateway.said()
    assert line.startswith("hosier: no UDP: the proxy: command not supported (reply 7)")


def test_a_proxy_that_is_gone_is_asked_again(play: Play) -> None:
    gateway = Gateway(ProxyConnectionError("gone"))

    def program() -> int:
        refused = 0
        with program_socket("198.51.100.1") as sock:
            sock.connect(("198.51.100.1", 443))
            for _ in range(2):
                sock.send(b"x")
                try:
                    sock.recv(9)
                except ConnectionRefusedError:
                    refused += 1
        return refused

    assert play(gateway, program) == 2
    assert gateway.associations == 2
    assert gateway.said() == ["hosier: gone"]


def test_flows_are_bounded(play: Play, echo: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FLOWS", 1)

    def program() -> list[str]:
        with program_socket("198.51.100.1") as first, program_socket("198.51.100.1") as second:
            first.sendto(b"x", ("198.51.100.1", 443))
            found = [first.recv(9).decode()]
            second.connect(("198.51.100.2", 443))
            second.send(b"x")
            try:
                second.recv(9)
            except ConnectionRefusedError:
                found.append("refused")
            return found

    assert play(Gateway(echo), program) == ["x", "refused"]


def test_an_idle_flow_ends_and_begins_anew(play: Play, echo: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE", 2.0)
    gateway = Gateway(echo)
    hears, tells = os.pipe()

    def begin(engine: Engine, doors: Doors) -> None:
        gateway(engine, doors)

        async def look() -> None:
            while not gateway.associations or gateway.flows.running:
                await asyncio.sleep(0.01)
            os.write(tells, b"!")

        looking.append(engine.loop.create_task(look()))

    looking: list[asyncio.Task[None]] = []

    def program() -> str:
        with program_socket("198.51.100.1") as sock:
            sock.connect(("198.51.100.1", 443))
            sock.send(b"a")
            first = sock.recv(9)
            os.read(hears, 1)  # it has ended
            sock.send(b"b")
            return (first + sock.recv(9)).decode()

    assert play(begin, program) == "ab"
    for pipe in (hears, tells):
        os.close(pipe)
    assert gateway.associations == 2


def test_multicast_stays_in(play: Play, echo: Address) -> None:
    gateway = Gateway(echo)

    def program() -> str:
        with program_socket("") as sock:
            sock.sendto(b"x", ("224.0.0.251", 5353))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.sendto(b"x", ("255.255.255.255", 9))
            sock.sendto(b"x", ("198.51.100.1", 443))
            return sock.recv(9).decode()

    assert play(gateway, program) == "x"
    assert len(gateway.asked) == 1
