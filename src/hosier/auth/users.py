"""Who may use the server, as the rest of it sees them; and the users that are given at the start."""

from collections.abc import Collection, Mapping
from typing import Protocol

from ..protocol.auth.password import Credentials
from .digests import PasswordDigests

__all__ = ("FixedUsers", "Users", "is_among")


class Users(Protocol):
    """The users of one server. Names and passwords are octets (UP-REQ-12)."""

    def verify_at_once(self, credentials: Credentials) -> bool | None:
        """Whether the name is known and the password is the name's; None: that takes time to find out."""

    async def verify(self, credentials: Credentials) -> bool:
        """The same, in time. Raises PolicyDenied if too many such checks wait already."""

    async def knows(self, name: bytes) -> bool:
        """Whether there is such a user; for SOCKS4, which has no passwords."""

    def has(self, user: str) -> bool:
        """Whether there is such a user, as far as is known without asking anybody; the name is as sessions have it."""

    def open(self) -> None:
        """Tells the operator what is odd about them; for a server that starts."""

    def close(self) -> None:
        """Lets threads end; harmless a second time."""


def is_among(user: str, names: Collection[bytes]) -> bool:
    """Whether a session's user has one of the names: octets that are no UTF-8 are escaped in it."""
    if "\\" in user:
        return any(name.decode("utf-8", "backslashreplace") == user for name in names)
    return user.encode() in names


class FixedUsers:
    """Users whose passwords the server was given. Their ``repr`` tells how many."""

    def __init__(self, passwords: Mapping[bytes, bytes]) -> None:
        self._passwords = PasswordDigests(passwords)

    def __repr__(self) -> str:
        return f"<FixedUsers: {len(self._passwords)}>"

    def verify_at_once(self, credentials: Credentials) -> bool:
        return self._passwords.match(credentials)

    async def verify(self, credentials: Credentials) -> bool:
        return self.verify_at_once(credentials)

    async def knows(self, name: bytes) -> bool:
        return name in self._passwords

    def has(self, user: str) -> bool:
        return is_among(user, self._passwords)

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass
