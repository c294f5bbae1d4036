from __future__ import annotations

import asyncio
import errno
import itertools
import socket
from collections.abc import Callable
from contextlib import suppress

import pytest

from hosier.engine.events import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT
from hosier.engine.flow import Flow
from hosier.engine.flow_status import DONE
from hosier.engine.linger import LINGER
from hosier.engine.poller import SCRATCH

from .harness import (
    Joined,
    Lab,
    Pattern,
    Run,
    assert_reset,
    check,
    exactly,
    feed,
    make_bulk,
    receive,
    reset,
    send,
    stop,
    until,
)

MEGABYTE = 1 << 20
SIDES = ["client", "target"]
IDLE = 0.4  # seconds


def ends(joined: Joined, side: str) -> tuple[socket.socket, socket.socket]:
    """That side's socket, and the other's."""
    return (joined.client, joined.target) if side == "client" else (joined.target, joined.client)


def assert_gone(sock: socket.socket) -> None:
    """The peer's connection is no more: even the first write fails. Reading would not tell after an end of file."""
    with pytest.raises(ConnectionError):
        sock.send(b"x")


# --- beginning ---


def test_leftover_goes_first(run: Run) -> None:
    async def main(lab: Lab) -> None:
        joined = Joined(lab, leftover=b"early ")
        await send(joined.client, b"late")
        assert await exactly(joined.target, 10) == b"early late"
        assert joined.relay.up.moved == 10

    run(main)


def test_large_leftover_waits_for_a_slow_reader(run: Run) -> None:
    """And is whole when the rest follows."""
    pattern = Pattern("early")

    async def main(lab: Lab) -> None:
        joined = Joined(lab, leftover=pattern.octets(0, MEGABYTE), slow=4096)
        assert joined.relay.up.blocked
        await send(joined.client, pattern.octets(MEGABYTE, 1000))
        joined.client.shutdown(socket.SHUT_WR)
        assert await check(joined.target, "early") == MEGABYTE + 1000
        joined.target.close()
        await joined.ended()

    run(main)


@pytest.mark.parametrize("side", SIDES)
def test_octets_that_came_before_the_relay_began(run: Run, side: str) -> None:
    """They sent and ended before anybody watched their sockets."""

    async def main(lab: Lab) -> None:
        one, other = lab.pair(), lab.pair()
        early = one[0] if side == "client" else other[0]
        early.send(b"before")
        early.shutdown(socket.SHUT_WR)
        joined = Joined.__new__(Joined)
        joined.__dict__.update(client=one[0], target=other[0], inner=(one[1], other[1]))
        joined._settings = b"", 60.0, None, b"", lambda relay: None
        joined.story = lab.story(joined._run)
        late = other[0] if side == "client" else one[0]
        assert await exactly(late, 6) == b"before"
        assert await receive(late) == b""
        late.close()
        await joined.ended()

    run(main)


def test_both_gone_before_the_relay_began(run: Run) -> None:
    async def main(lab: Lab) -> None:
        joined = Joined(lab, leftover=b"x")
        reset(joined.client)
        reset(joined.target)
        await joined.ended()

    run(main)


# --- ends ---


@pytest.mark.parametrize("side", SIDES)
def test_half_close_leaves_the_other_direction_open(run: Run, side: str) -> None:
    """Large data flows the other way after it (B-18)."""

    async def main(lab: Lab) -> None:
        joined = Joined(lab)
        first, second = ends(joined, side)
        await send(first, b"question")
        first.shutdown(socket.SHUT_WR)
        assert await exactly(second, 8) == b"question"
        assert await receive(second) == b""
        await asyncio.gather(feed(second, 1, 8 * MEGABYTE), check(first, 1, 8 * MEGABYTE))
        second.shutdown(socket.SHUT_WR)
        assert await receive(first) == b""
        await joined.ended()
        assert joined.relay.ended_well
        assert joined.relay.first_ended is (joined.near if side == "client" else joined.far)

    run(main)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("amount", [0, 1000, 4 * MEGABYTE])
