"""asyncio over a selector that an engine shares: for asyncio nothing is different, and no edge goes astray."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from selectors import EVENT_READ, EVENT_WRITE
from time import monotonic
from typing import Any

import pytest

from hosier.engine.endpoint import Endpoint
from hosier.engine.events import EPOLLET, EPOLLIN
from hosier.engine.loop import BATCH, EdgeLoop, EdgeSelector, LentEpoll
from hosier.engine.poller import ROUND, Engine

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


# --- the engine is served where the loop waits ---


class Echo:
    """Sends back what it reads, and does what it was told to do at the first edge."""

    def __init__(self, first: Callable[[], object] = lambda: None) -> None:
        self.edges = 0
        self._first = first

    def on_edge(self, endpoint: Endpoint, events: int) -> None:
        self.edges += 1
        endpoint.sock.send(endpoint.sock.recv(100))
        if self.edges == 1:
            self._first()


def ask(outer: socket.socket, questions: int) -> None:
    """A client in a thread of its own."""
    outer.settimeout(30)
    for _ in range(questions):
        outer.send(b"question")
        assert outer.recv(100) == b"question"


def counted_rounds(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """How long each round of the loop was to wait at most."""
    rounds: list[float | None] = []
    select = EdgeSelector.select

    def counted(selector: EdgeSelector, timeout: float | None = None) -> Any:
        rounds.append(timeout)
        return select(selector, timeout)

    monkeypatch.setattr(EdgeSelector, "select", counted)
    return rounds


def test_edges_alone_do_not_make_the_loop_go_round(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = counted_rounds(monkeypatch)

    async def main() -> None:
        engine, owner = Engine(), Echo()
        outer, inner = pair()
        endpoint = Endpoint(engine, inner, owner)
        endpoint.register()
        await asyncio.get_running_loop().run_in_executor(None, ask, outer, 200)
        assert owner.edges == 200
        assert len(rounds) < 50
        endpoint.close()
        outer.close()
        engine.close()

    run(main)


@pytest.mark.parametrize("how", ["call_soon", "call_later", "set_result", "create_task", "from_a_thread", "add_writer"])
def test_what_a_handler_asks_of_a_waiting_loop_is_done(how: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        engine = Engine()
        done = loop.create_future()
        outer, inner = pair()

        async def coroutine() -> None:
            done.set_result(None)

        def first() -> None:
            if how == "call_soon":
                loop.call_soon(done.set_result, None)
            elif how == "call_later":
                loop.call_later(0.001, done.set_result, None)
            elif how == "set_result":
                done.set_result(None)
            elif how == "create_task":
                tasks.append(loop.create_task(coroutine()))
            elif how == "from_a_thread":
                loop.call_soon_threadsafe(done.set_result, None)
            else:
                loop.add_writer(outer, done.set_result, None)
                done.add_done_callback(lambda _: loop.remove_writer(outer))

        tasks: list[asyncio.Task[None]] = []
        endpoint = Endpoint(engine, inner, Echo(first))
        endpoint.register()
        outer.send(b"question")
        await done
        endpoint.close()
        outer.close()
        engine.close()

    run(main)


def test_a_handler_may_stop_the_loop() -> None:
    loop = EdgeLoop()
    try:
        engine = Engine(loop)
        outer, inner = pair()
        endpoint = Endpoint(engine, inner, Echo(loop.stop))
        endpoint.register()
        outer.send(b"question")
        loop.run_forever()
        endpoint.close()
        outer.close()
        engine.close()
    finally:
        loop.close()


def test_a_timer_is_not_kept_waiting_by_edges() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        engine, owner = Engine(), Echo()
        outer, inner = pair()
        endpoint = Endpoint(engine, inner, owner)
        endpoint.register()
        over = asyncio.Event()
        loop.call_later(0.05, over.set)
        asking = True

        def ask_on() -> None:
            while asking:
                ask(outer, 1)

        thread = loop.run_in_executor(None, ask_on)
        await over.wait()
        asking = False
        await thread
        assert owner.edges
        endpoint.close()
        outer.close()
        engine.close()

    run(main)


class Turns:
    """A flow of nothing, which wants so many turns, each as long as a round of the engine."""

    def __init__(self, engine: Engine, wanted: int, at: dict[int, Callable[[], object]] | None = None) -> None:
        self.taken = 0
        self.over = asyncio.Event()
        self._engine = engine
        self._wanted = wanted
        self._at = at or {}
        engine.queue(self)

    def turn(self) -> None:
        self.taken += 1
        end = monotonic() + ROUND
        while monotonic() < end:
            pass
        self._at.get(self.taken, lambda: None)()
        if self.taken < self._wanted:
            self._engine.queue(self)
        else:
            self.over.set()

    def crashed(self, error: Exception) -> None:
        raise AssertionError from error


def test_turns_alone_do_not_make_the_loop_go_round(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = counted_rounds(monkeypatch)

    async def main() -> None:
        engine = Engine()
        turns = Turns(engine, 100)
        await turns.over.wait()
        assert turns.taken == 100
        assert len(rounds) < 20
        engine.close()

    run(main)


@pytest.mark.parametrize("how", ["call_soon", "call_later", "from_a_thread", "edge", "descriptor", "busy"])
def test_what_is_asked_of_the_loop_does_not_wait_for_the_last_turn(how: str) -> None:
    """Nor do turns wait for a loop that is never idle."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        engine = Engine()
        outer, inner = pair()
        bell, rope = pair()
        heard: list[int] = []

        def hear() -> None:
            heard.append(turns.taken)

        endpoint = Endpoint(engine, inner, Echo(hear))
        endpoint.register()

        def rung() -> None:
            loop.remove_reader(bell)
            hear()

        def again() -> None:
            hear()
            if turns.taken < 40:
                loop.call_soon(again)

        def ask_for_it() -> None:
            if how == "call_soon":
                loop.call_soon(hear)
            elif how == "call_later":
                loop.call_later(0.001, hear)
            elif how == "from_a_thread":
                thread = threading.Thread(target=loop.call_soon_threadsafe, args=(hear,))
                thread.start()
                thread.join()
            elif how == "edge":
                outer.send(b"x")
            elif how == "descriptor":
                rope.send(b"x")
            else:
                loop.call_soon(again)

        loop.add_reader(bell, rung)
        turns = Turns(engine, 50, {10: ask_for_it})
        await turns.over.wait()
        assert turns.taken == 50
        assert heard
        assert 10 <= heard[0] <= 30
        loop.remove_reader(bell)
        endpoint.close()
        for sock in (outer, bell, rope):
            sock.close()
        engine.close()

    run(main)


