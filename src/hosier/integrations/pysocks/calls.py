"""What PySocks has beside its socket: the default proxy, ``wrap_module``, ``create_connection``, in all spellings."""

import functools
import socket
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, TypeVar

from ...client.lookup import look_up
from ...errors import ConfigError
from .errors import GeneralProxyError
from .proxies import ProxyTuple, new_spelling, proxy_of, proxy_tuple
from .reaching import destination_of
from .sockets import socksocket

__all__ = (
    "create_connection",
    "get_default_proxy",
    "getdefaultproxy",
    "set_default_proxy",
    "set_self_blocking",
    "setdefaultproxy",
    "wrap_module",
    "wrapmodule",
)

CallT = TypeVar("CallT", bound=Callable[..., Any])


def set_default_proxy(
    proxy_type: int | None = None,
    addr: str | None = None,
    port: int | None = None,
    rdns: bool = True,
    username: str | bytes | None = None,
    password: str | bytes | None = None,
) -> None:
    """The proxy of every ``socksocket`` that is made from now on, unless it is told another one."""
    socksocket.default_proxy = proxy_tuple(proxy_type, addr, port, rdns, username, password)


def setdefaultproxy(*args: Any, **kwargs: Any) -> None:
    """The old spelling, with ``proxytype``."""
    set_default_proxy(*args, **new_spelling(kwargs))


def get_default_proxy() -> ProxyTuple | None:
    """What ``set_default_proxy`` said."""
    return socksocket.default_proxy


getdefaultproxy = get_default_proxy


def wrap_module(module: Any) -> None:
    """Puts ``socksocket`` in the place of ``module.socket.socket``: of all modules', since there is one socket module.

    Raises GeneralProxyError without a default proxy.
    """
    if not socksocket.default_proxy:
        raise GeneralProxyError("No default proxy specified")
    module.socket.socket = socksocket


wrapmodule = wrap_module


def set_self_blocking(function: CallT) -> CallT:
    """Decorates a socket's method that has to wait, also where the socket must not."""

    @functools.wraps(function)
    def waiting(self: Any, *args: Any, **kwargs: Any) -> Any:
        limit = self.gettimeout()
        if limit == 0:
            self.setblocking(True)
        try:
            return function(self, *args, **kwargs)
        finally:
            if limit == 0:
                self.setblocking(False)

    return waiting  # type: ignore[return-value]


def create_connection(
    dest_pair: Any,
    timeout: float | None = None,
    source_address: Any = None,
    proxy_type: int | None = None,
    proxy_addr: str | None = None,
    proxy_port: int | None = None,
    proxy_rdns: bool = True,
    proxy_username: str | bytes | None = None,
    proxy_password: str | bytes | None = None,
    socket_options: Iterable[tuple[Any, ...]] | None = None,
) -> socksocket:
    """``socket.create_connection``, through the proxy that is told, else through the default one, else straight.

    ``timeout``, in seconds, covers the whole way and stays on the socket.
    """
    kept = proxy_tuple(proxy_type, proxy_addr, proxy_port, proxy_rdns, proxy_username, proxy_password)
    if not proxy_type:
        kept = socksocket.default_proxy or kept
    limit = timeout if isinstance(timeout, int | float) else socket.getdefaulttimeout()
    deadline = None if limit is None else monotonic() + limit
    failure: OSError = TimeoutError("timed out")
    for family, place in _attempts(dest_pair, kept, limit):
        left = None if deadline is None else deadline - monotonic()
        if left is not None and left <= 0:
            break
        sock = socksocket(family, socket.SOCK_STREAM)
        try:
            for option in socket_options or ():
                sock.setsockopt(*option)
            sock.proxy = kept
            if source_address:
                sock.bind(source_address)
            sock.settimeout(left)
            sock.connect(place)
            sock.settimeout(limit)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


def _attempts(pair: Any, kept: ProxyTuple, limit: float | None) -> list[tuple[int, Any]]:
    """Families to make a socket of, and where to connect it: the proxy's, or where there is none the target's own.

    Raises OSError for a target that cannot be looked up; a proxy that cannot is for ``connect`` to explain.
    """
    if not kept[0]:
        target = destination_of(pair)
        return [(place.family, place.sockaddr) for place in look_up(target.host, target.port, lambda: limit)]
    try:
        proxy = proxy_of(kept)
        families = [place.family for place in look_up(proxy.host, proxy.port, lambda: limit)]
    except (OSError, ConfigError):
        families = [socket.AF_INET]
    return [(family, pair) for family in dict.fromkeys(families)]
