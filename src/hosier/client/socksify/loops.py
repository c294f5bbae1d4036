"""What carries a scope on: into threads, into what pools of threads are asked to do, and through asyncio's loops.

A task has its creator's context by itself. A thread that is started within a scope is in it for as long as it runs; a
pool's thread for as long as it works on what was submitted there. uvloop's loops use no sockets of Python's, so they
get what they need as sockets that are connected already.
"""

import _thread
import asyncio
import errno
import importlib
import socket
import threading
from asyncio.base_events import BaseEventLoop
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any, Final, TypeVar

from .adoption import adopt, options_of
from .connecting import connected, way_of
from .datagrams import PATIENCE as DATAGRAM_PATIENCE
from .datagrams import ask, take
from .reaching import reach_in_loop
from .scope import carried, current
from .threads import in_thread

__all__ = ("carriers",)

T = TypeVar("T")
AnyCall = Callable[..., Any]

_start: Final = threading.Thread.start
_start_bare: Final[Callable[..., int]] = _thread.start_new_thread
_submit: Final = ThreadPoolExecutor.submit


def carriers() -> list[tuple[Any, str, Any]]:
    """With uvloop's, where it is installed: a program may load it later."""
    found: list[tuple[Any, str, Any]] = [
        (threading.Thread, "start", start),
        (_thread, "start_new_thread", start_bare),
        (ThreadPoolExecutor, "submit", submit),
        (BaseEventLoop, "getaddrinfo", _getaddrinfo(BaseEventLoop.getaddrinfo)),
        (BaseEventLoop, "getnameinfo", _getnameinfo(BaseEventLoop.getnameinfo)),
        (BaseSelectorEventLoop, "sock_connect", _sock_connect(BaseSelectorEventLoop.sock_connect)),
    ]
    if find_spec("uvloop") is not None:
        loop = importlib.import_module("uvloop").Loop
        found += [
            (loop, "getaddrinfo", _getaddrinfo(loop.getaddrinfo)),
            (loop, "getnameinfo", _getnameinfo(loop.getnameinfo)),
            (loop, "sock_connect", _sock_connect(loop.sock_connect)),
            (loop, "create_connection", _create_connection(loop.create_connection)),
            (loop, "create_datagram_endpoint", _create_datagram_endpoint(loop.create_datagram_endpoint)),
        ]
    return found


def start(thread: threading.Thread) -> None:
    scope = current.get()
    if scope is not None:
        in_scope = carried(scope, thread.run)

        def run() -> None:
            del thread.run  # a thread that has ended holds no scope
            in_scope()

        thread.run = run  # type: ignore[method-assign]
    carried(None, _start)(thread)


def start_bare(function: AnyCall, /, *args: Any) -> int:
    scope = current.get()
    return _start_bare(function if scope is None else carried(scope, function), *args)


def submit(pool: ThreadPoolExecutor, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
    # Also where there is no scope: the pool's thread may have been started within one.
    return carried(None, _submit)(pool, carried(current.get(), fn), *args, **kwargs)


# --- private ---


def _getaddrinfo(original: AnyCall) -> AnyCall:
    """A loop's lookup, which any executor may make, or libuv."""

    async def getaddrinfo(loop: asyncio.AbstractEventLoop, host: Any, port: Any, **fields: Any) -> Any:
        scope = current.get()
        if scope is None:
            return await original(loop, host, port, **fields)
        return await loop.run_in_executor(None, lambda: carried(scope, socket.getaddrinfo)(host, port, **fields))

    return getaddrinfo


def _getnameinfo(original: AnyCall) -> AnyCall:
    async def getnameinfo(loop: asyncio.AbstractEventLoop, sockaddr: Any, flags: int = 0) -> Any:
        scope = current.get()
        if scope is None:
            return await original(loop, sockaddr, flags)
        return await loop.run_in_executor(None, carried(scope, socket.getnameinfo), sockaddr, flags)

    return getnameinfo


def _sock_connect(original: AnyCall) -> AnyCall:
    async def sock_connect(loop: asyncio.AbstractEventLoop, sock: socket.socket, address: Any) -> None:
        scope = current.get()
        route = None if scope is None else way_of(scope, sock, address)
        if scope is None or route is None:
            await original(loop, sock, address)
        elif route.direct:
            await _in_no_scope(loop, original(loop, sock, (route.host, *address[1:])))
        elif sock.type == socket.SOCK_DGRAM:
            made = await in_thread(carried(None, ask), scope, DATAGRAM_PATIENCE)
            take(sock, made).peer = route.host, address[1]
        elif connected(sock):
            raise OSError(errno.EISCONN, "the socket is connected already")
        else:
            found = await _in_no_scope(loop, reach_in_loop(scope.chain, route.host, address[1]))
            adopt(sock, found, options_of(sock))

    return sock_connect


async def _in_no_scope(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    """In a task of its own: others may share this context while we wait."""
    task = carried(None, loop.create_task)(work)
    try:
        return await task
    except asyncio.CancelledError:
        task.add_done_callback(_close_late_result)
        raise


def _close_late_result(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled() and task.exception() is None and isinstance(task.result(), socket.socket):
        task.result().close()


def _create_connection(original: AnyCall) -> AnyCall:
    async def create_connection(
        loop: asyncio.AbstractEventLoop, factory: Any, host: Any = None, port: Any = None, **fields: Any
    ) -> Any:
        if current.get() is None or host is None:
            return await original(loop, factory, host, port, **fields)
        if fields.get("ssl") and fields.get("server_hostname") is None:
            fields["server_hostname"] = host
        lookup = {name: fields.pop(name, 0) for name in ("family", "proto", "flags")}
        fields.pop("local_addr", None)
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, **lookup)
        return await original(loop, factory, sock=await _first_connected(loop, infos), **fields)

    return create_connection


async def _first_connected(loop: asyncio.AbstractEventLoop, infos: list[Any]) -> socket.socket:
    failure: OSError | None = None
    for family, kind, proto, _, address in infos:
        sock = socket.socket(family, kind, proto)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    assert failure is not None  # a lookup without a result raises
    raise failure


def _create_datagram_endpoint(original: AnyCall) -> AnyCall:
    async def create_datagram_endpoint(loop: Any, *args: Any, **fields: Any) -> Any:
        if current.get() is not None:
            raise OSError(
                errno.EOPNOTSUPP, "within socksify uvloop has no datagrams; see hosier.aio.create_datagram_endpoint"
            )
        return await original(loop, *args, **fields)

    return create_datagram_endpoint
