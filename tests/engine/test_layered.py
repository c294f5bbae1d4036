from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import sys
import weakref
from collections.abc import Sequence

import pytest

import hosier.engine.layered
from hosier.engine.layered import MAX_FRAME, UnwrappingFlow, _LayeredFlow
from hosier.engine.opening import FRAMES_AT_ONCE
from hosier.engine.poller import SCRATCH
from hosier.errors import RemoteProtocolError
from hosier.protocol.address import Buffer
from hosier.testing import ToyLayer

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
    stop,
    until,
    urge,
)
from .toy_frames import InPieces, frames

MEGABYTE = 1 << 20


async def unwrapped(sock: socket.socket, size: int | None = None) -> bytes:
    """What a client makes of the frames: ``size`` octets, or all to the end of the stream."""
    layer, data, plain = ToyLayer(), b"", b""
    while size is None or len(plain) < size:
        piece = await receive(sock, 1 << 18)
        if not piece:
            break
        data += piece
        while data and (found := layer.unwrap(data)) is not None:
            plain += found[0]
            data = data[found[1] :]
    assert not data
    return plain


def frames_of_turns(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames upwards each turn delivers from now on."""
    delivered: list[int] = []
    deliver = _LayeredFlow._deliver

    def record(flow: _LayeredFlow, out: bytes | Sequence[bytes]) -> bool:
        delivered.append(1 if isinstance(out, bytes) else len(out))
        return deliver(flow, out)

    monkeypatch.setattr(_LayeredFlow, "_deliver", record)
    return delivered


async def say(sock: socket.socket, data: bytes) -> None:
    """All that this side has to say."""
    await send(sock, data)
    sock.shutdown(socket.SHUT_WR)


def test_octets_are_unwrapped_up_and_wrapped_down(run: Run) -> None:
    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=ToyLayer())
        await send(joined.client, frames(b"question"))
        assert await exactly(joined.target, 8) == b"question"
        await send(joined.target, b"answer")
        assert await exactly(joined.client, len(frames(b"answer"))) == frames(b"answer")
        assert (joined.relay.up.moved, joined.relay.up.payload) == (8, 8)
        assert (joined.relay.down.moved, joined.relay.down.payload) == (len(frames(b"answer")), 6)

    run(main)


def test_its_keys_vanish_with_the_session(run: Run) -> None:
    """And not when the garbage collector comes by, which is rare."""

    async def main(lab: Lab) -> None:
        layers = [ToyLayer()]
        kept = weakref.ref(layers[0])
        joined = Joined(lab, layer=layers.pop())
        joined.client.shutdown(socket.SHUT_WR)
        joined.target.shutdown(socket.SHUT_WR)
        await joined.ended()
        del joined.relay
        assert kept() is None

    gc.disable()
    try:
        run(main)
    finally:
        gc.enable()


@pytest.mark.parametrize("slow", [0, 4096])
def test_large_transfers_both_ways(run: Run, slow: int) -> None:
    size = 3 * MEGABYTE if not slow else MEGABYTE // 2
    up, down = Pattern("up").octets(0, size), Pattern("down").octets(0, size)

    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=ToyLayer(), slow=slow)

        arrived, got, *_ = await asyncio.gather(
            check(joined.target, "up"),
            unwrapped(joined.client),
            say(joined.client, frames(up)),
            say(joined.target, down),
        )
        assert arrived == size
        assert got == down
        await joined.ended()
        assert joined.relay.ended_well
        assert joined.relay.fault == ""
        assert (joined.relay.up.payload, joined.relay.down.payload) == (size, size)

    run(main)


@pytest.mark.parametrize("slow", [0, 4096])
def test_frames_that_are_sent_in_pieces(run: Run, slow: int) -> None:
    """Whatever part of them the sink takes at once."""
    data = Pattern("down").octets(0, MEGABYTE if not slow else MEGABYTE // 4)

    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=InPieces(), slow=slow)

        got, _ = await asyncio.gather(unwrapped(joined.client), say(joined.target, data))
        assert got == data
        assert joined.relay.down.payload == len(data)

    run(main)


@pytest.mark.parametrize("slow", [0, 4096])
@pytest.mark.parametrize("kind", [ToyLayer, InPieces])
@pytest.mark.parametrize(
    "sizes",
    [
        (60_000,),
        (60_000, 7, 40_000, 1, 60_000),
        (16_384, 65_000),
        (20_000, 60_000),
        (60_000, 60_000, 60_000, 1_040),
    ],
)
def test_bulk_in_frames_of_any_sizes(run: Run, sizes: tuple[int, ...], kind: type[ToyLayer], slow: int) -> None:
    """What is read at once is guessed from the frame before; a wrong guess costs no octet."""
    data = Pattern("up").octets(0, 3 * MEGABYTE if not slow else MEGABYTE // 2)
    wire, layer, place = b"", ToyLayer(), 0
    while place < len(data):
        for size in sizes:
            wire += layer.wrap(data[place : place + size])
            place += size

    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=kind(), slow=slow)

        arrived, _ = await asyncio.gather(check(joined.target, "up"), say(joined.client, wire))
        assert arrived == len(data)
        joined.target.shutdown(socket.SHUT_WR)
        await joined.ended()
        assert joined.relay.ended_well

    run(main)


def test_bulk_is_taken_in_pieces(run: Run) -> None:
    """Nearly all of it: what comes in frames of one size, and faster than it is read."""
    wire = frames(Pattern("up").octets(0, 3 * MEGABYTE))
    layer = InPieces()

    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=layer)

        arrived, _ = await asyncio.gather(check(joined.target, "up"), say(joined.client, wire))
        assert arrived == 3 * MEGABYTE
        if hasattr(socket.socket, "recvmsg_into"):
            assert layer.in_pieces > 0

    run(main)


def test_bulk_is_wrapped_as_it_was_read(run: Run) -> None:
    """Frames from the same buffers, again and again, so none may show through in another."""
    data, layer = Pattern("down").octets(0, 3 * MEGABYTE), InPieces()

    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=layer)

        got, _ = await asyncio.gather(unwrapped(joined.client), say(joined.target, data))
        assert got == data
        assert joined.relay.down.payload == len(data)
        if hasattr(socket.socket, "recvmsg_into"):
            assert layer.as_read > 0

    run(main)


@pytest.mark.parametrize("kind", [ToyLayer, InPieces])
@pytest.mark.parametrize("last", [1, 5000, 70_000])
def test_bulk_that_ends_in_a_little(run: Run, kind: type[ToyLayer], last: int) -> None:
    """It comes where frames were expected, and then small talk follows."""
    data = Pattern("down").octets(0, 200_000 + last)

    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=kind())
        flow = joined.relay.down
        for part in (data[:200_000], data[200_000:], b"small talk"):
            saying = asyncio.ensure_future(send(joined.target, part))
            assert await unwrapped(joined.client, len(part)) == part
            await saying
            await lab.settle()
        assert flow.payload == len(data) + 10

    run(main)


@pytest.mark.skipif(not hasattr(socket.socket, "recvmsg_into"), reason="frames are not moved in pieces here")
@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize(("busy", "expected"), [(0, [4, 4]), (2, [1, 4, 3])])
def test_bulk_takes_one_frame_a_turn_while_others_have_something_to_say(
    run: Run, monkeypatch: pytest.MonkeyPatch, way: str, busy: int, expected: list[int]
) -> None:
    """And some when it is alone, or alone again."""
    size, delivered = 2000, list[int]()
    deliver = _LayeredFlow._deliver

    def record(flow: _LayeredFlow, out: bytes | Sequence[bytes]) -> bool:
        frames_of = len(out) // size if isinstance(out, bytes) else len(out) if way == "up" else len(out) // 2
        delivered.append(frames_of)
        return deliver(flow, out)

    async def main(lab: Lab) -> None:
        layer = InPieces()
        layer.max_payload = size
        joined = Joined(lab, layer=layer)
        others = [Joined(lab) for _ in range(busy)]
        flow, source = (joined.relay.up, joined.client) if way == "up" else (joined.relay.down, joined.target)
        wire = frames(bytes(size), size) if way == "up" else bytes(size)
        await send(source, wire)
        await until(lambda: flow.payload == size, "the first frame makes it bulk")
        await lab.settle()

        # All of it is there before the engine looks.
        delivered.clear()
        assert source.send(8 * wire) == 8 * len(wire)
        for other in others:
            other.client.send(b"?")
        await until(lambda: flow.payload == 9 * size, "all frames have passed")
        assert delivered == expected

    monkeypatch.setattr("hosier.engine.layered._LARGE", 1000)
    monkeypatch.setattr("hosier.engine.poller.BULK_SLICE", 0.0)  # the edges are looked at after each turn
    monkeypatch.setattr(_LayeredFlow, "_deliver", record)
    run(main)


@pytest.mark.skipif(not hasattr(socket.socket, "recvmsg_into"), reason="frames are not moved in pieces here")
@pytest.mark.parametrize(("longest", "expected"), [(0.0, [4, 4, 4, 4, 4]), (3600.0, [4, 8, 8])])
def test_bulk_takes_more_frames_a_turn_where_they_take_little_time(
    run: Run, monkeypatch: pytest.MonkeyPatch, longest: float, expected: list[int]
) -> None:
    delivered = frames_of_turns(monkeypatch)

    async def main(lab: Lab) -> None:
        joined = flow_of_frames(lab, monkeypatch, InPieces, 2000)
        wire = frames(bytes(2000))
        await send(joined.client, wire)
        await until(lambda: joined.relay.up.moved == 2000, "the first frame makes it bulk")
        await lab.settle()
        delivered.clear()
        joined.client.send(20 * wire)
        await until(lambda: joined.relay.up.moved == 21 * 2000, "all frames have passed")
        assert delivered == expected

    monkeypatch.setattr("hosier.engine.frame_buffers.LONGEST", longest)
    run(main)


@pytest.mark.parametrize("kind", [ToyLayer, InPieces])
@pytest.mark.parametrize("piece", [1, 7000, 200_000])
def test_urgent_data_is_ordinary_data(run: Run, kind: type[ToyLayer], piece: int) -> None:
    """A-40: within a frame or at its end, both ways, with an end behind it."""
    data = os.urandom(5000 if piece == 1 else 2 * MEGABYTE)

    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=kind())

        async def say(sock: socket.socket, octets: bytes) -> None:
            for start in range(0, len(octets), piece):
                await urge(sock, octets[start : start + piece])
            sock.shutdown(socket.SHUT_WR)

        async def plain(sock: socket.socket) -> bytes:
            found = bytearray()
            while octets := await receive(sock, 1 << 18):
                found += octets
            return bytes(found)

        up, down, *_ = await asyncio.gather(
            plain(joined.target), unwrapped(joined.client), say(joined.client, frames(data)), say(joined.target, data)
        )
        assert up == down == data

    run(main)


@pytest.mark.parametrize("failing", [1, 2])
def test_a_layer_that_fails_in_bulk_ends_the_relay(run: Run, failing: int) -> None:
    """In the first frame of a turn or in the second; what was wrapped before is whole."""

    class Failing(InPieces):
        def wrap_in_pieces(self, data: bytes | bytearray) -> tuple[bytes, bytes]:
            if self.as_read == 4 + failing:
                raise RemoteProtocolError("expired")
            return super().wrap_in_pieces(data)

    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=Failing())

        async def say() -> None:
            with contextlib.suppress(OSError):
                await send(joined.target, bytes(3 * MEGABYTE))

        async def hear() -> None:
            with contextlib.suppress(ConnectionResetError):
                while await receive(joined.client, 1 << 18):
                    pass

        await asyncio.gather(say(), hear())
        await joined.ended()
        assert joined.relay.fault == "expired"

    if hasattr(socket.socket, "recvmsg_into"):
        run(main)


@pytest.mark.parametrize("kind", [ToyLayer, InPieces])
@pytest.mark.parametrize("cut", [None, -1, 1 - 60_000])
def test_bulk_that_is_forged_or_cut(run: Run, kind: type[ToyLayer], cut: int | None) -> None:
    """Nothing of the bad frame arrives, and all that was before it."""
    good, bad = frames(bytes(6 * 60_000)), bytearray(frames(bytes(60_000)))
    if cut is None:
        bad[4] ^= 1

    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=kind())

        async def hear() -> int:
            got = 0
            try:
                while piece := await receive(joined.target, 1 << 18):
                    got += len(piece)
            except ConnectionResetError:
                return got
            raise AssertionError("an orderly end")

        got, _ = await asyncio.gather(hear(), say(joined.client, good + bad[:cut]))
        await joined.ended()
        assert joined.relay.fault
        assert joined.relay.up.payload == 6 * 60_000
        assert got <= 6 * 60_000

    run(main)


def flow_of_frames(lab: Lab, monkeypatch: pytest.MonkeyPatch, kind: type[ToyLayer], size: int) -> Joined:
    """Whose frames are bulk although they are small."""
    monkeypatch.setattr("hosier.engine.layered._LARGE", size)
    return Joined(lab, layer=kind())


@pytest.mark.parametrize("kind", [ToyLayer, InPieces])
@pytest.mark.parametrize("sizes", [(20,) * 6, (20, 3, 20, 20, 20, 20), (20, 20, 40, 20), (40, 20, 20, 20), (3, 1, 2)])
def test_bulk_that_comes_in_two_reads(
    run: Run, monkeypatch: pytest.MonkeyPatch, kind: type[ToyLayer], sizes: tuple[int, ...]
) -> None:
    """Cut at every place: in a header, in a frame, between two; whatever is there completes the frame, and what
    follows is no less whole."""
    octets = Pattern("up").octets(0, sum(sizes))
    wire, place = b"", 0
    for size in sizes:
        wire += frames(octets[place : place + size])
        place += size

    async def main(lab: Lab) -> None:
        joined = flow_of_frames(lab, monkeypatch, kind, 20)
        flow = joined.relay.up
        assert isinstance(flow, UnwrappingFlow)
        moved = 0
        for cut in range(len(wire) + 1):
            await send(joined.client, frames(bytes(20)))
            moved += 20
            await until(lambda now=moved: flow.moved == now, "it is bulk, and all has arrived")  # type: ignore[misc]
            joined.client.send(wire[:cut])
            await lab.settle()
            joined.client.send(wire[cut:])
            assert (await exactly(joined.target, 20 + len(octets)))[20:] == octets
            moved += len(octets)
            await until(lambda now=moved: flow.moved == now)  # type: ignore[misc]
            assert flow.wrapped == b""
            assert sys.getsizeof(flow._frames) <= sys.getsizeof(bytearray(8)), "no memory is kept for the next part"

    run(main)


@pytest.mark.skipif(not hasattr(socket.socket, "recvmsg_into"), reason="frames are not moved in pieces here")
@pytest.mark.parametrize(("busy", "expected"), [(0, [4, 3]), (2, [1, 4, 2])])
def test_a_frame_that_is_here_in_part_is_read_together_with_others(
    run: Run, monkeypatch: pytest.MonkeyPatch, busy: int, expected: list[int]
) -> None:
    """It counts as one of them."""
    delivered = frames_of_turns(monkeypatch)

    async def main(lab: Lab) -> None:
        joined = flow_of_frames(lab, monkeypatch, InPieces, 2000)
        others = [Joined(lab) for _ in range(busy)]
        wire = frames(bytes(2000))
        await send(joined.client, wire + wire[:500])
        await until(lambda: joined.relay.up.moved == 2000, "the first frame makes it bulk")
        await lab.settle()

        # All of it is there before the engine looks.
        delivered.clear()
        joined.client.send(wire[500:] + 6 * wire)
        for other in others:
            other.client.send(b"?")
        await until(lambda: joined.relay.up.moved == 8 * 2000, "all frames have passed")
        assert delivered == expected

    monkeypatch.setattr("hosier.engine.poller.BULK_SLICE", 0.0)  # the edges are looked at after each turn
    run(main)


@pytest.mark.parametrize("kind", [ToyLayer, InPieces])
@pytest.mark.parametrize("fault", ["forged", "cut", "reset"])
def test_a_frame_that_is_here_in_part_and_never_whole(
    run: Run, monkeypatch: pytest.MonkeyPatch, kind: type[ToyLayer], fault: str
) -> None:
    """It is told, and nothing of it arrives, nor of what comes behind it."""

    async def main(lab: Lab) -> None:
        joined = flow_of_frames(lab, monkeypatch, kind, 2000)
        wire, bad = frames(bytes(2000)), bytearray(frames(bytes(2000)))
        if fault == "forged":
            bad[4] ^= 1
        await send(joined.client, wire + bad[:1500])
        assert await exactly(joined.target, 2000) == bytes(2000)
        await lab.settle()
        room = lab.engine.room
        if fault == "forged":
            joined.client.send(bad[1500:] + 2 * wire)
        elif fault == "cut":
            joined.client.send(bad[1500:-1])
            await lab.settle()
            joined.client.shutdown(socket.SHUT_WR)
        else:
            reset(joined.client)
        await assert_reset(joined.target)
        await joined.ended()
        assert not joined.relay.ended_well
        assert bool(joined.relay.fault) == (fault != "reset")
        assert joined.relay.up.moved == 2000
        assert lab.engine.room >= room

    run(main)


def test_frames_in_any_pieces(run: Run) -> None:
    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=ToyLayer())
        data = frames(b"one", 2) + frames(b"two")
        for octet in data:
            joined.client.send(bytes((octet,)))
            await lab.settle()
        assert await exactly(joined.target, 6) == b"onetwo"

    run(main)


class Counted(ToyLayer):
    """Remembers how many frames each turn opened."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: list[int] = []

    def unwrap(self, data: Buffer | memoryview) -> tuple[bytes, int] | None:
        found = super().unwrap(data)
        if found is not None:
            self.turns[-1] += 1
        return found


def counted(joined: Joined, layer: Counted) -> None:
    """Has the layer told when a turn of the flow upwards begins."""
    flow = joined.relay.up
    take = type(flow)._transform  # type: ignore[attr-defined]

    class Watched(type(flow)):  # type: ignore[misc]
        __slots__ = ()

        def _transform(self, data: bytes) -> bytes:
            layer.turns.append(0)
            result: bytes = take(self, data)
            return result

    flow.__class__ = Watched


@pytest.mark.parametrize("payload", [b"", b"x", b"x" * 700])
@pytest.mark.parametrize("cut", [False, True])
def test_a_flood_of_small_frames_is_opened_in_many_turns(run: Run, payload: bytes, cut: bool) -> None:
    """However much was read at once, and whether the last frame is whole: nothing is lost, and the end comes last."""

    async def main(lab: Lab) -> None:
        layer = Counted()
        joined = Joined(lab, layer=layer)
        counted(joined, layer)
        data = layer.wrap(payload) * 3000 + layer.wrap(b"last")
        expected = payload * 3000 + b"last"
        if cut:
            data, expected = data[:-1], expected[:-4]
        saying = asyncio.ensure_future(say(joined.client, data))
        assert await exactly(joined.target, len(expected)) == expected
        if cut:
            await assert_reset(joined.target)
        else:
            assert await receive(joined.target) == b""
            joined.target.close()
        await saying
        await joined.ended()
        assert sum(layer.turns) == 3000 + (not cut)
        assert max(layer.turns) == FRAMES_AT_ONCE

    run(main)


@pytest.mark.parametrize("leftover", [b"", b"before"])
@pytest.mark.parametrize("payload", [b"", b"x"])
def test_a_flood_of_small_frames_that_came_early(run: Run, payload: bytes, leftover: bytes) -> None:
    async def main(lab: Lab) -> None:
        wrapped = ToyLayer().wrap(payload) * 1000 + ToyLayer().wrap(b"last")
        joined = Joined(lab, leftover=leftover, layer=ToyLayer(), wrapped=wrapped)
        expected = leftover + payload * 1000 + b"last"
        assert await exactly(joined.target, len(expected)) == expected
        await send(joined.client, frames(b"more"))
        assert await exactly(joined.target, 4) == b"more"

    run(main)


def test_a_flood_of_small_frames_behind_a_large_one(run: Run) -> None:
    """It comes where bulk was expected."""
    layer = Counted()
    bulk = Pattern(0).octets(0, MEGABYTE)

    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=layer)
        counted(joined, layer)
        saying = asyncio.ensure_future(say(joined.client, (frames(bulk) + layer.wrap(b"") * 3000) * 2))
        assert await exactly(joined.target, 2 * MEGABYTE) == bulk * 2
        assert await receive(joined.target) == b""
        await saying

    run(main)
    assert max(layer.turns) == FRAMES_AT_ONCE