def test_reset_is_passed_on_as_a_reset(run: Run, side: str, amount: int) -> None:
    """Never as an end of file: that would pass a cut transfer off as a whole one."""

    async def main(lab: Lab) -> None:
        joined = Joined(lab)
        first, second = ends(joined, side)
        await asyncio.gather(feed(first, 1, amount), check(second, 1, amount))
        reset(first)
        await assert_reset(second)
        await joined.ended()
        first_ended = joined.relay.first_ended
        assert first_ended is (joined.near if side == "client" else joined.far)
        assert first_ended is not None
        assert first_ended.was_reset
        assert joined.relay.first_was_reset
        assert not joined.relay.ended_well

    run(main)


@pytest.mark.parametrize("side", SIDES)
def test_an_orderly_end_stays_one_whatever_follows(run: Run, side: str) -> None:
    """A peer that has closed altogether resets what is sent to it afterwards. That is passed on, but it is not how its
    stream ended."""

    async def main(lab: Lab) -> None:
        joined = Joined(lab)
        first, second = ends(joined, side)
        await send(first, b"bye")
        first.close()
        assert await exactly(second, 3) == b"bye"
        assert await receive(second) == b""
        await send(second, b"too late")
        ending = joined.near if side == "client" else joined.far
        await until(lambda: ending.was_reset, "it resets what comes too late")
        await joined.ended()
        assert joined.relay.first_ended is ending
        assert not joined.relay.first_was_reset
        assert not joined.relay.ended_well

    run(main)


@pytest.mark.parametrize("side", SIDES)
def test_reset_after_a_half_close_is_seen(run: Run, side: str) -> None:
    """That side's stream has been read to its end: no read will tell, only the edge does."""

    async def main(lab: Lab) -> None:
        joined = Joined(lab)
        first, second = ends(joined, side)
        first.shutdown(socket.SHUT_WR)
        assert await receive(second) == b""
        await send(second, b"unread")
        await lab.settle()
        reset(first)
        await joined.ended()
        assert_gone(second)

    run(main)


@pytest.mark.parametrize("side", SIDES)
def test_reset_after_a_half_close_in_one_batch(run: Run, side: str) -> None:
    async def main(lab: Lab) -> None:
        joined = Joined(lab)
        first, second = ends(joined, side)
        first.send(b"last")
        first.shutdown(socket.SHUT_WR)
        second.send(b"unread")
        reset(first)
        await until(lambda: joined.relay.finished)
        assert await exactly(second, 4) == b"last"
        with suppress(ConnectionResetError):  # an end came before
            assert await receive(second) == b""
        second.close()
        await joined.ended()

    run(main)


@pytest.mark.parametrize("side", SIDES)
def test_reset_while_the_other_side_is_slow_keeps_what_was_read(run: Run, side: str) -> None:
    async def main(lab: Lab) -> None:
        joined = Joined(lab, slow=1 << 19)
        first, second = ends(joined, side)
        flow = joined.relay.up if side == "client" else joined.relay.down
        make_bulk(flow)
        feeding = asyncio.ensure_future(feed(first, 1, 8 * MEGABYTE))
        await until(lambda: flow.blocked)
        await stop(feeding)
        await lab.settle()
        read = flow.moved + flow.held
        reset(first)
        await lab.settle()
        assert not joined.story.ended
        assert await check(second, 1, read) == read
        with pytest.raises(ConnectionResetError):  # perhaps behind some more that had arrived in time
            await check(second, 1, offset=read)
        await joined.ended()

    run(main)


def test_everything_ends_in_one_batch(run: Run) -> None:
    async def main(lab: Lab) -> None:
        crowd = [Joined(lab) for _ in range(70)]  # more than one batch holds
        await lab.settle()
        for joined in crowd:
            joined.client.close()
            joined.target.close()
        for joined in crowd:
            await joined.ended()
            assert joined.relay.ended_well

    run(main)


