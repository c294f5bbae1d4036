"""Flows held to a pace: nothing is lost, no turn moves more than was given, and what was not used goes back."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from math import inf
from time import monotonic

import pytest

from hosier.engine.events import EPOLLIN
from hosier.engine.flow import BULK_AFTER, FULL_READ, SMALL_SPLICE
from hosier.engine.flow_status import BULK
from hosier.engine.paced import PacedFlow, PacedLane, PacedUnwrappingFlow, PacedWrappingFlow
from hosier.engine.poller import SCRATCH
from hosier.engine.portable import PortableEngine
from hosier.engine.relay import Relay
from hosier.engine.segments import Traffic
from hosier.testing import ToyLayer

from .harness import Joined, Lab, Pattern, Run, check, exactly, feed, reset, send, until

MEGABYTE = 1 << 20


class Allowance:
    """Grants of one size, each after so many seconds; what is taken and not given back is ``spent``."""

    def __init__(self, size: int, wait: float = 0.0) -> None:
        self.size = size
        self.wait = wait
        self.spent = 0
        self.takes = 0
        self.error: Exception | None = None
        self.portion = inf
        """More than there ever is at once, so that each turn is paid for before; in ``Plenty`` none has to be."""

    def take(self, now: float) -> tuple[int, float]:
        assert abs(now - monotonic()) < 10
        if self.error is not None:
            raise self.error
        self.takes += 1
        self.spent += self.size
        return self.size, self.wait

    def give_back(self, octets: int) -> None:
        assert 0 < octets <= self.size
        self.spent -= octets

    def fits(self, _: float) -> float:
        return self.size - self.spent

    def spend(self, octets: int, _: float) -> None:
        self.spent += octets


class Plenty(Allowance):
    """So much is always there."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.portion = 1

    def take(self, _: float) -> tuple[int, float]:
        raise AssertionError("nobody need wait")

    def fits(self, _: float) -> float:
        return self.size


def paced(up: Allowance | None, down: Allowance | None) -> Callable[[Relay], None]:
    return lambda relay: relay.pace(up, down)


async def exchange(joined: Joined, size: int) -> None:
    async def say(sock: socket.socket, who: str) -> None:
        await feed(sock, who, size)
        sock.shutdown(socket.SHUT_WR)

    found = await asyncio.gather(
        check(joined.target, "client"),
        check(joined.client, "target"),
        say(joined.client, "client"),
        say(joined.target, "target"),
    )
    assert tuple(found[:2]) == (size, size)
    await joined.ended()


KINDS = pytest.mark.parametrize("kind", [Allowance, Plenty])


