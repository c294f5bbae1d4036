"""Every error that Hosier raises, and the one place where reply codes and operating-system errors meet.

::

    SocksError
    ├── ProtocolError                       somebody broke the rules of the protocol
    │   ├── LocalProtocolError              our caller did: a bug in the program that uses Hosier
    │   └── RemoteProtocolError, OSError    the peer did
    ├── AuthError, PermissionError          the two sides found no method, or the credentials were refused
    ├── ReplyError, OSError                 the proxy answered that it will not or cannot
    │   ├── TargetRefused                   ... reply 5, also a ConnectionRefusedError
    │   ├── TargetTimedOut                  ... reply 6, also a TimeoutError
    │   ├── TargetUnreachable               ... replies 3 and 4
    │   └── TunnelRefused                   ... an HTTP proxy's answer to CONNECT
    ├── ProxyConnectionError, OSError       the proxy itself cannot be reached
    │   └── ProxyTimedOut                   ... before the time was up; also a TimeoutError
    ├── PolicyDenied                        a rule of our own server forbids the request
    └── ConfigError                         settings are wrong; the text says what to do, a line for each

What a client's call raises at run time is an OSError with ``errno`` set: all but LocalProtocolError and ConfigError.
Its ``place`` tells at which proxy and which step. Texts are for people; programs use the attributes.
"""

import errno
import os
import socket
from enum import IntEnum
from typing import Final, NamedTuple

__all__ = (
    "AuthError",
    "ConfigError",
    "LocalProtocolError",
    "OnionReplyCode",
    "Place",
    "PolicyDenied",
    "ProtocolError",
    "ProxyConnectionError",
    "ProxyTimedOut",
    "RemoteProtocolError",
    "ReplyCode",
    "ReplyError",
    "SocksError",
    "TargetRefused",
    "TargetTimedOut",
    "TargetUnreachable",
    "TunnelRefused",
    "cannot_listen",
    "errno_for_reply",
    "reply_code_for",
    "reply_error",
)


class ReplyCode(IntEnum):
    """The REP field of SOCKS5 (RFC 1928 §6), and SOCKS4's own refusals, whose numbers do not collide with it.

    SOCKS4's success, 0x5A on the wire, is SUCCEEDED here: 0x5A in a SOCKS5 reply is a failure (S5-REQ-44), and so is 0
    in a SOCKS4 one (S4-REQ-21), so one number cannot stand for both.
    """

    SUCCEEDED = 0x00
    GENERAL_FAILURE = 0x01
    NOT_ALLOWED = 0x02
    NETWORK_UNREACHABLE = 0x03
    HOST_UNREACHABLE = 0x04
    CONNECTION_REFUSED = 0x05
    TTL_EXPIRED = 0x06
    COMMAND_NOT_SUPPORTED = 0x07
    ADDRESS_TYPE_NOT_SUPPORTED = 0x08
    SOCKS4_REJECTED = 0x5B
    SOCKS4_IDENT_UNREACHABLE = 0x5C
    SOCKS4_IDENT_MISMATCH = 0x5D


class OnionReplyCode(IntEnum):
    """Tor's extended errors (EX-13), sent where its port has the flag ExtendedErrors."""

    DESCRIPTOR_NOT_FOUND = 0xF0
    DESCRIPTOR_INVALID = 0xF1
    INTRODUCTION_FAILED = 0xF2
    RENDEZVOUS_FAILED = 0xF3
    CLIENT_AUTHORIZATION_MISSING = 0xF4
    CLIENT_AUTHORIZATION_WRONG = 0xF5
    BAD_ADDRESS = 0xF6
    INTRODUCTION_TIMED_OUT = 0xF7


_MEANING: Final[dict[int, str]] = {
    0x00: "succeeded",
    0x01: "general SOCKS server failure",
    0x02: "connection not allowed by ruleset",
    0x03: "network unreachable",
    0x04: "host unreachable",
    0x05: "connection refused",
    0x06: "TTL expired",
    0x07: "command not supported",
    0x08: "address type not supported",
    0x5B: "request rejected or failed",
    0x5C: "request rejected: no contact with identd on the client",
    0x5D: "request rejected: identd reports another user",
    **{code: f"Tor: onion service {code.name.lower().replace('_', ' ')}" for code in OnionReplyCode},
}


class Place(NamedTuple):
    """How far a client had come when it failed."""

    proxy: str
    """The proxy's URL, without credentials."""
    hop: int
    """Which of the proxies it is, counted from 1, the nearest one."""
    hops: int
    """How many there are."""
    step: str
    """What was under way: "lookup", "connect", "TLS", "method", "authentication", "reply"."""
    destination: str
    """What the whole chain was to lead to."""

    def __str__(self) -> str:
        which = f", hop {self.hop} of {self.hops}" if self.hops > 1 else ""
        return f"{self.proxy}{which}, {self.step}, for {self.destination}"


