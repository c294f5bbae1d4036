"""Datagrams under a security layer: each is one frame, which is opened on its way in and made on its way out.

One lost, late or forged says nothing about the next one: it is dropped, and all else goes on.
"""

from typing import Any, Final, Protocol

from .segments import Pieces, SocketLane, Traffic
from .udp import DatagramSocket, Sizes, Views

__all__ = ("DatagramLayer", "NOT_GENUINE", "WrappingLane", "opened")

NOT_GENUINE: Final = "not genuine"
"""Why a datagram is dropped that the layer does not believe: in clear, changed, cut, or one that came before."""

_LOOKED_AT: Final = 8  # octets that may be looked at before it is known how many there are


class DatagramLayer(Protocol):
    """What the engine must know of a security layer of datagrams."""

    @property
    def max_datagram(self) -> int: ...

    def wrap_datagram(self, data: bytes) -> bytes: ...

    def unwrap_datagram(self, data: bytes) -> bytes: ...


def opened(layer: DatagramLayer, views: Views, sizes: Sizes, traffic: Traffic) -> tuple[Views, Sizes]:
    """What is within the frames of a batch, as a batch; ``traffic`` counts those that are dropped."""
    plain_views: list[memoryview] = []
    plain_sizes: list[int] = []
    for view, size in zip(views, sizes, strict=False):
        try:
            plain = layer.unwrap_datagram(bytes(view[:size]))
        except OSError:
            traffic.drop(NOT_GENUINE)
            continue
        plain_views.append(memoryview(plain.ljust(_LOOKED_AT, b"\0")))
        plain_sizes.append(len(plain))
    return plain_views, plain_sizes


class WrappingLane:
    """The lane to a peer behind the layer, over the lane of a socket. ``traffic`` counts what is within the frames."""

    __slots__ = ("_layer", "_socket_lane", "_tally", "_wire")

    def __init__(
        self, sock: DatagramSocket, place: tuple[Any, ...] | None, layer: DatagramLayer, traffic: Traffic
    ) -> None:
        self._layer = layer
        self._tally = traffic
        self._wire = Traffic()
        self._wire.dropped = traffic.dropped  # what is lost below is lost above
        self._socket_lane = SocketLane(sock, place, self._wire)

    @property
    def place(self) -> tuple[Any, ...] | None:
        return self._socket_lane.place

    @place.setter
    def place(self, place: tuple[Any, ...] | None) -> None:
        self._socket_lane.place = place

    def send(self, pieces: Pieces, width: int) -> None:
        layer, traffic, wire = self._layer, self._tally, self._wire
        send = self._socket_lane.send
        for start in range(0, len(pieces), width):
            datagram = pieces[start : start + width]
            plain = b"".join(datagram)
            if len(plain) > layer.max_datagram:
                traffic.drop("too large")
                continue
            before = wire.datagrams
            send((layer.wrap_datagram(plain),), 1)
            if wire.datagrams > before:
                traffic.datagrams += 1
                traffic.moved += len(datagram[-1])
