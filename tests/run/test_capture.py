"""Connections of a program inside, to servers and errors outside."""

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
from hosier.errors import ReplyCode, reply_error
from hosier.protocol.address import Address
from hosier.run.capture import Capture
from hosier.run.doors import Doors
from hosier.run.packets import Syn
from hosier.run.voice import Voice

from .egresses import ScriptedEgress, place, ways_of

pytestmark = [pytest.mark.linux]

Play = Callable[..., Any]


@pytest.fixture
def echo() -> Iterator[Address]:
    """Answers what it is told, until the client has no more to say."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer(client: socket.socket) -> None:
            with client:
                while data := client.recv(65536):
                    client.sendall(data)

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(client,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield place(server.getsockname())
        server.shutdown(socket.SHUT_RDWR)


class Gateway:
    """A capture whose targets are all at one place, or fail with one error."""

    def __init__(self, outcome: Address | OSError, names: FakeNames | None = None) -> None:
        self.outcome = outcome
        self.names = names
        self.asked: list[str] = []
        self.capture: Capture

    def __call__(self, engine: Engine, doors: Doors) -> None:
        egress = ScriptedEgress(engine, self._choose)
        self.asked = egress.asked
        self.capture = Capture(engine, doors, ways_of(egress, self.names), Voice(fd=os.open(os.devnull, os.O_WRONLY)))

    def _choose(self, _: Address) -> Address:
        if isinstance(self.outcome, OSError):
            raise self.outcome
        return self.outcome


def talk(host: str, port: int = 80) -> str:
    with socket.create_connection((host, port), timeout=20) as sock:
        assert sock.getpeername()[:2] == (host, port)
        sock.sendall(b"hello")
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(99), b"")).decode()


def fate(host: str, port: int) -> str:
    """How a connection ends that is taken at once; a reset may come before connect() has returned."""
    try:
        with socket.create_connection((host, port), timeout=20) as sock:
            return "data" if sock.recv(1) else "end"
    except ConnectionResetError:
        return "reset"


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("host", ["198.51.100.1", "2001:db8::1"])
def test_a_connection_arrives_where_it_was_meant_to(play: Play, echo: Address, host: str, held: bool) -> None:
    gateway = Gateway(echo)
    assert play(gateway, lambda: talk(host), held=held) == "hello"
    assert gateway.asked == [f"[{host}]:80" if ":" in host else f"{host}:80"]
    assert not gateway.capture.held


def test_a_fake_address_is_told_as_its_name(play: Play, echo: Address) -> None:
    names = FakeNames()
    fake = names.addresses_for("web.example")
    gateway = Gateway(echo, names)
    assert play(gateway, lambda: [talk(host) for host in fake]) == ["hello", "hello"]
    assert gateway.asked == ["web.example:80"] * 2


@pytest.mark.parametrize(
    ("code", "number"),
    [
        (ReplyCode.CONNECTION_REFUSED, errno.ECONNREFUSED),
        (ReplyCode.HOST_UNREACHABLE, errno.EHOSTUNREACH),
        (ReplyCode.NETWORK_UNREACHABLE, errno.ENETUNREACH),
        (ReplyCode.GENERAL_FAILURE, errno.ECONNREFUSED),
    ],
)
@pytest.mark.parametrize("host", ["198.51.100.1", "2001:db8::1"])
def test_connect_fails_as_it_would_without_a_proxy(play: Play, host: str, code: int, number: int) -> None:
    def program() -> int:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
            sock.settimeout(20)
            return sock.connect_ex((host, 80))

    assert play(Gateway(reply_error(code)), program) == number


def test_without_a_gate_a_failure_is_a_reset(play: Play) -> None:
    def program() -> str:
        return fate("198.51.100.1", 80)

    assert play(Gateway(reply_error(5)), program, held=False) == "reset"


@pytest.mark.parametrize("held", [True, False])
def test_our_own_door_leads_nowhere(play: Play, echo: Address, held: bool) -> None:
    """A program that finds the listener must not reach itself for ever."""
    gateway = Gateway(echo)

    def program() -> str:
        return fate("192.0.0.8", 1)

    assert play(gateway, program, held=held) == "reset"
    assert gateway.asked == []


def test_many_at_once(play: Play, echo: Address) -> None:
    def program() -> int:
        socks = []
        for number in range(200):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex((f"198.51.100.{number + 1}", 80))
            socks.append(sock)
        good = 0
        for sock in socks:
            sock.settimeout(20)
            sock.sendall(b"x")  # waits for the handshake
            sock.shutdown(socket.SHUT_WR)
            good += sock.recv(9) == b"x"
            sock.close()
        return good

    gateway = Gateway(echo)
    assert play(gateway, program) == 200
    assert len(set(gateway.asked)) == 200


def test_a_program_that_gives_up_leaves_nothing(play: Play, echo: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its SYN is let go, and nobody is there to take the connection."""
    monkeypatch.setattr("hosier.run.capture.ARRIVAL", 0.2)
    names = FakeNames()
    gateway = Gateway(echo, names)
    seen: list[int] = []
    given_up, is_over = os.pipe(), os.pipe()

    def begin(engine: Engine, doors: Doors) -> None:
        gateway(engine, doors)
        connect = gateway.capture.ways._proxied.connect
        left = asyncio.Event()
        engine.loop.add_reader(given_up[0], left.set)

        async def slowly(task: Any, target: Address, vet: Any, sources: Any = None) -> Any:
            await left.wait()
            engine.loop.remove_reader(given_up[0])
            return await connect(task, target, vet, sources)

        gateway.capture.ways._proxied.connect = slowly  # type: ignore[method-assign]

        async def look() -> None:
            while not gateway.asked or gateway.capture.held:
                await asyncio.sleep(0.01)
            seen.append(len(engine.tasks))
            os.write(is_over[1], b"!")

        looking.append(engine.loop.create_task(look()))

    looking: list[asyncio.Task[None]] = []

    def program() -> int:
        with socket.socket() as sock:
            sock.settimeout(0.1)
            number = sock.connect_ex(("198.51.100.1", 80))
        os.write(given_up[1], b"!")
        os.read(is_over[0], 1)
        return number

    assert play(begin, program) == errno.EAGAIN
    assert seen == [0]
    for pipe in (*given_up, *is_over):
        os.close(pipe)


def test_a_repeated_syn_is_one_connection(play: Play, echo: Address) -> None:
    """It may come to the gate behind the one that was let go."""
    gateway = Gateway(echo)

    def begin(engine: Engine, doors: Doors) -> None:
        gateway(engine, doors)
        let_go = gateway.capture.let_go

        def twice(syn: Syn) -> None:
            let_go(syn)
            started = len(engine.tasks)
            gateway.capture.sock = Repeater(syn.packet)  # type: ignore[assignment]
            gateway.capture.on_edge(None, 0)
            gateway.capture.sock = doors.gate
            assert len(engine.tasks) == started

        gateway.capture.let_go = twice  # type: ignore[method-assign]

    assert play(begin, lambda: talk("198.51.100.1")) == "hello"
    assert gateway.asked == ["198.51.100.1:80"]


class Repeater:
    def __init__(self, packet: bytes) -> None:
        self._packets = [packet]

    def recv(self, _: int) -> bytes:
        if not self._packets:
            raise BlockingIOError
        return self._packets.pop()
