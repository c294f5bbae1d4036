from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hosier.engine import linger as module
from hosier.engine.endpoint import Endpoint
from hosier.engine.linger import LINGER, linger, reset_when_sent
from hosier.engine.task import Task

from .harness import Lab, Pattern, Run, Story, assert_reset, check, exactly, feed, receive, reset, send, until

REPLY = b"no"


def closing(lab: Lab, inner: socket.socket, work: Callable[[Task, Endpoint], Awaitable[Any]]) -> Story:
    """Does the work, then everything must be closed already."""

    async def run(task: Task) -> None:
        endpoint = Endpoint(lab.engine, inner, task)
        try:
            await work(task, endpoint)
            assert endpoint.closed
        finally:
            endpoint.close()

    return lab.story(run)


def refusing(lab: Lab, inner: socket.socket, **settings: float) -> Story:
    async def work(task: Task, endpoint: Endpoint) -> None:
        await endpoint.send_all(REPLY)
        await linger(task, endpoint, **settings)

    return closing(lab, inner, work)


async def ended(story: Story) -> None:
    await until(lambda: story.ended, "it ends")
    assert story.error is None


# --- linger ---


def test_rfc_1928_wants_the_connection_closed_within_ten_seconds() -> None:
    assert LINGER < 10


def test_peer_that_ends_is_not_waited_for(run: Run) -> None:
    async def main(lab: Lab) -> None:
        client, inner = lab.pair()
        story = refusing(lab, inner)
        assert await exactly(client, 2) == REPLY
        assert await receive(client) == b"", "our direction ends first"
        assert not story.ended
        client.shutdown(socket.SHUT_WR)
        await ended(story)
        assert await receive(client) == b""

    run(main)


@pytest.mark.parametrize("size", [1, 100_000, 4_000_000])
def test_reply_survives_what_the_client_sent_too_early(run: Run, size: int) -> None:
    """Without lingering the close would be a reset, and the reply might be lost."""

    async def main(lab: Lab) -> None:
        client, inner = lab.pair()
        await send(client, b"pipelined")
        story = refusing(lab, inner)
        await feed(client, 0, size)
        assert await exactly(client, 2) == REPLY
        assert await receive(client) == b""
        client.close()
        await ended(story)

    run(main)


def test_peer_that_had_ended_already(run: Run) -> None:
    async def main(lab: Lab) -> None:
        client, inner = lab.pair()
        await send(client, b"pipelined")
        client.shutdown(socket.SHUT_WR)
        await ended(refusing(lab, inner))
        assert await receive(client) == REPLY
        assert await receive(client) == b""

    run(main)


def test_peer_that_is_gone(run: Run) -> None:
    async def main(lab: Lab) -> None:
        client, inner = lab.pair()
        story = refusing(lab, inner)
        reset(client)
        await ended(story)

        client, inner = lab.pair()
        reset(client)

        async def work(task: Task, endpoint: Endpoint) -> None:
            await linger(task, endpoint)

        await ended(closing(lab, inner, work))

    run(main)


def test_bounded_by_time(run: Run) -> None:
    async def main(lab: Lab) -> None:
        client, inner = lab.pair()
        await ended(refusing(lab, inner, seconds=0.01))
        assert await receive(client) == REPLY
        assert await receive(client) == b""

    run(main)


def test_bounded_by_reads(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 5)

    async def main(lab: Lab) -> None:
        client, inner = lab.pair()
        feeding = asyncio.ensure_future(feed(client, 0, 1 << 40))
        await ended(refusing(lab, inner, seconds=3600))
        with pytest.raises(ConnectionError):
            await feeding

    run(main)


def test_edges_of_a_former_owner_come_to_the_task(run: Run) -> None:
    class Former:
        def on_edge(self, endpoint: Endpoint, events: int) -> None:
            raise AssertionError("it does not own it any more")

    async def main(lab: Lab) -> None:
        client, inner = lab.pair()

        async def work(task: Task, endpoint: Endpoint) -> None:
            endpoint.register()
            endpoint.owner = Former()
            await linger(task, endpoint)

        story = closing(lab, inner, work)
        await send(client, b"x")
        client.shutdown(socket.SHUT_WR)
        await ended(story)

    run(main)


# --- reset_when_sent ---


def full(lab: Lab) -> tuple[socket.socket, socket.socket, int]:
    """A connection whose buffers are full of the pattern; how much went in."""
    client, inner = lab.pair(send=8192, receive=8192)
    pattern, size = Pattern(0), 0
    while True:
        try:
            size += inner.send(pattern.octets(size, 65536))
        except BlockingIOError:
            return client, inner, size


def resetting(lab: Lab, inner: socket.socket, **settings: float) -> Story:
    return closing(lab, inner, lambda task, endpoint: reset_when_sent(endpoint, **settings))


@pytest.mark.linux
def test_slow_reader_gets_everything_and_then_the_reset(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK", 0.001)

    async def main(lab: Lab) -> None:
        client, inner, size = full(lab)
        story = resetting(lab, inner, seconds=60)
        await check(client, 0, 1)
        await lab.settle()
        assert not story.ended, "the kernel still has octets to send"
        offset = 1
        while offset < size:
            offset = await check(client, 0, min(size, offset + 3000), offset=offset)
            await lab.settle()
        await assert_reset(client)
        await ended(story)

    run(main)


@pytest.mark.linux
def test_nothing_to_wait_for(run: Run) -> None:
    """Reset within the same turn."""

    async def main(lab: Lab) -> None:
        client, inner = lab.pair()
        assert resetting(lab, inner).ended
        await assert_reset(client)

    run(main)


def test_what_the_reader_has_not_fetched_yet_is_not_lost(run: Run) -> None:
    async def main(lab: Lab) -> None:
        client, inner = lab.pair()
        inner.send(b"last words")
        story = resetting(lab, inner)
        await ended(story)
        assert await exactly(client, 10) == b"last words"
        await assert_reset(client)

    run(main)


def test_gives_up_on_a_reader_that_does_not_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK", 0.001)

    async def main(lab: Lab) -> None:
        client, inner, size = full(lab)
        await ended(resetting(lab, inner, seconds=0.01))
        await assert_reset(client)
        assert size

    run(main)


def test_nothing_is_waited_for_where_the_peer_is_gone(run: Run) -> None:
    async def main(lab: Lab) -> None:
        client, inner, _ = full(lab)

        async def work(task: Task, endpoint: Endpoint) -> None:
            endpoint.register()
            await reset_when_sent(endpoint, seconds=3600)

        story = closing(lab, inner, work)
        assert not story.ended
        reset(client)
        await ended(story)

    run(main)


def test_interrupted_while_it_waits(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(lab: Lab) -> None:
        monkeypatch.setattr(module, "_BLIND", 3600)
        _, inner, _ = full(lab)
        story = resetting(lab, inner, seconds=3600)
        await lab.settle()
        assert not story.ended
        story.interrupt(TimeoutError("a limit"))
        assert isinstance(story.error, TimeoutError)

    run(main)
