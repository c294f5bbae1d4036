"""Flows under a security layer: what near sends is unwrapped on its way up, what far sends is wrapped on its way down.

A layer needs the octets as Python objects, so nothing is spliced here; back-pressure and bounds are those of any flow.
"""

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Final

from .endpoint import MAYBE_MORE, Endpoint
from .flow import Flow
from .flow_status import BLOCKED, QUEUED
from .frame_buffers import BULK_FRAMES, MOST_FRAMES, Room, at_once_after, keep_what_is_freed
from .gathering import ONE_WAY, ran_dry
from .layers import Layer, LayerInPieces, Translation, finish_layer, has_ended_early, in_pieces, last_octets
from .opening import open_frames
from .poller import SCRATCH
from .stepping import SteppingFlow
from .unsent import unsent

if TYPE_CHECKING:
    from .relay import Relay

__all__ = ("UnwrappingFlow", "WrappingFlow")

_NO_ROOM: Final = 0.02  # seconds between two looks for room; nothing tells when slow readers have made some
_LITTLE: Final = 16384  # octets to read where there is no room: any empty send buffer takes as many at once

_LARGE: Final = 16384  # octets of a frame that is bulk
_ROOM: Final = 2 * SCRATCH  # octets of room for what one step may have to hold, and as much again
_ROOMY: Final = MOST_FRAMES * _ROOM  # the same for a turn

_NOTHING: Final = bytearray()

MAX_FRAME: Final = 1 << 20  # octets that wait for the rest of their frame; RFC 1961's largest is 65,539


