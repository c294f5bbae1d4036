"""What a server can be told about GSSAPI (RFC 1961), and the method that is made of it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from ..auth.base import Method
from ..auth.kerberos import KerberosAcceptor, KerberosMethod
from ..auth.principals import RealmRule
from ..errors import ConfigError
from ..protocol.auth.gssapi_layer import MAX_TOKEN, Level
from ..typed import check_types

__all__ = ("GssapiSettings", "gssapi_method")


@dataclass(frozen=True, kw_only=True, slots=True)
class GssapiSettings:
    """Authentication and protection with Kerberos (RFC 1961); needs the extra ``gssapi``."""

    enabled: bool = False
    """Whether clients may authenticate with Kerberos."""

    keytab: Path | None = None
    """The file with the service's keys; without it what KRB5_KTNAME names, or the system's."""

    service: str = "socks"
    """Which of the keys serve: "socks" those of socks/ANY-HOST, "socks@HOST" that of one host; with a slash, the
    principal as it is written. Some clients ask for "rcmd" unless told otherwise."""

    levels: Sequence[int] = (Level.CONFIDENTIALITY, Level.INTEGRITY)
    """Protection levels that clients may choose: 1 integrity, 2 confidentiality too, 3 by the size of each message.
    Whoever asks for another one is answered the first that protects as well, or refused. 0, nothing protected after
    the authentication, is outside the RFC, for clients that know no better (GS-REQ-30)."""

    sealed_up_to: int = MAX_TOKEN
    """At level 3, octets up to which a message of ours is sealed; larger ones are only signed."""

    nec: bool = False
    """Take the level also from clients that send it unprotected, as an old implementation did (GS-REQ-31): whoever is
    on the way can then lower it."""

    home_realm: str = ""
    """The realm whose principals are users by their name alone: ann@EXAMPLE.ORG is "ann". Empty: all keep the realm."""

    realms: Sequence[str] = ()
    """The realms whose principals may come, besides the home realm. With neither: all that the KDC trusts."""

    def __post_init__(self) -> None:
        check_types(self)
        if not self.enabled and any(getattr(self, key.name) != key.default for key in fields(self)):
            raise ConfigError("GSSAPI has settings but is not enabled: add --gssapi, in a file enabled = true")
        if not self.levels or len(set(self.levels)) < len(self.levels) or not set(self.levels) <= set(Level):
            raise ConfigError("the GSSAPI levels are some of 2, 1, 3 and 0, each once, the preferred one first")
        if not 0 <= self.sealed_up_to <= MAX_TOKEN:
            raise ConfigError(
                f"GSSAPI messages have 0 to {MAX_TOKEN} octets, so sealed_up_to cannot be {self.sealed_up_to}"
            )
        if not self.service or not self.service.isprintable():
            raise ConfigError("the GSSAPI service is not a name such as socks or socks@proxy.example.org")


def gssapi_method(told: GssapiSettings) -> Method:
    """Raises ConfigError if the extra is missing or there is no key."""
    return KerberosMethod(
        KerberosAcceptor(
            identify=RealmRule(told.home_realm, told.realms).user,
            keytab=told.keytab,
            service=told.service,
            levels=[Level(level) for level in told.levels],
            nec=told.nec,
            sealed_up_to=told.sealed_up_to,
        )
    )
