"""The way of one call through its proxies, without the I/O: which hop is next, what is said there, what time is left,
and where it was when it failed. Both shells, blocking and asyncio, walk it."""

import errno
import socket
from collections.abc import Sequence
from time import monotonic
from typing import Final

from ..errors import ConfigError, Place, ProxyConnectionError, ProxyTimedOut, ReplyCode, SocksError, reply_error
from ..protocol.address import Address, parse_address
from ..protocol.client_connection import ClientHandshake
from ..protocol.messages import Command, Request
from .http_connect import HttpConnect
from .layered import BareHandshake, LayeredHandshake, LayeredStream
from .methods import WITHOUT_AUTHENTICATION, methods_of
from .proxy import Proxy
from .quick import QuickHandshake

__all__ = ("AnyHandshake", "Journey", "announced", "host_of_proxy")

AnyHandshake = BareHandshake | LayeredHandshake

_VERSION: Final = {"socks4": 4, "socks5": 5}


class Journey:
    """One call on its way.

    Args:
        chain: the proxies, the nearest first.
        command: what the last of them is asked for.
        destination: of the command.
        timeout: seconds for everything together; None: no limit.
        early: payload that goes out with the last request (EX-16).

    Raises ConfigError for a timeout that is no number and for a payload that is no octets.
    """

    __slots__ = (
        *("_deadline", "_early", "_handshake", "_stream"),
        *("chain", "command", "destination", "hop", "step", "timeout"),
    )

    def __init__(
        self,
        chain: Sequence[Proxy],
        command: int,
        destination: Address,
        timeout: float | None,
        early: bytes = b"",
    ) -> None:
        if timeout is not None and not (isinstance(timeout, float | int) and timeout == timeout):
            found = timeout if isinstance(timeout, float) else type(timeout).__name__
            raise ConfigError(f"timeout: expected a number of seconds or None, found {found}")
        if early and not isinstance(early, bytes | bytearray | memoryview):
            raise ConfigError(f"early: expected octets, found {type(early).__name__}")
        self.chain = chain
        self.command = command
        self.destination = destination
        self.timeout = timeout
        self.hop = 0
        """Index of the proxy that is being dealt with."""
        self.step = "lookup"
        self._deadline = None if timeout is None else monotonic() + timeout
        self._early = early
        self._handshake: AnyHandshake | None = None
        self._stream: LayeredStream | None = None

    @property
    def proxy(self) -> Proxy:
        """The one that is being dealt with."""
        return self.chain[self.hop]

    @property
    def protects(self) -> bool:
        """Whether a proxy has TLS, or may agree with us on a layer that protects what follows."""
        return any(proxy.tls or proxy.gssapi is not None for proxy in self.chain)

    @property
    def target(self) -> Address:
        """Where this proxy is to lead: to the next one, or from the last to the destination."""
        if self.hop + 1 == len(self.chain):
            return self.destination
        following = self.chain[self.hop + 1]
        return parse_address(following.host, following.port)

    @property
    def asked(self) -> bool:
        """Whether all that is missing is what the last proxy answers to the request."""
        handshake = self._handshake
        return self.hop + 1 == len(self.chain) and handshake is not None and handshake.step == "reply"

    def left(self) -> float | None:
        """Seconds that are left. Raises ProxyTimedOut when there are none."""
        if self._deadline is None:
            return None
        left = self._deadline - monotonic()
        if left <= 0:
            raise self._late()
        return left

    def begin(self, target: Address) -> AnyHandshake:
        """The conversation with this proxy, which is to lead to the target, as looked up. If earlier proxies of the
        chain protect what goes through them, its octets are within their layers."""
        handshake = self._bare_handshake(target)
        self._handshake = handshake if self._stream is None else LayeredHandshake(handshake, self._stream)
        return self._handshake

    @property
    def below(self) -> LayeredStream | None:
        """What the earlier proxies' layers make of the connection; None: it is bare."""
        return self._stream

    def lead_through(self, stream: LayeredStream) -> None:
        """All that follows goes through this stream, which lies above ``below``."""
        self._stream = stream

    def go_on_with(self, handshake: AnyHandshake) -> None:
        """A conversation with this proxy that somebody else has begun."""
        self._handshake = handshake

    def passed(self) -> bool:
        """This proxy has done its part; whether another one follows. Raises RemoteProtocolError if what came under
        its layer already is broken."""
        if self.hop + 1 == len(self.chain):
            return False
        self._take_over()
        self.hop += 1
        self.step = "lookup"
        return True

    def take_stream(self) -> LayeredStream | None:
        """What protects the connection from here on, for the shell to take over; None: octets go as they are.

        For when the last answer is there, or before something else than the next handshake goes below. The journey
        knows of no layer afterwards. Raises RemoteProtocolError if what came under it already is broken.
        """
        self._take_over()
        stream, self._stream = self._stream, None
        return stream

    def explain(self, error: OSError) -> OSError:
        """The error to raise: one of ours, with its place."""
        step = self._handshake.step if self._handshake is not None else self.step
        if not isinstance(error, SocksError):
            error = self._typed(error, step)
        assert isinstance(error, SocksError)
        if error.place is None:
            error.place = Place(str(self.proxy), self.hop + 1, len(self.chain), step, str(self.destination))
        return error

    def resumed(self, handshake: AnyHandshake, timeout: float | None) -> "Journey":
        """The wait for BIND's second answer, with a time limit of its own."""
        later = Journey(self.chain, self.command, self.destination, timeout)
        later.hop = self.hop
        later._handshake = handshake
        later._stream = self._stream
        return later

    # --- private ---

    def _bare_handshake(self, target: Address) -> BareHandshake:
        proxy = self.proxy
        last = self.hop + 1 == len(self.chain)
        early = self._early if last else b""
        if proxy.protocol == "http":
            return HttpConnect(target, proxy.username, proxy.password, early=early)
        version = _VERSION[proxy.protocol]
        user_id = (proxy.username or b"") if version == 4 else b""
        request = Request(version, self.command if last else Command.CONNECT, target, user_id)
        if version == 4 or proxy.methods == WITHOUT_AUTHENTICATION:
            quick = version == 5 and request.command == Command.CONNECT
            return QuickHandshake(request, early) if quick else ClientHandshake(request, early=early)
        return ClientHandshake(request, methods_of(proxy, request.command), early=early)

    def _take_over(self) -> None:
        """The handshake is over: what it left, if it agreed on a layer, becomes the stream for all that follows."""
        handshake, self._handshake = self._handshake, None
        bare = handshake.within if isinstance(handshake, LayeredHandshake) else handshake
        if isinstance(bare, ClientHandshake) and bare.layer is not None:
            self._stream = LayeredStream(bare.layer, bare.detach(), self._stream)

    def _late(self) -> ProxyTimedOut:
        return ProxyTimedOut("no answer" if self.timeout is None else f"no result within {self.timeout:g} s")

    def _typed(self, error: OSError, step: str) -> OSError:
        if isinstance(error, TimeoutError):
            return self._late()
        reason = error.strerror or str(error) or type(error).__name__
        if step == "lookup target":
            return reply_error(ReplyCode.HOST_UNREACHABLE, f"{self.target}, looked up here ({reason})")
        if step == "lookup":
            return ProxyConnectionError(f"cannot look up the proxy {self.proxy.host}: {reason}")
        if step == "connect":
            return ProxyConnectionError(f"cannot connect to the proxy: {reason}", error.errno or errno.EIO)
        if step == "TLS":
            return ProxyConnectionError(f"no TLS with the proxy: {reason}", errno.EPROTO)
        return ProxyConnectionError(f"the connection to the proxy broke: {reason}", error.errno or errno.EIO)


def announced(bound: Address, proxy_host: str) -> tuple[str, int]:
    """Host and port to use for an address in a reply: zeros stand for the proxy's own (S5-REQ-64, 76)."""
    return bound.host if any(bound.octets) else proxy_host, bound.port


def host_of_proxy(sock: socket.socket, chain: Sequence[Proxy]) -> str:
    """The host of the last proxy: as an address if we are connected to it ourselves."""
    if len(chain) > 1 or sock.family == socket.AF_UNIX:
        return chain[-1].host
    try:
        host: str = sock.getpeername()[0]
    except OSError:  # it has broken the connection since
        return chain[-1].host
    return host
