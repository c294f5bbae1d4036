"""What the server's tests share: a server in the test's own loop, raw clients and targets, bounded waits."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from time import monotonic
from typing import Any, NamedTuple

import pytest

import hosier
from hosier.engine.association import Correspondent, Vetted
from hosier.engine.dial import Departures
from hosier.engine.egress import Association, Binding, DirectEgress
from hosier.engine.endpoint import Endpoint
from hosier.engine.task import Task
from hosier.errors import LocalProtocolError
from hosier.observe.record import SessionRecord
from hosier.protocol.address import IPV4, UNSPECIFIED, Address, Buffer
from hosier.protocol.auth.base import AuthFraming, AuthStep
from hosier.server.settings import ListenAddress

PATIENCE = 20.0
"""Seconds to wait for what should happen at once. Only a hang ever waits that long."""

SUCCESS5 = b"\x05\x00\x00"
NO_AUTH = b"\x05\x01\x00"


@dataclass
class Platform:
    """What every server of the test under way runs on; ``conftest`` says."""

    engine: str = "auto"
    loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop


PLATFORM = Platform()


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs the test's coroutine, bounded."""

    async def bounded() -> None:
        async with asyncio.timeout(50):
            await main()

    with asyncio.Runner(loop_factory=PLATFORM.loop) as runner:
        runner.run(bounded())


async def until(condition: Callable[[], object], what: str) -> None:
    """Looks again and again until the condition holds; fails, saying what was awaited, if it never does."""
    deadline = monotonic() + PATIENCE
    while not condition():
        assert monotonic() < deadline, f"waited in vain: {what}"
        await asyncio.sleep(0.001)


class Peer:
    """One end of a plain connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._loop = asyncio.get_running_loop()

    @property
    def place(self) -> tuple[str, int]:
        """Where it is."""
        host, port = self.sock.getsockname()[:2]
        return host, port

    @property
    def other(self) -> tuple[str, int]:
        """Where its peer is."""
        host, port = self.sock.getpeername()[:2]
        return host, port

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._loop.sock_sendall(self.sock, data)

    async def receive(self, limit: int = 1 << 18) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self._loop.sock_recv(self.sock, limit)

    async def exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = await self.receive(size - len(data))
            assert piece, f"ended after {bytes(data[:40])!r}, {len(data)} of {size} octets"
            data += piece
        return bytes(data)

    async def rest(self) -> bytes:
        """All up to the orderly end of the stream."""
        data = bytearray()
        while piece := await self.receive():
            data += piece
        return bytes(data)

    def has_nothing(self) -> bool:
        """Whether nothing has arrived, not even an end."""
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        return False

    def end(self) -> None:
        """Ends this direction."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.sock.close()

    def close(self) -> None:
        self.sock.close()

    async def greet(self) -> None:
        """SOCKS5 without authentication, up to the request."""
        await self.send(NO_AUTH)
        assert await self.exactly(2) == b"\x05\x00"

    async def connect(self, host: str, port: int) -> bytes:
        """SOCKS5 CONNECT; the reply, whole."""
        await self.greet()
        await self.send(request5(host, port))
        return await self.reply5()

    async def reply5(self) -> bytes:
        head = await self.exactly(4)
        return head + await self.exactly({1: 6, 4: 18}[head[3]])


class Target:
    """A listening socket that sessions are sent to."""

    def __init__(self, stage: Stage, host: str = "127.0.0.1", port: int = 0) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._stage = stage
        self.sock = stage.own(socket.create_server((host, port), family=family))
        self.sock.setblocking(False)
        self.host: str = host
        self.port: int = self.sock.getsockname()[1]

    def __str__(self) -> str:
        return str(ListenAddress(self.host, self.port))

    async def accept(self) -> Peer:
        async with asyncio.timeout(PATIENCE):
            sock, _ = await asyncio.get_running_loop().sock_accept(self.sock)
        return Peer(self._stage.own(sock))

    def was_left_alone(self) -> bool:
        """Whether nobody connected."""
        try:
            self.sock.accept()[0].close()
        except BlockingIOError:
            return True
        return False


class Stage:
    """A server under test, what it told, and everything around it."""

    def __init__(self) -> None:
        self.records: list[SessionRecord] = []
        self.crashes: list[dict[str, Any]] = []
        """What the loop's exception handler was told; a test that expects something takes it out."""
        self.server: hosier.Server
        self._sockets: list[socket.socket] = []

    def own(self, sock: socket.socket) -> socket.socket:
        """Closed when the test is over."""
        self._sockets.append(sock)
        return sock

    @property
    def place(self) -> tuple[str, int]:
        """Where a client reaches the server."""
        host, port = self.server.addresses[0]
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port

    async def client(self, place: tuple[str, int] | None = None) -> Peer:
        host, port = place or self.place
        sock = self.own(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
        sock.setblocking(False)
        async with asyncio.timeout(PATIENCE):
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
        return Peer(sock)

    def target(self, host: str = "127.0.0.1", port: int = 0) -> Target:
        return Target(self, host, port)

    async def joined(self) -> tuple[Peer, Peer]:
        """A client and the target that it reached through the server."""
        target = self.target()
        client = await self.client()
        assert (await client.connect(target.host, target.port)).startswith(SUCCESS5)
        return client, await target.accept()

    async def record(self) -> SessionRecord:
        """Waits for all sessions to end; there must have been one."""
        await until(lambda: self.records and not self.server.sessions, "the session ends")
        (record,) = self.records
        return record

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()


@asynccontextmanager
async def stage(**fields: Any) -> AsyncIterator[Stage]:
    """A server on a free port of 127.0.0.1, unless told otherwise. No session may crash unnoticed."""
    fields.setdefault("listen", ["127.0.0.1:0"])
    fields.setdefault("engine", PLATFORM.engine)
    scene = Stage()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: scene.crashes.append(context))
    try:
        async with hosier.Server(on_session_end=scene.records.append, **fields) as scene.server:
            yield scene
    finally:
        scene.close()
    assert not scene.crashes, scene.crashes


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")


