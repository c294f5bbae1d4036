from __future__ import annotations

import asyncio
import socket
import traceback
from contextvars import ContextVar
from math import inf
from types import coroutine
from typing import Any

import pytest

from hosier.engine.endpoint import BROKEN, WRITABLE, Endpoint
from hosier.engine.events import EPOLLIN, EPOLLOUT, EPOLLRDHUP
from hosier.engine.task import Task, foreign
from hosier.engine.timers import TICK

from .harness import Lab, Run, Story, until

tag: ContextVar[str] = ContextVar("tag", default="")


def full_listener(lab: Lab) -> socket.socket:
    """One whose queue is full: connecting to it takes a second or more."""
    listener = lab.own(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    for _ in range(4):
        lab.own(socket.socket()).connect_ex(listener.getsockname())
    return listener


# --- waits ---


@pytest.mark.patient
def test_edge_of_another_endpoint_does_not_end_a_wait(run: Run) -> None:
    """The client speaks while the session waits for a target that has not accepted. Its edge is kept for later."""

    async def main(lab: Lab) -> None:
        outer, inner = lab.pair()
        address = full_listener(lab).getsockname()
        connected: list[int] = []

        async def work(task: Task) -> bytes:
            client = Endpoint(lab.engine, inner, task)
            client.register()
            sock = lab.own(socket.socket())
            sock.connect_ex(address)
            target = Endpoint(lab.engine, sock, task)
            try:
                await _wait(target, WRITABLE)
                connected.append(target.connect_result())
            except TimeoutError:
                pass
            task.set_limit("", 100)
            try:
                data: bytes = await client.recv(100)
            finally:
                client.close()
                target.close()
            return data

        story = lab.story(work)
        story.set_limit("connect", 1000)
        for piece in (b"much", b" too", b" early"):
            await lab.settle()
            outer.send(piece)
        await lab.settle()
        assert isinstance(story.waiting, Endpoint)
        assert story.wanted == WRITABLE
        story.on_deadline()
        await until(lambda: story.ended)
        assert not connected
        assert story.result == b"much too early"

    run(main)


def test_edge_of_another_kind_does_not_end_a_wait(run: Run) -> None:
    """Octets arrive on the endpoint whose sending side is full."""

    async def main(lab: Lab) -> None:
        _, inner = lab.pair()

        async def work(task: Task) -> int:
            endpoint = Endpoint(lab.engine, inner, task)
            await _wait(endpoint, WRITABLE)
            lab.engine.unwatch(endpoint.fd)  # from now on, the test makes the edges
            endpoint.seen = 0
            waiting.append(endpoint)
            await _wait(endpoint, WRITABLE)
            seen = endpoint.seen
            endpoint.close()
            return seen

        waiting: list[Endpoint] = []
        story = lab.story(work)
        await until(lambda: waiting)
        story.on_edge(waiting[0], EPOLLIN)
        story.on_edge(waiting[0], EPOLLRDHUP)
        assert not story.ended
        story.on_edge(waiting[0], EPOLLOUT)
        assert story.ended
        assert story.result == EPOLLIN | EPOLLRDHUP | EPOLLOUT

    run(main)


def test_a_connection_that_breaks_while_something_else_is_awaited(run: Run) -> None:
    """A task may say what that means; one that waits for the endpoint itself finds out."""

    class Watchful(Story):
        def broke(self, endpoint: Endpoint) -> None:
            self.interrupt(ConnectionResetError(endpoint.fd))

    async def main(lab: Lab) -> None:
        async def wait_for_an_answer(task: Task) -> None:
            endpoint = endpoints[task] = Endpoint(lab.engine, inners.pop(), task)
            endpoint.register()
            try:
                await lab.loop.create_future()
            finally:
                endpoint.close()

        async def wait_for_the_client(task: Task) -> bytes:
            endpoint = endpoints[task] = Endpoint(lab.engine, inners.pop(), task)
            try:
                return await endpoint.recv(10)
            finally:
                endpoint.close()

        endpoints: dict[Task, Endpoint] = {}
        outers, inners = map(list, zip(*(lab.pair() for _ in range(3)), strict=True))
        watchful = Watchful(lab.engine, wait_for_an_answer)
        direct = Watchful(lab.engine, wait_for_the_client)
        patient = Story(lab.engine, wait_for_an_answer)
        for story in (watchful, direct, patient):
            story.start()
        for outer in outers:
            outer.send(b"early")
        await until(lambda: direct.ended, "its wait is over")
        await until(lambda: endpoints[watchful].seen & EPOLLIN, "the edge is seen")
        assert direct.result == b"early"
        assert not watchful.ended
        for outer in outers:
            outer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes((1, 0, 0, 0, 0, 0, 0, 0)))
            outer.close()
        await until(lambda: watchful.ended, "it is interrupted")
        assert isinstance(watchful.error, ConnectionResetError)
        await until(lambda: endpoints[patient].seen & BROKEN, "the edge is seen")
        assert not patient.ended
        patient.interrupt(TimeoutError("limit"))
        assert isinstance(patient.error, TimeoutError)

    run(main)