@KINDS
@pytest.mark.parametrize("grant", [1, 1000, 16384, SCRATCH, MEGABYTE])
@pytest.mark.parametrize("slow", [0, 4096])
def test_everything_arrives_and_all_of_it_is_paid_for(run: Run, grant: int, slow: int, kind: type[Allowance]) -> None:
    async def main(lab: Lab) -> None:
        up, down = kind(grant), kind(grant)
        joined = Joined(lab, configure=paced(up, down), slow=slow)
        assert isinstance(joined.relay.up, PacedFlow)
        size = {1: 3000, 1000: 300_000}.get(grant, 3 * MEGABYTE if not slow else MEGABYTE // 2)
        await exchange(joined, size)
        assert up.spent == down.spent == joined.relay.up.moved == joined.relay.down.moved == size

    run(main)


@KINDS
@pytest.mark.parametrize("grant", [1000, SCRATCH, MEGABYTE])
@pytest.mark.parametrize("piece", [1, 100_000])
def test_urgent_data_is_ordinary_data(run: Run, grant: int, piece: int, kind: type[Allowance]) -> None:
    """A-40."""
    size = 5000 if piece == 1 else 200_000 if grant == 1000 else 2 * MEGABYTE

    async def main(lab: Lab) -> None:
        up = kind(grant)
        joined = Joined(lab, configure=paced(up, None))

        async def say() -> None:
            await feed(joined.client, 1, size, piece, urgent=True)
            joined.client.shutdown(socket.SHUT_WR)

        found, _ = await asyncio.gather(check(joined.target, 1), say())
        assert found == up.spent == size

    run(main)


@KINDS
@pytest.mark.parametrize("grant", [1000, SCRATCH, MEGABYTE])
def test_everything_arrives_where_nothing_may_be_held(run: Run, grant: int, kind: type[Allowance]) -> None:
    async def main(lab: Lab) -> None:
        up, down = kind(grant), kind(grant)
        await exchange(Joined(lab, configure=paced(up, down), slow=4096), 200_000)
        assert up.spent == down.spent == 200_000

    run(main, held_limit=0)


def test_one_direction_alone(run: Run) -> None:
    async def main(lab: Lab) -> None:
        up = Allowance(1000)
        joined = Joined(lab, configure=paced(up, None))
        await exchange(joined, 100_000)
        assert up.spent == 100_000
        assert not isinstance(joined.relay.down, PacedFlow)

    run(main)


@pytest.mark.linux
def test_bulk_that_is_ignored_stays_so_until_there_is_nothing_more(run: Run) -> None:
    """As where there is no pace: each segment that joins it would be one more edge in vain."""

    async def main(lab: Lab) -> None:
        if isinstance(lab.engine, PortableEngine):
            return  # it has no pipes, and so no bulk
        joined = Joined(lab, configure=paced(None, Plenty(MEGABYTE)))
        flow = joined.relay.down
        await lab.settle()
        flow.source.ignore(EPOLLIN)
        flow.status |= BULK
        size = 4 * SMALL_SPLICE
        await feed(joined.target, "x", size)
        flow.turn()
        assert flow.moved >= SMALL_SPLICE
        assert not flow.source.heard & EPOLLIN
        await check(joined.client, "x", size)
        await until(lambda: flow.source.heard & EPOLLIN)
        await send(joined.target, b"heard")
        assert await exactly(joined.client, 5) == b"heard"

    run(main)


def test_bulk_is_spliced_and_no_turn_moves_more_than_was_given(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(lab: Lab) -> None:
        spliced: list[int] = []
        genuine = PacedFlow._splice

        def splice(flow: PacedFlow, pipe: object, share: int, most: int) -> None:
            assert share == most  # once, and no more
            spliced.append(share)
            genuine(flow, pipe, share, most)  # type: ignore[arg-type]

        monkeypatch.setattr(PacedFlow, "_splice", splice)
        down = Allowance(100_000)
        joined = Joined(lab, configure=paced(None, down))
        moved = 0
        while not spliced and moved < 256 * MEGABYTE:  # on a busy machine the sender may be too slow for bulk
            await asyncio.gather(feed(joined.target, "x", 8 * MEGABYTE), check(joined.client, "x", 8 * MEGABYTE))
            moved += 8 * MEGABYTE
            assert down.spent == moved
            if isinstance(lab.engine, PortableEngine):
                assert not spliced
                return
        assert spliced
        assert max(spliced) <= 100_000

    run(main)


def test_segments_that_fill_no_buffer_are_bulk_too(run: Run) -> None:
    """The loopback and network cards join what comes to less than a buffer; copying all of it costs four times as
    much."""

    async def main(lab: Lab) -> None:
        joined = Joined(lab, configure=paced(None, Allowance(MEGABYTE)))
        for _ in range(BULK_AFTER):
            await send(joined.target, b"x" * FULL_READ)
            await exactly(joined.client, FULL_READ)
        assert joined.relay.down._full_reads >= BULK_AFTER

    run(main)


def test_a_turn_waits_until_it_is_paid_for(run: Run) -> None:
    async def main(lab: Lab) -> None:
        down = Allowance(50_000, wait=0.05)
        joined = Joined(lab, configure=paced(None, down))
        began = monotonic()
        await send(joined.target, b"x" * 150_000)
        await exactly(joined.client, 150_000)
        assert monotonic() - began > 0.145
        assert 3 <= down.takes <= 4

    run(main)


def test_while_one_direction_waits_the_other_goes_on(run: Run) -> None:
    async def main(lab: Lab) -> None:
        down = Allowance(1000, wait=600.0)
        joined = Joined(lab, configure=paced(None, down))
        await send(joined.target, b"never")
        await until(lambda: down.takes == 1, "it waits")
        await send(joined.client, b"ever")
        assert await exactly(joined.target, 4) == b"ever"
        joined.story.interrupt(OSError("long enough"))
        await joined.ended()
        assert down.spent == 0

    run(main)


def test_who_ends_while_waiting_gives_back(run: Run) -> None:
    async def main(lab: Lab) -> None:
        down = Allowance(1000, wait=0.02)
        joined = Joined(lab, configure=paced(None, down))
        await send(joined.target, b"x" * 10)
        await until(lambda: down.takes == 1, "it waits")
        reset(joined.client)
        await joined.ended()
        await asyncio.sleep(0.05)
        await until(lambda: not lab.engine._turns, "its turn has come and gone")
        assert down.spent in (0, 10)  # the reset may have come after the turn

    run(main)


def test_early_octets_are_paid_for(run: Run) -> None:
    async def main(lab: Lab) -> None:
        up = Allowance(1000)
        joined = Joined(lab, configure=paced(up, None), leftover=b"early")
        assert await exactly(joined.target, 5) == b"early"
        await send(joined.client, b"and late")
        assert await exactly(joined.target, 8) == b"and late"
        assert up.spent == 13

    run(main)


def test_what_a_pace_raises_ends_the_session(run: Run) -> None:
    async def main(lab: Lab) -> None:
        down = Allowance(1000)
        joined = Joined(lab, configure=paced(None, down))
        await send(joined.target, b"one")
        assert await exactly(joined.client, 3) == b"one"
        down.error = OSError("no more for you")
        await send(joined.target, b"two")
        await joined.ended()
        assert joined.story.error is down.error

    run(main)


@KINDS
@pytest.mark.parametrize("grant", [1000, 16384, MEGABYTE])
@pytest.mark.parametrize("slow", [0, 4096])
def test_under_a_layer(run: Run, grant: int, slow: int, kind: type[Allowance]) -> None:
    size = 300_000
    plain = Pattern("up").octets(0, size)

    async def main(lab: Lab) -> None:
        up, down = kind(grant), kind(grant)

        joined = Joined(lab, layer=ToyLayer(), configure=lambda relay: relay.pace(up, down), slow=slow)
        assert isinstance(joined.relay.up, PacedUnwrappingFlow)
        assert isinstance(joined.relay.down, PacedWrappingFlow)
        layer = ToyLayer()
        frames = b"".join(layer.wrap(plain[start : start + 9000]) for start in range(0, size, 9000))

        async def hear() -> bytes:
            data, found = b"", b""
            while len(found) < size:
                data += await asyncio.get_running_loop().sock_recv(joined.client, 1 << 18)
                while data and (frame := layer.unwrap(data)) is not None:
                    found += frame[0]
                    data = data[frame[1] :]
            return found

        _, heard, *_ = await asyncio.gather(
            check(joined.target, "up", size), hear(), send(joined.client, frames), send(joined.target, plain)
        )
        assert heard == plain
        assert up.spent >= joined.relay.up.payload == size
        assert down.spent == joined.relay.down.moved >= size

    run(main)


@KINDS
@pytest.mark.parametrize("grant", [1000, MEGABYTE])
def test_a_flood_of_small_frames_is_paid_for(run: Run, grant: int, kind: type[Allowance]) -> None:
    """One read brings more frames than one turn opens."""
    size = 40_000
    plain = Pattern("up").octets(0, size)

    async def main(lab: Lab) -> None:
        up = kind(grant)
        joined = Joined(lab, layer=ToyLayer(), configure=lambda relay: relay.pace(up, kind(grant)))
        frames = b"".join(ToyLayer().wrap(plain[start : start + 10]) for start in range(0, size, 10))
        sending = asyncio.ensure_future(send(joined.client, frames))
        await check(joined.target, "up", size)
        await sending
        assert up.spent >= joined.relay.up.payload == size

    run(main)


# --- datagrams ---


class Engine:
    now = monotonic()


class Lane:
    place: tuple[str, int] | None = ("192.0.2.1", 9)

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, pieces: list[memoryview | bytes], width: int) -> None:
        self.sent += [b"".join(pieces[start : start + width]) for start in range(0, len(pieces), width)]


def lane(size: int) -> tuple[PacedLane, Lane, Traffic]:
    inner, traffic = Lane(), Traffic()
    return PacedLane(inner, traffic, Allowance(size), Engine()), inner, traffic  # type: ignore[arg-type]


def test_datagrams_that_fit_go_and_others_do_not() -> None:
    outer, inner, traffic = lane(250)
    outer.send([b"a" * 100], 1)
    outer.send([b"b" * 100], 1)
    outer.send([b"c" * 100], 1)
    outer.send([b"d" * 50], 1)
    outer.send([b"e"], 1)
    outer.send([b""], 1)
    assert inner.sent == [b"a" * 100, b"b" * 100, b"d" * 50, b""]
    assert traffic.dropped == {"bandwidth": 2}


def test_of_a_run_goes_what_fits() -> None:
    outer, inner, traffic = lane(250)
    outer.send([b"head", b"a" * 100, b"head", b"b" * 100, b"head", b"c" * 100, b"head", b"d" * 10], 2)
    assert inner.sent == [b"head" + b"a" * 100, b"head" + b"b" * 100]
    assert traffic.dropped == {"bandwidth": 2}
    outer.send([b"head", b"f" * 50], 2)
    assert len(inner.sent) == 3


def test_empty_datagrams_cost_nothing() -> None:
    outer, inner, traffic = lane(0)
    outer.send([b"", b"", b""], 1)
    assert len(inner.sent) == 3
    assert not traffic.dropped


def test_it_leads_where_the_lane_leads() -> None:
    outer, inner, _ = lane(1)
    assert outer.place == ("192.0.2.1", 9)
    outer.place = ("192.0.2.2", 9)
    assert inner.place == ("192.0.2.2", 9)
