"""What one user, group, source, listener or rule may use: sessions, how fast they come, octets a second and in all."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, Literal

from ..errors import ConfigError
from ..typed import check_types
from .expiry import end_of
from .octets import Octets, parse_octets
from .periods import Period

__all__ = ("Budget", "Share")

Share = Literal["all", "listener", "source", "user", "group", "rule"]

MOST: Final = 10_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """One that rules name is for the sessions that they allow, any other for all. What is left out is not limited."""

    per: Share = "user"
    """Who has one of their own: each "user" (without a name, each source), "group" (who is in none has no limit),
    "source", "listener" or "rule"; "all": there is one for everybody together."""

    sessions: int = 0
    """At the same time."""

    rate: float = 0.0
    """New sessions a second; as many may come at once."""

    up: Octets | str | None = None
    """Octets a second from clients to targets, as "10MB"."""

    down: Octets | str | None = None
    """Octets a second from targets to clients."""

    octets: Octets | str | None = None
    """In both directions together, in one period; then the sessions end. Needs ``usage_file``."""

    period: Period = "month"
    """After which octets are counted anew: "hour", "day", "week" or "month", in UTC; "ever": they are not."""

    expires: date | datetime | None = None
    """The last day, or the moment, until which there is anything to use."""

    def __post_init__(self) -> None:
        for name in ("up", "down", "octets"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, parse_octets(given))
        check_types(self)
        if not 0 <= self.sessions <= MOST:
            raise ConfigError(f"a budget of {self.sessions} sessions: 1 to {MOST} can be, 0 is no limit")
        if not 0 <= self.rate <= MOST:
            raise ConfigError(f"a budget of {self.rate:g} sessions a second: up to {MOST} can be, 0 is no limit")

    @property
    def end(self) -> float | None:
        """When it expires, in seconds since 1970."""
        return end_of(self.expires)
