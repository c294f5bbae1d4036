from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import random
import socket
import stat
import termios
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import hosier.engine.pipes
from hosier.engine import flow as flow_module
from hosier.engine.endpoint import Endpoint
from hosier.engine.events import EPOLLIN, EPOLLOUT
from hosier.engine.flow import BULK_AFTER, QUIET_TURN, TURN, Flow
from hosier.engine.pipes import Pipe, PipePool
from hosier.engine.poller import SCRATCH
from hosier.engine.portable import PortableEngine
from hosier.engine.unsent import UNSENT

from .harness import (
    Joined,
    Lab,
    Pattern,
    Run,
    as_nobody,
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
    urge,
)

SMALL_BUFFER = 16384
"""A sink with it is full before its flow can become bulk: octets are held as octets."""

BULK_BUFFER = 1 << 19
"""Takes enough full reads for bulk before it is full: octets are held in a pipe."""

MEGABYTE = 1 << 20


def both(joined: Joined) -> tuple[Flow, Flow]:
    return joined.relay.up, joined.relay.down


async def exchange(joined: Joined, size: int, seed: object = 0) -> None:
    """That much in each direction at once, every octet compared; then both ends close."""

    async def say(sock: socket.socket, who: str) -> None:
        await feed(sock, (seed, who), size)
        sock.shutdown(socket.SHUT_WR)

    up, down, *_ = await asyncio.gather(
        check(joined.target, (seed, "client")),
        check(joined.client, (seed, "target")),
        say(joined.client, "client"),
        say(joined.target, "target"),
    )
    assert (up, down) == (size, size)
    await joined.ended()
    assert (joined.relay.up.moved, joined.relay.down.moved) == (size, size)


def in_pipe(flow: Flow) -> int:
    """What the kernel holds in the flow's pipe."""
    if flow._pipe is None:
        return 0
    count = array("i", [0])
    fcntl.ioctl(flow._pipe.read_fd, termios.FIONREAD, count)
    return count[0]


# --- moving octets ---


@pytest.mark.parametrize("size", [0, 1, SCRATCH - 1, SCRATCH, SCRATCH + 1, BULK_AFTER * SCRATCH, 5_000_001])
def test_everything_arrives_in_both_directions(run: Run, size: int) -> None:
    async def main(lab: Lab) -> None:
        await exchange(Joined(lab), size)

    run(main)


@pytest.mark.parametrize("size", [SCRATCH, 1_500_001])
def test_everything_arrives_through_small_buffers(run: Run, size: int) -> None:
    """Nearly every write is a short one."""

    async def main(lab: Lab) -> None:
        await exchange(Joined(lab, slow=4096), size)

    run(main)


ways = pytest.mark.parametrize("way", ["up", "down"])


@ways
def test_urgent_data_is_ordinary_data(run: Run, way: str) -> None:
    """A-40: at its place among the rest, however it comes."""

    async def main(lab: Lab) -> None:
        joined = Joined(lab)
        source, sink = (joined.client, joined.target) if way == "up" else (joined.target, joined.client)
        await urge(source, b"a")
        assert await exactly(sink, 1) == b"a"
        await send(source, b"bc")
        await urge(source, b"d")
        await urge(source, b"ef")
        await send(source, b"g")
        assert await exactly(sink, 6) == b"bcdefg"
        await lab.settle()
        await urge(source, b"hi")
        source.shutdown(socket.SHUT_WR)
        assert await exactly(sink, 2) == b"hi"
        assert await receive(sink) == b""

    run(main)


@ways
@pytest.mark.parametrize("slow", [0, 4096])
@pytest.mark.parametrize("piece", [1, 50_000, 300_001, 2 * MEGABYTE])
def test_urgent_data_amid_bulk(run: Run, way: str, slow: int, piece: int) -> None:
    """A-40. Splice stops before it, and with an end behind it says that this is the end."""
    size = 20_000 if piece == 1 else 4 * MEGABYTE if not slow else MEGABYTE

    async def main(lab: Lab) -> None:
        joined = Joined(lab, slow=slow)
        source, sink = (joined.client, joined.target) if way == "up" else (joined.target, joined.client)
        flow = joined.relay.up if way == "up" else joined.relay.down
        make_bulk(flow)

        async def say() -> None:
            await feed(source, 1, size, piece, urgent=True)
            source.shutdown(socket.SHUT_WR)

        found, _ = await asyncio.gather(check(sink, 1), say())
        assert found == flow.moved == size

    run(main)


