from __future__ import annotations

import socket
import sys
from socket import SO_RCVLOWAT, SOL_SOCKET
from types import SimpleNamespace
from typing import Any

import pytest

from hosier.engine.endpoint import Endpoint
from hosier.engine.flow import SMALL_SPLICE, Flow
from hosier.engine.flow_status import BULK
from hosier.engine.frame_buffers import BULK_FRAMES
from hosier.engine.gathering import GATHERED, MOMENT, ONE_WAY, Gathering, ran_dry
from hosier.engine.portable import PortableEngine

from .harness import (
    Joined,
    Lab,
    Pattern,
    Run,
    assert_reset,
    check,
    exactly,
    feed,
    receive,
    reset,
    send,
    until,
    urge,
)
from .toy_frames import InPieces, frames

pytestmark = [
    pytest.mark.skipif(not hasattr(socket.socket, "recvmsg_into"), reason="frames are not moved in pieces here"),
    pytest.mark.skipif(sys.platform != "linux", reason="nothing is let gather here"),
]

SIZE = 2000  # octets of payload in a frame of bulk
ENOUGH = 8  # frames that flow one way before others are let gather
FRAME = frames(bytes(SIZE))
FOREVER = 3600.0


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little is much, and comes fast."""
    monkeypatch.setattr("hosier.engine.layered._LARGE", SIZE)
    for module in ("flow", "gathering", "layered"):
        monkeypatch.setattr(f"hosier.engine.{module}.ONE_WAY", ENOUGH * SIZE)
    monkeypatch.setattr("hosier.engine.gathering.MOMENT", FOREVER)


def look_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hosier.engine.gathering.LOOK_AGAIN", FOREVER)


def look(flow: Flow, times: int = 1) -> None:
    """As when it is time for it."""
    for _ in range(times):
        flow.source.engine.looks._look()


def told_of(endpoint: Endpoint) -> int:
    """Octets that must have come before the engine is told."""
    return endpoint.sock.getsockopt(SOL_SOCKET, SO_RCVLOWAT)


async def one_by_one(joined: Joined, count: int) -> None:
    """Frames of which each has passed before the next one comes."""
    for _ in range(count):
        moved = joined.relay.up.moved
        await send(joined.client, FRAME)
        await until(lambda now=moved: joined.relay.up.moved == now + SIZE, "a frame passes")  # type: ignore[misc]
    await exactly(joined.target, count * SIZE)


async def gathering(lab: Lab) -> Joined:
    """A relay that lets frames gather."""
    joined = Joined(lab, layer=InPieces())
    await one_by_one(joined, 2 * ENOUGH)  # as many before anything is counted
    assert told_of(joined.near) == BULK_FRAMES * len(FRAME)
    return joined


def test_frames_are_told_of_together(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    look_never(monkeypatch)

    async def main(lab: Lab) -> None:
        joined = await gathering(lab)
        data = Pattern("up").octets(0, BULK_FRAMES * SIZE)
        moved = joined.relay.up.moved
        wire = frames(data, SIZE)
        await send(joined.client, wire[:-1])
        await lab.settle()
        assert joined.relay.up.moved == moved, "they gather"
        await send(joined.client, wire[-1:])
        assert await exactly(joined.target, len(data)) == data

    run(main)


def test_a_moment_later_they_pass(run: Run) -> None:
    """Few as they are; and it begins anew only after much more has come."""

    async def main(lab: Lab) -> None:
        joined = await gathering(lab)
        await send(joined.client, FRAME)
        assert await exactly(joined.target, SIZE) == bytes(SIZE)
        await until(lambda: told_of(joined.near) == 1, "the engine is told of everything again")
        await one_by_one(joined, ENOUGH - 2)
        assert told_of(joined.near) == 1

    run(main)


def test_it_goes_on_while_much_comes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    look_never(monkeypatch)

    async def main(lab: Lab) -> None:
        joined = await gathering(lab)
        flow = joined.relay.up
        look(flow)
        for _ in range(3):
            await send(joined.client, BULK_FRAMES * FRAME)
            await exactly(joined.target, BULK_FRAMES * SIZE)
            look(flow)
            assert told_of(joined.near) == BULK_FRAMES * len(FRAME)
        look(flow)
        assert told_of(joined.near) == 1
        assert lab.engine.looks._handle is None, "nobody is looked at any more"

    run(main)


def test_who_is_answered_does_not_wait(run: Run) -> None:
    """Something that comes back now and then shows that the sender may wait for it."""

    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=InPieces())
        for _ in range(4):
            await one_by_one(joined, ENOUGH - 2)
            await send(joined.target, b"!")
            await receive(joined.client)
        assert told_of(joined.near) == 1

    run(main)


def test_an_answer_ends_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    look_never(monkeypatch)

    async def main(lab: Lab) -> None:
        joined = await gathering(lab)
        await send(joined.target, b"!")
        await receive(joined.client)
        await send(joined.client, BULK_FRAMES * FRAME)
        await exactly(joined.target, BULK_FRAMES * SIZE)
        look(joined.relay.up)
        assert told_of(joined.near) == 1

    run(main)


def test_an_end_waits_for_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    look_never(monkeypatch)

    async def main(lab: Lab) -> None:
        joined = await gathering(lab)
        await send(joined.client, FRAME)
        await lab.settle()
        joined.client.shutdown(socket.SHUT_WR)
        assert await exactly(joined.target, SIZE) == bytes(SIZE)
        assert await receive(joined.target) == b""
        await send(joined.target, b"all")
        assert await receive(joined.client) == InPieces().wrap(b"all")
        joined.target.shutdown(socket.SHUT_WR)
        await joined.ended()
        assert joined.relay.ended_well

    run(main)


def test_a_reset_waits_for_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    look_never(monkeypatch)

    async def main(lab: Lab) -> None:
        joined = await gathering(lab)
        await send(joined.client, FRAME[:-1])
        await lab.settle()
        reset(joined.client)
        await assert_reset(joined.target)
        await joined.ended()

    run(main)


def test_urgent_data_waits_for_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the engine is told of it; elsewhere it waits as everything does."""

    async def main(lab: Lab) -> None:
        if not isinstance(lab.engine, PortableEngine):
            look_never(monkeypatch)
        joined = await gathering(lab)
        await urge(joined.client, FRAME)
        assert await exactly(joined.target, SIZE) == bytes(SIZE)

    run(main)