class SocksError(Exception):
    """Root of the tree; good for ``except SocksError`` and nothing else."""

    place: Place | None = None
    """Where a client failed; None for everybody else."""

    def __str__(self) -> str:
        text = super().__str__()
        return text if self.place is None else f"{text} [{self.place}]"


class ProtocolError(SocksError):
    """Somebody broke the rules; see the two children for who."""


class LocalProtocolError(ProtocolError):
    """Our caller asked for a step that the protocol does not allow now, or for a message that cannot be encoded."""


class RemoteProtocolError(ProtocolError, OSError):
    """The peer sent what the protocol does not allow.

    ``reply_hint`` is the reply that a server owes for it; ``looks_like`` names the foreign protocol, if one was
    recognised (see :mod:`hosier.protocol.foreign`).
    """

    def __init__(
        self, reason: str, *, reply_hint: ReplyCode = ReplyCode.GENERAL_FAILURE, looks_like: str | None = None
    ) -> None:
        super().__init__(reason)
        self.errno = errno.EPROTO
        self.reason = reason
        self.reply_hint = reply_hint
        self.looks_like = looks_like


class AuthError(SocksError, PermissionError):
    """No common method, or refused credentials. ``method`` is the method's number; the credentials never appear."""

    def __init__(self, reason: str, *, method: int | None = None, status: int | None = None) -> None:
        super().__init__(reason)
        self.errno = errno.EACCES
        self.reason = reason
        self.method = method
        self.status = status


class ReplyError(SocksError, OSError):
    """The proxy answered with a failure. ``code`` keeps the number, known or not (S5-REQ-44)."""

    def __init__(self, code: int, about: str = "") -> None:
        meaning = _MEANING.get(code, "unassigned code")
        super().__init__(f"{about}: {meaning} (reply {code})" if about else f"{meaning} (reply {code})")
        self.code = code
        self.errno = errno_for_reply(code)


class TargetRefused(ReplyError, ConnectionRefusedError):
    """Reply 5: the target refused the connection."""


class TargetTimedOut(ReplyError, TimeoutError):
    """Reply 6: the target did not answer in time."""


class TargetUnreachable(ReplyError):
    """Replies 3 and 4: no way to the target, or its name does not resolve."""


class TunnelRefused(ReplyError):
    """An HTTP proxy answered CONNECT with another status than 2xx; ``code`` is that status."""

    def __init__(self, status: int, about: str = "") -> None:
        super().__init__(status, about)
        self.args = (f"{about}: the HTTP proxy answered {status}" if about else f"the HTTP proxy answered {status}",)
        self.errno = _ERRNO_FOR_STATUS.get(status, errno.EIO)


class ProxyConnectionError(SocksError, OSError):
    """The proxy itself cannot be reached; the cause is chained, ``errno`` is the cause's or ``number``."""

    def __init__(self, reason: str, number: int = errno.EHOSTUNREACH) -> None:
        super().__init__(reason)
        self.errno = number


