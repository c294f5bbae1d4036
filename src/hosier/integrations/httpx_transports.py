"""A transport of httpx, and of its successor httpx2, around a pool of httpcore's: requests in, responses out, errors
by their names. Nothing private of either is used."""

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypedDict

from ..errors import SocksError

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ("Options", "asyncio_transport", "blocking_transport", "for_pool")

# Any, here: which of the twin libraries it is, is known when it runs.


class Options(TypedDict, total=False):
    """As ``HTTPTransport`` has them."""

    verify: "SSLContext | str | bool"
    http1: bool
    http2: bool
    limits: Any
    """A ``Limits`` of the host library's."""
    retries: int


def blocking_transport(host: ModuleType, pool: Callable[..., Any], options: Options) -> Any:
    """A ``BaseTransport`` of the host library, around a pool of httpcore's."""
    return _blocking_class(host)(pool(**for_pool(host, options)))


def asyncio_transport(host: ModuleType, pool: Callable[..., Any], options: Options) -> Any:
    """An ``AsyncBaseTransport`` of the host library, around a pool of httpcore's."""
    return _asyncio_class(host)(pool(**for_pool(host, options)))


def for_pool(host: ModuleType, options: Options) -> dict[str, Any]:
    """The options as httpcore's pools take them."""
    limits = options.get("limits") or host.Limits(
        max_connections=100, max_keepalive_connections=20, keepalive_expiry=5.0
    )
    return {
        "ssl_context": host.create_ssl_context(verify=options.get("verify", True)),
        "http1": options.get("http1", True),
        "http2": options.get("http2", False),
        "retries": options.get("retries", 0),
        "max_connections": limits.max_connections,
        "max_keepalive_connections": limits.max_keepalive_connections,
        "keepalive_expiry": limits.keepalive_expiry,
    }


# --- private ---


@cache
def _blocking_class(host: ModuleType) -> Any:
    class Body(host.SyncByteStream):  # type: ignore[name-defined,misc]
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        def __iter__(self) -> Iterator[bytes]:
            with _raised_as(host):
                yield from self._stream

        def close(self) -> None:
            self._stream.close()

    class ProxiedTransport(host.BaseTransport):  # type: ignore[name-defined,misc]
        def __init__(self, pool: Any) -> None:
            self._pool = pool

        def handle_request(self, request: Any) -> Any:
            with _raised_as(host):
                response = self._pool.handle_request(_as_core_has_it(self._pool, request))
            return _response(host, response, Body(response.stream))

        def close(self) -> None:
            self._pool.close()

    return ProxiedTransport


@cache
def _asyncio_class(host: ModuleType) -> Any:
    class Body(host.AsyncByteStream):  # type: ignore[name-defined,misc]
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            with _raised_as(host):
                async for piece in self._stream:
                    yield piece

        async def aclose(self) -> None:
            await self._stream.aclose()

    class ProxiedAsyncTransport(host.AsyncBaseTransport):  # type: ignore[name-defined,misc]
        def __init__(self, pool: Any) -> None:
            self._pool = pool

        async def handle_async_request(self, request: Any) -> Any:
            with _raised_as(host):
                response = await self._pool.handle_async_request(_as_core_has_it(self._pool, request))
            return _response(host, response, Body(response.stream))

        async def aclose(self) -> None:
            await self._pool.aclose()

    return ProxiedAsyncTransport


def _as_core_has_it(pool: Any, request: Any) -> Any:
    """The request, for the library that the pool is of."""
    core = sys.modules[type(pool).__module__.partition(".")[0]]
    url = request.url
    return core.Request(
        method=request.method,
        url=core.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        headers=request.headers.raw,
        content=request.stream,
        extensions=request.extensions,
    )


def _response(host: ModuleType, response: Any, body: Any) -> Any:
    return host.Response(response.status, headers=response.headers, stream=body, extensions=response.extensions)


@contextmanager
def _raised_as(host: ModuleType) -> Iterator[None]:
    """httpcore's errors, as the class of httpx that has the same name."""
    try:
        yield
    except Exception as error:
        kind = getattr(host, type(error).__name__, None)
        if kind is None or not type(error).__module__.startswith("httpcore"):
            raise
        # httpcore raises "from None", which hides the cause but keeps it.
        ours = isinstance(error.__context__, SocksError)
        raise kind(str(error)) from (error.__context__ if ours else error)
