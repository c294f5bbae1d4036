"""The authentication methods that a client offers to a SOCKS5 proxy, by their names and as the handshake takes them."""

from typing import TYPE_CHECKING, Final

from ..protocol.client_connection import ClientMethod
from ..protocol.messages import Command

if TYPE_CHECKING:
    from .proxy import Proxy

__all__ = ("WITHOUT_AUTHENTICATION", "methods_of")

WITHOUT_AUTHENTICATION: Final = ("none",)
"""The methods of who has nothing to show."""


def methods_of(proxy: "Proxy", command: int) -> tuple[ClientMethod, ...]:
    """Those of ``Proxy.methods``, in their order. Raises ConfigError if one needs an extra that is missing."""
    return tuple(_MAKERS[name](proxy, command) for name in proxy.methods)


def _none(_: "Proxy", __: int) -> ClientMethod:
    return ClientMethod(None)


def _password(proxy: "Proxy", _: int) -> ClientMethod:
    # Here, because the deciding half loads what only those with a password need.
    from ..auth.passwords import PasswordMethod
    from ..protocol.auth.password import Credentials

    assert proxy.username is not None  # a password has a user
    assert proxy.password is not None
    method = PasswordMethod(credentials=Credentials(proxy.username, proxy.password))
    return ClientMethod(method.framing, method.client_exchange)


def _gssapi(proxy: "Proxy", command: int) -> ClientMethod:
    from .gssapi import initiator_method

    assert proxy.gssapi is not None  # the proxy has looked at that
    return initiator_method(proxy.gssapi, proxy.host, datagrams=command == Command.UDP_ASSOCIATE)


_MAKERS: Final = {"none": _none, "password": _password, "gssapi": _gssapi}
