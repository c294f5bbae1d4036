"""Hosier: everything SOCKS, in Python.

``import hosier`` is light: it loads neither asyncio nor ssl nor anything third-party. What needs them,
:class:`Server` now, loads when it is first used (PEP 562).
"""

from typing import TYPE_CHECKING, Any

from .errors import (
    AuthError,
    ConfigError,
    LocalProtocolError,
    PolicyDenied,
    ProtocolError,
    ProxyConnectionError,
    RemoteProtocolError,
    ReplyCode,
    ReplyError,
    SocksError,
    TargetRefused,
    TargetTimedOut,
    TargetUnreachable,
)

if TYPE_CHECKING:
    from .server.server import Server

__version__ = "0.1.0"

__all__ = (
    "AuthError",
    "ConfigError",
    "LocalProtocolError",
    "PolicyDenied",
    "ProtocolError",
    "ProxyConnectionError",
    "RemoteProtocolError",
    "ReplyCode",
    "ReplyError",
    "Server",
    "SocksError",
    "TargetRefused",
    "TargetTimedOut",
    "TargetUnreachable",
)


def __getattr__(name: str) -> Any:
    if name == "Server":
        from .server.server import Server

        return Server
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