def test_edge_while_a_future_is_awaited_does_not_end_its_wait(run: Run) -> None:
    async def main(lab: Lab) -> None:
        outer, inner = lab.pair()
        future: asyncio.Future[str] = lab.loop.create_future()

        async def work(task: Task) -> tuple[str, bytes]:
            endpoint = Endpoint(lab.engine, inner, task)
            endpoint.register()
            try:
                return await future, await endpoint.recv(100)
            finally:
                endpoint.close()

        story = lab.story(work)
        outer.send(b"octets")
        await lab.settle()
        assert story.waiting is future
        future.set_result("answer")
        await until(lambda: story.ended)
        assert story.result == ("answer", b"octets")

    run(main)


def test_stale_event_does_not_end_the_next_wait(run: Run) -> None:
    """A limit was faster than the future; when the future comes true, the task waits for something else."""

    async def main(lab: Lab) -> None:
        first: asyncio.Future[int] = lab.loop.create_future()
        second: asyncio.Future[int] = lab.loop.create_future()

        async def work(task: Task) -> int:
            try:
                return await first
            except TimeoutError:
                return await second

        story = lab.story(work)
        story.interrupt(TimeoutError())
        first.set_result(1)
        await lab.settle()
        assert not story.ended
        assert story.waiting is second
        second.set_result(2)
        await until(lambda: story.ended)
        assert story.result == 2

    run(main)


def test_bare_yield_comes_back_in_the_next_round(run: Run) -> None:
    async def main(lab: Lab) -> None:
        seen: list[str] = []

        async def work(task: Task) -> None:
            for number in range(3):
                await asyncio.sleep(0)
                seen.append(f"task {number}")

        story = lab.story(work)
        assert not seen
        for number in range(4):
            lab.loop.call_soon(seen.append, f"host {number}")
            await asyncio.sleep(0)
        assert story.ended
        assert seen[0] == "task 0"
        assert seen.index("host 0") < seen.index("task 1")
        assert seen.index("host 1") < seen.index("task 2")

    run(main)


def test_bare_yield_can_be_interrupted(run: Run) -> None:
    async def main(lab: Lab) -> None:
        async def work(task: Task) -> str:
            try:
                while True:
                    await asyncio.sleep(0)
            except TimeoutError:
                return "interrupted"

        story = lab.story(work)
        story.interrupt(TimeoutError())
        assert story.result == "interrupted"
        await lab.settle()

    run(main)


# --- limits ---


def test_limit_interrupts_with_its_name(run: Run) -> None:
    async def main(lab: Lab) -> None:
        async def work(task: Task) -> None:
            await lab.loop.create_future()

        story = lab.story(work)
        started = lab.loop.time()
        story.set_limit("handshake", 0.1)
        await until(lambda: story.ended)
        assert lab.loop.time() - started >= 0.1 - 0.01
        assert isinstance(story.error, TimeoutError)
        assert str(story.error) == "handshake limit"
        assert story.deadline == inf

    run(main)


@pytest.mark.patient
def test_later_limit_replaces_an_earlier_one(run: Run) -> None:
    async def main(lab: Lab) -> None:
        async def work(task: Task) -> str:
            task.set_limit("short", 0.1)
            task.set_limit("long", 0.3)
            started = lab.loop.time()
            try:
                await lab.loop.create_future()
            except TimeoutError as error:
                assert lab.loop.time() - started >= 0.3 - 0.01
                return str(error)
            return ""

        story = lab.story(work)
        await until(lambda: story.ended)
        assert story.result == "long limit"

    run(main)


def test_earlier_limit_replaces_a_later_one(run: Run) -> None:
    async def main(lab: Lab) -> None:
        async def work(task: Task) -> str:
            task.set_limit("long", 1000)
            task.set_limit("short", 0.1)
            try:
                await lab.loop.create_future()
            except TimeoutError as error:
                return str(error)
            return ""

        story = lab.story(work)
        await until(lambda: story.ended)
        assert story.result == "short limit"
        assert len(lab.engine.timers) == 0

    run(main)


def test_limit_counts_from_now_however_long_the_engine_slept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task may be started by the host program long after the engine's last round."""

    async def main(lab: Lab) -> None:
        lab.engine.now -= 1000

        async def work(task: Task) -> None:
            before = lab.loop.time()
            task.set_limit("handshake", 10)
            assert before + 10 <= task.deadline + TICK
            task.set_limit("", inf)

        story = lab.story(work)
        assert story.ended
        assert story.error is None

    run(main)


def test_finished_task_has_no_deadline(run: Run) -> None:
    async def main(lab: Lab) -> None:
        async def work(task: Task) -> None:
            task.set_limit("handshake", 0.1)

        story = lab.story(work)
        assert story.ended
        assert len(lab.engine.timers) == 0
        assert not lab.engine.tasks
        story.resume()
        story.interrupt(ValueError())
        assert "finished" in repr(story)

    run(main)


