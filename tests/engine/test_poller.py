from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

import hosier.engine.poller
from hosier.engine.endpoint import EDGES, Endpoint
from hosier.engine.events import EPOLLET, EPOLLIN
from hosier.engine.listener import Listener
from hosier.engine.poller import BATCH, BULK_SLICE, ROUND, Engine
from hosier.engine.portable import PortableEngine

from .harness import Joined, Lab, Run, exactly, lowest_free_descriptor, send, until


class Owner:
    """Writes down its endpoints' edges; does what it is told on the first one."""

    def __init__(self, first: Callable[[], None] = lambda: None) -> None:
        self.edges: list[tuple[Any, int]] = []
        self._first = first

    def on_edge(self, endpoint: Any, events: int) -> None:
        self.edges.append((endpoint, events))
        if len(self.edges) == 1:
            self._first()


def watched(lab: Lab, owner: Any) -> tuple[socket.socket, Endpoint]:
    """The outer end of a connection, and the endpoint at its inner end, whose first edges are over."""
    outer, inner = lab.pair()
    endpoint = Endpoint(lab.engine, inner, owner)
    endpoint.register()
    return outer, endpoint


# --- descriptors ---


def test_descriptor_is_not_used_again_within_its_batch(run: Run) -> None:
    """Two endpoints have edges in one batch; the first one's handler closes both and opens new sockets. Were their
    numbers free at once, the second edge would be delivered to a stranger."""

    async def main(lab: Lab) -> None:
        stranger = Owner()
        opened: list[Endpoint] = []
        numbers: list[int] = []

        def first() -> None:
            numbers.extend(endpoint.fd for endpoint in old)
            for endpoint in old:
                endpoint.close()
                endpoint.close()
            for _ in range(4):
                endpoint = Endpoint(lab.engine, lab.own(socket.socket()), stranger)
                endpoint.register()
                opened.append(endpoint)

        owner = Owner(lambda: None)
        pairs = [watched(lab, owner) for _ in range(2)]
        old = [endpoint for _, endpoint in pairs]
        await lab.settle()
        owner.edges.clear()
        owner._first = first
        for outer, _ in pairs:
            outer.send(b"x")
        await until(lambda: opened)
        assert len(owner.edges) == 1
        assert len(numbers) == 2
        assert not {endpoint.fd for endpoint in opened} & set(numbers)
        await lab.settle()
        # Not connected, so hung up; but nothing that speaks of octets.
        assert not any(events & EPOLLIN for _, events in stranger.edges)
        assert all(endpoint in opened for endpoint, _ in stranger.edges)
        assert lowest_free_descriptor() in numbers  # now they are free
        for endpoint in opened:
            endpoint.close()
        assert [endpoint.fd for endpoint in opened] == [-1] * 4

    run(main)


def test_listener_closed_within_a_batch_keeps_its_number(run: Run) -> None:
    async def main(lab: Lab) -> None:
        owner = Owner()
        outer, endpoint = watched(lab, owner)
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        number = listening.fileno()
        accepted: list[Any] = []
        listener = Listener(lab.engine, listening, lambda sock, _: accepted.append(sock), lambda error: None)
        free: list[int] = []

        def first() -> None:
            listener.close()
            free.append(lowest_free_descriptor())

        await lab.settle()
        owner.edges.clear()
        owner._first = first
        address = listening.getsockname()
        outer.send(b"x")
        client = lab.own(socket.socket())
        client.connect_ex(address)
        await until(lambda: free)
        assert number not in free
        if isinstance(lab.engine, PortableEngine):  # a selector may tell of the listener first
            for sock in accepted:
                sock.close()
        else:
            assert not accepted
        assert lowest_free_descriptor() <= number
        endpoint.close()

    run(main)


def test_closing_twice_closes_no_stranger(run: Run) -> None:
    async def main(lab: Lab) -> None:
        _, endpoint = watched(lab, Owner())
        number = endpoint.fd
        endpoint.close()
        assert endpoint.closed
        while (stranger := lab.own(socket.socket())).fileno() != number:
            pass
        endpoint.close()
        endpoint.reset()
        assert stranger.fileno() == number
        os.fstat(number)

    run(main)


