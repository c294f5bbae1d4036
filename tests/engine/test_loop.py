"""asyncio over a selector that an engine shares: for asyncio nothing is different, and no edge goes astray."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any

import pytest

from hosier.engine.endpoint import Endpoint
from hosier.engine.loop import BATCH, EdgeLoop, EdgeSelector, LentEpoll
from hosier.engine.poller import Engine

from .harness import descriptors, until

pytestmark = pytest.mark.linux


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """In such a loop, bounded; afterwards none of its descriptors is left."""

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await main()

    before = descriptors()
    with asyncio.Runner(loop_factory=EdgeLoop) as runner:
        runner.run(bounded())
    assert not descriptors() - before


def pair() -> tuple[socket.socket, socket.socket]:
    outer, inner = socket.socketpair()
    outer.setblocking(False)
    inner.setblocking(False)
    return outer, inner


class Owner:
    """Keeps what it was told, and by which endpoint."""

    def __init__(self) -> None:
        self.edges: list[tuple[object, int]] = []

    def on_edge(self, endpoint: object, events: int) -> None:
        self.edges.append((endpoint, events))


async def told(owner: Owner) -> None:
    await until(lambda: owner.edges)
    assert len(owner.edges) == 1


# --- what asyncio asks of a selector ---


@pytest.mark.parametrize("with_engine", [False, True])
def test_streams_threads_signals_and_processes(with_engine: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        engine = Engine() if with_engine else None

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.read())
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        data = os.urandom(5_000_000)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(data)
        writer.write_eof()
        assert await reader.read() == data
        writer.close()
        server.close()
        heard = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR2, heard.set)
        os.kill(os.getpid(), signal.SIGUSR2)
        await heard.wait()
        loop.remove_signal_handler(signal.SIGUSR2)
        called = asyncio.Event()
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(called.set,))
        thread.start()
        await called.wait()
        thread.join()
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(7)", stdout=asyncio.subprocess.PIPE)
        assert (await process.communicate())[0] == b"7\n"
        if engine is not None:
            engine.close()

    run(main)


def test_readers_and_writers_of_one_descriptor() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        outer, inner = pair()
        told: list[str] = []
        loop.add_reader(inner, told.append, "readable")
        await asyncio.sleep(0.01)
        assert told == []
        loop.add_writer(inner, told.append, "writable")
        await until(lambda: told)
        loop.remove_writer(inner)
        told.clear()
        outer.send(b"x")
        await until(lambda: len(told) > 3)  # as long as it is readable
        assert set(told) == {"readable"}
        assert loop.remove_reader(inner)
        assert not loop.remove_reader(inner)
        told.clear()
        loop.add_writer(inner, told.append, "broken")
        outer.close()
        await until(lambda: told)
        inner.close()
        loop.remove_writer(inner.fileno())

    run(main)


def test_a_selector_by_itself() -> None:
    selector = EdgeSelector()
    outer, inner = pair()
    key = selector.register(inner, EVENT_READ, "data")
    assert selector.get_key(inner) == selector.get_key(inner.fileno()) == key
    found = selector.get_map()
    assert list(found) == [inner.fileno()]
    assert (len(found), found.get(inner), found.get(outer)) == (1, key, None)
    with pytest.raises(KeyError):
        selector.register(inner, EVENT_READ)
    assert selector.select(0) == []
    key = selector.modify(inner, EVENT_READ | EVENT_WRITE, "more")
    assert selector.select() == [(key, EVENT_WRITE)]
    outer.close()
    assert selector.select(1) == [(key, EVENT_READ | EVENT_WRITE)]
    inner_number = inner.fileno()
    inner.close()
    assert selector.unregister(inner_number) == key
    with pytest.raises(KeyError):
        selector.get_key(inner_number)
    selector.close()


# --- with an engine ---


def test_an_engine_gets_the_loop_s_epoll_and_a_second_one_its_own() -> None:
    async def main() -> None:
        first, second = Engine(), Engine()
        assert isinstance(first._epoll, LentEpoll)
        assert not isinstance(second._epoll, LentEpoll)
        owners = Owner(), Owner()
        pairs = [pair() for _ in range(2)]
        endpoints = [
            Endpoint(engine, inner, owner)
            for engine, owner, (_, inner) in zip((first, second), owners, pairs, strict=True)
        ]
        for endpoint in endpoints:
            endpoint.register()
        for (outer, _), owner in zip(pairs, owners, strict=True):
            outer.send(b"x")
            await told(owner)
        first.close()  # it leaves nothing in the epoll that is not its own
        pairs[0][0].send(b"x")
        await asyncio.sleep(0.01)
        assert len(owners[0].edges) == 1
        third = Engine()
        assert isinstance(third._epoll, LentEpoll)
        third.close()
        second.close()
        for outer, inner in pairs:
            outer.close()
            inner.close()

    run(main)


def test_more_than_a_batch_at_once() -> None:
    async def main() -> None:
        engine, owner = Engine(), Owner()
        pairs = [pair() for _ in range(3 * BATCH)]
        endpoints = [Endpoint(engine, inner, owner) for _, inner in pairs]
        for endpoint, (outer, _) in zip(endpoints, pairs, strict=True):
            endpoint.register()
            outer.send(b"x")
        await until(lambda: len(owner.edges) == 3 * BATCH)
        assert {endpoint for endpoint, _ in owner.edges} == set(endpoints)
        for endpoint, (outer, _) in zip(endpoints, pairs, strict=True):
            endpoint.close()
            outer.close()
        engine.close()

    run(main)


def test_a_descriptor_that_is_closed_before_its_edge_is_served_does_not_come_back() -> None:
    """The loop has found the edge, and another callback has its turn before the engine: it closes the endpoint and
    opens new sockets. Were the number free, a stranger would get the edge."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        engine, owner, stranger = Engine(), Owner(), Owner()
        outer, inner = pair()
        old = Endpoint(engine, inner, owner)
        old.register()
        number = old.fd
        bell, rope = pair()
        opened: list[Endpoint] = []

        def rung() -> None:
            loop.remove_reader(bell)
            assert engine._found, "both were found together"
            old.close()
            for sock in (*pair(), *pair()):
                endpoint = Endpoint(engine, sock, stranger)
                endpoint.register()
                opened.append(endpoint)

        loop.add_reader(bell, rung)
        await asyncio.sleep(0)
        outer.send(b"for the old one")
        rope.send(b"x")
        await until(lambda: opened)
        await asyncio.sleep(0.01)
        assert number not in [endpoint.fd for endpoint in opened]
        assert inner.fileno() == -1  # closed when the edge was over
        assert owner.edges == []
        assert stranger.edges == []
        for endpoint in opened:
            endpoint.close()
        for sock in (outer, bell, rope):
            sock.close()
        engine.close()

    run(main)
