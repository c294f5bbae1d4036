"""BIND through proxies over the engine: the last of them listens, and tells who came."""

from collections.abc import Generator
from types import coroutine
from typing import TYPE_CHECKING

from ...engine.endpoint import ENDED, Endpoint
from ...errors import RemoteProtocolError
from ...protocol.address import NAME, UNSPECIFIED, Address
from ...protocol.client_connection import ClientHandshake
from ..journey import AnyHandshake, Journey
from .steps import READ, explained, host_address
from .tunnel import tunnel_of

if TYPE_CHECKING:
    from ...engine.task import Task

__all__ = ("ProxiedBinding",)


class ProxiedBinding:
    """A :class:`Binding` at the last proxy, from its first answer on. It accepts once, or is closed."""

    __slots__ = ("_far", "_handed_over", "_handshake", "_journey", "_task", "bound")

    def __init__(self, task: "Task", journey: Journey, far: Endpoint, handshake: AnyHandshake) -> None:
        """Takes the connection to the proxy over."""
        assert handshake.first_reply is not None
        self.bound = host_address(far, journey.chain, handshake.first_reply.bound)
        """Where the peer is to connect; where the proxy gave zeros, at its own address."""
        self._task = task
        self._journey = journey.resumed(handshake, None)
        self._far = far
        self._handshake = handshake
        self._handed_over = False

    def expects(self, peer: Address) -> bool:
        """The proxy has judged that already: whom it tells of is the one."""
        return True

    @coroutine
    def accept(self, control: Endpoint) -> Generator[None, None, tuple[Endpoint, Address] | None]:
        """As :meth:`Binding.accept`. The peer is 0.0.0.0 where the proxy does not tell."""
        far = self._far
        control.owner = far.owner = self
        try:
            if not control.heard:
                control.register()
            while not control.seen & ENDED:
                if self._has_come():
                    return self._arrival()
                self._task.waiting = self
                yield
        except OSError as error:
            cause = explained(self._journey, error)
            if cause is error:
                raise
            raise cause from error
        finally:
            control.owner = far.owner = self._task
            self.close()
        return None

    def on_edge(self, endpoint: Endpoint, events: int) -> None:
        endpoint.seen |= events
        if self._task.waiting is self and (events & ENDED or endpoint is self._far):
            self._task.resume()

    def close(self) -> None:
        """Ends the wait at the proxy, too; harmless once somebody has come, who is not ours any more."""
        if not self._handed_over:
            self._far.close()

    # --- private ---

    def _has_come(self) -> bool:
        while not self._handshake.done and (data := self._far.recv_some(READ)) is not None:
            self._handshake.feed(data)
        return self._handshake.done

    def _arrival(self) -> tuple[Endpoint, Address]:
        reply = self._handshake.reply
        assert reply is not None  # it is done
        if reply.bound.kind == NAME:
            raise RemoteProtocolError("the proxy tells a name in the place of the peer's address")
        leftover = b""
        if isinstance(self._handshake, ClientHandshake) and self._handshake.layer is None:
            leftover = self._handshake.detach().leftover
        self._far.tunnel = tunnel_of(self._journey, self._far, self.bound, leftover)
        self._handed_over = True
        return self._far, reply.bound if any(reply.bound.octets) else UNSPECIFIED
