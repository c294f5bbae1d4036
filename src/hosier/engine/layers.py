"""What the engine must know of security layers: they make frames of octets, and octets of frames."""

from socket import SocketType
from typing import Final, Protocol, cast

__all__ = (
    "Layer",
    "LayerInPieces",
    "Pieces",
    "Translation",
    "TunnelLayer",
    "finish_layer",
    "has_ended_early",
    "in_pieces",
    "last_octets",
)

_GATHERS: Final = hasattr(SocketType, "sendmsg") and hasattr(SocketType, "recvmsg_into")  # Windows' have neither

Pieces = tuple[bytes, bytes]
"""A frame that need not be put together."""


class Layer(Protocol):
    """What the engine must know of a security layer: frames, whatever is in them."""

    max_payload: int

    def wrap(self, data: bytes) -> bytes: ...

    def unwrap(self, data: bytes | bytearray | memoryview) -> tuple[bytes, int] | None: ...


class LayerInPieces(Layer, Protocol):
    """One that saves bulk a copy each way: header and rest of a frame need not lie behind one another."""

    header_size: int

    def wrap_in_pieces(self, data: bytes | bytearray) -> Pieces: ...

    def unwrap_in_pieces(self, header: bytearray, rest: bytearray) -> bytes | None:
        """What is in the frame; None, with nothing changed, if ``rest`` is not all of it, or more. May spoil it."""


def in_pieces(layer: Layer) -> LayerInPieces | None:
    """The layer, if it and the system's sockets can do that."""
    return cast("LayerInPieces", layer) if _GATHERS and hasattr(layer, "unwrap_in_pieces") else None


class TunnelLayer(Layer, Protocol):
    """What protects a tunnel: it may keep parts of frames itself, and may have words for an end."""

    @property
    def ended(self) -> bool:
        """The peer has said that nothing more will come, maybe before its stream ends."""

    def finish(self) -> None:
        """The peer has ended its stream. Raises OSError if that was inside a frame, or too early."""

    def end(self) -> bytes:
        """What tells the peer that nothing more will come from us."""


class Translation:
    """Two layers as one: what is opened under one of them is closed again under the other."""

    def __init__(self, opens: Layer, closes: Layer) -> None:
        self.max_payload = opens.max_payload
        self.wrap = opens.wrap
        self._opens = opens
        self._closes = closes

    def close(self, data: bytes) -> bytes:
        """Frames around all of it."""
        size, wrap = self._closes.max_payload, self._closes.wrap
        return b"".join(wrap(data[start : start + size]) for start in range(0, len(data), size))

    def unwrap(self, data: bytes | bytearray | memoryview) -> tuple[bytes, int] | None:
        """As :meth:`Layer.unwrap`, what comes out being frames again."""
        found = self._opens.unwrap(data)
        return None if found is None else (self.close(found[0]), found[1])

    @property
    def ended(self) -> bool:
        return has_ended_early(self._opens)

    def finish(self) -> None:
        finish_layer(self._opens)

    def end(self) -> bytes:
        return last_octets(self._closes)


# A layer that is no tunnel's has nothing to say to these three.


def has_ended_early(layer: Layer) -> bool:
    """As :attr:`TunnelLayer.ended`."""
    return getattr(layer, "ended", False)


def finish_layer(layer: Layer) -> None:
    """As :meth:`TunnelLayer.finish`."""
    finish = getattr(layer, "finish", None)
    if finish is not None:
        finish()


def last_octets(layer: Layer) -> bytes:
    """As :meth:`TunnelLayer.end`."""
    end = getattr(layer, "end", None)
    return b"" if end is None else end()
