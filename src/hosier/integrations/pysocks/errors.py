"""PySocks' errors, with what its users match on in their texts; ours is the cause of each.

PySocks 1.7.1 means to raise SOCKS5Error and its like from ``connect``. With Python 3, where they are OSErrors, it
catches them itself and raises GeneralProxyError("Socket error: 0x05: ..."), with the one that was meant as
``socket_err``. Programs are written for either; so here those that are meant are GeneralProxyErrors, too, and
``connect`` raises them in this form.
"""

import errno
from typing import Final

from ... import errors as ours
from .proxies import HTTP, SOCKS4, ProxyTuple, in_text

__all__ = (
    "GeneralProxyError",
    "HTTPError",
    "ProxyConnectionError",
    "ProxyError",
    "SOCKS4Error",
    "SOCKS4_ERRORS",
    "SOCKS5AuthError",
    "SOCKS5Error",
    "SOCKS5_ERRORS",
    "translated",
    "translated_in_connect",
)


class ProxyError(OSError):
    """The root. ``socket_err`` is the system's error, if there is one; ``errno`` is set as everywhere in Hosier."""

    def __init__(self, msg: str, socket_err: BaseException | None = None) -> None:
        self.msg = f"{msg}: {socket_err}" if socket_err else msg
        super().__init__(self.msg)
        self.socket_err = socket_err
        self.errno = getattr(socket_err, "errno", None)

    def __str__(self) -> str:
        return self.msg


class GeneralProxyError(ProxyError):
    """What has no class of its own: a broken protocol, a broken connection, arguments that cannot be used."""


class ProxyConnectionError(ProxyError):
    """The proxy cannot be reached."""


class SOCKS5AuthError(GeneralProxyError):
    """No common method, or refused credentials."""


class SOCKS5Error(GeneralProxyError):
    """A SOCKS5 proxy answered with a failure; the text has its code, as in 0x05."""


class SOCKS4Error(GeneralProxyError):
    """A SOCKS4 proxy answered with a failure; the text has its code, as in 0x5b."""


class HTTPError(GeneralProxyError):
    """An HTTP proxy answered with a failure; the text has its status, as in 403."""


SOCKS4_ERRORS: Final = {
    0x5B: "Request rejected or failed",
    0x5C: "Request rejected because SOCKS server cannot connect to identd on the client",
    0x5D: "Request rejected because the client program and identd report different user-ids",
}

SOCKS5_ERRORS: Final = {
    0x01: "General SOCKS server failure",
    0x02: "Connection not allowed by ruleset",
    0x03: "Network unreachable",
    0x04: "Host unreachable",
    0x05: "Connection refused",
    0x06: "TTL expired",
    0x07: "Command not supported, or protocol error",
    0x08: "Address type not supported",
}

_REFUSED_ALL_METHODS: Final = 0xFF
_PROXY_AUTHENTICATION_REQUIRED: Final = 407


def translated(error: BaseException, kept: ProxyTuple) -> ProxyError:
    """What PySocks would raise instead of one of our errors, with the same ``errno``."""
    theirs = _translated(error, kept)
    if theirs.errno is None:
        theirs.errno = getattr(error, "errno", None) or errno.EINVAL
    return theirs


def translated_in_connect(error: BaseException, kept: ProxyTuple) -> ProxyError:
    """The same in the form that ``connect`` gives to what goes wrong once the proxy is reached."""
    theirs = translated(error, kept)
    if not isinstance(error, OSError) or theirs.socket_err is not None:
        return theirs
    return type(theirs)("Socket error", theirs)


def _translated(error: BaseException, kept: ProxyTuple) -> ProxyError:
    if isinstance(error, ours.TunnelRefused):
        return HTTPError(f"{error.code}: the proxy refused the tunnel")
    if isinstance(error, ours.AuthError):
        return _refused(error, kept)
    place = getattr(error, "place", None)
    step = place.step if place is not None else ""
    if isinstance(error, ours.ReplyError):
        if step == "lookup target":
            return GeneralProxyError("Socket error", error.__cause__ or error)
        kind, words = (SOCKS4Error, SOCKS4_ERRORS) if kept[0] == SOCKS4 else (SOCKS5Error, SOCKS5_ERRORS)
        return kind(f"{error.code:#04x}: {words.get(error.code, 'Unknown error')}")
    if isinstance(error, ours.ProxyTimedOut):
        timed_out = TimeoutError(errno.ETIMEDOUT, "timed out")
        if step in ("lookup", "connect"):
            return ProxyConnectionError(f"Error connecting to {in_text(kept)}", timed_out)
        return GeneralProxyError("Socket error", timed_out)
    if isinstance(error, ours.ProxyConnectionError):
        reason = error.__cause__ or error
        if step in ("lookup", "connect"):
            return ProxyConnectionError(f"Error connecting to {in_text(kept)}", reason)
        return GeneralProxyError("Socket error", reason)
    if isinstance(error, ours.RemoteProtocolError):
        return _broken(error, kept)
    return GeneralProxyError(str(error))


def _refused(error: ours.AuthError, kept: ProxyTuple) -> ProxyError:
    if error.status == _PROXY_AUTHENTICATION_REQUIRED:
        return HTTPError(f"{error.status}: Proxy Authentication Required")
    if error.method == _REFUSED_ALL_METHODS:
        return SOCKS5AuthError("All offered SOCKS5 authentication methods were rejected")
    return SOCKS5AuthError("SOCKS5 authentication failed")


def _broken(error: ours.RemoteProtocolError, kept: ProxyTuple) -> ProxyError:
    if "closed the connection" in error.reason:
        return GeneralProxyError("Connection closed unexpectedly")
    if "selected method 0x02" in error.reason:
        return SOCKS5AuthError("No username/password supplied. Server requested username/password authentication")
    if kept[0] == HTTP:
        return GeneralProxyError("HTTP proxy server sent invalid response")
    return GeneralProxyError(f"SOCKS{4 if kept[0] == SOCKS4 else 5} proxy server sent invalid data")
