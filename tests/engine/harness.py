"""What the engine's tests share: an engine whose books must balance afterwards, sockets, and bounded waits."""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import os
import pwd
import socket
import time
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from hosier.engine.endpoint import Endpoint
from hosier.engine.flow import BULK_AFTER, Flow
from hosier.engine.flow_status import BULK
from hosier.engine.layers import Layer
from hosier.engine.poller import HELD_LIMIT, Engine
from hosier.engine.portable import PortableEngine
from hosier.engine.relay import Relay
from hosier.engine.task import Task

PATIENCE = 20.0
"""Seconds to wait for what should happen at once. Only a hang ever waits that long."""


async def until(condition: Callable[[], object], what: str = "", patience: float = PATIENCE) -> None:
    """Looks again and again until the condition holds; fails, saying what was awaited, if it never does."""
    deadline = monotonic() + patience
    while not condition():
        if monotonic() > deadline:
            raise AssertionError(f"waited {patience:g} s in vain: {what or condition}")
        await asyncio.sleep(0.001)


def make_bulk(flow: Flow) -> None:
    """As if enough full reads had been counted."""
    flow._full_reads = BULK_AFTER
    flow.status |= BULK


def descriptors() -> set[str]:
    """The process's open descriptors and what they are; the one that reads the list is left out."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(f"{entry.name} {entry.readlink()}")
    return {line for line in found if not line.endswith("/fd")}


class Story(Task):
    """A task that does what it is given and keeps how that ended."""

    __slots__ = ("ended", "error", "result", "work")

    def __init__(self, engine: Engine, work: Callable[[Task], Coroutine[Any, Any, Any]]) -> None:
        super().__init__(engine)
        self.work = work
        self.ended = False
        self.error: BaseException | None = None
        self.result: Any = None

    async def run(self) -> None:
        try:
            self.result = await self.work(self)
        except OSError as error:
            self.error = error
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.ended = True


class Lab:
    """One test's engine, and the sockets around it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.loop = engine.loop
        self.crashes: list[dict[str, Any]] = []
        """What the loop's exception handler was told; a test that expects something takes it out."""
        self._sockets: list[socket.socket] = []
        self.loop.set_exception_handler(lambda _, context: self.crashes.append(context))

    def own(self, sock: socket.socket) -> socket.socket:
        """Non-blocking, and closed when the test is over."""
        sock.setblocking(False)
        self._sockets.append(sock)
        return sock

    def pair(self, *, send: int = 0, receive: int = 0) -> tuple[socket.socket, socket.socket]:
        """Two ends of a TCP connection: the outer one, closed by the test, and the inner one, for the engine.

        ``send`` and ``receive``: buffer sizes, of the inner end's sending and the outer end's receiving side.
        """
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            outer = socket.socket()
            if receive:
                outer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
            outer.connect(listener.getsockname())
            inner = listener.accept()[0]
        for sock in (outer, inner):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        if send:
            inner.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send)
        inner.setblocking(False)
        return self.own(outer), inner

    def story(self, work: Callable[[Task], Coroutine[Any, Any, Any]]) -> Story:
        story = Story(self.engine, work)
        story.start()
        return story

    async def settle(self) -> None:
        """Lets the loop turn until what is ready now has been dealt with. Loopback delivers at once."""
        for _ in range(10):
            if isinstance(self.engine, PortableEngine) and not self.engine._epoll.closed:
                self.engine._on_edges()  # a thread that waits for the loop may need some time to be heard
            await asyncio.sleep(0)

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()


class Joined:
    """client ↔ near, relay, far ↔ target; the story ends as a session's does."""

    def __init__(
        self,
        lab: Lab,
        *,
        leftover: bytes = b"",
        idle: float = 60.0,
        slow: int = 0,
        layer: Layer | None = None,
        wrapped: bytes = b"",
        configure: Callable[[Relay], None] = lambda relay: None,
    ) -> None:
        """``slow``: size of all buffers on the way to either reader; ``layer``: what protects near, and ``wrapped``:
        what has arrived below it."""
        self.client, near = lab.pair(send=slow, receive=slow)
        self.target, far = lab.pair(send=slow, receive=slow)
        self.inner = near, far
        self.relay: Relay
        self.near: Endpoint
        self.far: Endpoint
        self._settings = leftover, idle, layer, wrapped, configure
        self.story = Story(lab.engine, self._run)
        self.story.start()

    async def _run(self, task: Task) -> None:
        leftover, idle, layer, wrapped, configure = self._settings
        del self._settings
        self.near, self.far = (Endpoint(task.engine, sock, task) for sock in self.inner)
        self.relay = Relay(task, self.near, self.far, idle, layer)
        del layer
        if wrapped:
            self.relay.take_wrapped(wrapped)
        configure(self.relay)
        try:
            await self.relay.run(leftover)
            if not self.relay.ended_well:
                await self.relay.part()
        finally:
            self.near.close()
            self.far.close()
            self.relay.dissolve()

    async def ended(self) -> None:
        await until(lambda: self.story.ended, "the relay ends")


