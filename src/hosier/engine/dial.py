"""Connecting to one of several addresses: RFC 8305 Happy Eyeballs.

Families take turns, a new attempt starts every 250 ms or as soon as the one before has failed, the first to connect
wins and the others are closed.
"""

import errno
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import suppress
from errno import EALREADY, EHOSTUNREACH, EINPROGRESS
from functools import lru_cache
from itertools import chain, zip_longest
from socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IP,
    IPPROTO_TCP,
    SO_OOBINLINE,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_NODELAY,
    SocketType,
    inet_ntoa,
)
from types import coroutine
from typing import TYPE_CHECKING, Any, Final

from ..errors import reply_code_for
from ..protocol.address import IPV4, IPV6, Address
from .endpoint import WRITABLE, Endpoint, Owner
from .events import EPOLLOUT

if TYPE_CHECKING:
    from .poller import Engine
    from .task import Task

__all__ = ("Departures", "dial", "dial_from", "dial_one", "interleaved")

STAGGER: Final = 0.25
"""Seconds: the Connection Attempt Delay that RFC 8305 §5 recommends."""


Departures = Callable[[Address], Address | None]
"""Given an address that is to be reached, the one of this machine to leave from, port 0; None: whichever the system
takes."""


def dial(
    task: "Task", engine: "Engine", addresses: Sequence[Address], sources: Departures | None = None
) -> Awaitable[tuple[Endpoint, Address]]:
    """The endpoint connected to one of the addresses, and that address.

    Raises OSError when awaited: the only attempt's, the common reason of all, or EHOSTUNREACH with the reasons in
    its text if they differ.
    """
    if len(addresses) == 1:
        return dial_one(task, engine, addresses[0], sources)
    return _Race(task, engine, interleaved(addresses), sources).run()


@coroutine
def dial_from(
    task: "Task", engine: "Engine", local: tuple[Any, ...], remote: tuple[Any, ...]
) -> Generator[None, None, Endpoint]:
    """The endpoint connected to ``remote``, coming from the host of ``local``: addresses as the socket module has
    them, of one family.

    Raises OSError.
    """
    sock = _socket(IPV6 if ":" in remote[0] else IPV4)
    endpoint = Endpoint(engine, sock, task)
    try:
        sock.bind((local[0], 0, *local[2:]))
        code = sock.connect_ex(remote)
        if code in _UNDER_WAY:
            yield from endpoint.wait(WRITABLE)
            code = endpoint.connect_result()
        if code:
            raise OSError(code, os.strerror(code))
    except BaseException:
        endpoint.close()
        raise
    return endpoint


@coroutine
def dial_one(
    task: "Task", engine: "Engine", address: Address, sources: Departures | None = None
) -> Generator[None, None, tuple[Endpoint, Address]]:
    """The endpoint connected to the only address that there is, and that address. Raises OSError."""
    kind, octets, port = address
    sock = _socket(kind)
    endpoint = Endpoint(engine, sock, task)
    try:
        if sources is not None:
            _leave_from(sock, sources(address))
        # The call's own result counts before any edge does.
        sockaddr = (_text_of(octets) if kind == IPV4 else address.host, port)
        code = sock.connect_ex(sockaddr)
        if code == EINPROGRESS and octets[0] == _LOOPBACK:
            # On the loopback the handshake is over when the call returns; asking again costs less than an edge.
            code = sock.connect_ex(sockaddr)
        if code:
            if code in _UNDER_WAY:
                yield from endpoint.wait(WRITABLE)
                code = endpoint.connect_result()
            if code:
                raise OSError(code, os.strerror(code))
    except BaseException:
        endpoint.close()
        raise
    return endpoint, address


def interleaved(addresses: Sequence[Address]) -> list[Address]:
    """The addresses with families taking turns, each family's order kept (RFC 8305 §4)."""
    first = [address for address in addresses if address.kind == addresses[0].kind]
    other = [address for address in addresses if address.kind != addresses[0].kind]
    return [address for address in chain.from_iterable(zip_longest(first, other)) if address is not None]


