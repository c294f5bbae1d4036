"""What stands in for the socket's own ways out within a scope, whatever its time limit: ``connect`` and its kin.

The way through the proxies is one of ``hosier.connect``; then the program's own socket becomes that connection.
"""

import errno
import os
import socket
from collections.abc import Callable
from typing import Any, Final

from .adoption import adopt, options_of
from .datagrams import AssociatedSocket, associated, association_of
from .pending import begin, pending_of, settle
from .reaching import reach
from .scope import INTERNET, Route, Scope, carried, current

__all__ = ("WAYS_OUT", "connected", "way_of")

_connect: Final = socket.socket.connect
_connect_ex: Final = socket.socket.connect_ex
_getpeername: Final = socket.socket.getpeername
_getsockopt: Final[Callable[..., Any]] = socket.socket.getsockopt
_bind: Final = socket.socket.bind
_sendto: Final[Callable[..., int]] = socket.socket.sendto
_sendmsg: Final[Callable[..., int]] = socket.socket.sendmsg


def connect(sock: socket.socket, address: Any) -> None:
    scope = current.get()
    route = None if scope is None else way_of(scope, sock, address)
    if scope is None or route is None:
        _connect(sock, address)
    elif route.direct:
        carried(None, _connect)(sock, (route.host, *address[1:]))
    elif sock.type == socket.SOCK_DGRAM:
        associated(scope, sock).peer = route.host, address[1]
    elif not _connected_meanwhile(sock):
        port = address[1]
        if sock.gettimeout() == 0:
            begin(sock, scope.chain, route.host, port)
            raise BlockingIOError(errno.EINPROGRESS, os.strerror(errno.EINPROGRESS))
        adopt(sock, reach(scope.chain, route.host, port, sock.gettimeout()), options_of(sock))


def connect_ex(sock: socket.socket, address: Any) -> int:
    scope = current.get()
    if scope is None:
        return _connect_ex(sock, address)
    try:
        route = way_of(scope, sock, address)
        if route is not None and route.direct:
            return carried(None, _connect_ex)(sock, (route.host, *address[1:]))
        connect(sock, address)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def getpeername(sock: socket.socket) -> Any:
    pending = settle(sock)
    if pending is not None and not pending.done:
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
    return _getpeername(sock)


def getsockopt(sock: socket.socket, level: int, option: int, *size: int) -> Any:
    if level == socket.SOL_SOCKET and option == socket.SO_ERROR and not size and pending_of(sock) is not None:
        pending = settle(sock)
        if pending is not None and pending.error is not None:
            return pending.error.errno or errno.EIO
    return _getsockopt(sock, level, option, *size)


def bind(sock: socket.socket, address: Any) -> None:
    """As ever, but no name is looked up for it: ``socket.getaddrinfo`` knows those that may be."""
    scope = current.get()
    if scope is not None and sock.family in INTERNET and isinstance(address, tuple) and address and address[0]:
        number = str(socket.getaddrinfo(address[0], 0, sock.family, sock.type)[0][4][0])
        if scope.names.is_fake(number):
            raise OSError(errno.EADDRNOTAVAIL, f"{address[0]!r} is a name behind the proxy: bind to an address")
        address = (number, *address[1:])
    _bind(sock, address)


def sendto(sock: socket.socket, data: Any, *flags_and_address: Any) -> int:
    scope = current.get()
    if scope is None or sock.family not in INTERNET:
        return _sendto(sock, data, *flags_and_address)
    *flags, address = flags_and_address
    route = way_of(scope, sock, address)
    if route is not None and not route.direct:
        return _through(scope, sock).sendto(data, (route.host, address[1]))
    return carried(None, _sendto)(sock, data, *flags, _straight(route, address))


def sendmsg(sock: socket.socket, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None) -> int:
    association = association_of(sock)
    if address is None and association is not None:
        return association.send(b"".join(buffers))
    scope = current.get()
    if scope is None or sock.family not in INTERNET or address is None:
        return _sendmsg(sock, buffers, ancdata, flags, address)
    route = way_of(scope, sock, address)
    if route is not None and not route.direct:
        return _through(scope, sock).sendto(b"".join(buffers), (route.host, address[1]))
    return carried(None, _sendmsg)(sock, buffers, ancdata, flags, _straight(route, address))


WAYS_OUT: Final[list[tuple[Any, str, Any]]] = [
    (socket.socket, call.__name__, call)
    for call in (connect, connect_ex, getpeername, getsockopt, bind, sendto, sendmsg)
]


def way_of(scope: Scope, sock: socket.socket, address: Any) -> Route | None:
    """Where a socket goes that is told an address; None for what is none of ours: other families, no address at all.

    Raises OSError for what cannot go through a proxy.
    """
    if sock.family not in INTERNET or not isinstance(address, tuple) or len(address) < 2:
        return None
    host, port = address[:2]
    if isinstance(host, bytes | bytearray):
        host = host.decode("ascii", "backslashreplace")
    if not isinstance(host, str) or not isinstance(port, int):
        return None
    route = scope.route(sock.family, host, port)
    if not route.direct and sock.type not in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        raise OSError(errno.EOPNOTSUPP, "within socksify TCP and UDP go through the proxy, and nothing else")
    if route.direct and association_of(sock) is not None:
        raise OSError(
            errno.EOPNOTSUPP, "this socket hears the proxy only: take another one for what goes past the proxy"
        )
    return route


def connected(sock: socket.socket) -> bool:
    """Whether the socket has its peer already."""
    try:
        _getpeername(sock)
    except OSError:
        return False
    return True


# --- private ---


def _connected_meanwhile(sock: socket.socket) -> bool:
    """Whether an earlier connect of a non-blocking socket has led to its end. Raises OSError if it failed, if it is
    still on its way (EALREADY), and for a socket that is connected (EISCONN)."""
    pending = settle(sock)
    if pending is not None:
        if not pending.done:
            raise BlockingIOError(errno.EALREADY, os.strerror(errno.EALREADY))
        if pending.error is not None:
            raise pending.error
        return True
    if connected(sock):
        raise OSError(errno.EISCONN, os.strerror(errno.EISCONN))
    return False


def _through(scope: Scope, sock: socket.socket) -> AssociatedSocket:
    """For what is sent to an address without a connection, which only datagrams can be."""
    if sock.type != socket.SOCK_DGRAM:
        raise OSError(errno.EOPNOTSUPP, "data cannot be sent through a proxy before there is a connection")
    return associated(scope, sock)


def _straight(route: Route | None, address: Any) -> Any:
    """The address for the system, of what goes past the proxy or is none of ours."""
    return address if route is None else (route.host, *address[1:])
