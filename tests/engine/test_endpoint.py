from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from hosier.engine.endpoint import ENDED, READABLE, WRITABLE, Endpoint
from hosier.engine.events import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP
from hosier.engine.task import Task

from .harness import Lab, Pattern, Run, assert_reset, check, receive, reset, until


class Counted(socket.socket):
    """A socket that counts its reads; a look that takes nothing is none."""

    reads = 0

    def recv(self, *arguments: Any) -> bytes:
        self.reads += arguments[1:] != (socket.MSG_PEEK,)
        return super().recv(*arguments)


def test_recv_waits_for_octets(run: Run) -> None:
    async def main(lab: Lab) -> None:
        outer, inner = lab.pair()

        async def work(task: Task) -> list[bytes]:
            endpoint = Endpoint(lab.engine, inner, task)
            try:
                return [await endpoint.recv(5) for _ in range(4)]
            finally:
                endpoint.close()

        story = lab.story(work)
        await lab.settle()
        assert not story.ended
        outer.send(b"hello, you")
        await lab.settle()
        outer.send(b"end")
        outer.shutdown(socket.SHUT_WR)
        await until(lambda: story.ended)
        assert story.result == [b"hello", b", you", b"end", b""]

    run(main)


def test_short_read_with_the_end_in_the_same_edge(run: Run) -> None:
    """Its edge is spent, so what was seen must be remembered."""

    async def main(lab: Lab) -> None:
        outer, inner = lab.pair()

        async def work(task: Task) -> list[bytes]:
            endpoint = Endpoint(lab.engine, inner, task)
            try:
                return [await endpoint.recv(4096), await endpoint.recv(4096), await endpoint.recv(4096)]
            finally:
                endpoint.close()

        story = lab.story(work)
        await lab.settle()
        outer.send(b"last")
        outer.close()
        await until(lambda: story.ended)
        assert story.result == [b"last", b"", b""]

    run(main)


def test_recv_asks_the_kernel_only_when_there_may_be_something(run: Run) -> None:
    async def main(lab: Lab) -> None:
        outer, plain = lab.pair()
        inner = Counted(fileno=plain.detach())
        inner.setblocking(False)
        reads: list[int] = []

        async def work(task: Task) -> None:
            endpoint = Endpoint(lab.engine, inner, task)
            for _ in range(2):
                assert await endpoint.recv(100) == b"x"
                reads.append(inner.reads)
            endpoint.close()

        story = lab.story(work)
        await lab.settle()
        assert inner.reads == 0
        for _ in range(2):
            outer.send(b"x")
            await lab.settle()
        assert story.ended
        assert reads == [1, 2]

    run(main)


def test_what_is_said_to_be_there_is_looked_for_at_once(run: Run) -> None:
    async def main(lab: Lab) -> None:
        outer, inner = lab.pair()
        outer.send(b"early")

        async def work(task: Task) -> bytes:
            endpoint = Endpoint(lab.engine, inner, task, EPOLLIN)
            data: bytes = await endpoint.recv(100)
            assert not endpoint.heard
            endpoint.close()
            return data

        story = lab.story(work)
        assert story.ended
        assert story.result == b"early"

    run(main)


def test_wrong_guess_costs_a_wait_only(run: Run) -> None:
    async def main(lab: Lab) -> None:
        outer, inner = lab.pair()

        async def work(task: Task) -> bytes:
            endpoint = Endpoint(lab.engine, inner, task, EPOLLIN)
            try:
                data: bytes = await endpoint.recv(100)
            finally:
                endpoint.close()
            return data

        story = lab.story(work)
        await lab.settle()
        assert not story.ended
        outer.send(b"late")
        await until(lambda: story.ended)
        assert story.result == b"late"

    run(main)


def test_reset_raises(run: Run) -> None:
    async def main(lab: Lab) -> None:
        outer, inner = lab.pair()
        errors: list[type[BaseException]] = []

        async def work(task: Task) -> None:
            endpoint = Endpoint(lab.engine, inner, task)
            try:
                await endpoint.recv(100)
            except OSError as error:
                errors.append(type(error))
            endpoint.close()

        story = lab.story(work)
        outer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        outer.close()
        await until(lambda: story.ended)
        assert errors == [ConnectionResetError]

    run(main)


