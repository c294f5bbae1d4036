"""The CONNECT of an HTTP proxy (RFC 9110 §9.3.6), octets in and octets out: the same verbs as a SOCKS handshake."""

from base64 import b64encode
from typing import Final

from ..errors import AuthError, RemoteProtocolError, TunnelRefused
from ..protocol.address import Address
from ..protocol.messages import Reply

__all__ = ("HttpConnect",)

_END: Final = b"\r\n\r\n"
_MAX_HEAD: Final = 16_384
_PROXY_AUTHENTICATION_REQUIRED: Final = 407


class HttpConnect:
    """One CONNECT. ``owed`` octets may be read without touching what the target says."""

    first_reply: None = None
    blocks: bool = False
    step: str = "reply"

    def __init__(self, target: Address, username: bytes | None, password: bytes | None, *, early: bytes = b"") -> None:
        self._target = target
        self._early = early
        self._authorization = b""
        if username is not None:
            token = b64encode(username + b":" + (password or b""))
            self._authorization = b"Proxy-Authorization: Basic " + token + b"\r\n"
        self._head = b""
        self.reply: Reply | None = None

    @property
    def done(self) -> bool:
        return self.reply is not None

    @property
    def owed(self) -> int:
        """The octets of the head's end that are missing still: no payload can come before them."""
        return next(4 - size for size in (3, 2, 1, 0) if self._head.endswith(_END[:size]))

    def start(self) -> bytes:
        """The request."""
        place = str(self._target).encode("ascii")
        return b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n%b" % (place, place, self._authorization, self._early)

    def feed(self, data: bytes) -> bytes:
        """Takes a piece of the answer; there is never more to send.

        Raises AuthError (407), TunnelRefused for another refusal, RemoteProtocolError for what is no answer of HTTP's,
        for one that is too long and for one that is cut short (A-27).
        """
        if not data:
            where = "in the middle of its answer" if self._head else "before its answer"
            raise RemoteProtocolError(f"the proxy closed the connection {where}")
        self._head += data
        expected = b"HTTP/1."[: len(self._head)]
        if not self._head.startswith(expected):
            raise RemoteProtocolError("the proxy does not answer in HTTP")
        if self._head.endswith(_END):
            self._judge()
        elif len(self._head) > _MAX_HEAD:
            raise RemoteProtocolError(f"the proxy's answer is longer than {_MAX_HEAD} octets")
        return b""

    # --- private ---

    def _judge(self) -> None:
        words = self._head.split(b"\r\n", 1)[0].split(b" ", 2)
        if len(words) < 2 or len(words[1]) != 3 or not words[1].isdigit():
            raise RemoteProtocolError("the proxy's answer has no status")
        status = int(words[1])
        if status == _PROXY_AUTHENTICATION_REQUIRED:
            reason = "refused the credentials" if self._authorization else "wants a user name and a password"
            raise AuthError(f"the HTTP proxy {reason}", status=status)
        if not 200 <= status <= 299:
            raise TunnelRefused(status, str(self._target))
        self.reply = Reply(0)
