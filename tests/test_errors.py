"""The error tree, and the one place where replies and system errors meet (catalogue 3.5)."""

import errno
import os
import socket

import pytest

from hosier import errors
from hosier.errors import (
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
    cannot_listen,
    errno_for_reply,
    reply_code_for,
    reply_error,
)

TREE = {
    ProtocolError: (SocksError,),
    LocalProtocolError: (ProtocolError,),
    RemoteProtocolError: (ProtocolError, OSError),
    AuthError: (SocksError, PermissionError),
    ReplyError: (SocksError, OSError),
    TargetRefused: (ReplyError, ConnectionRefusedError),
    TargetTimedOut: (ReplyError, TimeoutError),
    TargetUnreachable: (ReplyError,),
    TunnelRefused: (ReplyError,),
    ProxyConnectionError: (SocksError, OSError),
    ProxyTimedOut: (ProxyConnectionError, TimeoutError),
    PolicyDenied: (SocksError,),
    ConfigError: (SocksError,),
}


def test_tree() -> None:
    """As drawn in the module: every class, and its parents."""
    classes = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, SocksError)}
    assert classes == {*TREE, SocksError}
    for kind, parents in TREE.items():
        assert kind.__bases__ == parents
        assert kind.__name__ in (errors.__doc__ or "")


def test_remote() -> None:
    error = RemoteProtocolError("odd")
    assert (str(error), error.reason, error.errno) == ("odd", "odd", errno.EPROTO)
    assert (error.reply_hint, error.looks_like) == (ReplyCode.GENERAL_FAILURE, None)
    assert RemoteProtocolError("x", reply_hint=ReplyCode.NOT_ALLOWED, looks_like="tls").looks_like == "tls"


def test_auth() -> None:
    """UP-REQ-08: the status is kept; there is no place for credentials."""
    error = AuthError("refused", method=2, status=0xFF)
    assert (str(error), error.errno, error.method, error.status) == ("refused", errno.EACCES, 2, 0xFF)
    assert set(vars(error)) == {"reason", "method", "status"}


def test_denied() -> None:
    error = PolicyDenied("private", advice="allow it with --allow 10.0.0.0/8")
    assert (str(error), error.code) == ("private", ReplyCode.NOT_ALLOWED)
    assert error.advice == "allow it with --allow 10.0.0.0/8"


@pytest.mark.parametrize(
    ("code", "kind", "number"),
    [
        (0x01, ReplyError, errno.EIO),
        (0x02, ReplyError, errno.EACCES),
        (0x03, TargetUnreachable, errno.ENETUNREACH),
        (0x04, TargetUnreachable, errno.EHOSTUNREACH),
        (0x05, TargetRefused, errno.ECONNREFUSED),
        (0x06, TargetTimedOut, errno.ETIMEDOUT),
        (0x07, ReplyError, errno.EOPNOTSUPP),
        (0x08, ReplyError, errno.EAFNOSUPPORT),
        (0x09, ReplyError, errno.EIO),
        (0x5A, ReplyError, errno.EIO),
        (0x5B, ReplyError, errno.EIO),
        (0x5C, ReplyError, errno.EACCES),
        (0x5D, ReplyError, errno.EACCES),
        (0xF4, ReplyError, errno.EIO),
        (0xFF, ReplyError, errno.EIO),
    ],
)
def test_replies(code: int, kind: type[ReplyError], number: int) -> None:
    """S5-REQ-44, S4-REQ-21: every refusal is an OSError with its number kept; built-in classes where they fit."""
    error = reply_error(code)
    assert type(error) is kind
    assert (error.code, error.errno, errno_for_reply(code)) == (code, number, number)
    assert str(error).endswith(f"(reply {code})")
    about = reply_error(code, "example.com:80")
    assert str(about) == f"example.com:80: {error}"
    assert (type(about), about.code, about.errno) == (kind, code, number)


