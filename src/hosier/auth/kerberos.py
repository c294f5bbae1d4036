"""GSSAPI (RFC 1961) with Kerberos: security contexts of both roles, over python-gssapi.

The one file that needs the package, when a context is made and not before. Its lower half (``gssapi.raw``) is used as
it is: the upper one returns a failed step's error token as if all were well.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from ..errors import ConfigError, RemoteProtocolError
from ..protocol.auth.base import AuthFraming, AuthStep
from ..protocol.auth.gssapi import ClientNegotiation, GssapiFraming, GssapiMessage, MessageType, ServerNegotiation
from ..protocol.auth.gssapi_layer import MAX_TOKEN, Level
from .threads import StepThreads

__all__ = ("KerberosAcceptor", "KerberosInitiator", "KerberosMethod", "place_of_tickets")

_THREADS: Final = 4
"""Accepting a context reads the keytab and writes the replay cache: files, so not in the loop."""

_TOKEN: Final = int(MessageType.TOKEN)  # on Python 3.11 a look into an Enum class costs a function call

# Flags of a context (RFC 2744 appendix A), as numbers for the same reason.
_REPLAY_DETECTION: Final = 4
_CONFIDENTIALITY: Final = 16
_INTEGRITY: Final = 32

_FAILURE: Final = 13
"""The routine error "for a reason that has no name", as the upper half of a status (RFC 2744 §3.9.1)."""

_SPNEGO: Final = bytes.fromhex("06062b0601050502")
"""1.3.6.1.5.5.2 in DER, as a token of SPNEGO begins with behind its tag and length (RFC 4178, RFC 2743 §3.1)."""

_SHORT: Final = 64
"""Octets of a token that may be a context's first one without further care: the level, whose number nobody can know
before. If it is not in order, that ends the negotiation, and a failure to authenticate is counted."""

_NOTHING_SAID: Final = ("Success", "Unknown error")


class KerberosMethod:
    """Method 01. ``acceptor`` is the server's side, ``initiator`` the client's; either may be absent."""

    name: str = "gssapi"
    guessable: bool = False  # the key of a ticket is not; who fails has an old one, or a wrong clock

    def __init__(
        self, acceptor: "KerberosAcceptor | None" = None, initiator: "KerberosInitiator | None" = None
    ) -> None:
        self.framing: AuthFraming = GssapiFraming()
        self._acceptor = acceptor
        self._initiator = initiator

    def server_exchange(self) -> "_ServerSide":
        assert self._acceptor is not None  # a server is built with one
        return self._acceptor.exchange()

    def client_exchange(self) -> ClientNegotiation:
        """Its steps ask the key distribution centre for a ticket, so they may block."""
        assert self._initiator is not None  # a client is built with one
        return self._initiator.exchange()


class KerberosAcceptor:
    """The server's keys, and what it grants to whom.

    Args:
        identify: the user that a principal is. Raises RemoteProtocolError for one that is nobody here.
        keytab: the file with the keys; None: what KRB5_KTNAME names, or else the system's.
        service: which keys of it serve: ``socks`` means those of socks/ANY-HOST, ``socks@HOST`` that of one host, and
            with a slash it is a principal as it is written (GS-REQ-03).
        levels, nec, sealed_up_to: see ServerNegotiation.

    Raises ConfigError if python-gssapi is missing or there is no such key.
    """

    def __init__(
        self,
        *,
        identify: Callable[[str], str],
        keytab: Path | None = None,
        service: str = "socks",
        levels: Sequence[Level] = (Level.CONFIDENTIALITY, Level.INTEGRITY),
        nec: bool = False,
        sealed_up_to: int = MAX_TOKEN,
    ) -> None:
        self._gss = _python_gssapi()
        self._credentials = _acceptor_credentials(self._gss, keytab, service)
        self._identify = identify
        self._levels = tuple(levels)
        self._nec = nec
        self._sealed_up_to = sealed_up_to
        self._threads = StepThreads(_THREADS, "hosier-gssapi")

    def exchange(self) -> "_ServerSide":
        """For one connection."""
        context = _AcceptorContext(self._gss, self._credentials)
        negotiation = ServerNegotiation(
            context, self._levels, self._identify, nec=self._nec, sealed_up_to=self._sealed_up_to
        )
        return _ServerSide(negotiation, self._threads)


class KerberosInitiator:
    """The client's side towards one proxy, with the credentials that the environment has (``kinit``; GS-REQ-01,
    GS-REQ-08).

    Args:
        host: the proxy's name, as its principal has it. An address is refused: what principal is at an address, only a
            name service could say, and that can be forged (GS-REQ-04).
        service: its service; with a slash, the whole principal as it is written (GS-REQ-03).
        wish, accepted, nec, sealed_up_to: see ClientNegotiation.
        delegate: hand the proxy our credentials, so that it can act in our name everywhere (GS-REQ-10).
        datagrams: for UDP ASSOCIATE: datagrams may come out of order (GS-REQ-11).

    Raises ConfigError if python-gssapi is missing or the host is an address.
    """

    def __init__(
        self,
        host: str,
        *,
        service: str = "socks",
        wish: Level = Level.CONFIDENTIALITY,
        accepted: Sequence[Level] = (Level.CONFIDENTIALITY,),
        nec: bool = False,
        sealed_up_to: int = MAX_TOKEN,
        delegate: bool = False,
        datagrams: bool = False,
    ) -> None:
        if "/" not in service and _is_address(host):
            raise ConfigError(
                f"GSSAPI needs the proxy's name, not its address {host}: its principal is made of the name"
            )
        self._gss = _python_gssapi()
        self._target = _name(self._gss, service if "/" in service else f"{service}@{host.lower()}")
        flag = self._gss.RequirementFlag
        self._flags = [flag.mutual_authentication, flag.replay_detection, flag.integrity, flag.confidentiality]
        self._flags += [flag.delegate_to_peer] if delegate else []
        self._flags += [] if datagrams else [flag.out_of_sequence_detection]
        self._wish = wish
        self._accepted = tuple(accepted)
        self._nec = nec
        self._sealed_up_to = sealed_up_to

    def exchange(self) -> ClientNegotiation:
        """For one connection."""
        context = _InitiatorContext(self._gss, self._target, self._flags)
        return ClientNegotiation(context, self._wish, self._accepted, nec=self._nec, sealed_up_to=self._sealed_up_to)


class _ServerSide:
    """Tokens go to a thread; a level is a matter of microseconds."""

    __slots__ = ("_negotiation", "_threads")

    def __init__(self, negotiation: ServerNegotiation, threads: StepThreads) -> None:
        self._negotiation = negotiation
        self._threads = threads

    def step(self, message: GssapiMessage) -> AuthStep | Awaitable[AuthStep]:
        step = self._negotiation.step
        return self._threads.ask(step, message) if message[0] == _TOKEN else step(message)


class _Context:
    """What both roles do with an established context. It is deleted with this object, and no token says so
    (GS-REQ-43)."""

    __slots__ = (
        *("_expected", "_gss", "_raw", "complete", "confidentiality", "integrity", "principal", "replay_detection"),
    )

    def __init__(self, gss: Any) -> None:
        self._gss = gss
        self._raw: Any = None
        self._expected = -1
        """The number after the highest one of the peer's messages."""
        self.complete = False
        # What is known when it is complete.
        self.principal: str
        self.integrity: bool
        self.confidentiality: bool
        self.replay_detection: bool

    def wrap(self, data: bytes | bytearray, confidential: bool) -> bytes:
        try:
            token, sealed = self._gss.wrap(self._raw, data, confidential)
        except self._gss.GSSError as error:
            raise _fault(error) from None
        if confidential and not sealed:
            raise RemoteProtocolError("the security mechanism did not seal a message")
        result: bytes = token
        return result

    def unwrap(self, token: bytes | bytearray) -> tuple[bytes, bool]:
        number = int.from_bytes(token[8:16], "big")  # of the message, in clear (RFC 4121 §4.2.6.2)
        try:
            if number == self._expected or (self._expected < 0 and len(token) <= _SHORT):
                # The library turns the octets of a token where they lie; they are nobody else's, see SecurityContext.
                data, sealed, _ = self._gss.unwrap(self._raw, token)
                self._expected = number + 1
                return data, sealed
            data, sealed = self._unwrap_out_of_turn(token)
        except self._gss.GSSError as error:
            if not error.maj_code >> 16:  # it is genuine, and only not in order
                self._expected = max(self._expected, number + 1)
            raise _fault(error) from None
        if number >= self._expected:
            self._expected = number + 1
        return data, sealed

    def _unwrap_out_of_turn(self, token: bytes | bytearray) -> tuple[bytes, bool]:
        """The same for what may be a repetition or come too late. To say so the library opens it, and python-gssapi's
        ``unwrap`` then forgets to free what was inside: who sends one datagram again and again fills the memory.
        ``unwrap_iov`` frees it, and costs two microseconds more."""
        gss = self._gss
        if hasattr(gss, "unwrap_iov"):
            kind = gss.IOVBufferType
            pieces = gss.IOV((kind.stream, False, token), (kind.data, True, None), std_layout=False)
            try:
                sealed = gss.unwrap_iov(self._raw, pieces).encrypted
            except gss.GSSError as error:
                if error.maj_code >> 16 != _FAILURE:
                    raise
                # Heimdal's takes no whole token; it has looked at nothing yet.
            else:
                return pieces[1].value or b"", sealed
        data, sealed, _ = gss.unwrap(self._raw, token)
        return data, sealed

    def wrap_limit(self, size: int, confidential: bool) -> int:
        limit: int = self._gss.wrap_size_limit(self._raw, size, confidential)
        return limit

    def _established(self, flags: Any, principal: Any) -> None:
        granted = int(flags)
        self.integrity = granted & _INTEGRITY != 0
        self.confidentiality = granted & _CONFIDENTIALITY != 0
        self.replay_detection = granted & _REPLAY_DETECTION != 0
        self.principal = self._gss.display_name(principal).name.decode("utf-8", "backslashreplace")
        self.complete = True


