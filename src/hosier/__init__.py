"""Hosier: everything SOCKS, in Python.

``import hosier`` is light: it loads neither asyncio nor ssl nor anything third-party. The server, the client's calls
and ``hosier.aio`` load when they are first used (PEP 562).
"""

from typing import TYPE_CHECKING, Any, Final

from .errors import (
    AuthError,
    ConfigError,
    LocalProtocolError,
    OnionReplyCode,
    Place,
    PolicyDenied,
    ProtocolError,
    ProxyConnectionError,
    ProxyTimedOut,
    RemoteProtocolError,
    ReplyCode,
    ReplyError,
    SocksError,
    TargetRefused,
    TargetTimedOut,
    TargetUnreachable,
    TunnelRefused,
)

if TYPE_CHECKING:
    from . import aio, pysocks
    from .client.blocking import BindListener, associate, bind, connect, resolve, resolve_ptr
    from .client.datagrams import ProxiedDatagramSocket
    from .client.environment import ProxyChoice, explain_environment, proxy_from_environment
    from .client.gssapi import Gssapi
    from .client.protected import ProtectedSocket
    from .client.proxy import Proxy, ProxyChain
    from .client.socksify import socksify
    from .server.server import Server

__version__ = "0.1.0"

__all__ = (
    "AuthError",
    "BindListener",
    "ConfigError",
    "Gssapi",
    "ProxiedDatagramSocket",
    "LocalProtocolError",
    "OnionReplyCode",
    "Place",
    "PolicyDenied",
    "ProtectedSocket",
    "ProtocolError",
    "Proxy",
    "ProxyChain",
    "ProxyChoice",
    "ProxyConnectionError",
    "ProxyTimedOut",
    "RemoteProtocolError",
    "ReplyCode",
    "ReplyError",
    "Server",
    "SocksError",
    "TargetRefused",
    "TargetTimedOut",
    "TargetUnreachable",
    "TunnelRefused",
    "aio",
    "associate",
    "bind",
    "connect",
    "explain_environment",
    "proxy_from_environment",
    "pysocks",
    "resolve",
    "resolve_ptr",
    "socksify",
)

# What loads when it is first used, and from where.
_LATER: Final = {
    **dict.fromkeys(("BindListener", "associate", "bind", "connect", "resolve", "resolve_ptr"), "client.blocking"),
    "Gssapi": "client.gssapi",
    "ProxiedDatagramSocket": "client.datagrams",
    "ProtectedSocket": "client.protected",
    **dict.fromkeys(("ProxyChoice", "explain_environment", "proxy_from_environment"), "client.environment"),
    "Proxy": "client.proxy",
    "ProxyChain": "client.proxy",
    "Server": "server.server",
    "aio": "aio",
    "pysocks": "pysocks",
    "socksify": "client.socksify",
}

_MODULES: Final = ("aio", "pysocks")


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f".{_LATER[name]}", __name__)
    value = globals()[name] = module if name in _MODULES else getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
