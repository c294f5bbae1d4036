"""The network of httpcore, and of its successor httpcore2, led through a proxy: blocking sockets."""

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ssl import SSLContext
from time import sleep
from types import ModuleType
from typing import Any

from ..client.plain_end import plain_end
from ..client.proxy import ProxyChain, chain_of
from ..client.readiness import is_readable
from ..errors import ConfigError
from .opening import FAILURES, blames_target, open_socket

__all__ = ("BlockingBackend", "connect_errors", "raised_as")


class BlockingBackend:
    """What httpcore calls a ``NetworkBackend``. ``host`` is the library, for its errors."""

    def __init__(self, host: ModuleType, proxy: ProxyChain) -> None:
        self._host = host
        self._chain = chain_of(proxy)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[tuple[Any, ...]] | None = None,
    ) -> "BlockingStream":
        if local_address is not None:
            raise ConfigError("give source_address to hosier.Proxy instead of local_address")
        options = [*(socket_options or ()), (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
        with connect_errors(self._host):
            sock = open_socket(self._chain, host, port, timeout=timeout, options=options)
        return BlockingStream(self._host, sock)

    def connect_unix_socket(self, path: str, *_: object, **__: object) -> "BlockingStream":
        raise ConfigError(f"{path} is on this machine: no proxy leads there")

    def sleep(self, seconds: float) -> None:
        sleep(seconds)


class BlockingStream:
    """What httpcore calls a ``NetworkStream``."""

    def __init__(self, host: ModuleType, sock: socket.socket, *, tls: bool = False) -> None:
        self._host = host
        self._sock = sock
        self._tls = tls

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with raised_as(self._host.ReadTimeout, self._host.ReadError):
            self._sock.settimeout(timeout)
            return self._sock.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with raised_as(self._host.WriteTimeout, self._host.WriteError):
            self._sock.settimeout(timeout)
            rest = memoryview(buffer)
            while rest:
                rest = rest[self._sock.send(rest) :]

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> "BlockingStream":
        try:
            with raised_as(self._host.ConnectTimeout, self._host.ConnectError):
                self._sock.settimeout(timeout)
                self._sock = plain_end(self._sock)
                sock = ssl_context.wrap_socket(self._sock, server_hostname=server_hostname)
        except BaseException:
            self.close()
            raise
        return BlockingStream(self._host, sock, tls=True)

    def get_extra_info(self, info: str) -> Any:  # httpcore's signature: what it is depends on the name
        if info == "ssl_object":
            return self._sock if self._tls else None
        if info == "socket":
            return self._sock
        if info == "client_addr":
            return self._sock.getsockname()
        if info == "server_addr":
            return self._sock.getpeername()
        return self._is_readable() if info == "is_readable" else None

    def _is_readable(self) -> bool:
        """Whether something came that nobody asked for, as the end does: then the connection is not used again."""
        pending = getattr(self._sock, "pending", None)  # TLS and security layers have read ahead
        if self._sock.fileno() < 0 or (pending is not None and pending()):
            return True
        return is_readable(self._sock)


@contextmanager
def raised_as(late: type[Exception], broken: type[Exception]) -> Iterator[None]:
    """Errors of the system, as the host library's."""
    try:
        yield
    except TimeoutError as error:
        raise late(str(error)) from error
    except OSError as error:
        raise broken(str(error)) from error


@contextmanager
def connect_errors(host: ModuleType) -> Iterator[None]:
    """Errors of the way through a proxy, as the host library's."""
    try:
        yield
    except TimeoutError as error:
        raise host.ConnectTimeout(str(error)) from error
    except FAILURES as error:
        raise (host.ConnectError if blames_target(error) else host.ProxyError)(str(error)) from error