class _AcceptorContext(_Context):
    __slots__ = ("_credentials",)

    def __init__(self, gss: Any, credentials: Any) -> None:
        _Context.__init__(self, gss)  # super() costs more than the call
        self._credentials = credentials

    def step(self, token: bytes | None) -> bytes:
        try:
            found = self._gss.accept_sec_context(token, self._credentials, self._raw)
        except self._gss.GSSError as error:
            raise _not_kerberos(token or b"") or _fault(error) from None
        self._raw = found.context
        if not found.more_steps:
            self._established(found.flags, found.initiator_name)
        return found.token or b""


class _InitiatorContext(_Context):
    __slots__ = ("_flags", "_target")

    def __init__(self, gss: Any, target: Any, flags: Any) -> None:
        super().__init__(gss)
        self._target = target
        self._flags = flags

    def step(self, token: bytes | None) -> bytes:
        gss = self._gss
        try:
            found = gss.init_sec_context(
                self._target, context=self._raw, mech=gss.MechType.kerberos, flags=self._flags, input_token=token
            )
        except gss.GSSError as error:
            raise _fault(error) from None
        self._raw = found.context
        if not found.more_steps:
            self._established(found.flags, gss.inquire_context(self._raw).initiator_name)
        return found.token or b""


def place_of_tickets() -> str:
    """Where this process's user has his tickets: KRB5CCNAME, or what stands for it. Raises ConfigError if the extra is
    missing."""
    place: bytes = _python_gssapi().krb5_ccache_name(None)
    return os.fsdecode(place)