class _LayeredFlow(SteppingFlow):
    __slots__ = ("_at_once", "_frame_size", "_most", "_pieces", "layer")

    _is_tunnel: bool = False

    def __init__(self, relay: "Relay", source: Endpoint, sink: Endpoint, layer: Layer) -> None:
        Flow.__init__(self, relay, source, sink)  # super() costs more than the call
        self.layer = layer
        self._most = SCRATCH
        self._frame_size = 0
        self._at_once = BULK_FRAMES
        self._pieces: LayerInPieces | None = None
        """The layer, if there is bulk and its frames can be moved without being put together."""

    def pump(self) -> None:
        """One read, transformed; then the flow's next turn."""
        if self.status:
            return
        source = self.source
        engine = source.engine
        most = self._wanted() if self._frame_size else self._most
        if engine.room < _ROOM:
            if self._must_not_hold():
                return
            most = min(most, _LITTLE)
        scratch = engine.scratch
        try:
            have = source.sock.recv_into(scratch, most)
        except BlockingIOError:
            source.ran_dry()
            return
        except OSError:
            self._source_died()
            return
        if not have:
            self._at_end()
            return
        try:
            out = self._transform(scratch[:have])
        except OSError as error:
            self._forged(error)
            return
        if out and not self._deliver(out):
            return
        # A short read: dry, the next edge will come. Not so if the end was seen, whose edge is spent.
        if have == most or source.seen & MAYBE_MORE or (self._is_tunnel and self._is_over()):
            self._queue()
        elif self.moved >= ONE_WAY:
            self._ran_dry()

    def turn(self) -> None:
        self.status = status = self.status & ~QUEUED
        if status & BLOCKED:
            self.flush()
        elif status or (layer := self._pieces) is None or not self._frame_size or self.source.engine.room < _ROOMY:
            self.pump()
        else:
            self._move_frames(layer)

    def _move_frames(self, layer: LayerInPieces) -> None:
        """As much as makes some frames: one would cost calls and turns as often. But one while others have something
        to say, who would wait for all of them."""
        source, buffers = self.source, self._buffers(layer)
        frames = self._at_once if source.engine.is_quiet else 1
        buffers = buffers[: frames * len(buffers) // MOST_FRAMES]
        began = monotonic()
        try:
            have = source.sock.recvmsg_into(buffers)[0]
        except BlockingIOError:
            source.ran_dry()
            return
        except OSError:
            self._source_died()
            return
        if not have:
            self._at_end()
            return
        out: list[bytes] = []
        fault = None
        try:
            self._transform_frames(layer, buffers, have, out)
        except OSError as error:
            fault = error
        if out and not self._deliver(out if len(out) > 1 else out[0]) and not self.status & BLOCKED:
            return  # the sink is gone
        if fault is not None:
            self._forged(fault)
        elif not self.status & BLOCKED:
            if have == sum(map(len, buffers)):
                self._queue()
                if frames > 1:
                    self._at_once = at_once_after(frames, monotonic() - began)
            elif source.seen & MAYBE_MORE:
                self._queue()
            elif self.moved >= ONE_WAY:
                self._ran_dry()

    def _ran_dry(self) -> None:
        if not self.status:
            ran_dry(self, self._frame_size or SCRATCH, self._at_once)

    def _must_not_hold(self) -> bool:
        """Where there is no room: whether something might be held now; then the flow looks again later. Wrapped octets
        cannot be taken back, so nothing is read that would be held: the sink must have taken all before. That needs no
        room, and however many slow readers hold it, a fast one never waits for them."""
        if not unsent(self.sink.sock):
            return False
        engine = self.source.engine
        self.status |= QUEUED
        engine.loop.call_later(_NO_ROOM, engine.queue, self)
        return True

    def _buffers(self, layer: LayerInPieces) -> Sequence[Room]:
        """Room for frames of bulk, the same number of buffers for each."""
        raise NotImplementedError

    def _transform_frames(self, layer: LayerInPieces, buffers: Sequence[Room], have: int, out: list[bytes]) -> None:
        """Adds to ``out`` what becomes of the first ``have`` octets."""
        raise NotImplementedError

    def _is_bulk_of(self, frame_size: int) -> None:
        self._frame_size = frame_size
        self._pieces = in_pieces(self.layer)
        keep_what_is_freed()

    def _wanted(self) -> int:
        """Octets of bulk to read at once."""
        return self._most

    def _is_over(self) -> bool:
        """Of a tunnel: whether the source has said that nothing more will come."""
        raise NotImplementedError

    def _transform(self, octets: memoryview) -> bytes | Sequence[bytes]:
        """What becomes of these octets, which are gone after the call."""
        raise NotImplementedError

    def _at_end(self) -> None:
        self._source_ended()

    def _say_end(self) -> None:
        if out := last_octets(self.layer):
            self._deliver(out)

    def _forged(self, error: OSError) -> None:
        """A broken frame ends the session; nothing that came with it is delivered."""
        self.relay.fault = str(error)
        self._source_died()

    def _deliver(self, out: bytes | Sequence[bytes]) -> bool:
        """False if the sink is full or gone."""
        try:
            if isinstance(out, bytes):
                size, sent = len(out), self.sink.sock.send(out)
            else:
                size, sent = sum(map(len, out)), self.sink.sock.sendmsg(out)
        except BlockingIOError:
            self.hold(out if isinstance(out, bytes) else b"".join(out))
            return False
        except OSError as error:
            self.sink_died(error)
            return False
        self.moved += sent
        if sent < size:
            self.hold((out if isinstance(out, bytes) else b"".join(out))[sent:])
            return False
        return True


class UnwrappingFlow(_LayeredFlow):
    """From the protected side to the plain one. ``moved`` counts plain octets."""

    __slots__ = ("_frames", "_is_left", "_is_tunnel")

    def __init__(self, relay: "Relay", source: Endpoint, sink: Endpoint, layer: Layer, wrapped: bytes) -> None:
        """``wrapped``: octets that have arrived below the layer already."""
        _LayeredFlow.__init__(self, relay, source, sink, layer)
        self._frames = bytearray(wrapped)
        self._is_left = False
        """Whether there may be whole frames among them. The flow waits for its turn then, or for its sink."""
        self._is_tunnel = hasattr(layer, "ended")

    @property
    def wrapped(self) -> bytes:
        """What has arrived below the layer and waits for the rest of its frame."""
        return bytes(self._frames)

    def take_wrapped(self, octets: bytes) -> None:
        """Before it begins: octets that have arrived below the layer already."""
        self._frames += octets

    def begin(self, leftover: bytes) -> None:
        if leftover and isinstance(self.layer, Translation):
            leftover = self.layer.close(leftover)
        try:
            leftover += self._transform(b"")
        except OSError as error:
            self._forged(error)
            return
        super().begin(leftover)

    def pump(self) -> None:
        if self._is_tunnel and self._is_over():
            if not self.status:
                self._end_well()
        elif self._is_left:
            self._open_what_is_left()
        else:
            _LayeredFlow.pump(self)

    def _open_what_is_left(self) -> None:
        """A turn without a read: the last one took more frames than may be opened at once."""
        if self.status or (self.source.engine.room < _ROOM and self._must_not_hold()):
            return
        try:
            plain = self._transform(b"")
        except OSError as error:
            self._forged(error)
            return
        if not plain or self._deliver(plain):
            self._queue()  # the edges that came meanwhile are spent

    def _move_frames(self, layer: LayerInPieces) -> None:
        if self._is_tunnel or self._is_left or not 0 < self._frame_size - len(self._frames) <= SCRATCH:
            self.pump()  # a tunnel's layer may keep a part itself; else nothing tells what the next octets are
        else:
            _LayeredFlow._move_frames(self, layer)

    def _buffers(self, layer: LayerInPieces) -> Sequence[Room]:
        # Bulk comes in frames of one size: each is read as a whole, and so not put together or taken apart.
        engine, size = self.source.engine, self._frame_size
        buffers = engine.frames.apart(layer.header_size, size)
        if part := len(self._frames):  # the first one is here in part: what it lacks, and then others
            return (_NOTHING, engine.scratch[: size - part], *buffers[2:])
        return buffers

    def _transform_frames(self, layer: LayerInPieces, buffers: Sequence[Room], have: int, out: list[bytes]) -> None:
        size, unwrap, part = self._frame_size, layer.unwrap_in_pieces, self._frames
        pairs = self.source.engine.frames.pairs
        if part:
            have += len(part)
            if have >= size:
                start = layer.header_size
                pairs = ((part[:start], part[start:] + buffers[1]), *pairs[1:])
        for header, rest in pairs[: have // size]:
            if (plain := unwrap(header, rest)) is None:
                break  # it is not as large as the last one
            out.append(plain)
        whole = len(out)
        if whole:
            part.clear()
        if have := have - whole * size:
            others = bytearray().join(buffers[2 * whole : 2 * (whole + 1 + have // size)])
            del others[have - len(part) :]
            if plain := self._transform(others):
                out.append(plain)

    def _is_over(self) -> bool:
        return has_ended_early(self.layer)

    def _wanted(self) -> int:
        """What makes it whole: bulk comes in frames of one size."""
        missing = self._frame_size - len(self._frames)
        return min(self._most, missing) if missing > 0 else self._most

    def _transform(self, octets: bytes | bytearray | memoryview) -> bytes:
        frames = self._frames
        if frames:
            frames += octets
            with memoryview(frames) as view:
                plain, taken, last, self._is_left = open_frames(self.layer, view)
            del frames[:taken]
        else:
            plain, taken, last, self._is_left = open_frames(self.layer, octets)
            if taken < len(octets):
                frames += octets[taken:] if taken else octets
        if last >= _LARGE:
            self._is_bulk_of(last)
        elif last and not frames:  # else it was the end of one write, and the next one is here: bulk goes on
            self._frame_size = 0
        if len(frames) > MAX_FRAME:
            raise OSError(f"a frame of more than {MAX_FRAME} octets")
        if self._is_left:
            self._queue()
        return plain

    def _at_end(self) -> None:
        # A stream that ends inside a frame was cut; that must not look like an end (GS-REQ-44).
        try:
            if self._frames:
                raise OSError("the stream ended inside a frame")
            if self._is_tunnel:
                finish_layer(self.layer)
        except OSError as error:
            self._forged(error)
        else:
            self._end_well()

    def _end_well(self) -> None:
        if isinstance(self.layer, Translation):
            self._say_end()
        self._source_ended()


class WrappingFlow(_LayeredFlow):
    """From the plain side to the protected one. ``moved`` counts octets of frames, ``payload`` those within."""

    __slots__ = ("_wrapped",)

    def __init__(self, relay: "Relay", source: Endpoint, sink: Endpoint, layer: Layer) -> None:
        _LayeredFlow.__init__(self, relay, source, sink, layer)
        self._most = min(SCRATCH, layer.max_payload)  # one read, one frame
        self._wrapped = 0

    @property
    def payload(self) -> int:
        return self._wrapped

    def _at_end(self) -> None:
        if not self.source.was_reset:
            self._say_end()
        self._source_ended()

    def begin(self, leftover: bytes) -> None:
        self._wrapped += len(leftover)
        super().begin(self._wrap_all(leftover))

    def _buffers(self, layer: LayerInPieces) -> Sequence[bytearray]:
        return self.source.engine.frames.whole(self._frame_size)

    def _transform_frames(self, layer: LayerInPieces, buffers: Sequence[Room], have: int, out: list[bytes]) -> None:
        size = self._frame_size
        self._wrapped += have
        if have < _LARGE:
            self._frame_size = 0
        for buffer in buffers:
            out += layer.wrap_in_pieces(buffer if have >= size else buffer[:have])  # type: ignore[arg-type]  # of bytes
            have -= size
            if have <= 0:
                break

    def _transform(self, octets: memoryview) -> bytes | Sequence[bytes]:
        data, layer = bytes(octets), self.layer
        size = len(data)
        self._wrapped += size
        if size > layer.max_payload:
            return self._wrap_all(data)
        if size < _LARGE:
            self._frame_size = 0
            return layer.wrap(data)
        self._is_bulk_of(min(SCRATCH, layer.max_payload))
        pieces = self._pieces
        return layer.wrap(data) if pieces is None else pieces.wrap_in_pieces(data)

    def _wrap_all(self, data: bytes) -> bytes:
        size = self.layer.max_payload
        return b"".join(self.layer.wrap(data[start : start + size]) for start in range(0, len(data), size))