def test_every_code_has_words() -> None:
    for code in (*ReplyCode, *OnionReplyCode):
        assert "unassigned" not in str(ReplyError(code))
    assert "unassigned" in str(ReplyError(0x5A))
    assert errno_for_reply(ReplyCode.SUCCEEDED) == 0


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ECONNREFUSED, 5),
        (errno.ECONNRESET, 5),
        (errno.ECONNABORTED, 5),
        (errno.ENETUNREACH, 3),
        (errno.ENETDOWN, 3),
        (errno.EHOSTUNREACH, 4),
        (errno.EHOSTDOWN, 4),
        (errno.ETIMEDOUT, 6),
        (errno.EACCES, 2),
        (errno.EPERM, 2),
        (errno.EAFNOSUPPORT, 8),
        (errno.EADDRNOTAVAIL, 1),
        (errno.EADDRINUSE, 1),
        (errno.EMFILE, 1),
        (errno.ENFILE, 1),
        (errno.ENOBUFS, 1),
        (errno.ENOMEM, 1),
        (errno.EINVAL, 1),
        (None, 1),
    ],
)
def test_system_errors(number: int | None, code: int) -> None:
    """The table of 3.5, line by line."""
    error = OSError() if number is None else OSError(number, os.strerror(number))
    assert reply_code_for(error) == code


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("EAI_NONAME", 4),
        ("EAI_NODATA", 4),
        ("EAI_AGAIN", 4),
        ("EAI_FAIL", 4),
        ("EAI_FAMILY", 8),
        ("EAI_ADDRFAMILY", 8),
        ("EAI_MEMORY", 1),
        ("EAI_SYSTEM", 1),
        ("EAI_SERVICE", 1),
    ],
)
def test_name_errors(name: str, code: int) -> None:
    number = getattr(socket, name, None)
    if number is None:
        pytest.skip(f"this system has no {name}")
    assert reply_code_for(socket.gaierror(number, name)) == code


def test_name_error_without_number() -> None:
    assert reply_code_for(socket.gaierror()) == ReplyCode.GENERAL_FAILURE


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TimeoutError(), 6),
        (PolicyDenied("no"), 2),
        (PolicyDenied("no", code=ReplyCode.COMMAND_NOT_SUPPORTED), 7),
        (RemoteProtocolError("odd"), 1),
        (ProxyConnectionError("gone"), 1),
        (ProxyTimedOut("gone"), 1),
        (TunnelRefused(400), 1),
        (TunnelRefused(403), 2),
        (TunnelRefused(502), 4),
        (TunnelRefused(504), 6),
        (AuthError("an upstream's"), 1),
        (ValueError(), 1),
        *((reply_error(code), code) for code in range(1, 9)),
        (reply_error(0), 1),
        (reply_error(9), 1),
        (reply_error(0xFF), 1),
        (reply_error(0x5B), 1),
        (reply_error(0x5C), 2),
        (reply_error(0x5D), 2),
    ],
)
def test_other_errors(error: BaseException, code: int) -> None:
    """The upstream's own number passes if the RFC has it."""
    assert reply_code_for(error) == code


def test_round_trip() -> None:
    """A code that went through a client's program as an errno comes out the same, general failures apart."""
    for code in range(2, 9):
        number = errno_for_reply(code)
        if number != errno.EOPNOTSUPP:  # no attempt to connect ends so
            assert reply_code_for(OSError(number, "")) == code


def test_programs_that_know_nothing_of_us() -> None:
    for code, builtin in ((5, ConnectionRefusedError), (6, TimeoutError), (2, OSError)):
        with pytest.raises(builtin):
            raise reply_error(code)


def test_proxy_that_is_not_there() -> None:
    assert ProxyConnectionError("gone", errno.ECONNREFUSED).errno == errno.ECONNREFUSED
    assert ProxyTimedOut("late").errno == errno.ETIMEDOUT
    with pytest.raises(TimeoutError, match="late"):
        raise ProxyTimedOut("late")


@pytest.mark.parametrize(
    ("status", "number"), [(403, errno.EACCES), (502, errno.EHOSTUNREACH), (504, errno.ETIMEDOUT), (418, errno.EIO)]
)
def test_http_proxy(status: int, number: int) -> None:
    error = TunnelRefused(status, "example.com:80")
    assert (error.code, error.errno) == (status, number)
    assert str(error) == f"example.com:80: the HTTP proxy answered {status}"
    assert str(status) in str(TunnelRefused(status))


def test_place() -> None:
    """Which proxy, which step, which destination; one proxy alone is not counted."""
    error = reply_error(5, "example.com:80")
    assert error.place is None
    error.place = Place("socks5h://one:1080", 2, 3, "reply", "example.com:80")
    assert str(error).endswith("(reply 5) [socks5h://one:1080, hop 2 of 3, reply, for example.com:80]")
    assert str(error.place._replace(hops=1)) == "socks5h://one:1080, reply, for example.com:80"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(errno.EADDRINUSE, "in use"), "the port is taken; stop the other program or go elsewhere"),
        (OSError(errno.EACCES, "no"), "ports below 1024 need privileges; choose a higher one"),
        (OSError(errno.EPERM, "no"), "ports below 1024 need privileges; choose a higher one"),
        (OSError(errno.EMFILE, "none left (while attempting to bind)"), "Too many open files"),
        (OSError("AF_UNIX path too long"), "AF_UNIX path too long"),
    ],
)
def test_where_nobody_can_listen(error: OSError, why: str) -> None:
    assert str(cannot_listen("here:80", error, "go elsewhere")) == f"cannot listen on here:80: {why}"