# --- saying goodbye ---


def test_edges_after_the_end_do_not_stretch_the_goodbye(run: Run) -> None:
    """The far side's last edge waits in the same batch as the one that ended the relay. The client keeps silent."""

    async def main(lab: Lab) -> None:
        joined = Joined(lab, idle=3600.0)
        joined.target.shutdown(socket.SHUT_WR)
        assert await receive(joined.client) == b""
        await send(joined.client, b"unread")
        await until(lambda: joined.relay.up.moved == 6)
        joined.client.send(b"refused")
        joined.target.close()  # over unread octets: a reset
        await until(lambda: joined.relay.finished)
        await lab.settle()
        assert joined.story.limit == "linger"
        assert joined.story.deadline <= lab.engine.now + LINGER
        joined.client.close()
        await joined.ended()

    run(main)


@pytest.mark.linux
def test_reset_waits_until_the_octets_before_it_are_delivered(run: Run) -> None:
    """Also if the idle limit is shorter than that takes."""

    async def main(lab: Lab) -> None:
        joined = Joined(lab, slow=4096, idle=0.2)
        joined.client.send(Pattern(0).octets(0, 12_000))
        await until(lambda: joined.relay.up.moved == 12_000)
        reset(joined.client)
        await until(lambda: joined.relay.finished)
        await asyncio.sleep(0.5)  # longer than the idle limit
        assert await check(joined.target, 0, 12_000) == 12_000
        await assert_reset(joined.target)
        await joined.ended()

    run(main)


# --- limits ---


@pytest.mark.patient
def test_idle_limit(run: Run) -> None:
    async def main(lab: Lab) -> None:
        joined = Joined(lab, idle=0.1)
        await joined.ended()
        assert isinstance(joined.story.error, TimeoutError)
        assert joined.story.limit == "idle"
        assert await receive(joined.client) == b""

    run(main)


@pytest.mark.patient
def test_traffic_postpones_the_idle_limit(run: Run) -> None:
    async def main(lab: Lab) -> None:
        joined = Joined(lab, idle=IDLE)
        started = lab.loop.time()
        for side in itertools.cycle(SIDES):
            one, other = ends(joined, side)
            await send(one, b"x")
            assert await exactly(other, 1) == b"x"
            last = lab.loop.time()
            if last > started + 2 * IDLE:
                break
            await asyncio.sleep(IDLE / 8)
        await joined.ended()
        assert isinstance(joined.story.error, TimeoutError)
        assert lab.loop.time() >= last + IDLE

    run(main)


@pytest.mark.patient
def test_idle_limit_drops_what_is_held(run: Run) -> None:
    async def main(lab: Lab) -> None:
        joined = Joined(lab, idle=0.2, slow=4096)
        feeding = asyncio.ensure_future(feed(joined.client, 1, MEGABYTE))
        await until(lambda: joined.relay.up.blocked)
        await joined.ended()
        assert isinstance(joined.story.error, TimeoutError)
        assert lab.engine.held == 0
        await stop(feeding)

    run(main)


# --- faults of ours ---


