"""Ten thousand sessions open at once, and every one of them works.

A session takes two descriptors of the server, one while it is in its handshake. Where a process may not have enough for
ten thousand whole ones, the last few wait in their handshake until others have left; then they, too, do their work."""

from __future__ import annotations

import asyncio

import pytest

from .census import census, descriptors
from .harness import Address, Hosier, wait_until
from .wire import connect_request

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SESSIONS = 10_000
SPARE = 200  # descriptors, on either side, that are not for sessions
AT_ONCE = 200  # how many open their session at the same moment
TARGETS = ["127.0.0.1", "127.0.0.2"]
GREETING = b"welcome\n"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Crowd:
    def __init__(self, server: Address, talking: int) -> None:
        self.server = server
        self.talking = talking
        self.waiting = SESSIONS - talking
        self.guests = 0  # open connections at the target
        self._door = asyncio.Semaphore(AT_ONCE)

    async def target(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Greets, then echoes."""
        self.guests += 1
        try:
            writer.write(GREETING)
            while data := await reader.read(1000):
                writer.write(data)
                await writer.drain()
        finally:
            self.guests -= 1
            await close(writer)

    async def greet(self, number: int) -> Streams:
        async with self._door:
            # 1000 sessions from each of ten client addresses, 5000 to each of two target addresses
            source = (f"127.0.1.{number % 10 + 1}", 0)
            reader, writer = await asyncio.open_connection(*self.server, local_addr=source)
            writer.write(b"\x05\x01\x00")
            assert await reader.readexactly(2) == b"\x05\x00"
            return reader, writer

    async def ask(self, number: int, streams: Streams, port: int) -> None:
        async with self._door:
            reader, writer = streams
            writer.write(connect_request(Address(TARGETS[number % len(TARGETS)], port)))
            assert (await reader.readexactly(10))[:4] == b"\x05\x00\x00\x01"

    async def enter(self, number: int, port: int) -> Streams:
        streams = await self.greet(number)
        await self.ask(number, streams, port)
        return streams

    async def talk(self, number: int, streams: Streams) -> None:
        reader, writer = streams
        assert await reader.readexactly(len(GREETING)) == GREETING
        message = b"message of session %d" % number
        writer.write(message)
        assert await reader.readexactly(len(message)) == message

    async def meet(self, pid: int) -> None:
        target = await asyncio.start_server(self.target, TARGETS[0], backlog=4096)
        port = target.sockets[0].getsockname()[1]
        others = [await asyncio.start_server(self.target, host, port, backlog=4096) for host in TARGETS[1:]]
        before = census(pid)
        crowd = await asyncio.gather(*(self.enter(number, port) for number in range(self.talking)))
        queue = await asyncio.gather(*(self.greet(number) for number in range(self.talking, SESSIONS)))
        assert self.guests == self.talking
        assert census(pid).sockets == before.sockets + 2 * self.talking + self.waiting
        await asyncio.gather(*(self.talk(number, streams) for number, streams in enumerate(crowd)))
        assert self.guests == self.talking  # nobody has left
        await asyncio.gather(*(close(writer) for _, writer in crowd[: self.waiting]))
        for number, streams in enumerate(queue, self.talking):
            await self.ask(number, streams, port)
            await self.talk(number, streams)
        await asyncio.gather(*(close(writer) for _, writer in (*crowd[self.waiting :], *queue)))
        while self.guests:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(wait_until, lambda: census(pid).sockets == before.sockets, "all sockets are closed")
        for server in (target, *others):
            server.close()
            await server.wait_closed()


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


def test_ten_thousand_sessions_at_once() -> None:
    with descriptors(2 * SESSIONS + SPARE) as limit:
        talking = min(SESSIONS, (limit - SPARE) // 2)
        assert SESSIONS - talking <= SPARE // 2, f"{limit} open files are too few: raise the hard limit (ulimit -Hn)"
        with Hosier("--timeout=handshake=120", f"--cap=sessions={SESSIONS}") as hosier:
            asyncio.run(Crowd(hosier.address, talking).meet(hosier.pid))
            wait_until(lambda: hosier.logged == SESSIONS, "one line for each session in the access log")
