"""``socksocket``: a socket of the system that connects through a proxy."""

import errno
import os
import socket
from collections.abc import Iterable
from typing import Any, ClassVar

from ...client.steps import raise_from
from ...errors import ConfigError
from ...protocol.address import UNSPECIFIED
from ...protocol.messages import Command
from .datagrams import Association
from .errors import translated, translated_in_connect
from .proxies import SOCKS5, ProxyTuple, new_spelling, proxy_of, proxy_tuple
from .reaching import INTERNET, SystemSocket, destination_of, new_journey, walk

__all__ = ("socksocket",)

_KIND: int = ~(getattr(socket, "SOCK_CLOEXEC", 0) | getattr(socket, "SOCK_NONBLOCK", 0))

Pair = tuple[str, int]


class socksocket(socket.socket):
    """With a proxy set, TCP connects through it, and datagrams travel through it.

    Without one, and for what is not of the internet, it is a socket as any other. Its number, options and time limit
    are its own all the time. What a socket's calls raise for a proxy's sake is a :class:`ProxyError`.
    """

    default_proxy: ClassVar[ProxyTuple | None] = None

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        if type != -1 and type & _KIND not in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            raise ValueError(f"Socket type must be stream or datagram, not {type!r}")
        super().__init__(family, type, proto, fileno)
        self.proxy: ProxyTuple = self.default_proxy or (None, None, None, None, None, None)
        self.proxy_sockname: Pair | None = None
        self.proxy_peername: Pair | None = None
        self._association: Association | None = None

    # --- the proxy ---

    def set_proxy(
        self,
        proxy_type: int | None = None,
        addr: str | None = None,
        port: int | None = None,
        rdns: bool = True,
        username: str | bytes | None = None,
        password: str | bytes | None = None,
    ) -> None:
        """Sets the proxy of this socket; no type means none. ``rdns``: the proxy looks names up, with SOCKS4 as 4a."""
        self.proxy = proxy_tuple(proxy_type, addr, port, rdns, username, password)

    def setproxy(self, *args: Any, **kwargs: Any) -> None:
        """The old spelling, with ``proxytype``."""
        self.set_proxy(*args, **new_spelling(kwargs))

    def get_proxy_sockname(self) -> Pair | None:
        """Where the proxy's own connection to the target begins, as it says."""
        return self.proxy_sockname

    def get_proxy_peername(self) -> Any:
        """The address of the proxy. Raises OSError without a connection."""
        return super().getpeername()

    def get_peername(self) -> Pair | None:
        """The target; None without one."""
        try:
            peer: Pair = self.getpeername()
        except OSError:
            return None
        return peer

    getproxysockname = get_proxy_sockname
    getproxypeername = get_proxy_peername

    def getpeername(self) -> Any:
        """The target, where there is a proxy; else as ever. Raises OSError without a connection."""
        if self.proxy_peername is not None:
            return self.proxy_peername
        if self._association is not None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return super().getpeername()

    # --- connections ---

    def connect(self, dest_pair: Any, catch_errors: bool | None = None) -> None:
        """To a host and port, names included, through the proxy.

        The socket's time limit covers the whole way; one that does not block waits here all the same, as in PySocks.
        With ``catch_errors`` our errors are raised instead of PySocks'. A failure closes the socket.
        """
        if not self._is_proxied:
            super().connect(dest_pair)
            return
        if self._kind == socket.SOCK_DGRAM:
            self._connect_datagrams(dest_pair)
            return
        limit, destination = self.gettimeout(), destination_of(dest_pair)
        try:
            journey = new_journey(proxy_of(self.proxy), Command.CONNECT, destination, limit)
            try:
                _, handshake, target = walk(journey, self._in_family)
            except OSError as error:
                raise_from(journey, error)
        except (OSError, ConfigError) as error:
            self.close()
            if catch_errors and isinstance(error, OSError):
                raise
            raise translated_in_connect(error, self.proxy) from error
        assert handshake.reply is not None
        self.settimeout(limit)
        self.proxy_sockname = handshake.reply.bound.host, handshake.reply.bound.port
        self.proxy_peername = target.host, target.port

    def connect_ex(self, dest_pair: Any) -> int:
        """As ``connect``, with the error's number instead of the error."""
        if not self._is_proxied:
            return super().connect_ex(dest_pair)
        try:
            self.connect(dest_pair, catch_errors=True)
        except OSError as error:
            if not error.errno:
                raise
            return error.errno
        return 0

    def _connect_datagrams(self, pair: Any) -> None:
        """From now on datagrams go there and come from there; 0.0.0.0 and port 0 lift that again."""
        destination = destination_of(pair)
        self._associated()
        anyone = not any(destination.octets) and not destination.port
        self.proxy_peername = None if anyone else (destination.host, destination.port)

    # --- datagrams ---

    def bind(self, address: Any) -> None:
        """As ever; for datagrams through a proxy this is where the proxy is asked for them."""
        if not (self._is_proxied and self._kind == socket.SOCK_DGRAM):
            super().bind(address)
            return
        if self._association is not None:
            raise OSError(errno.EINVAL, "Socket already bound to an address")
        if self.proxy[0] != SOCKS5:
            raise OSError(errno.EOPNOTSUPP, "UDP only supported by SOCKS5 proxy type")
        super().bind(address)
        try:
            self._association = Association(self, proxy_of(self.proxy))
        except (OSError, ConfigError) as error:
            raise translated(error, self.proxy) from error
        self.proxy_sockname = UNSPECIFIED.host, UNSPECIFIED.port  # the proxy does not tell

    def sendto(self, data: Any, *flags_and_address: Any) -> int:
        """As ever; the address may be a name, for the proxy to look up."""
        if not self._sends_datagrams:
            return super().sendto(data, *flags_and_address)
        *flags, address = flags_and_address
        return self._associated().send(data, address, *flags)

    def send(self, data: Any, flags: int = 0) -> int:
        """As ever; datagrams go where ``connect`` said."""
        if not self._sends_datagrams:
            return super().send(data, flags)
        if self.proxy_peername is None:
            raise OSError(errno.EDESTADDRREQ, os.strerror(errno.EDESTADDRREQ))
        return self._associated().send(data, self.proxy_peername, flags)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """As ever."""
        if not self._sends_datagrams:
            super().sendall(data, flags)
        else:
            self.send(data, flags)

    def sendmsg(self, buffers: Iterable[Any], ancdata: Any = (), flags: int = 0, address: Any = None) -> int:
        """As ever; there is no ancillary data for a proxy."""
        if not self._sends_datagrams:
            return super().sendmsg(buffers, ancdata, flags, address)
        data = b"".join(bytes(one) for one in buffers)
        return self.send(data, flags) if address is None else self.sendto(data, flags, address)

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Any]:
        """As ever; a datagram's sender is the one behind the proxy."""
        if not self._sends_datagrams:
            return super().recvfrom(bufsize, flags)
        data, sender = self._associated().receive(self.proxy_peername, flags)
        return data[:bufsize], sender

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """As ever."""
        return self.recvfrom(bufsize, flags)[0] if self._sends_datagrams else super().recv(bufsize, flags)

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """As ever."""
        if not self._sends_datagrams:
            return super().recvfrom_into(buffer, nbytes, flags)
        with memoryview(buffer).cast("B") as room:
            data, sender = self.recvfrom(nbytes or len(room), flags)
            room[: len(data)] = data
        return len(data), sender

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As ever."""
        if not self._sends_datagrams:
            return super().recv_into(buffer, nbytes, flags)
        return self.recvfrom_into(buffer, nbytes, flags)[0]

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0) -> tuple[bytes, list[Any], int, Any]:
        """As ever; there is no ancillary data from a proxy."""
        if not self._sends_datagrams:
            return super().recvmsg(bufsize, ancbufsize, flags)
        data, sender = self.recvfrom(bufsize, flags)
        return data, [], 0, sender

    def close(self) -> None:
        """As ever; it ends the association, too."""
        if self._association is not None:
            self._association.close()
        super().close()

    # --- private ---

    @property
    def _kind(self) -> int:
        return self.type & _KIND

    @property
    def _is_proxied(self) -> bool:
        return bool(self.proxy[0]) and self.family in INTERNET

    @property
    def _sends_datagrams(self) -> bool:
        return self.type == socket.SOCK_DGRAM and self._is_proxied

    def _associated(self) -> Association:
        if self._association is None:
            self.bind(("", 0))
        assert self._association is not None
        return self._association

    def _in_family(self, family: int) -> "socksocket":
        """This socket, for an address of the family: where it is of the other one, another one under its number."""
        if family != self.family:
            number = self.fileno()
            with SystemSocket(family, socket.SOCK_STREAM) as other:
                os.dup2(other.fileno(), number, inheritable=self.get_inheritable())
            SystemSocket.__init__(self, family, socket.SOCK_STREAM, 0, number)
        return self