def test_a_flood_of_small_frames_to_a_slow_reader(run: Run) -> None:
    """Back-pressure reaches the sender, and little is held: what one turn opened, and what one read brought."""

    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=ToyLayer(), slow=4096)
        assert isinstance(joined.relay.up, UnwrappingFlow)
        sending = asyncio.ensure_future(send(joined.client, ToyLayer().wrap(b"x" * 100) * 40_000))
        await until(lambda: joined.relay.up.blocked)
        for _ in range(200):
            await asyncio.sleep(0)
            assert joined.relay.up.held <= SCRATCH
            assert len(joined.relay.up.wrapped) <= 2 * SCRATCH
        assert not sending.done()
        assert await exactly(joined.target, 4_000_000) == b"x" * 4_000_000
        await sending

    run(main)


def test_what_came_early_goes_first(run: Run) -> None:
    """Plain octets, whole frames and the beginning of one."""
    early = frames(b"second") + frames(b"third")

    async def main(lab: Lab) -> None:
        joined = Joined(lab, leftover=b"first", layer=ToyLayer(), wrapped=early[:-3])
        assert await exactly(joined.target, 11) == b"firstsecond"
        await send(joined.client, early[-3:])
        assert await exactly(joined.target, 5) == b"third"

    run(main)


def test_what_came_early_without_anything_after_it(run: Run) -> None:
    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=ToyLayer(), wrapped=frames(b"alone"))
        assert await exactly(joined.target, 5) == b"alone"

    run(main)


