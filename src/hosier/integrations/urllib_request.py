"""urllib.request through a proxy: ``opener(proxy).open(url)``."""

import http.client
import socket
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, NoReturn

from ..client.plain_end import plain_end
from ..client.proxy import ProxyChain, chain_of
from ..errors import LocalProtocolError
from .opening import open_socket

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ("opener",)


def opener(
    proxy: ProxyChain, *handlers: urllib.request.BaseHandler, context: "SSLContext | None" = None
) -> urllib.request.OpenerDirector:
    """An opener for http and https, with more handlers if you like, whatever the environment says.

    ``timeout`` of ``open`` covers the whole way. What goes wrong is the ``reason`` of a ``URLError``; so is every ftp
    URL, also one that a redirect leads to: nothing goes round the proxy.
    """
    ours = _Handler(proxy, context), _NoFtp(), urllib.request.ProxyHandler({})
    return urllib.request.build_opener(*ours, *handlers)


class _Handler(urllib.request.HTTPSHandler, urllib.request.HTTPHandler):
    """In the place of the two that ``build_opener`` would add."""

    def __init__(self, proxy: ProxyChain, context: "SSLContext | None") -> None:
        super().__init__(context=context)
        self._chain = chain_of(proxy)
        self._tls = context

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, request, chain=self._chain)  # type: ignore[arg-type]

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        if self._tls is None:
            import ssl

            self._tls = ssl.create_default_context()
        return self.do_open(_Connection, request, chain=self._chain, tls=self._tls)  # type: ignore[arg-type]


class _NoFtp(urllib.request.FTPHandler):
    """In the place of the one that would connect straight to the server, wherever a redirect says that it is."""

    def ftp_open(self, _: urllib.request.Request) -> NoReturn:
        raise urllib.error.URLError("ftp does not go through this proxy")


class _Connection(http.client.HTTPConnection):
    def __init__(self, host: str, *, chain: ProxyChain, tls: "SSLContext | None" = None, **options: Any) -> None:
        if tls is not None:
            self.default_port = http.client.HTTPS_PORT
        super().__init__(host, **options)
        self._chain = chain
        self._tls = tls

    def connect(self) -> None:
        limit = self.timeout if isinstance(self.timeout, int | float) else socket.getdefaulttimeout()
        try:
            sock = open_socket(self._chain, self.host, self.port, timeout=limit)
        except LocalProtocolError as error:
            raise OSError(str(error)) from error  # what urllib.request expects
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(plain_end(sock), server_hostname=self.host)
            self.sock = sock
        except BaseException:
            sock.close()
            raise
