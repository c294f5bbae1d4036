"""PySocks' handler for urllib.request, in new programs better ``hosier.integrations.urllib_request``.

``urllib.request.build_opener(SocksiPyHandler(SOCKS5, "proxy.example", 1080))``
"""

import http.client
import socket
import ssl
import urllib.request
from typing import Any, TypeVar

from ...client.lookup import literal
from .calls import create_connection

__all__ = ("SocksiPyConnection", "SocksiPyConnectionS", "SocksiPyHandler", "is_ip", "merge_dict", "socks4_no_rdns")

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")

socks4_no_rdns: set[str] = set()
"""Hosts of proxies that cannot look names up. PySocks adds to it by itself, so that the DNS learns the names; here that
is the program's own choice."""


def merge_dict(a: dict[KeyT, ValueT], b: dict[KeyT, ValueT]) -> dict[KeyT, ValueT]:
    """A new one, in which the second has the last word."""
    return {**a, **b}


def is_ip(s: str) -> bool:
    """Whether a host is an address rather than a name."""
    return literal(s, 0) is not None


class _Proxied(http.client.HTTPConnection):
    """The arguments of the proxy, before those of the connection."""

    def __init__(
        self,
        proxytype: int,
        proxyaddr: str,
        proxyport: int | None = None,
        rdns: bool = True,
        username: str | None = None,
        password: str | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        self.proxyargs = (proxytype, proxyaddr, proxyport, rdns, username, password)
        super().__init__(*args, **kwargs)

    def connect(self) -> None:
        kind, host, port, rdns, username, password = self.proxyargs
        self.sock = create_connection(
            (self.host, self.port),
            timeout=self.timeout if isinstance(self.timeout, int | float) else None,
            proxy_type=kind,
            proxy_addr=host,
            proxy_port=port,
            proxy_rdns=rdns and host not in socks4_no_rdns,
            proxy_username=username,
            proxy_password=password,
            socket_options=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),
        )


class SocksiPyConnection(_Proxied):
    """``http.client.HTTPConnection`` through the proxy."""


class SocksiPyConnectionS(_Proxied, http.client.HTTPSConnection):
    """``http.client.HTTPSConnection`` through the proxy."""

    def __init__(self, *args: Any, context: ssl.SSLContext | None = None, **kwargs: Any) -> None:
        self._tls = context or ssl.create_default_context()
        super().__init__(*args, context=self._tls, **kwargs)

    def connect(self) -> None:
        _Proxied.connect(self)
        try:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host)
        except BaseException:
            self.close()
            raise


class SocksiPyHandler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """For ``build_opener``: the arguments of ``SocksiPyConnection``, and more for ``HTTPConnection`` by name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.args = args
        self.kw = kwargs

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self._open(SocksiPyConnection, req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self._open(SocksiPyConnectionS, req)

    def _open(self, connection: Any, req: urllib.request.Request) -> http.client.HTTPResponse:
        def build(host: str, **kwargs: Any) -> http.client.HTTPConnection:
            made: http.client.HTTPConnection = connection(*self.args, host=host, **merge_dict(self.kw, kwargs))
            return made

        return self.do_open(build, req)
