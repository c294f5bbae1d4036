from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hosier.engine import resolve
from hosier.engine.fair_queue import FairQueue
from hosier.engine.poller import Engine
from hosier.engine.resolve import CACHED, PENDING, PENDING_EACH, THREADS, THREADS_EACH, Resolver
from hosier.engine.task import Task
from hosier.protocol.address import IPV4, IPV6, NAME, Address

from .harness import PATIENCE, Lab, Run, until

Found = list[tuple[Any, ...]]

ONE = Address(IPV4, bytes((192, 0, 2, 1)), 80)


def v4(host: str) -> tuple[Any, ...]:
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0))


def v6(host: str) -> tuple[Any, ...]:
    return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (host, 0, 0, 0))


class NameServer:
    """Stands in for getaddrinfo; ``hold()`` makes every question wait until ``release()``."""

    def __init__(self) -> None:
        self.answer: Callable[[bytes], Found] = lambda name: [v4("192.0.2.1")]
        self.asked: list[bytes] = []
        self._go = threading.Event()
        self._go.set()

    def __call__(self, name: bytes, port: object, **settings: object) -> Found:
        assert port is None
        assert settings == {"type": socket.SOCK_STREAM}
        self.asked.append(name)
        assert self._go.wait(PATIENCE)
        return self.answer(name)

    def hold(self) -> None:
        self._go.clear()

    def release(self) -> None:
        self._go.set()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    server = NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", server)
    yield server
    server.release()
    for thread in workers():
        thread.join(PATIENCE)
    assert not workers(), "threads end after close()"


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("hosier-resolver")]


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("hosier.engine.resolve.monotonic", lambda: self.now)


def resolving(run: Run, work: Callable[[Resolver], Any], **settings: float) -> None:
    async def main(_: Any) -> None:
        resolver = Resolver(asyncio.get_running_loop(), **settings)
        try:
            await work(resolver)
        finally:
            resolver.close()

    run(main)


# --- answers ---


def test_addresses_of_both_kinds_in_their_order(run: Run, names: NameServer) -> None:
    names.answer = lambda name: [
        v6("2001:db8::1"),
        v4("192.0.2.1"),
        v6("fe80::1%eth0"),
        v4("192.0.2.1"),
        (socket.AF_UNIX, socket.SOCK_STREAM, 0, "", "/nowhere"),
    ]

    async def work(resolver: Resolver) -> None:
        for port in (80, 443):
            assert await resolver.resolve(b"a.example", port) == (
                Address(IPV6, socket.inet_pton(socket.AF_INET6, "2001:db8::1"), port),
                Address(IPV4, bytes((192, 0, 2, 1)), port),
                Address(IPV6, socket.inet_pton(socket.AF_INET6, "fe80::1"), port),
            )

    resolving(run, work)
    assert names.asked == [b"a.example"], "the port is not part of the question"


def test_the_real_thing(run: Run) -> None:
    async def work(resolver: Resolver) -> None:
        assert await resolver.resolve(b"192.0.2.1", 80) == (ONE,)
        assert {address.host for address in await resolver.resolve(b"localhost", 80)} <= {"127.0.0.1", "::1"}

    resolving(run, work)


# --- memory ---


@pytest.mark.parametrize("again", [b"A.Example", b"a.example.", b"A.EXAMPLE."])
def test_case_and_final_dot_make_no_other_name(run: Run, names: NameServer, again: bytes) -> None:
    async def work(resolver: Resolver) -> None:
        await resolver.resolve(b"a.example", 80)
        assert await resolver.resolve(again, 80) == (ONE,)

    resolving(run, work)
    assert names.asked == [b"a.example"]


def test_the_root_stays_a_name(run: Run, names: NameServer) -> None:
    async def work(resolver: Resolver) -> None:
        await resolver.resolve(b".", 80)

    resolving(run, work)
    assert names.asked == [b"."]


