"""Datagrams that travel to the proxy under a security layer: each is one frame (RFC 1928 §7, GS-REQ-40)."""

from threading import Lock

from ..errors import RemoteProtocolError
from ..protocol.auth.base import SecurityLayer
from .envelope import Envelope, HostPort

__all__ = ("ProtectedEnvelope",)


class ProtectedEnvelope(Envelope):
    """An envelope that is sealed or signed, and takes nothing that is not. One thread may pack, another unpack."""

    def __init__(self, layer: SecurityLayer, *, fragment_size: int | None = None) -> None:
        super().__init__(fragment_size=fragment_size)
        self._layer = layer
        self._turn = Lock()  # a context is not for two threads

    @property
    def bare_up_to(self) -> int:
        """Nothing goes as it is."""
        return -1

    def fit(self, largest: int) -> None:
        """The layer's frame takes some of it (GS-REQ-42)."""
        super().fit(min(largest, self._layer.max_datagram))

    def pack(self, header: bytes, data: bytes) -> list[bytes]:
        with self._turn:
            return [self._layer.wrap_datagram(packet) for packet in super().pack(header, data)]

    def unpack(self, packet: bytes) -> tuple[bytes, HostPort] | None:
        """None also for what is forged, spoiled or came before: it is dropped, and the association lives."""
        try:
            with self._turn:
                plain = self._layer.unwrap_datagram(packet)
        except RemoteProtocolError:
            return None
        return super().unpack(plain)
