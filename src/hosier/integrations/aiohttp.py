"""aiohttp through a proxy: ``ClientSession(connector=connector(proxy))``."""

import ssl
from functools import cache
from typing import TYPE_CHECKING, Any

from ..client.aio.streams import create_connection
from ..client.proxy import ProxyChain, chain_of
from ..errors import ProxyTimedOut
from .opening import FAILURES, blames_target, seam

if TYPE_CHECKING:
    from aiohttp import TCPConnector

__all__ = ("connector",)


def connector(proxy: ProxyChain, **options: Any) -> "TCPConnector":
    """A connector with ``TCPConnector``'s options, whose connections all go through the proxy; make it inside the loop.

    ``sock_connect`` of ``ClientTimeout`` covers the whole way. Raises what aiohttp raises: ``ServerTimeoutError``;
    ``ClientConnectorError`` if the target cannot be reached; ``ClientProxyConnectionError``, which is one of these, if
    the proxy cannot, or refuses. Our own error is the cause.
    """
    connector_class, resolver_class = _classes()
    made: TCPConnector = connector_class(chain_of(proxy), resolver=resolver_class(), use_dns_cache=False, **options)
    return made


@cache
def _classes() -> tuple[Any, Any]:
    import aiohttp
    from aiohttp.abc import AbstractResolver

    seam(aiohttp.TCPConnector, "_wrap_create_connection")

    class NamesStay(AbstractResolver):
        """Names are for the proxy, or for the client, as its URL says."""

        async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[Any]:
            found = {"hostname": host, "host": host, "port": port, "family": family, "proto": 0, "flags": 0}
            return [found]

        async def close(self) -> None:
            pass

    class ProxiedConnector(aiohttp.TCPConnector):
        def __init__(self, chain: ProxyChain, **options: Any) -> None:
            super().__init__(**options)
            self._chain = chain

        async def _wrap_create_connection(  # type: ignore[override]  # it is called by these names
            self,
            protocol_factory: Any,
            *_: Any,  # where aiohttp would connect to
            req: Any,
            timeout: Any,
            ssl: ssl.SSLContext | None = None,
            server_hostname: str | None = None,
            client_error: type[Exception] = aiohttp.ClientConnectorError,
            **__: Any,
        ) -> tuple[Any, Any]:
            try:
                return await create_connection(
                    protocol_factory,
                    req.url.raw_host.rstrip("."),
                    req.port,
                    proxy=self._chain,
                    timeout=timeout.sock_connect,
                    ssl=ssl,
                    server_hostname=server_hostname,
                )
            except ProxyTimedOut:
                raise  # aiohttp makes its own of it
            except FAILURES as error:
                raise _explained(error, req.connection_key, client_error) from error

    def _explained(error: Exception, key: Any, client_error: type[Exception]) -> Exception:
        if isinstance(error, ssl.CertificateError):
            return aiohttp.ClientConnectorCertificateError(key, error)
        if isinstance(error, ssl.SSLError):
            return aiohttp.ClientConnectorSSLError(key, error)
        os_error = OSError(getattr(error, "errno", 0), str(error))  # its text is what aiohttp shows
        return (client_error if blames_target(error) else aiohttp.ClientProxyConnectionError)(key, os_error)

    return ProxiedConnector, NamesStay