def test_a_look_at_what_has_ended(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sockets are closed, and their numbers may be others'."""

    async def main(lab: Lab) -> None:
        look_never(monkeypatch)
        joined = await gathering(lab)
        flow = joined.relay.up
        joined.client.close()
        joined.target.close()
        await joined.ended()
        look(flow)
        assert joined.near.closed

    run(main)


def test_a_slow_reader_meanwhile(run: Run) -> None:
    """What is held and what gathers both arrive."""

    async def main(lab: Lab) -> None:
        joined = await gathering(lab)
        data = Pattern("up").octets(0, 4 << 20)
        await send(joined.client, frames(data, SIZE)[: 1 << 20])
        await until(lambda: joined.relay.up.blocked or joined.relay.up.moved > 1 << 19, "it is under way")
        rest = lab.loop.create_task(send(joined.client, frames(data, SIZE)[1 << 20 :]))
        assert await exactly(joined.target, len(data)) == data
        await rest

    run(main)


def test_downwards_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a target sends in little pieces makes large frames."""
    look_never(monkeypatch)
    layer, piece, count = InPieces(), bytes(30_000), 18  # nine are much, and nine more enough
    most = BULK_FRAMES * layer.max_payload
    for module in ("gathering", "layered"):
        monkeypatch.setattr(f"hosier.engine.{module}.ONE_WAY", most)

    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=InPieces())
        down, frame = joined.relay.down, len(layer.wrap(piece))
        for number in range(count):
            await send(joined.target, piece)
            await exactly(joined.client, frame)
            await until(lambda passed=number + 1: down.moved == passed * frame, "it has passed")  # type: ignore[misc]
        assert told_of(joined.far) == most
        data = Pattern("down").octets(0, most)
        await send(joined.target, data[: most // 2])
        await lab.settle()
        assert down.payload == count * len(piece), "they gather"
        await send(joined.target, data[most // 2 :])
        wire = frames(data, layer.max_payload)
        assert await exactly(joined.client, len(wire)) == wire

    run(main)


def test_who_is_answered_after_much_waits_a_few_times_only(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large messages, each with its answer: each time that they gathered in vain, twice as much must come."""
    look_never(monkeypatch)
    size = 8 * ENOUGH  # frames
    gathered: list[bool] = []

    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=InPieces())
        flow = joined.relay.up
        for _ in range(7):
            for _ in range(size):
                moved = flow.moved
                await send(joined.client, FRAME)
                await lab.settle()
                if flow.moved == moved:
                    assert told_of(joined.near) > 1
                    look(flow, 2)
                await until(lambda now=moved: flow.moved == now + SIZE, "a frame passes")  # type: ignore[misc]
                gathered.append(told_of(joined.near) > 1)
            if gathered[-1]:
                look(flow, 2)
            await exactly(joined.target, size * SIZE)
            await send(joined.target, b"!")
            await receive(joined.client)
        times = [any(gathered[start : start + size]) for start in range(0, len(gathered), size)]
        assert times == sorted(times, reverse=True)
        assert (times[0], times[-1]) == (True, False)

    run(main)