def test_unwatched_socket_stays_open_and_silent(run: Run) -> None:
    async def main(lab: Lab) -> None:
        owner = Owner()
        outer, endpoint = watched(lab, owner)
        await lab.settle()
        sock = endpoint.release()
        assert lab.engine.sockets == 0
        owner.edges.clear()
        outer.send(b"for others")
        await lab.settle()
        assert not owner.edges
        assert sock.recv(100) == b"for others"
        sock.close()
        endpoint.close()  # ours no more: harmless

    run(main)


def test_unwatching_what_is_not_watched_is_harmless(run: Run) -> None:
    async def main(lab: Lab) -> None:
        lab.engine.unwatch(12345)
        endpoint = Endpoint(lab.engine, lab.pair()[1], Owner())
        sock = endpoint.release()
        assert endpoint.closed
        sock.close()

    run(main)


# --- the batch ---


def test_exception_in_a_handler_does_not_stop_the_batch(run: Run) -> None:
    """Edges are told once: one that is dropped with the batch is lost, and its session hangs."""

    async def main(lab: Lab) -> None:
        def crash() -> None:
            raise ValueError("injected")

        owners = [Owner() for _ in range(3)]
        pairs = [watched(lab, owner) for owner in owners]
        await lab.settle()
        for owner in owners:
            owner.edges.clear()
        owners[0]._first = crash
        for outer, _ in pairs:
            outer.send(b"x")
        await until(lambda: owners[2].edges)
        assert all(owner.edges for owner in owners)
        assert [str(crash["exception"]) for crash in lab.crashes] == ["injected"]
        lab.crashes.clear()
        for _, endpoint in pairs:
            endpoint.close()

    run(main)


def test_exception_in_a_session_does_not_stop_the_batch(run: Run) -> None:
    async def main(lab: Lab) -> None:
        pairs = [lab.pair() for _ in range(3)]
        got: list[bytes] = []

        def work(number: int, inner: socket.socket) -> Any:
            async def read(task: Any) -> None:
                endpoint = Endpoint(lab.engine, inner, task)
                try:
                    data = await endpoint.recv(100)
                    if number == 0:
                        raise ValueError("injected")
                    got.append(data)
                finally:
                    endpoint.close()

            return read

        stories = [lab.story(work(number, inner)) for number, (_, inner) in enumerate(pairs)]
        await lab.settle()
        for outer, _ in pairs:
            outer.send(b"x")
        await until(lambda: all(story.ended for story in stories))
        assert got == [b"x", b"x"]
        assert [str(crash["exception"]) for crash in lab.crashes] == ["injected"]
        lab.crashes.clear()

    run(main)


def test_more_edges_than_a_batch_holds(run: Run) -> None:
    async def main(lab: Lab) -> None:
        owner = Owner()
        pairs = [watched(lab, owner) for _ in range(3 * BATCH)]
        await lab.settle()
        owner.edges.clear()
        for outer, _ in pairs:
            outer.send(b"x")
        await until(lambda: len(owner.edges) == 3 * BATCH)
        assert {endpoint for endpoint, _ in owner.edges} == {endpoint for _, endpoint in pairs}
        for _, endpoint in pairs:
            endpoint.close()

    run(main)


# --- turns ---


class Endless:
    """A flow that never runs dry."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.turns = 0
        self.crashes: list[Exception] = []
        self.stopped = False

    def turn(self) -> None:
        self.turns += 1
        if not self.stopped:
            self.engine.queue(self)

    def crashed(self, error: Exception) -> None:
        self.crashes.append(error)


class Clock:
    """A clock on which every look takes a tenth of a millisecond."""

    TICK = 0.0001

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += self.TICK
        return self.now


def test_host_program_is_served_during_bulk(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much there is to move, a round ends, and the host program's callbacks and sockets have their turn."""
    monkeypatch.setattr(hosier.engine.poller, "monotonic", Clock())

    async def main(lab: Lab) -> None:
        flows = [Endless(lab.engine) for _ in range(5)]
        for flow in flows:
            lab.engine.queue(flow)
        most = ROUND / Clock.TICK
        before = 0
        for _ in range(50):
            await asyncio.sleep(0)
            turns = sum(flow.turns for flow in flows)
            assert turns - before <= 2 * most  # sleep(0) may see two rounds
            before = turns
        assert before > 50
        await asyncio.wait_for(asyncio.to_thread(lambda: None), 5)
        assert max(flow.turns for flow in flows) - min(flow.turns for flow in flows) <= 1
        for flow in flows:
            flow.stopped = True

    run(main)


