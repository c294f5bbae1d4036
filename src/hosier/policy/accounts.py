"""What is settled about single users besides their passwords: until when, and from where, they may come.

It holds for whoever the client is, whatever the method that proved it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from ipaddress import IPv4Network, IPv6Network

from ..errors import ConfigError, PolicyDenied
from ..typed import check_types
from .expiry import end_of
from .networks import Networks

__all__ = ("Account", "Accounts")


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """What is settled about one user."""

    expires: date | datetime | None = None
    """The last day, or the moment, until which the user may come, by the machine's clock."""

    clients: Sequence[IPv4Network | IPv6Network] | None = None
    """Networks that the user may come from. Left out: any."""

    def __post_init__(self) -> None:
        check_types(self)
        if self.clients is not None and not self.clients:
            raise ConfigError("clients is empty: leave the key out if the user may come from anywhere")

    @property
    def end(self) -> float | None:
        """When it expires, in seconds since the epoch."""
        return end_of(self.expires)


class Accounts:
    """All accounts, asked by user."""

    def __init__(self, accounts: Mapping[str, Account]) -> None:
        self._accounts = {
            user: (account.end, None if account.clients is None else Networks(account.clients), account)
            for user, account in accounts.items()
        }

    def __bool__(self) -> bool:
        return bool(self._accounts)

    def judge(self, user: str, client: bytes, now: float) -> PolicyDenied | None:
        """Why the user must not come; None: may. ``client``: 4 or 16 octets; ``now``: seconds since the epoch."""
        found = self._accounts.get(user)
        if found is None:
            return None
        end, networks, account = found
        if end is not None and now >= end:
            return PolicyDenied(f"the account of {user!r} has expired: {account.expires}")
        if networks is not None and networks.find(client) is None:
            return PolicyDenied(f"{user!r} may not come from this address")
        return None

    def next_end(self, now: float) -> float | None:
        """When the next account expires, in seconds since the epoch; None: none does."""
        return min((end for end, _, _ in self._accounts.values() if end is not None and end > now), default=None)
