"""The way of one call through its proxies, without the I/O: which hop is next, what is said there, what time is left,
and where it was when it failed. Both shells, blocking and asyncio, walk it."""

import errno
import socket
from collections.abc import Sequence
from time import monotonic
from typing import Final

from ..errors import Place, ProxyConnectionError, ProxyTimedOut, ReplyCode, SocksError, reply_error
from ..protocol.address import Address, parse_address
from ..protocol.client_connection import ClientHandshake, ClientMethod
from ..protocol.messages import Command, Request
from .http_connect import HttpConnect
from .proxy import Proxy
from .quick import QuickHandshake

__all__ = ("AnyHandshake", "Journey", "announced", "host_of_proxy")

AnyHandshake = ClientHandshake | QuickHandshake | HttpConnect

_VERSION: Final = {"socks4": 4, "socks5": 5}


class Journey:
    """One call on its way.

    Args:
        chain: the proxies, the nearest first.
        command: what the last of them is asked for.
        destination: of the command.
        timeout: seconds for everything together; None: no limit.
        early: payload that goes out with the last request (EX-16).
    """

    __slots__ = ("_deadline", "_early", "_handshake", "chain", "command", "destination", "hop", "step", "timeout")

    def __init__(
        self,
        chain: Sequence[Proxy],
        command: int,
        destination: Address,
        timeout: float | None,
        early: bytes = b"",
    ) -> None:
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

    @property
    def proxy(self) -> Proxy:
        """The one that is being dealt with."""
        return self.chain[self.hop]

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
        """The conversation with this proxy, which is to lead to the target, as looked up."""
        proxy = self.proxy
        last = self.hop + 1 == len(self.chain)
        early = self._early if last else b""
        handshake: AnyHandshake
        if proxy.protocol == "http":
            handshake = HttpConnect(target, proxy.username, proxy.password, early=early)
        else:
            version = _VERSION[proxy.protocol]
            user_id = (proxy.username or b"") if version == 4 else b""
            request = Request(version, self.command if last else Command.CONNECT, target, user_id)
            if proxy.password is not None:
                handshake = ClientHandshake(request, _methods(proxy), early=early)
            elif version == 5 and request.command == Command.CONNECT:
                handshake = QuickHandshake(request, early)
            else:
                handshake = ClientHandshake(request, early=early)
        self._handshake = handshake
        return handshake

    def passed(self) -> bool:
        """This proxy has done its part; whether another one follows."""
        self._handshake = None
        if self.hop + 1 == len(self.chain):
            return False
        self.hop += 1
        self.step = "lookup"
        return True

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
        return later

    # --- private ---

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


def _methods(proxy: Proxy) -> tuple[ClientMethod, ...]:
    # Here, because the deciding half loads what only those with a password need.
    from ..auth.passwords import PasswordMethod
    from ..protocol.auth.password import Credentials

    assert proxy.username is not None  # a password has a user
    assert proxy.password is not None
    method = PasswordMethod(credentials=Credentials(proxy.username, proxy.password))
    return ClientMethod(None), ClientMethod(method.framing, method.client_exchange)


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