def test_a_read_fills_a_frame(run: Run) -> None:
    """And no second, nearly empty one, which would cost as much again."""
    sizes = []

    class Counting(ToyLayer):
        max_payload = 60_000

        def wrap(self, data: bytes) -> bytes:
            sizes.append(len(data))
            return super().wrap(data)

    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=Counting())
        data = Pattern(0).octets(0, 3 * MEGABYTE)
        _, got = await asyncio.gather(send(joined.target, data), unwrapped(joined.client, len(data)))
        assert got == data
        assert max(sizes) == 60_000
        assert sorted(sizes)[len(sizes) // 2] == 60_000

    run(main)


def test_largest_payload_of_a_frame_is_respected(run: Run) -> None:
    class Narrow(ToyLayer):
        max_payload = 7

    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=Narrow())
        await send(joined.target, b"0123456789")
        expected = frames(b"0123456") + frames(b"789")
        assert await exactly(joined.client, len(expected)) == expected

    run(main)


FORGED = {
    "another version": b"\x02\x03\x00\x00",
    "another type": b"\x01\x01\x00\x00",
    "not wrapped": b"\x01\x03\x00\x02XX",
    "not confidential": b"\x01\x03\x00\x03\x57\x00x",
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_forged_frame_ends_the_relay_with_a_reset(run: Run, forged: bytes) -> None:
    """What came before it is delivered; nothing that came with it or after it is."""

    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=ToyLayer())
        await send(joined.client, frames(b"genuine"))
        assert await exactly(joined.target, 7) == b"genuine"
        joined.client.send(frames(b"swallowed") + forged + frames(b"never"))
        with pytest.raises(ConnectionResetError):
            assert await receive(joined.target) == b""
        await joined.ended()
        assert joined.relay.fault
        assert joined.relay.up.payload == 7

    run(main)


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_forged_frame_that_came_early(run: Run, forged: bytes) -> None:
    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=ToyLayer(), wrapped=forged)
        await assert_reset(joined.target)
        await joined.ended()
        assert joined.relay.fault

    run(main)