def test_small_talk_waits_for_a_few_turns_only(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes while a hundred flows have their turns."""
    monkeypatch.setattr(hosier.engine.poller, "monotonic", Clock())

    async def main(lab: Lab) -> None:
        flows = [Endless(lab.engine) for _ in range(100)]
        turns: list[int] = []
        outer, endpoint = watched(lab, Owner())
        await lab.settle()

        def note() -> None:
            turns.append(sum(flow.turns for flow in flows))

        class Talking(Endless):
            def turn(self) -> None:
                note()
                outer.send(b"x")

        endpoint.owner = Owner(note)
        lab.engine.queue(Talking(lab.engine))
        for flow in flows:
            lab.engine.queue(flow)
        await until(lambda: len(turns) == 2)
        assert turns[1] - turns[0] <= BULK_SLICE / Clock.TICK + 1
        for flow in flows:
            flow.stopped = True
        endpoint.close()

    run(main)


def test_turns_without_edges_go_on(run: Run) -> None:
    """Nothing but the queue brings the engine back."""

    async def main(lab: Lab) -> None:
        flow = Endless(lab.engine)
        lab.engine.queue(flow)
        await until(lambda: flow.turns > 1000)
        flow.stopped = True
        await lab.settle()
        turns = flow.turns
        await lab.settle()
        assert flow.turns == turns
        flow.turn()  # from outside a round
        lab.engine.queue(flow)
        await until(lambda: flow.turns > turns + 1)

    run(main)


def test_exception_in_a_turn_is_that_flows(run: Run) -> None:
    async def main(lab: Lab) -> None:
        class Faulty(Endless):
            def turn(self) -> None:
                raise ValueError("injected")

        faulty, sound = Faulty(lab.engine), Endless(lab.engine)
        lab.engine.queue(faulty)
        lab.engine.queue(sound)
        await until(lambda: sound.turns > 2)
        assert [str(error) for error in faulty.crashes] == ["injected"]
        sound.stopped = True

    run(main)


# --- the end ---


def test_close_interrupts_what_runs_and_gives_everything_back(run: Run) -> None:
    async def main(lab: Lab) -> None:
        crowd = [Joined(lab) for _ in range(5)]
        await send(crowd[0].client, b"x")
        assert await exactly(crowd[0].target, 1) == b"x"
        waiting = lab.story(lambda task: asyncio.sleep(1000))
        lab.engine.queue(Endless(lab.engine))
        lab.engine.close()
        assert waiting.ended
        assert all(joined.story.ended for joined in crowd)
        assert isinstance(waiting.error, asyncio.CancelledError)
        assert lab.engine.sockets == len(lab.engine.tasks) == len(lab.engine.timers) == 0
        await lab.settle()  # the round that was due comes to nothing
        lab.engine.close = lambda: None  # type: ignore[method-assign]

    run(main)


def test_two_engines_in_one_loop(run: Run) -> None:
    async def main(lab: Lab) -> None:
        other = type(lab.engine)()
        mine, yours = Owner(), Owner()
        outer, endpoint = watched(lab, mine)
        second_outer, inner = lab.pair()
        second = Endpoint(other, inner, yours)
        second.register()
        await lab.settle()
        mine.edges.clear()
        yours.edges.clear()
        second_outer.send(b"x")
        await until(lambda: yours.edges)
        assert not mine.edges
        second.close()
        other.close()
        outer.send(b"x")
        await until(lambda: mine.edges)
        endpoint.close()

    run(main)


def test_watch_tells_once_per_edge(run: Run) -> None:
    async def main(lab: Lab) -> None:
        assert EDGES & EPOLLET
        owner = Owner()
        outer, endpoint = watched(lab, owner)
        await lab.settle()
        assert not owner.edges  # there is room to write, and nobody has asked
        outer.send(b"x")
        await until(lambda: owner.edges)
        await lab.settle()
        assert len(owner.edges) == 1
        endpoint.close()

    run(main)
