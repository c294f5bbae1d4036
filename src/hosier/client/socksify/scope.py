"""What is decided within a scope of ``socksify``: which proxies, and what goes past them.

The scope that counts is that of the running context (PEP 567): each task and each thread has its own.
"""

import contextlib
import errno
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

from ..environment import matching_entry
from ..names import FakeNames
from ..proxy import Proxy

__all__ = ("INTERNET", "Route", "Scope", "carried", "current", "outside", "shared_names")

P = ParamSpec("P")
T = TypeVar("T")

INTERNET: Final = (socket.AF_INET, socket.AF_INET6)
"""The families that a proxy leads to; sockets of others are left alone."""

_MAX_DIRECT: Final = 4096

shared_names: Final = FakeNames()
"""One table for all scopes: an address that was asked for in one of them stands for the same name in every other."""


class Route(NamedTuple):
    """Where a socket of a scope is to go."""

    host: str
    """A name or an address, never a fake one."""
    direct: bool
    """Past the proxy."""


class Scope:
    """The proxies, and what goes past them. Lives as long as any context is in it."""

    __slots__ = ("__weakref__", "_bypass", "_direct", "_lock", "chain", "names")

    def __init__(self, chain: tuple[Proxy, ...], bypass: str, names: FakeNames) -> None:
        self.chain = chain
        self.names = names
        self._bypass = bypass
        # Addresses that names which go past the proxy were found at.
        self._direct: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def route(self, family: int, host: str, port: int) -> Route:
        """Where a socket goes that is told to go to a host, which may be a fake address.

        Raises OSError (EHOSTUNREACH) for a fake address that stands for no name any more.
        """
        bare = host.partition("%")[0] if ":" in host else host  # SOCKS has no field for a link
        if self.names.is_fake(bare):
            name = self.names.name_of(bare)
            if name is None:
                raise OSError(errno.EHOSTUNREACH, f"{host} stands for no name any more; look it up again")
            return Route(name, self._goes_past(name, port))
        if self._goes_past(bare, port) or bare in self._direct:
            return Route(host, True)
        if bare in ("", "0.0.0.0", "::"):  # noqa: S104 - as the system takes them when connecting
            bare = "127.0.0.1" if family == socket.AF_INET else "::1"
        return Route(bare, False)

    def asks_here(self, name: str, port: int | None) -> bool:
        """Whether a name is looked up on this side: it goes past the proxy, or the proxy takes addresses only."""
        return not self.chain[-1].remote_dns or self._goes_past(name, port)

    def found_here(self, name: str, port: int | None, address: str) -> None:
        """Remembers what a name was found at on this side: where the name goes past the proxy, so does the address."""
        if self._goes_past(name, port):
            with self._lock:
                self._direct[address] = None
                self._direct.move_to_end(address)
                if len(self._direct) > _MAX_DIRECT:
                    self._direct.popitem(last=False)

    def _goes_past(self, host: str, port: int | None) -> bool:
        return bool(self._bypass) and matching_entry(self._bypass, host, port) is not None


current: ContextVar[Scope | None] = ContextVar("hosier.socksify", default=None)
"""The scope that the running context is in."""


@contextlib.contextmanager
def outside() -> Iterator[None]:
    """For what Hosier itself does, which must not be sent through a proxy once more."""
    token = current.set(None)
    try:
        yield
    finally:
        current.reset(token)


def carried(scope: Scope | None, call: Callable[P, T]) -> Callable[P, T]:
    """The call in that scope, wherever it is made."""

    def in_scope(*args: P.args, **kwargs: P.kwargs) -> Any:
        token = current.set(scope)
        try:
            return call(*args, **kwargs)
        finally:
            current.reset(token)

    return in_scope