@pytest.mark.linux
def test_bulk_moves_by_splice_and_small_talk_does_not(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0
    take = PipePool.take

    def counting(pool: PipePool) -> Any:
        nonlocal taken
        taken += 1
        return take(pool)

    monkeypatch.setattr(PipePool, "take", counting)

    async def main(lab: Lab) -> None:
        joined = Joined(lab)
        for _ in range(2 * BULK_AFTER):
            await send(joined.client, b"question")
            assert await exactly(joined.target, 8) == b"question"
        assert not taken
        await asyncio.gather(feed(joined.client, 1, 8 * MEGABYTE), check(joined.target, 1, 8 * MEGABYTE))
        assert taken
        await lab.settle()
        taken_for_bulk = taken
        for _ in range(2 * BULK_AFTER):
            await send(joined.client, b"question")
            assert await exactly(joined.target, 8) == b"question"
            await lab.settle()
        assert taken <= taken_for_bulk + 2  # the first small splice ends it

    run(main)


@pytest.mark.linux
def test_only_sinks_of_bulk_are_kept_short(run: Run) -> None:
    """Of octets that wait in the kernel; small talk does not pay for the call."""

    def bound(endpoint: Endpoint) -> int:
        return endpoint.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)

    async def main(lab: Lab) -> None:
        joined = Joined(lab)
        unbound = bound(joined.far)
        for _ in range(2 * BULK_AFTER):
            await send(joined.client, b"question")
            assert await exactly(joined.target, 8) == b"question"
        assert bound(joined.far) == unbound != UNSENT
        await asyncio.gather(feed(joined.client, 1, 8 * MEGABYTE), check(joined.target, 1, 8 * MEGABYTE))
        assert (bound(joined.far), bound(joined.near)) == (UNSENT, unbound)

    run(main)


