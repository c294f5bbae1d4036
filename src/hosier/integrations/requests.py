"""requests through a proxy: ``session(proxy)``, or ``adapter(proxy)`` to mount for some URLs only."""

from typing import TYPE_CHECKING, Any

from ..client.proxy import ProxyChain, chain_of
from .urllib3 import pool_manager

if TYPE_CHECKING:
    from requests import PreparedRequest, Response, Session
    from requests.adapters import HTTPAdapter

__all__ = ("adapter", "session")


def session(proxy: ProxyChain) -> "Session":
    """A session whose requests all go through the proxy, whatever the environment says.

    Raises what requests raises: ``ConnectTimeout``; ``ConnectionError`` if the target cannot be reached; ``ProxyError``
    if the proxy cannot, or refuses.
    """
    import requests

    new = requests.Session()
    hook = adapter(proxy)
    new.mount("http://", hook)
    new.mount("https://", hook)
    return new


def adapter(proxy: ProxyChain, **options: Any) -> "HTTPAdapter":
    """For ``Session.mount``; the options are ``HTTPAdapter``'s: ``pool_maxsize``, ``max_retries`` and so on."""
    from requests.adapters import HTTPAdapter

    chain = chain_of(proxy)

    class ProxiedAdapter(HTTPAdapter):
        def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
            self.poolmanager = pool_manager(chain, num_pools=connections, maxsize=maxsize, block=block, **options)

        def send(self, request: "PreparedRequest", *args: Any, **options: Any) -> "Response":
            # Those of the environment, or of one request, would lead round the proxy.
            options["proxies"] = None
            # At a redirect requests adds the password of the environment's proxy, which the target would be told.
            request.headers.pop("Proxy-Authorization", None)
            return super().send(request, *args[:4], **options)

    return ProxiedAdapter(**options)
