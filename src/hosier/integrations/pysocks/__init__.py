"""PySocks' names, which much code knows as the module ``socks``, on Hosier.

Everything public of PySocks 1.7.1 is here. It becomes ``socks`` only when asked: :func:`install`.
"""

import logging
import socket
from typing import Final

from .calls import (
    create_connection,
    get_default_proxy,
    getdefaultproxy,
    set_default_proxy,
    set_self_blocking,
    setdefaultproxy,
    wrap_module,
    wrapmodule,
)
from .errors import (
    SOCKS4_ERRORS,
    SOCKS5_ERRORS,
    GeneralProxyError,
    HTTPError,
    ProxyConnectionError,
    ProxyError,
    SOCKS4Error,
    SOCKS5AuthError,
    SOCKS5Error,
)
from .installing import install
from .proxies import (
    DEFAULT_PORTS,
    HTTP,
    PRINTABLE_PROXY_TYPES,
    PROXY_TYPE_HTTP,
    PROXY_TYPE_SOCKS4,
    PROXY_TYPE_SOCKS5,
    PROXY_TYPES,
    SOCKS4,
    SOCKS5,
)
from .reaching import SystemSocket
from .sockets import socksocket

__all__ = (
    "DEFAULT_PORTS",
    "GeneralProxyError",
    "HTTP",
    "HTTPError",
    "PRINTABLE_PROXY_TYPES",
    "PROXY_TYPES",
    "PROXY_TYPE_HTTP",
    "PROXY_TYPE_SOCKS4",
    "PROXY_TYPE_SOCKS5",
    "ProxyConnectionError",
    "ProxyError",
    "SOCKS4",
    "SOCKS4Error",
    "SOCKS4_ERRORS",
    "SOCKS5",
    "SOCKS5AuthError",
    "SOCKS5Error",
    "SOCKS5_ERRORS",
    "create_connection",
    "get_default_proxy",
    "getdefaultproxy",
    "install",
    "log",
    "set_default_proxy",
    "set_self_blocking",
    "setdefaultproxy",
    "socket",
    "socksocket",
    "wrap_module",
    "wrapmodule",
)

__version__: Final = "1.7.1"
"""The PySocks whose names these are."""

log: Final = logging.getLogger("socks")

_orgsocket = _orig_socket = SystemSocket