@pytest.mark.parametrize("where", ["_is_bulk_now", "turn", "_emptied"])
def test_exception_in_a_flow_ends_its_relay_alone(run: Run, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the batch is served, and the loop is told with the traceback."""

    async def main(lab: Lab) -> None:
        crowd = [Joined(lab, slow=1 << 19) for _ in range(5)]
        await lab.settle()
        victims = crowd[2]
        victim = victims.relay.up
        real: Callable[[Flow], object] = getattr(Flow, where)

        def faulty(flow: Flow) -> object:
            if flow is victim:
                raise ValueError("injected")
            return real(flow)

        monkeypatch.setattr(Flow, where, faulty)
        for joined in crowd:
            if where != "_is_bulk_now":
                make_bulk(joined.relay.up)
        feeding = [asyncio.ensure_future(feed(joined.client, n, 8 * MEGABYTE)) for n, joined in enumerate(crowd)]
        await until(lambda: all(joined.story.ended or joined.relay.up.blocked for joined in crowd))
        for number, joined in enumerate(crowd):
            if number != 2:
                assert await check(joined.target, number, 8 * MEGABYTE) == 8 * MEGABYTE
        with suppress(ConnectionResetError):
            assert await check(victims.target, 2) < 8 * MEGABYTE
        for task in feeding:
            await stop(task)
        await crowd[2].ended()
        assert [joined.story.ended for joined in crowd].count(True) == 1
        crash = lab.crashes.pop()
        assert isinstance(crash["exception"], ValueError)
        frames = []
        traceback = crash["exception"].__traceback__
        while traceback is not None:
            frames.append(traceback.tb_frame.f_code.co_name)
            traceback = traceback.tb_next
        assert "faulty" in frames

    run(main)


def test_closing_the_engine_ends_relays(run: Run) -> None:
    async def main(lab: Lab) -> None:
        joined = Joined(lab, slow=1 << 19)
        make_bulk(joined.relay.up)
        feeding = asyncio.ensure_future(feed(joined.client, 1, 8 * MEGABYTE))
        await until(lambda: joined.relay.up.blocked)
        lab.engine.close()
        assert joined.story.ended
        assert isinstance(joined.story.error, asyncio.CancelledError)
        await stop(feeding)
        lab.engine.close = lambda: None  # type: ignore[method-assign]

    run(main)


def test_dissolve_keeps_the_counters(run: Run) -> None:
    async def main(lab: Lab) -> None:
        joined = Joined(lab)
        await send(joined.client, b"12345")
        joined.client.shutdown(socket.SHUT_WR)
        assert await exactly(joined.target, 5) == b"12345"
        joined.target.close()
        await joined.ended()
        assert (joined.relay.up.moved, joined.relay.down.moved) == (5, 0)
        for flow in (joined.relay.up, joined.relay.down):
            assert not hasattr(flow, "relay")
            assert not hasattr(flow, "twin")

    run(main)


def test_edge_tells_more_than_one_thing(run: Run) -> None:
    """Writable and readable at once: both flows move."""

    async def main(lab: Lab) -> None:
        joined = Joined(lab, slow=4096)
        joined.target.send(Pattern("down").octets(0, SCRATCH))
        await until(lambda: joined.relay.down.blocked)
        held = lab.engine.held
        await check(joined.client, "down", SCRATCH // 2)
        joined.client.send(b"up")
        assert await exactly(joined.target, 2) == b"up"
        await check(joined.client, "down", SCRATCH, offset=SCRATCH // 2)
        await until(lambda: not joined.relay.down.blocked)
        assert held > lab.engine.held == 0

    run(main)


def test_error_of_a_write_is_the_peers(run: Run) -> None:
    """A relay does not ask why; any errno but EPIPE means that what comes the other way was cut, too."""

    async def main(lab: Lab) -> None:
        for code, was_reset in ((errno.EPIPE, False), (errno.ECONNRESET, True), (errno.ETIMEDOUT, True)):
            joined = Joined(lab)
            joined.relay.up.sink_died(OSError(code, "injected"))
            assert joined.far.was_reset == was_reset
            assert not joined.relay.ended_well
            assert joined.relay.up.status & DONE
            assert not joined.relay.down.status & DONE
            joined.client.close()
            joined.target.close()
            await joined.ended()

    run(main)


def test_late_edge_of_a_closed_endpoint_is_harmless(run: Run) -> None:
    async def main(lab: Lab) -> None:
        joined = Joined(lab)
        joined.client.close()
        joined.target.close()
        await joined.ended()
        for endpoint in (joined.near, joined.far):
            endpoint.owner.on_edge(endpoint, EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLERR)

    run(main)
