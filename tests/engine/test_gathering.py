from __future__ import annotations

import socket
import sys
from socket import SO_RCVLOWAT, SOL_SOCKET

import pytest

from hosier.engine.flow import Flow
from hosier.engine.frame_buffers import BULK_FRAMES
from hosier.engine.gathering import Gathering
from hosier.engine.layered import UnwrappingFlow
from hosier.engine.portable import PortableEngine

from .harness import Joined, Lab, Pattern, Run, assert_reset, exactly, receive, reset, send, until, urge
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
    monkeypatch.setattr("hosier.engine.layered._LARGE", SIZE)
    monkeypatch.setattr("hosier.engine.gathering.ONE_WAY", ENOUGH * SIZE)


def moment(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr("hosier.engine.gathering.MOMENT", seconds)


def look(flow: Flow) -> None:
    """As when the moment has passed."""
    assert isinstance(flow, UnwrappingFlow)
    assert flow._gathering is not None
    flow._gathering._look(flow)


def told_of(joined: Joined) -> int:
    """Octets that must have come before the engine is told."""
    return joined.near.sock.getsockopt(SOL_SOCKET, SO_RCVLOWAT)


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
    await one_by_one(joined, ENOUGH + 2)  # the first one makes it bulk, the second is the first of those
    assert told_of(joined) == BULK_FRAMES * len(FRAME)
    return joined


def test_frames_are_told_of_together(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    moment(monkeypatch, FOREVER)

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
        await until(lambda: told_of(joined) == 1, "the engine is told of everything again")
        await one_by_one(joined, ENOUGH - 2)
        assert told_of(joined) == 1

    run(main)


def test_it_goes_on_while_much_comes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    moment(monkeypatch, FOREVER)
    looks: list[int] = []
    look_soon = Gathering._look_soon

    def count(gathers: Gathering, flow: Flow) -> None:
        looks.append(flow.moved)
        look_soon(gathers, flow)

    monkeypatch.setattr(Gathering, "_look_soon", count)

    async def main(lab: Lab) -> None:
        joined = await gathering(lab)
        flow = joined.relay.up
        begun = flow.moved
        for _ in range(3):
            await send(joined.client, BULK_FRAMES * FRAME)
            await exactly(joined.target, BULK_FRAMES * SIZE)
            look(flow)
        assert looks[1:] == [begun + (count + 1) * BULK_FRAMES * SIZE for count in range(3)]
        assert told_of(joined) == BULK_FRAMES * len(FRAME)
        look(flow)
        assert told_of(joined) == 1
        assert len(looks) == 4

    run(main)


def test_who_is_answered_does_not_wait(run: Run) -> None:
    """Something that comes back now and then shows that the sender may wait for it."""

    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=InPieces())
        for _ in range(4):
            await one_by_one(joined, ENOUGH - 2)
            await send(joined.target, b"!")
            await receive(joined.client)
        assert told_of(joined) == 1

    run(main)


def test_an_answer_ends_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    moment(monkeypatch, FOREVER)

    async def main(lab: Lab) -> None:
        joined = await gathering(lab)
        await send(joined.target, b"!")
        await receive(joined.client)
        await send(joined.client, BULK_FRAMES * FRAME)
        await exactly(joined.target, BULK_FRAMES * SIZE)
        look(joined.relay.up)
        assert told_of(joined) == 1

    run(main)


def test_an_end_waits_for_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    moment(monkeypatch, FOREVER)

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
    moment(monkeypatch, FOREVER)

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
            moment(monkeypatch, FOREVER)
        joined = await gathering(lab)
        await urge(joined.client, FRAME)
        assert await exactly(joined.target, SIZE) == bytes(SIZE)

    run(main)


def test_a_look_at_what_has_ended(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sockets are closed, and their numbers may be others'."""

    async def main(lab: Lab) -> None:
        moment(monkeypatch, FOREVER)
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