class ProxyTimedOut(ProxyConnectionError, TimeoutError):
    """The time for the whole way was up; ``place.step`` says what it was spent on last."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, errno.ETIMEDOUT)


class PolicyDenied(SocksError):
    """A rule of the server forbids the request. ``advice`` tells its operator how to allow it."""

    def __init__(self, reason: str, *, advice: str = "", code: ReplyCode = ReplyCode.NOT_ALLOWED) -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice
        self.code = code


class ConfigError(SocksError):
    """A setting is wrong or contradicts another one; the text says what to do about it.

    One line, or where a whole file was checked a line for each mistake in it. ``at``: the key, and the place in its
    list, where that is known.
    """

    def __init__(self, text: str, *, at: tuple[str | int, ...] = ()) -> None:
        super().__init__(text)
        self.at = at


def cannot_listen(place: object, error: OSError, otherwise: str) -> ConfigError:
    """For a port that cannot be had; ``otherwise`` says how to choose another one."""
    if error.errno == errno.EADDRINUSE:
        why = f"the port is taken; stop the other program or {otherwise}"
    elif error.errno in (errno.EACCES, errno.EPERM):
        why = "ports below 1024 need privileges; choose a higher one"
    else:
        why = os.strerror(error.errno) if error.errno else str(error)
    return ConfigError(f"cannot listen on {place}: {why}")


# Conformance catalogue 3.5: what a failed attempt means to the client.
_REPLY_FOR_ERRNO: Final[dict[int, ReplyCode]] = {
    errno.ECONNREFUSED: ReplyCode.CONNECTION_REFUSED,
    errno.ECONNRESET: ReplyCode.CONNECTION_REFUSED,
    errno.ECONNABORTED: ReplyCode.CONNECTION_REFUSED,
    errno.ENETUNREACH: ReplyCode.NETWORK_UNREACHABLE,
    errno.ENETDOWN: ReplyCode.NETWORK_UNREACHABLE,
    errno.EHOSTUNREACH: ReplyCode.HOST_UNREACHABLE,
    errno.EHOSTDOWN: ReplyCode.HOST_UNREACHABLE,
    errno.ETIMEDOUT: ReplyCode.TTL_EXPIRED,
    errno.EACCES: ReplyCode.NOT_ALLOWED,
    errno.EPERM: ReplyCode.NOT_ALLOWED,
    errno.EAFNOSUPPORT: ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED,
}

_REPLY_FOR_NAME_ERROR: Final[dict[int, ReplyCode]] = {
    getattr(socket, name): code
    for name, code in {
        "EAI_NONAME": ReplyCode.HOST_UNREACHABLE,
        "EAI_NODATA": ReplyCode.HOST_UNREACHABLE,
        "EAI_AGAIN": ReplyCode.HOST_UNREACHABLE,
        "EAI_FAIL": ReplyCode.HOST_UNREACHABLE,
        "EAI_FAMILY": ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED,
        "EAI_ADDRFAMILY": ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED,
    }.items()
    if hasattr(socket, name)
}

_ERRNO_FOR_REPLY: Final[dict[int, int]] = {
    ReplyCode.SUCCEEDED: 0,
    ReplyCode.GENERAL_FAILURE: errno.EIO,
    ReplyCode.NOT_ALLOWED: errno.EACCES,
    ReplyCode.NETWORK_UNREACHABLE: errno.ENETUNREACH,
    ReplyCode.HOST_UNREACHABLE: errno.EHOSTUNREACH,
    ReplyCode.CONNECTION_REFUSED: errno.ECONNREFUSED,
    ReplyCode.TTL_EXPIRED: errno.ETIMEDOUT,
    ReplyCode.COMMAND_NOT_SUPPORTED: errno.EOPNOTSUPP,
    ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED: errno.EAFNOSUPPORT,
    ReplyCode.SOCKS4_IDENT_UNREACHABLE: errno.EACCES,
    ReplyCode.SOCKS4_IDENT_MISMATCH: errno.EACCES,
}

_ERRNO_FOR_STATUS: Final[dict[int, int]] = {
    403: errno.EACCES,
    502: errno.EHOSTUNREACH,
    503: errno.EHOSTUNREACH,
    504: errno.ETIMEDOUT,
}


def reply_code_for(error: BaseException) -> ReplyCode:
    """The reply that a failed attempt deserves (conformance catalogue 3.5); anything unlisted is a general failure."""
    if isinstance(error, TunnelRefused):
        return _REPLY_FOR_ERRNO.get(error.errno or 0, ReplyCode.GENERAL_FAILURE)
    if isinstance(error, ReplyError):
        # An upstream's own code is passed on as it is, if it is one of the RFC's (3.5, "upstream").
        if ReplyCode.GENERAL_FAILURE <= error.code <= ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED:
            return ReplyCode(error.code)
        refused = error.code in (ReplyCode.SOCKS4_IDENT_UNREACHABLE, ReplyCode.SOCKS4_IDENT_MISMATCH)
        return ReplyCode.NOT_ALLOWED if refused else ReplyCode.GENERAL_FAILURE
    if isinstance(error, PolicyDenied):
        return error.code
    if isinstance(error, ProxyConnectionError | AuthError):
        return ReplyCode.GENERAL_FAILURE  # of us, who should have had a proxy; it says nothing about the target
    if isinstance(error, socket.gaierror):
        return _REPLY_FOR_NAME_ERROR.get(error.errno or 0, ReplyCode.GENERAL_FAILURE)
    if isinstance(error, TimeoutError):
        return ReplyCode.TTL_EXPIRED
    if isinstance(error, OSError):
        return _REPLY_FOR_ERRNO.get(error.errno or 0, ReplyCode.GENERAL_FAILURE)
    return ReplyCode.GENERAL_FAILURE


def errno_for_reply(code: int) -> int:
    """The errno under which a client's program meets a reply; codes nobody assigned are EIO."""
    return _ERRNO_FOR_REPLY.get(code, errno.EIO)


def reply_error(code: int, about: str = "") -> ReplyError:
    """The error for a failure reply: a TargetRefused, TargetTimedOut or TargetUnreachable where the code says so."""
    if code == ReplyCode.CONNECTION_REFUSED:
        return TargetRefused(code, about)
    if code == ReplyCode.TTL_EXPIRED:
        return TargetTimedOut(code, about)
    if code in (ReplyCode.NETWORK_UNREACHABLE, ReplyCode.HOST_UNREACHABLE):
        return TargetUnreachable(code, about)
    return ReplyError(code, about)