Main = Callable[[Lab], Awaitable[None]]

Run = Callable[..., None]
"""Runs ``main(lab)`` with an engine; afterwards everything must have been given back."""


@dataclass(frozen=True)
class Platform:
    """An engine, the loop around it, and what the system lacks."""

    engine: type[Engine] = Engine
    loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    without: Callable[[], AbstractContextManager[object]] = nullcontext


def run_lab(main: Main, *, platform: Platform = Platform(), held_limit: int = HELD_LIMIT) -> None:
    before = descriptors()
    with platform.without(), asyncio.Runner(loop_factory=platform.loop) as runner:
        runner.run(_run(main, platform.engine, held_limit))
    after = descriptors()
    assert after == before, after ^ before


async def _run(main: Main, make_engine: type[Engine], held_limit: int) -> None:
    engine = make_engine(held_limit=held_limit)
    lab = Lab(engine)
    try:
        async with asyncio.timeout(50):
            await main(lab)
            lab.close()
            await until(lambda: not engine.tasks, f"tasks end: {engine.tasks}")
            await lab.settle()
            assert_balanced(engine)
        assert not lab.crashes, lab.crashes
    finally:
        lab.close()
        engine.close()
    assert engine.pipes.open == 0


def assert_balanced(engine: Engine) -> None:
    """Nothing is under way, and nothing was lost or kept."""
    assert not engine.tasks
    assert engine.sockets == 0
    assert engine.held == 0
    assert engine.pipes.open == len(engine.pipes._empty)
    assert not engine._turns
    assert not engine._buried


class Pattern:
    """An endless stream of octets that no other seed's stream resembles."""

    PERIOD = 65521  # a prime: no buffer's size divides it

    def __init__(self, seed: object) -> None:
        name = repr(seed).encode()
        block = b"".join(hashlib.blake2b(name + b"%d" % i).digest() for i in range(self.PERIOD // 64 + 1))
        self._block = block[: self.PERIOD] * 2

    def octets(self, offset: int, size: int) -> bytes:
        start = offset % self.PERIOD
        block = self._block
        if size > self.PERIOD:
            block *= size // self.PERIOD + 1
        return block[start : start + size]


async def send(sock: socket.socket, data: bytes) -> None:
    async with asyncio.timeout(PATIENCE):
        await asyncio.get_running_loop().sock_sendall(sock, data)


async def urge(sock: socket.socket, data: bytes) -> None:
    """Sends it with its last octet urgent."""
    deadline = time.monotonic() + PATIENCE
    while data:
        try:
            data = data[sock.send(data, socket.MSG_OOB) :]
        except BlockingIOError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0)


async def receive(sock: socket.socket, limit: int = 65536) -> bytes:
    async with asyncio.timeout(PATIENCE):
        return await asyncio.get_running_loop().sock_recv(sock, limit)


async def stop(task: asyncio.Future[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await receive(sock, size - len(data))
        assert piece, f"ended after {len(data)} of {size} octets"
        data += piece
    return data


async def feed(sock: socket.socket, seed: object, size: int, piece: int = 1 << 18, *, urgent: bool = False) -> None:
    """Sends ``size`` octets of the seed's pattern; ``urgent``: the last one of each piece."""
    pattern, say = Pattern(seed), urge if urgent else send
    offset = 0
    while offset < size:
        step = min(piece, size - offset)
        await say(sock, pattern.octets(offset, step))
        offset += step


async def check(sock: socket.socket, seed: object, size: int | None = None, *, offset: int = 0) -> int:
    """Reads to the end of the stream, or up to ``size`` octets in all; each must be the seed's. Returns where it
    stopped."""
    pattern = Pattern(seed)
    while size is None or offset < size:
        data = await receive(sock, 1 << 18 if size is None else min(1 << 18, size - offset))
        if not data:
            break
        assert data == pattern.octets(offset, len(data)), f"foreign octets after {offset}"
        offset += len(data)
    assert size is None or offset == size
    return offset


def reset(sock: socket.socket) -> None:
    """Closes with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    sock.close()


async def assert_reset(sock: socket.socket) -> None:
    """The peer's connection ends with a reset, not with an end of file."""
    deadline = monotonic() + PATIENCE
    while monotonic() < deadline:
        try:
            data = await receive(sock, 1 << 20)
        except ConnectionResetError:
            return
        assert data, "an orderly end instead of a reset"
    raise AssertionError("no reset")


def as_nobody(work: Callable[[], None], patience: float = 40.0) -> None:
    """Does the work in a process of its own, as a user without privileges; it must not import anything more."""
    user = pwd.getpwnam("nobody")

    def child() -> None:
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
        work()

    process = multiprocessing.get_context("fork").Process(target=child)
    with warnings.catch_warnings():
        # Resolvers of other tests may have left threads behind; the child needs none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    process.join(patience)
    if process.exitcode is None:
        process.kill()
        process.join()
    assert process.exitcode == 0, "see what it wrote"


def lowest_free_descriptor() -> int:
    fd = os.open("/dev/null", os.O_RDONLY)
    os.close(fd)
    return fd