def _python_gssapi() -> Any:
    try:
        from gssapi import raw
    except ImportError as error:
        raise ConfigError(
            "GSSAPI needs python-gssapi: pip install 'hosier[gssapi]', which builds with Kerberos' headers "
            f"(Debian: libkrb5-dev, gcc, python3-dev; krb5 elsewhere); {error}"
        ) from None
    return raw


def _acceptor_credentials(gss: Any, keytab: Path | None, service: str) -> Any:
    store = None if keytab is None else {b"keytab": b"FILE:" + bytes(keytab)}
    try:
        return gss.acquire_cred_from(
            store, name=_name(gss, service), mechs=[gss.MechType.kerberos], usage="accept"
        ).creds
    except gss.GSSError as error:
        where = "KRB5_KTNAME or the system's keytab" if keytab is None else keytab
        raise ConfigError(
            f"GSSAPI: no key for {service!r} in {where}: {_words(error)}; "
            f"make one with kadmin: ktadd -k FILE {service.partition('@')[0].partition('/')[0]}/HOST"
        ) from None


def _name(gss: Any, service: str) -> Any:
    """``service@host``, or a principal as it is written (GS-REQ-02, GS-REQ-03)."""
    return gss.import_name(service.encode(), None if "/" in service else gss.NameType.hostbased_service)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _fault(error: Any) -> RemoteProtocolError:
    return RemoteProtocolError(f"GSSAPI: {_words(error)}")


def _not_kerberos(token: bytes) -> RemoteProtocolError | None:
    """About these the library says that there are no credentials, as if something were wrong with the keytab."""
    if not token:
        return RemoteProtocolError("GSSAPI: an empty token")
    if token.startswith(b"\x60") and token.find(_SPNEGO, 2, 16) > 0:
        return RemoteProtocolError("GSSAPI: a token of SPNEGO, which is not spoken here, only Kerberos")
    return None


def _words(error: Any) -> str:
    """What the mechanism says about an error, or where that is nothing, what GSSAPI says."""
    said = error.get_all_statuses(error.min_code, False) if error.min_code else []
    known = [text for text in said if text not in _NOTHING_SAID]
    return "; ".join(known or error.get_all_statuses(error.maj_code, True))