def test_turns_that_a_closed_engine_left_are_not_waited_for() -> None:
    """A flow that wants a turn afterwards, as it was to look again later, does not keep the loop awake either."""

    async def main() -> None:
        engine = Engine()
        turns = Turns(engine, 10)
        engine.close()
        engine.queue(turns)
        selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
        await asyncio.sleep(0.01)
        assert turns.taken == 0
        assert not selector.is_due

    run(main)


def test_handlers_see_the_context_in_which_the_engine_was_made() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        said: ContextVar[str] = ContextVar("said")
        said.set("by the host program")
        engine = Engine()
        found = loop.create_future()
        outer, inner = pair()
        endpoint = Endpoint(engine, inner, Echo(lambda: found.set_result(said.get(""))))
        endpoint.register()
        outer.send(b"question")
        assert await found == "by the host program"
        endpoint.close()
        outer.close()
        engine.close()

    run(main)


def test_an_engine_that_crashes_does_not_end_the_loop() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, EdgeLoop)
        told: list[str] = []
        both = asyncio.Event()

        def heard(_: object, context: dict[str, Any]) -> None:
            told.append(context["message"])
            if len(told) == 2:
                both.set()
            outer.send(b"another edge")

        loop.set_exception_handler(heard)
        outer, inner = pair()

        def ring(*_: object) -> None:
            assert lent is not None
            lent.poll(0, 1)
            raise RuntimeError("of the engine's own")

        lent = loop.lend_epoll(ring)
        assert lent is not None
        lent.register(inner.fileno(), EPOLLIN | EPOLLET)
        outer.send(b"an edge")
        await both.wait()
        assert any(line.startswith("an engine crashed: RuntimeError") for line in told)
        loop.take_epoll_back()
        outer.close()
        inner.close()

    run(main)