# --- crashes ---


def test_crash_reaches_the_loops_handler_with_its_frames(run: Run) -> None:
    async def main(lab: Lab) -> None:
        outer, inner = lab.pair()

        async def inner_step(endpoint: Endpoint) -> None:
            await endpoint.recv(100)
            raise ValueError("injected")

        async def work(task: Task) -> None:
            endpoint = Endpoint(lab.engine, inner, task)
            try:
                await inner_step(endpoint)
            finally:
                endpoint.close()

        story = lab.story(work)
        outer.send(b"x")
        await until(lambda: story.ended)
        crash = lab.crashes.pop()
        assert "a session crashed" in crash["message"]
        frames = [frame.name for frame in traceback.extract_tb(crash["exception"].__traceback__)]
        assert frames[-2:] == ["work", "inner_step"]

    run(main)


def test_cancelled_task_is_no_crash(run: Run) -> None:
    async def main(lab: Lab) -> None:
        async def work(task: Task) -> None:
            await lab.loop.create_future()

        story = lab.story(work)
        story.interrupt(asyncio.CancelledError())
        assert story.ended
        assert not lab.engine.tasks

    run(main)


def test_subclass_tells_what_to_do(run: Run) -> None:
    async def main(lab: Lab) -> None:
        task = Task(lab.engine)
        assert "finished" in repr(task)
        task.start()
        assert isinstance(lab.crashes.pop()["exception"], NotImplementedError)

    run(main)


# --- context ---


def test_context_variables_are_per_task(run: Run) -> None:
    async def main(lab: Lab) -> None:
        seen: dict[str, list[str]] = {"a": [], "b": []}
        futures = {name: lab.loop.create_future() for name in seen}

        def work(name: str) -> Any:
            async def story(task: Task) -> None:
                seen[name].append(tag.get())
                tag.set(name)
                await futures[name]
                seen[name].append(tag.get())
                await foreign(lab.loop, elsewhere(name))

            return story

        async def elsewhere(name: str) -> None:
            await asyncio.sleep(0)
            seen[name].append(tag.get())

        tag.set("host")
        stories = [lab.story(work(name)) for name in seen]
        assert tag.get() == "host"
        for future in futures.values():
            future.set_result(None)
        await until(lambda: all(story.ended for story in stories))
        assert seen == {"a": ["host", "a", "a"], "b": ["host", "b", "b"]}
        assert tag.get() == "host"
        tag.set("")

    run(main)


# --- coroutines that others wrote ---


def test_foreign_coroutine_runs_in_a_task_of_asyncio(run: Run) -> None:
    """asyncio.timeout, TaskGroup and current_task work in it."""

    async def main(lab: Lab) -> None:
        async def child(number: int) -> int:
            await asyncio.sleep(0)
            return number

        async def theirs() -> tuple[int, bool]:
            assert asyncio.current_task() is not None
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(1000)
            async with asyncio.TaskGroup() as group:
                children = [group.create_task(child(number)) for number in range(3)]
            return sum(done.result() for done in children), True

        async def work(task: Task) -> Any:
            return await foreign(lab.loop, theirs())

        story = lab.story(work)
        await until(lambda: story.ended)
        assert story.result == (3, True)

    run(main)


def test_limit_reaches_a_foreign_coroutine(run: Run) -> None:
    async def main(lab: Lab) -> None:
        ends: list[str] = []

        async def theirs() -> None:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(1000))
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise

        async def work(task: Task) -> None:
            task.set_limit("auth", 0.1)
            await foreign(lab.loop, theirs())

        story = lab.story(work)
        await until(lambda: story.ended)
        assert str(story.error) == "auth limit"
        await until(lambda: ends)

    run(main)


def test_cancellation_reaches_a_foreign_coroutine(run: Run) -> None:
    async def main(lab: Lab) -> None:
        ends: list[str] = []

        async def theirs() -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                ends.append("finally")

        async def work(task: Task) -> None:
            await foreign(lab.loop, theirs())

        stories = [lab.story(work) for _ in range(2)]
        await lab.settle()
        for story in stories:
            story.interrupt(asyncio.CancelledError())
            assert story.ended
        await until(lambda: len(ends) == 2)

    run(main)


def test_exception_of_a_foreign_coroutine_is_the_tasks(run: Run) -> None:
    async def main(lab: Lab) -> None:
        async def theirs() -> None:
            raise PermissionError("no")

        async def work(task: Task) -> None:
            await foreign(lab.loop, theirs())

        story = lab.story(work)
        await until(lambda: story.ended)
        assert isinstance(story.error, PermissionError)

    run(main)


async def _wait(endpoint: Endpoint, events: int) -> None:
    await _waiting(endpoint, events)


@coroutine
def _waiting(endpoint: Endpoint, events: int) -> Any:
    yield from endpoint.wait(events)