@pytest.mark.linux
def test_splices_that_signals_cut_short(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sink is not full then, so that no edge would ever tell that it has room."""
    genuine, cut = os.splice, 0

    def splice(source: int, sink: int, size: int, *more: object) -> int:
        nonlocal cut
        if size > 1 and stat.S_ISSOCK(os.fstat(sink).st_mode):
            cut += 1
            size //= 2
        return genuine(source, sink, size, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(flow_module, "splice", splice)

    async def main(lab: Lab) -> None:
        await exchange(Joined(lab, slow=BULK_BUFFER), 20 * MEGABYTE)
        assert cut > 10

    run(main)


@pytest.mark.linux
@pytest.mark.parametrize("capacity", [1 << 16, 1 << 20])
def test_a_turn_is_longer_while_others_are_quiet(run: Run, monkeypatch: pytest.MonkeyPatch, capacity: int) -> None:
    """However much waits at the source, and however small the pipe is."""
    moved: list[int] = []

    def splice(source: int, sink: int, size: int, *_: object) -> int:
        moved.append(size)
        return size

    monkeypatch.setattr(flow_module, "splice", splice)

    async def main(lab: Lab) -> None:
        near, far = Endpoint(lab.engine, lab.pair()[1], lab), Endpoint(lab.engine, lab.pair()[1], lab)  # type: ignore[arg-type]
        flow = Flow(None, near, far)  # type: ignore[arg-type]
        for quiet, octets in (False, TURN), (True, QUIET_TURN), (False, TURN):
            moved.clear()
            make_bulk(flow)
            lab.engine.is_quiet = quiet
            with monkeypatch.context() as patch:
                patch.setattr(lab.engine, "queue", lambda flow: moved.append(0))
                pipe = lab.engine.pipes.take()
                assert pipe is not None
                pipe.capacity = capacity
                lab.engine.pipes.give(pipe)
                flow.turn()
            assert moved == [capacity] * (2 * octets // capacity) + [0]  # in and out, then it waits for its next turn
        assert flow.moved == 2 * TURN + QUIET_TURN
        near.close()
        far.close()

    run(main)


@pytest.mark.linux
def test_segments_that_do_not_fill_the_buffer_are_bulk_too(run: Run) -> None:
    """What network cards and the loopback join is a little less than the buffer; a flow that is as fast as its source
    finds such a segment each time, and never a full buffer."""

    async def main(lab: Lab) -> None:
        joined = Joined(lab)
        piece = SCRATCH - 53
        for number in range(2 * BULK_AFTER):
            await feed(joined.client, number, piece)
            await check(joined.target, number, piece)
            await lab.settle()
        assert lab.engine.pipes.open == 1

    run(main)


@pytest.mark.linux
def test_arrivals_at_a_blocked_flow_wake_nobody(run: Run) -> None:
    """Else every segment that joins those that must wait would be a wake-up in vain."""

    async def main(lab: Lab) -> None:
        joined = Joined(lab, slow=SMALL_BUFFER)
        flow = joined.relay.up
        told: list[int] = []
        size = SCRATCH + SMALL_BUFFER  # the source's own buffer has room for more
        await feed(joined.client, 1, size)
        await until(lambda: flow.blocked)
        await lab.settle()
        edge = Flow.on_edge

        def counted(self: Flow, source: Endpoint, events: int) -> None:
            told.append(events)
            edge(self, source, events)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Flow, "on_edge", counted)
            for number in range(20):
                await feed(joined.client, ("late", number), 100)
                await lab.settle()
            arrivals = sum(bool(events & EPOLLIN) for events in told)
            rooms = sum(bool(events & EPOLLOUT) for events in told)  # the kernel moved something on meanwhile
            assert arrivals <= 1 + rooms < 10
        await check(joined.target, 1, size)
        for number in range(20):
            await check(joined.target, ("late", number), 100)
        assert not flow.blocked
        assert flow.source.heard & EPOLLIN
        await send(joined.client, b"heard")
        assert await exactly(joined.target, 5) == b"heard"

    run(main)


def test_a_flow_is_queued_once(run: Run) -> None:
    async def main(lab: Lab) -> None:
        joined = Joined(lab)
        flow = joined.relay.up
        make_bulk(flow)
        await send(joined.client, b"x")
        for _ in range(3):
            flow.pump()
            flow._queue()
            flow.on_writable()
        assert list(lab.engine._turns).count(flow) == 1
        assert await exactly(joined.target, 1) == b"x"

    run(main)


def test_octets_are_counted_when_the_sink_has_taken_them(run: Run) -> None:
    async def main(lab: Lab) -> None:
        joined = Joined(lab, slow=SMALL_BUFFER)
        flow = joined.relay.up
        feeding = asyncio.ensure_future(feed(joined.client, 1, MEGABYTE))
        await until(lambda: flow.blocked)
        await lab.settle()
        read = await check(joined.target, 1, 10_000)
        assert read <= flow.moved < MEGABYTE
        await asyncio.gather(feeding, check(joined.target, 1, MEGABYTE, offset=read))
        assert flow.moved == MEGABYTE

    run(main)


# --- no octet of one session in another ---


def mixed_fates(run: Run, seed: int) -> None:
    """Bulk in both directions; every other session is reset somewhere in the middle, from either side, and new ones
    take its descriptors and pipes."""
    chance = random.Random(seed)

    async def doomed(lab: Lab, number: int) -> None:
        joined = Joined(lab, slow=chance.choice((SMALL_BUFFER, BULK_BUFFER)))
        size = chance.randrange(MEGABYTE)
        client, target = joined.client, joined.target
        reader, writer = (target, client) if number % 4 < 2 else (client, target)
        feeding = asyncio.ensure_future(feed(writer, ("doomed", number), 4 * MEGABYTE))
        await check(reader, ("doomed", number), size)
        await stop(feeding)
        if number % 2:
            reset(reader)
            await assert_reset(writer)
        else:
            reset(writer)
            with pytest.raises(ConnectionResetError):
                await check(reader, ("doomed", number), offset=size)
        await joined.ended()

    async def sound(lab: Lab, number: int) -> None:
        await exchange(Joined(lab, slow=chance.choice((0, SMALL_BUFFER, BULK_BUFFER))), 2 * MEGABYTE, number)

    async def main(lab: Lab) -> None:
        for generation in range(3):
            first = 8 * generation
            kinds = (doomed, sound)
            await asyncio.gather(*(kinds[number % 2](lab, number // 2) for number in range(first, first + 8)))

    run(main)


@pytest.mark.parametrize("seed", range(3))
def test_no_octet_of_one_session_appears_in_another(run: Run, seed: int) -> None:
    mixed_fates(run, seed)


@pytest.mark.linux
def test_a_pipe_with_octets_in_it_is_never_used_again(run: Run) -> None:
    async def main(lab: Lab) -> None:
        joined = Joined(lab, slow=BULK_BUFFER)
        make_bulk(joined.relay.up)
        feeding = asyncio.ensure_future(feed(joined.client, 1, 8 * MEGABYTE))
        await until(lambda: joined.relay.up._pipe is not None and joined.relay.up.blocked)
        await lab.settle()
        pipe = joined.relay.up._pipe
        assert pipe is not None
        assert in_pipe(joined.relay.up) == joined.relay.up.held > 0
        reset(joined.target)
        await joined.ended()
        assert pipe not in lab.engine.pipes._empty
        assert lab.engine.held == 0
        await stop(feeding)
        await exchange(Joined(lab), 4 * MEGABYTE)

    run(main)


# --- bounds ---


class Gauge:
    """Watches what an engine holds for slow readers, at each change."""

    def __init__(self, lab: Lab) -> None:
        gauge = self
        self.peak = 0

        class Gauged(type(lab.engine)):  # type: ignore[misc]
            @property
            def room(self) -> int:
                return int(self.__dict__["room"])

            @room.setter
            def room(self, value: int) -> None:
                assert value <= self.held_limit
                gauge.peak = max(gauge.peak, self.held_limit - value)
                self.__dict__["room"] = value

        lab.engine.__class__ = Gauged


def really_held(joined: Sequence[Joined]) -> int:
    return sum(len(flow._rest) + in_pipe(flow) for relay in joined for flow in both(relay))


@pytest.mark.parametrize("limit", [0, 2 * SCRATCH, MEGABYTE, 8 * MEGABYTE])
def test_held_octets_have_one_bound_per_engine(run: Run, limit: int) -> None:
    """Kernel pipes included; nothing is lost when the readers wake up."""

    async def main(lab: Lab) -> None:
        gauge = Gauge(lab)
        crowd = [Joined(lab, slow=SMALL_BUFFER if n % 2 else BULK_BUFFER) for n in range(24)]
        size = 4 * MEGABYTE
        feeding = asyncio.gather(*(feed(joined.client, n, size) for n, joined in enumerate(crowd)))
        await until(lambda: all(joined.relay.up.blocked for joined in crowd), "every reader is full")
        await lab.settle()
        assert really_held(crowd) == lab.engine.held <= limit
        await asyncio.gather(feeding, *(check(joined.target, n, size) for n, joined in enumerate(crowd)))
        assert gauge.peak <= limit
        assert (gauge.peak > 0) == (limit > 0)

    run(main, held_limit=limit)


def test_slow_readers_do_not_starve_the_quick_ones(run: Run) -> None:
    async def main(lab: Lab) -> None:
        crowd = [Joined(lab, slow=SMALL_BUFFER) for _ in range(12)]
        feeding = [asyncio.ensure_future(feed(joined.client, 0, MEGABYTE)) for joined in crowd]
        await until(lambda: all(joined.relay.up.blocked for joined in crowd))
        await exchange(Joined(lab), 2 * MEGABYTE)
        for joined, task in zip(crowd, feeding, strict=True):
            await check(joined.target, 0, MEGABYTE)
            await task

    run(main, held_limit=MEGABYTE)


def crowd_of_slow_readers(run: Run) -> None:
    async def main(lab: Lab) -> None:
        crowd = [Joined(lab, slow=BULK_BUFFER) for _ in range(90)]
        for joined in crowd:
            make_bulk(joined.relay.up)
        size = 4 * MEGABYTE
        feeding = asyncio.gather(*(feed(joined.client, n, size) for n, joined in enumerate(crowd)))
        await until(lambda: all(joined.relay.up.blocked for joined in crowd))
        await lab.settle()
        assert lab.engine.pipes.open or isinstance(lab.engine, PortableEngine)
        await asyncio.gather(feeding, *(check(joined.target, n, size) for n, joined in enumerate(crowd)))

    run(main)


def test_crowd_of_slow_readers_loses_nothing(run: Run) -> None:
    crowd_of_slow_readers(run)


@pytest.mark.patient
@pytest.mark.linux
@pytest.mark.skipif(os.geteuid() != 0, reason="every other test runs as an ordinary user already")
def test_as_an_ordinary_user(run: Run) -> None:
    """To whom the kernel refuses large pipes when 64 MiB are in use (pipe-user-pages-soft)."""
    few = int(Path("/proc/sys/fs/pipe-user-pages-soft").read_text()) * os.sysconf("SC_PAGE_SIZE") >> 20
    if not 0 < few <= 100:
        pytest.skip("here the kernel is generous")

    def work() -> None:
        crowd_of_slow_readers(run)
        mixed_fates(run, 0)
        large = [Pipe() for _ in range(few + 1)]
        assert large[-1].capacity < MEGABYTE
        crowd_of_slow_readers(run)
        mixed_fates(run, 1)
        for pipe in large:
            pipe.close()

    as_nobody(work)


# --- what the kernel may refuse ---


def no_pipes(*_: Any) -> None:
    return None


def too_many_files(*_: Any) -> tuple[int, int]:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.mark.linux
def test_without_any_pipe_nothing_is_lost(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PipePool, "take", no_pipes)

    async def main(lab: Lab) -> None:
        await asyncio.gather(
            exchange(Joined(lab), 4 * MEGABYTE), exchange(Joined(lab, slow=BULK_BUFFER), 4 * MEGABYTE, seed=1)
        )

    run(main)


@pytest.mark.linux
def test_without_descriptors_for_pipes_nothing_is_lost(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """They run out in the middle of the transfers."""
    pipe2 = os.pipe2
    left = 3

    def few(flags: int) -> tuple[int, int]:
        nonlocal left
        left -= 1
        return pipe2(flags) if left >= 0 else too_many_files()

    monkeypatch.setattr(os, "pipe2", few)

    async def main(lab: Lab) -> None:
        await asyncio.gather(*(exchange(Joined(lab, slow=BULK_BUFFER), 4 * MEGABYTE, n) for n in range(6)))
        assert left < 0
        assert lab.engine.pipes.open <= 3

    run(main)


@pytest.mark.linux
def test_with_small_pipes_nothing_is_lost(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused size: the kernel gives as little as one page."""
    real = fcntl.fcntl

    def refusing(fd: int, command: int, argument: int = 0) -> int:
        if command == hosier.engine.pipes._F_SETPIPE_SZ and argument > 4096:
            real(fd, command, 4096)
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return int(real(fd, command, argument))

    monkeypatch.setattr(fcntl, "fcntl", refusing)

    async def main(lab: Lab) -> None:
        await asyncio.gather(
            exchange(Joined(lab), 4 * MEGABYTE), exchange(Joined(lab, slow=BULK_BUFFER), 4 * MEGABYTE, seed=1)
        )

    run(main)


def test_held_limit_reached_by_another_flow_loses_nothing(run: Run) -> None:
    """The flow that holds nothing itself peeks and sends; an end and a reset reach it all the same."""

    async def main(lab: Lab) -> None:
        lab.engine.room = 0
        await exchange(Joined(lab, slow=SMALL_BUFFER), MEGABYTE)
        bulk = Joined(lab)
        make_bulk(bulk.relay.up)
        make_bulk(bulk.relay.down)
        await exchange(bulk, MEGABYTE)
        cut = Joined(lab)
        await send(cut.client, b"some")
        assert await exactly(cut.target, 4) == b"some"
        reset(cut.client)
        await assert_reset(cut.target)
        await cut.ended()
        gone = Joined(lab)
        reset(gone.target)
        await assert_reset(gone.client)
        await gone.ended()
        lab.engine.room += lab.engine.held_limit

    run(main)


# --- ends ---


@pytest.mark.parametrize("size", [0, 10, SCRATCH, 3 * MEGABYTE])
def test_octets_and_end_in_one_edge(run: Run, size: int) -> None:
    """A short read is no sign that the source is dry if the end came with it: its edge is spent."""

    async def main(lab: Lab) -> None:
        joined = Joined(lab)
        await lab.settle()
        feeding = asyncio.ensure_future(feed(joined.client, 0, size))
        if size < SCRATCH:
            await feeding
            joined.client.shutdown(socket.SHUT_WR)
        else:
            feeding.add_done_callback(lambda _: joined.client.shutdown(socket.SHUT_WR))
        assert await check(joined.target, 0) == size
        await send(joined.target, b"still here")
        assert await exactly(joined.client, 10) == b"still here"
        joined.target.shutdown(socket.SHUT_WR)
        assert await receive(joined.client) == b""
        await joined.ended()
        assert joined.relay.ended_well

    run(main)


@pytest.mark.parametrize("order", ["client first", "target first"])
def test_failed_write_ends_its_direction_alone(run: Run, order: str) -> None:
    """What the target sent before it went away is delivered, then its reset is passed on."""

    async def main(lab: Lab) -> None:
        joined = Joined(lab)
        client, target = joined.client, joined.target
        await send(client, b"never read")
        await until(lambda: joined.relay.up.moved == 10)
        answer = Pattern("answer").octets(0, 50_000)
        more = Pattern("more").octets(0, 5000)
        # All in one batch of edges; closing over unread octets resets.
        if order == "client first":
            client.send(more)
        assert target.send(answer) == len(answer)
        target.close()
        if order == "target first":
            client.send(more)
        assert await exactly(client, len(answer)) == answer
        await assert_reset(client)
        await joined.ended()
        assert joined.relay.down.moved == len(answer)

    run(main)


def test_failed_write_behind_a_proper_end(run: Run) -> None:
    """The target had ended its stream before it refused ours: the client sees its octets and an end, no reset."""

    async def main(lab: Lab) -> None:
        joined = Joined(lab)
        client, target = joined.client, joined.target
        await send(client, b"never read")
        await until(lambda: joined.relay.up.moved == 10)
        answer = Pattern("answer").octets(0, 50_000)
        assert target.send(answer) == len(answer)
        target.shutdown(socket.SHUT_WR)
        await lab.settle()
        client.send(b"more")
        target.close()
        assert await exactly(client, len(answer)) == answer
        assert await receive(client) == b""
        client.close()
        await joined.ended()

    run(main)


@pytest.mark.parametrize("held", ["copied", "piped"])
def test_octets_held_for_one_side_are_dropped_with_it(run: Run, held: str) -> None:
    async def main(lab: Lab) -> None:
        joined = Joined(lab, slow=4096 if held == "copied" else BULK_BUFFER)
        size = SCRATCH // 2 if held == "copied" else 8 * MEGABYTE
        if held == "piped":
            make_bulk(joined.relay.up)
        feeding = asyncio.ensure_future(feed(joined.client, 0, size))
        await until(lambda: joined.relay.up.blocked)
        await lab.settle()
        if not isinstance(lab.engine, PortableEngine):
            assert (joined.relay.up._pipe is not None) == (held == "piped")
        assert lab.engine.held > 0
        await stop(feeding)  # or its write would be told of the reset, and the read see a mere end
        joined.target.send(b"last words")
        reset(joined.target)
        assert await exactly(joined.client, 10) == b"last words"
        await assert_reset(joined.client)
        await joined.ended()
        assert lab.engine.held == 0

    run(main)


def test_octets_held_for_the_other_side_are_delivered(run: Run) -> None:
    """The source is reset while its octets wait for a slow reader: all of them arrive, then the reset."""

    async def main(lab: Lab) -> None:
        joined = Joined(lab, slow=4096)
        size = 40_000
        joined.client.send(Pattern(0).octets(0, size))
        await until(lambda: joined.relay.up.blocked)
        await lab.settle()
        reset(joined.client)
        await lab.settle()
        assert await check(joined.target, 0, size) == size
        await assert_reset(joined.target)
        await joined.ended()

    run(main)


def test_abandoned_flow_holds_nothing_and_takes_no_turn(run: Run) -> None:
    async def main(lab: Lab) -> None:
        near, far = Endpoint(lab.engine, lab.pair()[1], lab), Endpoint(lab.engine, lab.pair()[1], lab)  # type: ignore[arg-type]
        flow = Flow(None, near, far)  # type: ignore[arg-type]
        flow.hold(b"12345")
        assert lab.engine.held == 5
        flow.abandon()
        assert lab.engine.held == 0
        flow.turn()
        flow.pump()
        flow.abandon()
        assert lab.engine.held == 0
        near.close()
        far.close()

    run(main)
