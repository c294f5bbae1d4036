"""A UDP association whose client speaks under a security layer (RFC 1928 §7, S5-REQ-82): a stage before the relay,
which itself sees plain datagrams as ever."""

from typing import TYPE_CHECKING, Any

from ..engine.layered_datagrams import DatagramLayer, WrappingLane, opened
from ..engine.udp import DatagramSocket, Sizes, Sockaddrs, Views
from .udp_relay import UdpRelay

if TYPE_CHECKING:
    from socket import SocketType

    from .session import Session

__all__ = ("ProtectedUdpRelay",)


class ProtectedUdpRelay(UdpRelay):
    """What is not genuine is dropped and counted, and the association lives (GS-REQ-41); what comes late or out of
    order is genuine, unless the client's context wants order. Targets are none of the layer's business."""

    def __init__(
        self,
        session: "Session",
        sock: "SocketType",
        host: str,
        scope: tuple[Any, ...],
        owner: str,
        layer: DatagramLayer,
    ) -> None:
        """``layer``: the control connection's."""
        self._layer = layer
        super().__init__(session, sock, host, scope, owner)

    def frames_from_anyone(self, views: Views, sizes: Sizes, sockaddrs: Sockaddrs) -> None:
        """Whose they are comes first: a stranger's copy must not have the client's own taken for the second one."""
        for view, size, sockaddr in zip(views, sizes, sockaddrs, strict=False):
            if not self.may_be_the_client(sockaddr):
                self.up.drop("stranger")
                continue
            self.from_anyone(*opened(self._layer, (view,), (size,), self.up), (sockaddr,))

    def frames_from_client(self, views: Views, sizes: Sizes) -> None:
        """A batch of the client's."""
        plain_views, plain_sizes = opened(self._layer, views, sizes, self.up)
        if plain_views:  # what is not genuine keeps nothing alive
            self.from_client(plain_views, plain_sizes)

    def _entrance(self, sock: "SocketType") -> tuple[DatagramSocket, WrappingLane]:
        inner = DatagramSocket(self._engine, sock, self.up, self.frames_from_anyone, self.frames_from_client)
        return inner, WrappingLane(inner, None, self._layer, self.down)