# Plain numbers: the enums of the socket module cost more here than the call they are for.
_INET: Final = int(AF_INET)
_INET6: Final = int(AF_INET6)
_NONBLOCK: Final = int(getattr(socket, "SOCK_NONBLOCK", 0))
_STREAM: Final = int(SOCK_STREAM) | _NONBLOCK
_LOOPBACK: Final = 127 if sys.platform == "linux" else -1  # its first octet; others answer a second connect() otherwise
_BIND_ADDRESS_NO_PORT: Final = 24  # of Linux: connect() chooses the port, which is free for just this target
_text_of: Final = lru_cache(1024)(inet_ntoa)  # most connections go to few places
_UNDER_WAY: Final = (getattr(errno, "WSAEWOULDBLOCK", EINPROGRESS), EALREADY)  # Windows has a word of its own


def _opened(kind: int) -> SocketType:
    sock = SocketType(_INET if kind == IPV4 else _INET6, _STREAM)
    sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    sock.setsockopt(SOL_SOCKET, SO_OOBINLINE, 1)  # urgent data is ordinary data, or it would be lost
    return sock


def _opened_in_two_steps(kind: int) -> SocketType:
    sock = _opened(kind)
    sock.setblocking(False)
    return sock


_socket: Final = _opened if _NONBLOCK else _opened_in_two_steps


def _leave_from(sock: SocketType, source: Address | None) -> None:
    """Raises OSError, with the address in its words, if that is not this machine's."""
    if source is None:
        return
    with suppress(OSError):  # without it each connection takes a port of the address from all others
        sock.setsockopt(IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
    try:
        sock.bind((source.host, 0))
    except OSError as error:
        raise OSError(error.errno, f"cannot leave from {source.host}: {error.strerror}") from None


class _Race:
    """Several connects under way; it owns their endpoints until one has won."""

    def __init__(self, task: "Task", engine: "Engine", addresses: list[Address], sources: Departures | None) -> None:
        self._task = task
        self._sources = sources
        self._engine = engine
        self._waiting_addresses = addresses[::-1]
        self._attempts: dict[Endpoint, Address] = {}
        self._failures: list[OSError] = []
        self._winner: tuple[Endpoint, Address] | None = None
        self._timer: Any = None
        self._due = True

    @coroutine
    def run(self) -> Generator[None, None, tuple[Endpoint, Address]]:
        try:
            while True:
                while self._winner is None and self._waiting_addresses and (self._due or not self._attempts):
                    self._start_next()
                if self._winner is not None:
                    return self._crown(self._winner[0])
                if not self._attempts and not self._waiting_addresses:
                    raise _combined(self._failures)
                self._task.waiting = self
                yield
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for loser in self._attempts:
                loser.close()

    def on_edge(self, endpoint: Endpoint, events: int) -> None:
        endpoint.seen |= events
        if not endpoint.seen & WRITABLE or endpoint not in self._attempts or self._winner is not None:
            return
        code = endpoint.connect_result()
        if code:
            del self._attempts[endpoint]
            self._failed(endpoint, _why(code))
        else:
            self._winner = endpoint, self._attempts[endpoint]
        self._wake()

    # --- private ---

    def _start_next(self) -> None:
        address = self._waiting_addresses.pop()
        self._due = False
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._engine.loop.call_later(STAGGER, self._stagger)
        try:
            owner: Owner = self
            endpoint = Endpoint(self._engine, _socket(address.kind), owner)
        except OSError as error:
            self._failures.append(error)
            return
        try:
            if self._sources is not None:
                _leave_from(endpoint.sock, self._sources(address))
            code = endpoint.sock.connect_ex(address.sockaddr)
        except OSError as error:
            self._failed(endpoint, error)
            return
        if code and code not in _UNDER_WAY:
            self._failed(endpoint, _why(code))
            return
        self._attempts[endpoint] = address
        endpoint.hear(EPOLLOUT)
        if not code:
            self._winner = endpoint, address

    def _stagger(self) -> None:
        self._due = True
        self._wake()

    def _wake(self) -> None:
        if self._task.waiting is self:
            self._task.resume()

    def _failed(self, endpoint: Endpoint, error: OSError) -> None:
        endpoint.close()
        self._failures.append(error)

    def _crown(self, endpoint: Endpoint) -> tuple[Endpoint, Address]:
        address = self._attempts.pop(endpoint)
        endpoint.owner = self._task
        return endpoint, address


def _why(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _combined(failures: list[OSError]) -> OSError:
    """One error for all attempts: the common reason, or 04 if the reasons differ (conformance catalogue 3.5)."""
    if len({reply_code_for(failure) for failure in failures}) == 1:
        return failures[-1]
    reasons = "; ".join(dict.fromkeys(str(failure.strerror) for failure in failures))
    return OSError(EHOSTUNREACH, f"every address failed: {reasons}")
