"""How a client logs in at a proxy with Kerberos (RFC 1961): plain data, and the method that is made of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..errors import ConfigError
from ..protocol.auth.gssapi_layer import MAX_TOKEN, Level
from ..protocol.client_connection import ClientMethod
from ..typed import check_types

__all__ = ("Gssapi", "initiator_method", "tickets_of_this_user")

_UNASKED: Final = (Level.CONFIDENTIALITY, Level.INTEGRITY)
"""What may be accepted because it is better. Not level 3: by a rule of the proxy's, large messages can be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gssapi:
    """Authentication and protection with Kerberos (RFC 1961), with the tickets that ``kinit`` got; needs the extra
    ``gssapi``. Raises ConfigError for what makes no sense."""

    service: str = "socks"
    """The proxy's service; with a slash, its whole principal as it is written (GS-REQ-03)."""

    host: str = ""
    """The proxy's name as its principal has it; empty: that of its URL, which must then be no address (GS-REQ-04)."""

    level: int = 2
    """The protection to ask for: 1 integrity, 2 confidentiality too, 3 by the size of each message. 0, nothing
    protected after the login, is outside the RFC, for proxies that know no better (GS-REQ-30)."""

    accepted: Sequence[int] = ()
    """The levels with which we go on if the proxy answers them; none: the one asked for, and of 2 and 1 what protects
    better (GS-REQ-27)."""

    sealed_up_to: int = MAX_TOKEN
    """At level 3, octets up to which a message of ours is sealed; larger ones are only signed."""

    delegate: bool = False
    """Hand the proxy our credentials, so that it can act in our name everywhere (GS-REQ-10)."""

    nec: bool = False
    """Send and expect the level unprotected, as an old implementation did (GS-REQ-31): whoever is on the way can then
    lower it."""

    def __post_init__(self) -> None:
        check_types(self)
        if not {self.level, *self.accepted} <= set(Level):
            raise ConfigError("the GSSAPI levels are 2, 1, 3 and 0")
        wish = Level(self.level)
        better = [int(level) for level in _UNASKED if level.strength > wish.strength]
        object.__setattr__(self, "accepted", tuple(self.accepted) or (*better, self.level))
        if not 0 <= self.sealed_up_to <= MAX_TOKEN:
            raise ConfigError(
                f"GSSAPI messages have 0 to {MAX_TOKEN} octets, so sealed_up_to cannot be {self.sealed_up_to}"
            )
        if not self.service or not self.service.isprintable():
            raise ConfigError("the GSSAPI service is not a name such as socks")


def initiator_method(told: Gssapi, host: str, *, datagrams: bool) -> ClientMethod:
    """The method, towards the proxy ``host``; with ``datagrams`` messages may come out of order (GS-REQ-11).

    Raises ConfigError if the extra is missing, and for an address instead of a name.
    """
    # Here, because the deciding half loads what only those with tickets need.
    from ..auth.kerberos import KerberosInitiator, KerberosMethod

    initiator = KerberosInitiator(
        told.host or host,
        service=told.service,
        wish=Level(told.level),
        accepted=tuple(map(Level, told.accepted)),
        nec=told.nec,
        sealed_up_to=told.sealed_up_to,
        delegate=told.delegate,
        datagrams=datagrams,
    )
    method = KerberosMethod(initiator=initiator)
    return ClientMethod(method.framing, method.client_exchange, blocks=True)


def tickets_of_this_user() -> str:
    """Where tickets are looked for, for a process that will be somebody else when it logs in: a value for KRB5CCNAME.

    Raises ConfigError if the extra is missing.
    """
    from ..auth import kerberos

    return kerberos.place_of_tickets()