def test_remembered_for_a_while(run: Run, names: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    async def work(resolver: Resolver) -> None:
        await resolver.resolve(b"a", 80)
        clock.now += 9.9
        await resolver.resolve(b"a", 80)
        assert len(names.asked) == 1
        clock.now += 0.2
        names.answer = lambda name: [v4("192.0.2.2")]
        (address,) = await resolver.resolve(b"a", 80)
        assert address.host == "192.0.2.2"
        assert len(names.asked) == 2
        clock.now += 9.9
        await resolver.resolve(b"a", 80)
        assert len(names.asked) == 2

    resolving(run, work, seconds=10)


def test_remembers_a_bounded_number_and_those_the_most_recent(
    run: Run, names: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "CACHED", 4)
    clock = Clock(monkeypatch)

    async def work(resolver: Resolver) -> None:
        for n in range(4):
            await resolver.resolve(b"%d" % n, 80)
        clock.now += 20
        await resolver.resolve(b"0", 80)  # outlived: asked anew, so the youngest now
        for n in (4, 5):
            await resolver.resolve(b"%d" % n, 80)
        assert len(resolver._cache) == 4
        assert list(resolver._cache) == [b"3", b"0", b"4", b"5"]
        names.asked.clear()
        await resolver.resolve(b"0", 80)
        assert names.asked == []
        await resolver.resolve(b"1", 80)
        assert names.asked == [b"1"]

    resolving(run, work, seconds=10)
    assert CACHED > 100


def test_failures_are_not_remembered(run: Run, names: NameServer) -> None:
    async def work(resolver: Resolver) -> None:
        names.answer = failing(socket.gaierror(socket.EAI_AGAIN, "later"))
        with pytest.raises(socket.gaierror):
            await resolver.resolve(b"a", 80)
        names.answer = lambda name: [v4("192.0.2.1")]
        assert await resolver.resolve(b"a", 80) == (ONE,)

    resolving(run, work)


# --- one question for all ---


def test_one_question_for_all_who_wait(run: Run, names: NameServer) -> None:
    names.hold()

    async def work(resolver: Resolver) -> None:
        askers = [asyncio.ensure_future(resolver.resolve(name, 80)) for name in (b"a", b"A", b"a.") * 10]
        await until(lambda: names.asked, "the question")
        names.release()
        assert await asyncio.gather(*askers) == [(ONE,)] * 30

    resolving(run, work)
    assert names.asked == [b"a"]


def failing(error: BaseException) -> Callable[[bytes], Found]:
    def fail(name: bytes) -> Found:
        raise error

    return fail


def test_all_who_wait_learn_of_the_failure(run: Run, names: NameServer) -> None:
    names.hold()
    names.answer = failing(socket.gaierror(socket.EAI_NONAME, "no such name"))

    async def work(resolver: Resolver) -> None:
        askers = [asyncio.ensure_future(resolver.resolve(b"a", 80)) for _ in range(5)]
        await until(lambda: names.asked, "the question")
        names.release()
        for error in await asyncio.gather(*askers, return_exceptions=True):
            assert isinstance(error, socket.gaierror)
            assert error.errno == socket.EAI_NONAME

    resolving(run, work)
    assert names.asked == [b"a"]


@pytest.mark.parametrize(
    "error",
    [UnicodeError("label too long"), UnicodeDecodeError("idna", b"\xff", 0, 1, "no"), ValueError("embedded null byte")],
    ids=lambda error: type(error).__name__,
)
def test_names_that_cannot_be_asked_for(run: Run, names: NameServer, error: Exception) -> None:
    names.answer = failing(error)

    async def work(resolver: Resolver) -> None:
        with pytest.raises(socket.gaierror, match="no such name") as caught:
            await resolver.resolve(b"a", 80)
        assert caught.value.errno == socket.EAI_NONAME

    resolving(run, work)


@pytest.mark.parametrize("name", [b"a" * 255, b"a..b", b"nul\0inside", b"\xff\xfe"])
def test_no_name_gets_past_getaddrinfo_with_another_error(run: Run, name: bytes) -> None:
    async def work(resolver: Resolver) -> None:
        with pytest.raises(socket.gaierror):
            await resolver.resolve(name, 80)

    resolving(run, work)


def test_other_errors_pass(run: Run, names: NameServer) -> None:
    names.answer = failing(OSError(24, "too many open files"))

    async def work(resolver: Resolver) -> None:
        with pytest.raises(OSError, match="too many open files"):
            await resolver.resolve(b"a", 80)

    resolving(run, work)


# --- those who leave ---


@pytest.mark.parametrize("answer", [lambda name: [v4("192.0.2.1")], failing(socket.gaierror(socket.EAI_FAIL, "no"))])
def test_an_asker_that_left(run: Run, names: NameServer, answer: Callable[[bytes], Found]) -> None:
    """Nobody complains, and the next one gets an answer of its own."""
    names.hold()
    names.answer = answer

    async def work(resolver: Resolver) -> None:
        asker = asyncio.ensure_future(resolver.resolve(b"a", 80))
        await until(lambda: names.asked, "the question")
        asker.cancel()
        await asyncio.gather(asker, return_exceptions=True)
        assert asker.cancelled()
        names.release()
        await until(lambda: not resolver._asked, "the answer")
        gc.collect()
        names.answer = lambda name: [v4("192.0.2.1")]
        assert await resolver.resolve(b"a", 80) == (ONE,)

    resolving(run, work)


def test_a_session_that_left_does_not_disturb_those_who_still_wait(run: Run, names: NameServer) -> None:
    names.hold()

    async def main(lab: Lab) -> None:
        resolver = Resolver(lab.loop)
        leaver, *stayers = (lab.story(lambda task: resolver.resolve(b"a", 80)) for _ in range(3))
        await until(lambda: names.asked, "the question")
        leaver.interrupt(TimeoutError("connect limit"))
        assert isinstance(leaver.error, TimeoutError)
        late = lab.story(lambda task: resolver.resolve(b"a", 80))
        names.release()
        await until(lambda: not lab.engine.tasks, "all answers")
        assert [story.result for story in (*stayers, late)] == [(ONE,)] * 3
        resolver.close()

    run(main)
    assert names.asked == [b"a"]


def test_an_asker_that_is_cancelled_takes_nobody_with_it(run: Run, names: NameServer) -> None:
    """Neither an asyncio task nor a session, whoever of them asked first."""
    names.hold()

    async def main(lab: Lab) -> None:
        resolver = Resolver(lab.loop)
        first = lab.story(lambda task: resolver.resolve(b"a", 80))
        tasks = [asyncio.ensure_future(resolver.resolve(b"a", 80, n)) for n in range(3)]
        later = lab.story(lambda task: resolver.resolve(b"a", 80))
        await until(lambda: names.asked, "the question")
        await lab.settle()
        tasks[1].cancel()
        await asyncio.gather(tasks[1], return_exceptions=True)
        assert tasks[1].cancelled()
        assert not first.ended
        assert not later.ended
        names.release()
        assert [*await asyncio.gather(tasks[0], tasks[2])] == [(ONE,)] * 2
        await until(lambda: not lab.engine.tasks, "all answers")
        assert [first.result, later.result] == [(ONE,)] * 2
        resolver.close()

    run(main)
    assert names.asked == [b"a"]


def test_what_nobody_waits_for_any_more_is_not_asked(run: Run, names: NameServer) -> None:
    names.hold()

    async def work(resolver: Resolver) -> None:
        leavers = [asyncio.ensure_future(resolver.resolve(b"%d" % n, 80)) for n in range(5 * THREADS)]
        await until(lambda: len(names.asked) == THREADS_EACH, "as many questions as one may ask at once")
        stayer = asyncio.ensure_future(resolver.resolve(b"stays", 80))
        joined = asyncio.ensure_future(resolver.resolve(b"%d" % (5 * THREADS - 1), 80))
        await asyncio.sleep(0)
        for leaver in leavers:
            leaver.cancel()
        await asyncio.gather(*leavers, return_exceptions=True)
        assert resolver._waiting.size == 2
        assert len(resolver._asked) == THREADS_EACH + 2
        names.release()
        assert [*await asyncio.gather(stayer, joined)] == [(ONE,)] * 2
        await until(lambda: not resolver._asked, "all answers")
        assert sorted(names.asked[THREADS_EACH:]) == sorted([b"stays", b"%d" % (5 * THREADS - 1)])

    resolving(run, work)


class Asker(Task):
    """A task that says whose it is, and whether it is of any use that it waits."""

    def __init__(self, engine: Engine, resolver: Resolver, *, may_wait: bool) -> None:
        super().__init__(engine)
        self.found: object = None
        self._resolver = resolver
        self._may_wait = may_wait

    @property
    def source(self) -> str:
        return "somebody"

    def may_wait(self) -> None:
        if not self._may_wait:
            raise ConnectionError("gone")

    async def run(self) -> None:
        try:
            self.found = await self._resolver.look_up(self, Address(NAME, b"a", 80))
        except ConnectionError as error:
            self.found = error


def test_a_task_is_asked_before_it_waits(run: Run, names: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not where nobody has to wait, as the answer is known; and an address is told without disguise."""
    names.answer = lambda name: [v6("::ffff:192.0.2.1")]
    sources: list[object] = []
    enter = FairQueue.enter

    def noted(queue: FairQueue[Any], source: object, item: object) -> bool:
        sources.append(source)
        return enter(queue, source, item)

    monkeypatch.setattr(FairQueue, "enter", noted)

    async def main(lab: Lab) -> None:
        resolver = Resolver(lab.loop)
        refused, asker, late = (Asker(lab.engine, resolver, may_wait=may) for may in (False, True, False))
        refused.start()
        assert isinstance(refused.found, ConnectionError)
        asker.start()
        await until(lambda: asker.found, "the answer")
        late.start()
        assert asker.found == late.found == [ONE]
        resolver.close()

    run(main)
    assert names.asked == [b"a"]
    assert sources == ["somebody"]


# --- bounds ---


@pytest.mark.parametrize("bound", ["PENDING", "PENDING_EACH"])
def test_questions_are_bounded(run: Run, names: NameServer, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(resolve, bound, 2)
    monkeypatch.setattr(resolve, "THREADS", 1)
    names.hold()

    async def work(resolver: Resolver) -> None:
        askers = [asyncio.ensure_future(resolver.resolve(b"%d" % n, 80)) for n in range(3)]
        await until(lambda: names.asked and resolver._waiting.size == 2, "a question under way, and two that wait")
        with pytest.raises(socket.gaierror) as caught:
            await resolver.resolve(b"3", 80)
        assert caught.value.errno == socket.EAI_AGAIN
        joining = asyncio.ensure_future(resolver.resolve(b"2", 80))  # no question of its own
        names.release()
        assert await asyncio.gather(*askers, joining) == [(ONE,)] * 4
        assert await resolver.resolve(b"3", 80) == (ONE,)

    resolving(run, work)


def test_threads_are_bounded(run: Run, names: NameServer) -> None:
    names.hold()

    async def work(resolver: Resolver) -> None:
        count = 3 * THREADS
        assert count < PENDING_EACH
        askers = [asyncio.ensure_future(resolver.resolve(b"%d" % n, 80, n % 3)) for n in range(count)]
        await until(lambda: len(names.asked) == THREADS, "as many questions as threads")
        assert len(workers()) == THREADS
        names.release()
        await asyncio.gather(*askers)
        assert sorted(names.asked) == sorted(b"%d" % n for n in range(count))

    resolving(run, work)


def test_one_source_has_not_all_threads(run: Run, names: NameServer) -> None:
    """Its questions wait for their own answers only, and others' pass them by."""
    assert THREADS_EACH <= THREADS // 2
    names.hold()

    async def work(resolver: Resolver) -> None:
        many = [asyncio.ensure_future(resolver.resolve(b"%d" % n, 80, "one")) for n in range(3 * THREADS)]
        await until(lambda: len(names.asked) == THREADS_EACH, "as many questions as one may ask at once")
        another = asyncio.ensure_future(resolver.resolve(b"another", 80, "two"))
        await until(lambda: len(names.asked) > THREADS_EACH, "the other's question")
        assert names.asked[-1] == b"another"
        names.release()
        assert await another == (ONE,)
        await asyncio.gather(*many)

    resolving(run, work)


def test_one_source_has_not_all_room(run: Run, names: NameServer) -> None:
    assert PENDING_EACH <= PENDING // 2
    names.hold()

    async def work(resolver: Resolver) -> None:
        found = PENDING_EACH + THREADS_EACH
        many = [asyncio.ensure_future(resolver.resolve(b"%d" % n, 80, "one")) for n in range(found)]
        await until(lambda: resolver._waiting.size == PENDING_EACH, "one source's share is full")
        with pytest.raises(socket.gaierror) as caught:
            await resolver.resolve(b"more", 80, "one")
        assert caught.value.errno == socket.EAI_AGAIN
        another = asyncio.ensure_future(resolver.resolve(b"another", 80, "two"))
        await until(lambda: b"another" in names.asked, "the other's question")
        names.release()
        await asyncio.gather(another, *many)

    resolving(run, work)


def test_who_joins_a_question_that_waits_does_not_wait_behind_another_ones(run: Run, names: NameServer) -> None:
    names.hold()

    async def work(resolver: Resolver) -> None:
        many = [asyncio.ensure_future(resolver.resolve(b"%d" % n, 80, "one")) for n in range(4 * THREADS)]
        await until(lambda: len(names.asked) == THREADS_EACH, "as many questions as one may ask at once")
        last = b"%d" % (4 * THREADS - 1)
        joining = asyncio.ensure_future(resolver.resolve(last, 80, "two"))
        await until(lambda: names.asked[-1] == last, "the question, in the turn of who joined")
        names.release()
        assert await joining == (ONE,)
        await asyncio.gather(*many)
        assert names.asked.count(last) == 1

    resolving(run, work)


def test_one_thread_for_one_question_after_the_other(run: Run, names: NameServer) -> None:
    async def work(resolver: Resolver) -> None:
        for n in range(20):
            await resolver.resolve(b"%d" % n, 80)
        assert len(workers()) == 1

    resolving(run, work)


# --- the end ---


def test_closed_resolver_takes_no_questions(run: Run, names: NameServer) -> None:
    async def work(resolver: Resolver) -> None:
        await resolver.resolve(b"a", 80)
        resolver.close()
        with pytest.raises(socket.gaierror) as caught:
            await resolver.resolve(b"b", 80)
        assert caught.value.errno == socket.EAI_AGAIN

    resolving(run, work)


def test_close_tells_those_whose_question_waits(run: Run, names: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "THREADS", 1)
    names.hold()

    async def work(resolver: Resolver) -> None:
        asked, waiting = (asyncio.ensure_future(resolver.resolve(name, 80)) for name in (b"a", b"b"))
        await until(lambda: names.asked and resolver._waiting.size, "one is asked, one waits")
        resolver.close()
        with pytest.raises(socket.gaierror) as caught:
            await waiting
        assert caught.value.errno == socket.EAI_AGAIN
        names.release()
        assert await asked == (ONE,)

    resolving(run, work)
    assert names.asked == [b"a"]


def test_neither_close_nor_the_loop_wait_for_a_stuck_thread(run: Run, names: NameServer) -> None:
    """The answer comes when the loop is gone; the thread ends without a word."""
    names.hold()
    crashes: list[threading.ExceptHookArgs] = []

    async def work(resolver: Resolver) -> None:
        asker = asyncio.ensure_future(resolver.resolve(b"a", 80))
        await until(lambda: names.asked, "the question")
        resolver.close()
        asker.cancel()

    hook, threading.excepthook = threading.excepthook, crashes.append
    try:
        resolving(run, work)  # ... and returns, with the loop closed
        (thread,) = workers()
        assert thread.daemon
        names.release()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    finally:
        threading.excepthook = hook
    assert not crashes
