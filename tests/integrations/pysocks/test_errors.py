"""PySocks' errors instead of ours."""

from __future__ import annotations

import errno
import pickle

import pytest

import hosier
from hosier.integrations.pysocks import errors
from hosier.integrations.pysocks.errors import translated, translated_in_connect
from hosier.integrations.pysocks.proxies import HTTP, SOCKS4, SOCKS5, proxy_tuple
from hosier.integrations.pysocks.sockets import socksocket
from hosier.testing import ScriptedServer, Step, receive_greeting, send

KEPT = {kind: proxy_tuple(kind, "h", 1, True, None, None) for kind in (SOCKS4, SOCKS5, HTTP)}


def at(step: str, error: hosier.SocksError, cause: BaseException | None = None) -> hosier.SocksError:
    error.place = hosier.Place("socks5h://h:1", 1, 1, step, "t:80")
    error.__cause__ = cause
    return error


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

ROWS = [
    (SOCKS5, at("reply", hosier.TargetRefused(5)), errors.SOCKS5Error, "0x05: Connection refused", errno.ECONNREFUSED),
    (SOCKS5, at("reply", hosier.ReplyError(7)), errors.SOCKS5Error, "0x07: Command not supported, or protocol", None),
    (SOCKS5, at("reply", hosier.ReplyError(0xF0)), errors.SOCKS5Error, "0xf0: Unknown error", errno.EIO),
    (SOCKS4, at("reply", hosier.ReplyError(0x5B)), errors.SOCKS4Error, "0x5b: Request rejected or failed", errno.EIO),
    (HTTP, at("reply", hosier.TunnelRefused(403)), errors.HTTPError, "403: ", errno.EACCES),
    (HTTP, at("reply", hosier.AuthError("no", status=407)), errors.HTTPError, "407: ", errno.EACCES),
    (HTTP, at("reply", hosier.RemoteProtocolError("odd")), errors.GeneralProxyError, "HTTP proxy server sent", None),
    (SOCKS5, at("m", hosier.AuthError("no", method=255)), errors.SOCKS5AuthError, "All offered SOCKS5 auth", None),
    (SOCKS5, at("a", hosier.AuthError("no", status=1)), errors.SOCKS5AuthError, "SOCKS5 authentication failed", None),
    (
        SOCKS5,
        at("m", hosier.RemoteProtocolError("odd")),
        errors.GeneralProxyError,
        "SOCKS5 proxy server sent inv",
        None,
    ),
    (
        SOCKS4,
        at("m", hosier.RemoteProtocolError("odd")),
        errors.GeneralProxyError,
        "SOCKS4 proxy server sent inv",
        None,
    ),
    (SOCKS5, at("connect", hosier.ProxyConnectionError("no"), REFUSED), errors.ProxyConnectionError, "Error conn", 111),
    (
        SOCKS5,
        at("connect", hosier.ProxyTimedOut("late")),
        errors.ProxyConnectionError,
        "Error connecting to SOCKS5",
        None,
    ),
    (SOCKS5, at("method", hosier.ProxyTimedOut("late")), errors.GeneralProxyError, "Socket error: ", errno.ETIMEDOUT),
    (SOCKS5, at("method", hosier.ProxyConnectionError("broke")), errors.GeneralProxyError, "Socket error: ", None),
    (SOCKS5, at("lookup target", hosier.TargetUnreachable(4)), errors.GeneralProxyError, "Socket error: ", None),
    (SOCKS5, hosier.ConfigError("what is wrong"), errors.GeneralProxyError, "what is wrong", errno.EINVAL),
]


@pytest.mark.parametrize(("kind", "ours", "theirs", "text", "number"), ROWS)
def test_translated(
    kind: int, ours: hosier.SocksError, theirs: type[errors.ProxyError], text: str, number: int | None
) -> None:
    error = translated(ours, KEPT[kind])
    assert type(error) is theirs
    assert str(error).startswith(text)
    assert error.errno == (number or getattr(ours, "errno", None))


def test_as_connect_raises_it() -> None:
    """PySocks' own form, once; and still what was meant."""
    refused = translated_in_connect(at("reply", hosier.TargetRefused(5)), KEPT[SOCKS5])
    assert isinstance(refused, errors.SOCKS5Error)
    assert isinstance(refused, errors.GeneralProxyError)
    assert (str(refused), refused.errno) == ("Socket error: 0x05: Connection refused", errno.ECONNREFUSED)
    late = translated_in_connect(at("method", hosier.ProxyTimedOut("late")), KEPT[SOCKS5])
    assert str(late).count("Socket error") == 1
    assert str(translated_in_connect(hosier.ConfigError("what is wrong"), KEPT[SOCKS5])) == "what is wrong"


def test_socket_err() -> None:
    """What urllib3 looks at."""
    late = translated(at("method", hosier.ProxyTimedOut("late")), KEPT[SOCKS5])
    assert isinstance(late.socket_err, TimeoutError)
    refused = translated(at("connect", hosier.ProxyConnectionError("no"), REFUSED), KEPT[SOCKS5])
    assert refused.socket_err is REFUSED
    assert str(refused) == "Error connecting to SOCKS5 proxy h:1: [Errno 111] Connection refused"
    assert translated(at("reply", hosier.ReplyError(2)), KEPT[SOCKS5]).socket_err is None


@pytest.mark.parametrize(
    ("script", "kind", "text"),
    [
        ([receive_greeting()], errors.GeneralProxyError, "Connection closed unexpectedly"),
        ([receive_greeting(), send(b"\x05\x02")], errors.SOCKS5AuthError, "No username/password supplied"),
        ([receive_greeting(), send(b"\x05\xff")], errors.SOCKS5AuthError, "All offered SOCKS5 authentication methods"),
        ([receive_greeting(), send(b"\x04\x00")], errors.GeneralProxyError, "SOCKS5 proxy server sent invalid data"),
    ],
)
def test_what_real_handshakes_end_with(script: list[Step], kind: type[errors.ProxyError], text: str) -> None:
    """Texts of the core's that are told apart are the core's."""
    with ScriptedServer(script) as proxy, socksocket() as sock:
        sock.set_proxy(SOCKS5, *proxy.address)
        with pytest.raises(kind, match=text):
            sock.connect(("target.test", 80))


def test_pickled() -> None:
    error = pickle.loads(pickle.dumps(errors.GeneralProxyError("text")))
    assert (type(error), str(error)) == (errors.GeneralProxyError, "text")
