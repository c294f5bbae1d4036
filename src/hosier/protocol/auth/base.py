"""The seam for authentication: the frames of a method, one step of its conversation, the layer it may leave behind.

A method has two halves. Its *framing* (here and in the files beside) knows octets and is stateless. Its
*exchange* (``hosier.auth``) knows secrets and lives for one connection. The core carries messages between them.
"""

from typing import Any, NamedTuple, Protocol

from ..address import Buffer

__all__ = ("AuthFraming", "AuthMessage", "AuthStep", "Outcome", "SecurityLayer")


class SecurityLayer(Protocol):
    """What a method leaves between the socket and everything that follows (RFC 1928 §3: encapsulation)."""

    max_payload: int
    """The most plain octets that one frame holds."""

    @property
    def max_datagram(self) -> int:
        """The most octets, header of RFC 1928 §7 included, that one datagram holds."""

    def wrap(self, data: bytes) -> bytes:
        """One frame around at most ``max_payload`` octets."""

    def unwrap(self, data: Buffer | memoryview) -> tuple[bytes, int] | None:
        """The payload of the frame at the start of ``data`` and the frame's size; None: the frame is incomplete.

        Raises RemoteProtocolError for a frame that is broken or forged.
        """

    def wrap_datagram(self, data: bytes) -> bytes:
        """One datagram, header included, wrapped (S5-REQ-82)."""

    def unwrap_datagram(self, data: bytes) -> bytes:
        """The reverse; raises RemoteProtocolError for a datagram that must be dropped."""


class Outcome(NamedTuple):
    """How an exchange ended. ``identity`` None: refused; ``reason`` says why, to our own side only. ``layer`` None: the
    stream stays as it is."""

    identity: str | None
    layer: SecurityLayer | None = None
    reason: str = ""


class AuthMessage(NamedTuple):
    """A message of the subnegotiation, from the peer; ``body`` is the method's own type."""

    body: Any

    def __repr__(self) -> str:
        # The body may hold a password. It has no business in a log.
        return f"AuthMessage(body=<{type(self.body).__name__}>)"


class AuthStep(NamedTuple):
    """Our next step in the subnegotiation: what to send, if anything, and the outcome, if this is the end of it."""

    body: Any = None
    outcome: Outcome | None = None

    def __repr__(self) -> str:
        return f"AuthStep(body=<{type(self.body).__name__}>, outcome={self.outcome!r})"


class AuthFraming(Protocol):
    """The wire half of one method: stateless, pure, shared by all connections."""

    code: int
    """The METHOD number."""

    server_speaks_first: bool
    """Whether the server's message opens the subnegotiation; all registered methods let the client begin."""

    refusal: bytes
    """What a server sends when it ends the subnegotiation without having understood or accepted it."""

    def decode(self, data: Buffer, *, from_client: bool) -> tuple[Any, int] | None:
        """The message at the start of ``data`` and its size; None: more is needed.

        Raises RemoteProtocolError for octets that are no message of the method.
        """

    def encode(self, body: Any, *, from_client: bool) -> bytes:
        """The octets of a message. Raises LocalProtocolError if it has no wire form."""