async def gathering_bulk(lab: Lab, slow: int = 0) -> Joined:
    """A relay that lets bulk gather which it splices; ``slow``: the size of its sink's buffers."""
    joined = Joined(lab, slow=slow)
    flow, piece = joined.relay.up, bytes(GATHERED // 8)

    async def pass_one() -> None:
        moved = flow.moved
        await send(joined.client, piece)
        await exactly(joined.target, len(piece))
        await until(lambda: flow.moved == moved + len(piece), "it has passed")
        await lab.settle()

    with pytest.MonkeyPatch.context() as patch:
        for module in ("flow", "gathering"):
            patch.setattr(f"hosier.engine.{module}.ONE_WAY", GATHERED)
        while not flow.status & BULK or told_of(joined.near) == 1:
            assert flow.moved < 1000 * len(piece), "nothing gathers"
            await pass_one()
    return joined


@pytest.mark.linux
def test_bulk_is_told_of_together(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    look_never(monkeypatch)

    async def main(lab: Lab) -> None:
        joined = await gathering_bulk(lab)
        flow = joined.relay.up
        enough, moved = told_of(joined.near), flow.moved
        assert GATHERED // 4 <= enough <= GATHERED  # the kernel may forbid so much
        data = Pattern("up").octets(0, enough)
        await send(joined.client, data[: enough // 2])
        await lab.settle()
        assert flow.moved == moved, "it gathers"
        await send(joined.client, data[enough // 2 :])
        assert await exactly(joined.target, len(data)) == data

    run(main)


@pytest.mark.linux
@pytest.mark.parametrize("size", [1, SMALL_SPLICE - 1, GATHERED // 2])
def test_a_moment_later_bulk_passes(run: Run, size: int) -> None:
    """However little it is, and small talk is what it was before."""

    async def main(lab: Lab) -> None:
        joined = await gathering_bulk(lab)
        data = Pattern("up").octets(0, size)
        await send(joined.client, data)
        assert await exactly(joined.target, size) == data
        await until(lambda: told_of(joined.near) == 1, "the engine is told of everything again")
        for _ in range(3):
            await send(joined.client, b"question")
            assert await exactly(joined.target, 8) == b"question"
            await send(joined.target, b"answer")
            assert await exactly(joined.client, 6) == b"answer"
        assert told_of(joined.near) == 1

    run(main)


@pytest.mark.linux
def test_the_end_of_bulk_waits_for_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    look_never(monkeypatch)

    async def main(lab: Lab) -> None:
        joined = await gathering_bulk(lab)
        await send(joined.client, b"the last octets")
        await lab.settle()
        joined.client.shutdown(socket.SHUT_WR)
        assert await exactly(joined.target, 15) == b"the last octets"
        assert await receive(joined.target) == b""
        await send(joined.target, b"all of it")
        joined.target.shutdown(socket.SHUT_WR)
        assert await exactly(joined.client, 9) == b"all of it"
        assert await receive(joined.client) == b""
        await joined.ended()
        assert joined.relay.ended_well

    run(main)


@pytest.mark.linux
def test_a_reset_of_bulk_waits_for_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    look_never(monkeypatch)

    async def main(lab: Lab) -> None:
        joined = await gathering_bulk(lab)
        await send(joined.client, b"the last octets")
        await lab.settle()
        reset(joined.client)
        await assert_reset(joined.target)
        await joined.ended()

    run(main)


@pytest.mark.linux
def test_urgent_data_in_bulk_waits_for_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    look_never(monkeypatch)

    async def main(lab: Lab) -> None:
        joined = await gathering_bulk(lab)
        await urge(joined.client, b"stop!")
        assert await exactly(joined.target, 5) == b"stop!"

    run(main)


@pytest.mark.linux
def test_a_slow_reader_of_bulk_that_gathers(run: Run) -> None:
    async def main(lab: Lab) -> None:
        joined = await gathering_bulk(lab, slow=1 << 19)
        size = 8 << 20
        feeding = lab.loop.create_task(feed(joined.client, "up", size))
        await until(lambda: joined.relay.up.blocked, "the reader is slower")
        assert await check(joined.target, "up", size) == size
        await feeding

    run(main)


@pytest.mark.linux
def test_all_are_looked_at_together(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One timer, however many they are; who has ended is forgotten."""
    look_never(monkeypatch)

    async def main(lab: Lab) -> None:
        first, second = await gathering_bulk(lab), await gathering_bulk(lab)
        timer = lab.engine.looks._handle
        assert timer is not None
        assert len(lab.engine.looks._flows) == 2
        first.client.close()
        first.target.close()
        await first.ended()
        look(second.relay.up)
        assert lab.engine.looks._flows == [second.relay.up]
        look(second.relay.up)
        assert not lab.engine.looks._flows
        assert lab.engine.looks._handle is None

    run(main)


@pytest.mark.linux
def test_a_look_that_fails_is_no_other_flow_s_matter(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    look_never(monkeypatch)
    genuine = Gathering.look

    async def main(lab: Lab) -> None:
        first, second = await gathering_bulk(lab), await gathering_bulk(lab)

        def fail(gathering: Gathering, flow: Flow) -> bool:
            if flow is first.relay.up:
                raise RuntimeError("a fault of ours")
            return genuine(gathering, flow)

        monkeypatch.setattr(Gathering, "look", fail)
        look(second.relay.up)
        await first.ended()
        assert lab.crashes.pop()["exception"].args == ("a fault of ours",)
        assert lab.engine.looks._flows == [second.relay.up]
        await send(second.client, b"the last octets")
        look(second.relay.up)
        assert await exactly(second.target, 15) == b"the last octets"

    run(main)


class _Source:
    """Where a flow comes from, as far as it matters here."""

    def __init__(self) -> None:
        self.engine = self.sock = self.looks = self
        self.now = 1000.0
        self.told: list[int] = []

    def setsockopt(self, level: int, option: int, octets: int) -> None:
        assert (level, option) == (SOL_SOCKET, SO_RCVLOWAT)
        self.told.append(octets)

    def add(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("seconds", "count"), [(0.0, 4), (0.02, 4), (0.035, 3), (0.1, 1), (0.127, 1), (0.129, 0), (5.0, 0)]
)
def test_no_more_than_comes_in_a_moment(monkeypatch: pytest.MonkeyPatch, seconds: float, count: int) -> None:
    """Four frames at most; and what comes too slowly is measured anew."""
    monkeypatch.setattr("hosier.engine.gathering.ONE_WAY", ONE_WAY)
    monkeypatch.setattr("hosier.engine.gathering.MOMENT", MOMENT)
    source, frame = _Source(), 65_536
    monkeypatch.setattr("hosier.engine.gathering.monotonic", lambda: source.now)
    flow: Any = SimpleNamespace(source=source, twin=SimpleNamespace(moved=0), moved=100, gathering=None)
    ran_dry(flow, frame, 4)
    flow.moved += ONE_WAY - 1
    ran_dry(flow, frame, 4)
    assert not source.told, "it must be more"
    flow.moved += 1
    source.now += seconds
    ran_dry(flow, frame, 4)
    assert source.told == ([count * frame] if count else [])
    flow.moved += ONE_WAY
    ran_dry(flow, frame, 4)
    assert source.told == [count * frame if count else 4 * frame]