def test_send_all_to_a_slow_reader(run: Run) -> None:
    size = 1_000_000

    async def main(lab: Lab) -> None:
        outer, inner = lab.pair(send=8192, receive=8192)

        async def work(task: Task) -> None:
            endpoint = Endpoint(lab.engine, inner, task)
            await endpoint.send_all(Pattern(0).octets(0, size))
            endpoint.close()

        story = lab.story(work)
        await lab.settle()
        assert not story.ended
        assert await check(outer, 0) == size
        await until(lambda: story.ended)

    run(main)


def test_send_some_returns_the_rest(run: Run) -> None:
    async def main(lab: Lab) -> None:
        outer, inner = lab.pair(send=8192, receive=8192)
        endpoint = Endpoint(lab.engine, inner, None)  # type: ignore[arg-type]
        assert endpoint.send_some(b"small") == b""
        data = Pattern(0).octets(0, 500_000)
        rest = endpoint.send_some(data)
        assert 0 < len(rest) < len(data)
        assert data.endswith(rest)
        while (left := endpoint.send_some(rest)) != rest:
            rest = left
        assert await receive(outer, 5) == b"small"
        endpoint.close()

    run(main)


def test_send_to_one_that_is_gone_raises(run: Run) -> None:
    async def main(lab: Lab) -> None:
        outer, inner = lab.pair(send=8192, receive=8192)

        async def work(task: Task) -> None:
            endpoint = Endpoint(lab.engine, inner, task)
            try:
                await endpoint.send_all(bytes(10_000_000))
            finally:
                endpoint.close()

        story = lab.story(work)
        await lab.settle()
        outer.close()
        await until(lambda: story.ended)
        assert isinstance(story.error, ConnectionError)

    run(main)


def test_reset_and_close(run: Run) -> None:
    async def main(lab: Lab) -> None:
        for how in ("reset", "close"):
            outer, inner = lab.pair()
            endpoint = Endpoint(lab.engine, inner, None)  # type: ignore[arg-type]
            endpoint.register()
            getattr(endpoint, how)()
            assert endpoint.closed
            assert lab.engine.sockets == 0
            if how == "reset":
                await assert_reset(outer)
            else:
                assert await receive(outer) == b""

    run(main)


def test_shutdown_is_harmless_if_the_connection_is_gone(run: Run) -> None:
    async def main(lab: Lab) -> None:
        outer, inner = lab.pair()
        endpoint = Endpoint(lab.engine, inner, None)  # type: ignore[arg-type]
        endpoint.shutdown()
        assert await receive(outer) == b""
        outer.close()
        endpoint.shutdown()
        endpoint.shutdown()
        endpoint.close()

    run(main)


def test_release_hands_the_socket_on_unregistered(run: Run) -> None:
    """Whoever gets it may register it elsewhere, in the loop itself for example."""

    async def main(lab: Lab) -> None:
        outer, inner = lab.pair()

        async def work(task: Task) -> None:
            endpoint = Endpoint(lab.engine, inner, task)
            assert await endpoint.recv(100) == b"mine"
            sock = endpoint.release()
            assert sock is inner
            assert endpoint.closed
            endpoint.close()

        story = lab.story(work)
        outer.send(b"mine")
        await until(lambda: story.ended)
        assert lab.engine.sockets == 0
        assert inner.fileno() >= 0
        other = Endpoint(lab.engine, inner, Task(lab.engine))
        other.register()  # a second time, it would be refused
        assert other.release() is inner
        outer.send(b"yours")
        assert await receive(inner) == b"yours"
        inner.close()

    run(main)


class Listener:
    """An owner that keeps what it was told."""

    def __init__(self) -> None:
        self.events: list[int] = []

    def on_edge(self, _: Endpoint, events: int) -> None:
        self.events.append(events)


