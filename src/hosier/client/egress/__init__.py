"""Through proxies over the engine: the way out of a server with upstreams, of ``hosier run`` and ``hosier forward``."""

from .proxied import ProxiedEgress, Upstreams

__all__ = ("ProxiedEgress", "Upstreams")