# --- octets ---


def request5(host: str, port: int, command: int = 1, *, as_name: bool = False) -> bytes:
    """A SOCKS5 request; what is no literal travels as a name."""
    try:
        packed = b"" if as_name else ip_address(host).packed
    except ValueError:
        packed = b""
    if packed:
        address = (b"\x01" if len(packed) == 4 else b"\x04") + packed
    else:
        address = b"\x03" + bytes((len(host),)) + host.encode()
    return bytes((5, command, 0)) + address + port.to_bytes(2, "big")


def request4(host: str, port: int, command: int = 1, user: bytes = b"me", *, as_name: bool = False) -> bytes:
    """A SOCKS4 request; SOCKS4a for a name."""
    head = bytes((4, command)) + port.to_bytes(2, "big")
    if not as_name:
        try:
            return head + ip_address(host).packed + user + b"\0"
        except ValueError:
            pass
    return head + b"\0\0\0\x01" + user + b"\0" + host.encode() + b"\0"


def failure5(code: int) -> bytes:
    """A failure reply, whole (S5-REQ-47)."""
    return bytes((5, code, 0, 1)) + bytes(6)


FAILURE4 = b"\x00\x5b" + bytes(6)


def login(name: bytes, password: bytes) -> bytes:
    """The message of RFC 1929."""
    return b"\x01" + bytes((len(name),)) + name + bytes((len(password),)) + password


# --- a way out that does what a test tells ---


class FakeEgress:
    """``work(target)`` runs first and may raise or wait; then the way leads straight out."""

    def __init__(self, server: hosier.Server, work: Callable[[Address], Coroutine[Any, Any, None]]) -> None:
        self._direct = server.egress
        self._work = work
        self.asked: list[Address] = []

    async def connect(
        self, task: Task, target: Address, vet: Vetted, sources: Departures | None = None
    ) -> tuple[Endpoint, Address]:
        assert isinstance(self._direct, DirectEgress)
        self.asked.append(target)
        await self._work(target)
        return await self._direct.connect(task, target, vet, sources)

    async def bind(
        self, task: Task, peer: Address, near: Address, vet: Vetted, sources: Departures | None = None
    ) -> Binding:
        self.asked.append(peer)
        await self._work(peer)
        return await self._direct.bind(task, peer, near, vet, sources)

    async def associate(self, task: Task, correspondent: Correspondent, *, buffer: int) -> Association:
        await self._work(UNSPECIFIED)
        return await self._direct.associate(task, correspondent, buffer=buffer)


def failing(server: hosier.Server, error: BaseException) -> FakeEgress:
    async def work(_: Address) -> None:
        raise error

    return FakeEgress(server, work)


def ipv4(host: str) -> tuple[int, bytes]:
    """An IPv4 address as the resolver finds it."""
    return IPV4, ip_address(host).packed


# --- a method that does what a test tells ---


class Word(NamedTuple):
    """A message of the method: up to 255 octets."""

    text: bytes


class WordFraming:
    """One octet of length, then the word."""

    refusal: bytes = b"\x02no"

    def __init__(self, code: int, *, server_speaks_first: bool = False) -> None:
        self.code: int = code
        self.server_speaks_first: bool = server_speaks_first

    def decode(self, data: Buffer, *, from_client: bool) -> tuple[Word, int] | None:
        if not data or len(data) < 1 + data[0]:
            return None
        return Word(bytes(data[1 : 1 + data[0]])), 1 + data[0]

    def encode(self, body: Any, *, from_client: bool) -> bytes:
        if not isinstance(body, Word):
            raise LocalProtocolError("not a word")
        return bytes((len(body.text),)) + body.text


Step = Callable[[Word | None], Any]


class WordExchange:
    def __init__(self, step: Step) -> None:
        self._step = step

    def step(self, message: Any) -> Any:
        return self._step(message)


class WordMethod:
    """A method whose server does what ``begin()`` returns, for each connection anew."""

    def __init__(
        self,
        begin: Callable[[], Step],
        code: int = 0x90,
        name: str = "word",
        *,
        server_speaks_first: bool = False,
        guessable: bool = True,
    ) -> None:
        self.name = name
        self.guessable = guessable
        self.framing: AuthFraming = WordFraming(code, server_speaks_first=server_speaks_first)
        self._begin = begin

    def server_exchange(self) -> WordExchange:
        return WordExchange(self._begin())

    def client_exchange(self) -> Any:
        raise NotImplementedError


def install(monkeypatch: pytest.MonkeyPatch, *methods: WordMethod) -> None:
    """Makes the methods known to servers under their names."""
    known = {method.name: method for method in methods}
    monkeypatch.setattr("hosier.server.terms.load_method", known.__getitem__)


def word(text: bytes) -> bytes:
    return bytes((len(text),)) + text


def accept(_: Word | None = None) -> AuthStep:
    from hosier.protocol.auth.base import Outcome

    return AuthStep(Word(b"ok"), Outcome("somebody"))