@pytest.mark.linux
def test_room_is_heard_of_when_somebody_asks(run: Run) -> None:
    """What is the case already is told at once, so nothing is missed; to ask again is no call."""

    async def main(lab: Lab) -> None:
        _, inner = lab.pair()
        owner = Listener()
        endpoint = Endpoint(lab.engine, inner, owner)
        endpoint.hear(EPOLLIN)
        await lab.settle()
        assert owner.events == []
        endpoint.hear(EPOLLOUT)
        await until(lambda: owner.events)
        endpoint.hear(EPOLLOUT)
        await lab.settle()
        assert owner.events == [EPOLLOUT]
        endpoint.close()

    run(main)


@pytest.mark.linux
def test_who_asks_is_told_once_more(run: Run) -> None:
    """Of what is the case, though it was told before; else of its edge, as anybody is."""

    async def main(lab: Lab) -> None:
        outer, inner = lab.pair()
        owner = Listener()
        endpoint = Endpoint(lab.engine, inner, owner)
        endpoint.register()
        for _ in range(2):  # the first time it is an edge like any other
            endpoint.ask(EPOLLOUT)
            await until(lambda: owner.events)
            assert owner.events.pop() == EPOLLOUT
        endpoint.ignore(EPOLLOUT)
        endpoint.ask(EPOLLIN)
        await lab.settle()
        assert owner.events == []
        outer.send(b"x")
        await until(lambda: owner.events == [EPOLLIN])
        endpoint.close()

    run(main)


@pytest.mark.linux
def test_arrivals_may_be_ignored_but_not_an_end(run: Run) -> None:
    async def main(lab: Lab) -> None:
        outer, inner = lab.pair()
        owner = Listener()
        endpoint = Endpoint(lab.engine, inner, owner)
        endpoint.register()
        endpoint.ignore(EPOLLIN)
        for _ in range(3):
            outer.send(b"unheard")
            await lab.settle()
        assert owner.events == []
        outer.shutdown(socket.SHUT_WR)
        await until(lambda: owner.events)
        assert owner.events == [EPOLLRDHUP]
        endpoint.hear(EPOLLIN)
        await until(lambda: len(owner.events) == 2)
        assert owner.events[1] == EPOLLIN | EPOLLRDHUP
        reset(outer)
        await until(lambda: owner.events[-1] & EPOLLHUP)
        endpoint.close()

    run(main)


def test_who_reads_hears_of_arrivals_again(run: Run) -> None:
    """A relay that ended may have ignored them; whoever lingers must not."""

    async def main(lab: Lab) -> None:
        outer, inner = lab.pair()

        async def work(task: Task) -> bytes:
            endpoint = Endpoint(lab.engine, inner, task)
            endpoint.register()
            endpoint.ignore(EPOLLIN)
            try:
                return await endpoint.recv(100)
            finally:
                endpoint.close()

        story = lab.story(work)
        await lab.settle()
        outer.send(b"at last")
        await until(lambda: story.ended)
        assert story.result == b"at last"

    run(main)


def test_connect_result_asks_only_after_an_error(run: Run) -> None:
    async def main(lab: Lab) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            sock = lab.own(socket.socket())
            sock.connect_ex(closed.getsockname())
            endpoint = Endpoint(lab.engine, sock, None)  # type: ignore[arg-type]
            endpoint.seen = EPOLLOUT
            assert endpoint.connect_result() == 0
            endpoint.seen = EPOLLOUT | EPOLLERR
            assert endpoint.connect_result() == 111
            endpoint.close()

    run(main)


def test_sets_of_events() -> None:
    """Whoever waits to read or to write hears of errors and of the end of everything."""
    for events in (EPOLLHUP, EPOLLERR):
        assert events & READABLE & WRITABLE & ENDED
    assert EPOLLRDHUP & READABLE & ENDED
    assert not EPOLLRDHUP & WRITABLE


def test_repr_tells_no_octets(run: Run) -> None:
    async def main(lab: Lab) -> None:
        _, inner = lab.pair()
        endpoint = Endpoint(lab.engine, inner, None)  # type: ignore[arg-type]
        assert repr(endpoint) == f"<Endpoint fd={inner.fileno()}>"
        endpoint.close()
        await asyncio.sleep(0)

    run(main)