@pytest.mark.parametrize("cut", [1, 4, 6])
def test_stream_that_ends_inside_a_frame_was_cut(run: Run, cut: int) -> None:
    """That is no end of file to the target (GS-REQ-44)."""

    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=ToyLayer())
        joined.client.send(frames(b"whole") + frames(b"cut off")[:cut])
        assert await exactly(joined.target, 5) == b"whole"
        joined.client.shutdown(socket.SHUT_WR)
        await assert_reset(joined.target)
        await joined.ended()
        assert "inside a frame" in joined.relay.fault

    run(main)


def test_unfinished_frame_is_bounded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer whose frames never end must not fill the memory."""

    class Greedy(ToyLayer):
        def unwrap(self, data: object) -> None:
            return None

    monkeypatch.setattr(hosier.engine.layered, "MAX_FRAME", 100_000)

    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=Greedy())
        feeding = asyncio.ensure_future(feed(joined.client, 0, 4 * MEGABYTE))
        await joined.ended()
        assert "100000" in joined.relay.fault
        await stop(feeding)

    run(main)


def test_a_frame_that_claims_sixteen_megabytes(run: Run) -> None:
    """A package's layer may take any length for granted. The engine does not: its bound ends the session, and little
    more than that was ever kept."""
    kept = 0

    class Trusting(ToyLayer):
        def unwrap(self, data: Buffer | memoryview) -> tuple[bytes, int] | None:
            nonlocal kept
            kept = max(kept, len(data))
            end = 4 + int.from_bytes(data[:4], "big")
            return (bytes(data[4:end]), end) if len(data) >= end else None

    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=Trusting())
        await send(joined.client, (2).to_bytes(4, "big") + b"ok")
        assert await exactly(joined.target, 2) == b"ok"
        sending = asyncio.ensure_future(send(joined.client, (1 << 24).to_bytes(4, "big") + bytes(4 * MEGABYTE)))
        await assert_reset(joined.target)
        await joined.ended()
        assert joined.relay.fault == f"a frame of more than {MAX_FRAME} octets"
        assert MEGABYTE < kept <= MEGABYTE + SCRATCH
        await stop(sending)

    run(main)


@pytest.mark.parametrize("side", ["client", "target"])
def test_reset_is_passed_on(run: Run, side: str) -> None:
    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=ToyLayer())
        first, second = (joined.client, joined.target) if side == "client" else (joined.target, joined.client)
        reset(first)
        await assert_reset(second)
        await joined.ended()
        assert joined.relay.fault == ""

    run(main)


def test_write_to_a_target_that_is_gone(run: Run) -> None:
    """Its last octets still reach the client, wrapped."""

    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=ToyLayer())
        await send(joined.client, frames(b"unread"))
        await until(lambda: joined.relay.up.moved == 6)
        joined.client.send(frames(b"more"))
        joined.target.send(b"last words")
        joined.target.close()
        assert await exactly(joined.client, len(frames(b"last words"))) == frames(b"last words")
        await assert_reset(joined.client)
        await joined.ended()

    run(main)


def test_half_close_leaves_the_other_direction_open(run: Run) -> None:
    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=ToyLayer())
        joined.client.send(frames(b"question"))
        joined.client.shutdown(socket.SHUT_WR)
        assert await exactly(joined.target, 8) == b"question"
        assert await receive(joined.target) == b""
        size = 2 * MEGABYTE
        _, got = await asyncio.gather(feed(joined.target, 1, size), unwrapped(joined.client, size))
        assert got == Pattern(1).octets(0, size)
        joined.target.close()
        await joined.ended()

    run(main)


def test_held_octets_obey_the_engines_bound(run: Run) -> None:
    """Beyond it each flow may hold what it could not know that its sink would not take: a frame."""
    limit = 4 * SCRATCH

    async def main(lab: Lab) -> None:
        crowd = [Joined(lab, layer=ToyLayer(), slow=8192) for _ in range(12)]
        size = MEGABYTE // 2
        data = frames(Pattern(0).octets(0, size))
        sending = asyncio.gather(*(send(joined.client, data) for joined in crowd))
        await until(lambda: lab.engine.held)
        peak = 0
        for _ in range(200):
            await asyncio.sleep(0)
            peak = max(peak, lab.engine.held)
        assert 0 < peak <= limit + len(crowd) * SCRATCH
        await asyncio.gather(sending, *(check(joined.target, 0, size) for joined in crowd))

    run(main, held_limit=limit)


def test_fast_readers_need_no_room(run: Run) -> None:
    """A crowd of slow readers may hold all there may be held, for ever: whoever takes what it is sent goes on."""
    size = MEGABYTE // 4
    up, down = Pattern("up").octets(0, size), Pattern("down").octets(0, size)

    async def main(lab: Lab) -> None:
        lab.engine.room = 0
        joined = Joined(lab, layer=ToyLayer())
        sending = asyncio.gather(send(joined.client, frames(up)), send(joined.target, down))
        got, arrived = await asyncio.gather(unwrapped(joined.client, size), exactly(joined.target, size))
        await sending
        assert (arrived, got) == (up, down)
        await until(lambda: lab.engine.room == 0)
        lab.engine.room = lab.engine.held_limit

    run(main)


def test_no_room_does_not_keep_the_processor_busy(run: Run) -> None:
    """While slow readers hold all there may be held, a flow whose sink is one of them waits, and the loop sleeps."""

    async def main(lab: Lab) -> None:
        lab.engine.room = 0
        joined = Joined(lab, layer=ToyLayer(), slow=8192)
        filling = asyncio.ensure_future(send(joined.client, frames(bytes(MEGABYTE // 2))))
        await until(lambda: joined.relay.up.status)
        rounds = 0
        dispatch = lab.engine._dispatch

        def counting(edges: Sequence[tuple[int, int]] | None = None) -> None:
            nonlocal rounds
            rounds += 1
            dispatch(edges)

        lab.engine._dispatch = counting  # type: ignore[method-assign]
        await asyncio.sleep(0.2)
        lab.engine._dispatch = dispatch  # type: ignore[method-assign]
        assert rounds < 50
        lab.engine.room += lab.engine.held_limit
        assert len(await exactly(joined.target, MEGABYTE // 2)) == MEGABYTE // 2
        await filling

    run(main)


def test_errors_of_a_layer_say_what_was_wrong(run: Run) -> None:
    class Strict(ToyLayer):
        def unwrap(self, data: object) -> None:
            raise RemoteProtocolError("the seal is broken")

    async def main(lab: Lab) -> None:
        joined = Joined(lab, layer=Strict())
        joined.client.send(b"x")
        await assert_reset(joined.target)
        await joined.ended()
        assert joined.relay.fault == "the seal is broken"

    run(main)
