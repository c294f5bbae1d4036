"""Which user a Kerberos principal is: a rule about realms."""

from collections.abc import Sequence
from typing import Final

from ..errors import RemoteProtocolError

__all__ = ("RealmRule",)

_ANONYMOUS: Final = "WELLKNOWN:ANONYMOUS"


class RealmRule:
    """Principals of the home realm are users by their name alone, ``ann``; others keep the realm, ``ann@ELSEWHERE``, so
    that two people never become one.

    Args:
        home: the home realm; empty: every user keeps the realm.
        realms: whose principals may come besides the home realm's; with neither, those of all realms that the key
            distribution centre trusts.
    """

    def __init__(self, home: str = "", realms: Sequence[str] = ()) -> None:
        self._home = home
        self._realms = frozenset((*realms, home)) - {""}

    def user(self, principal: str) -> str:
        """Raises RemoteProtocolError for a principal of a realm that is not welcome, and for one that is nobody."""
        name, realm = _parts(principal)
        if not (name and realm) or realm == _ANONYMOUS:
            raise RemoteProtocolError(f"the principal {principal!r} is nobody in particular")
        if self._realms and realm not in self._realms:
            raise RemoteProtocolError(f"the principal {principal!r} is of a realm that is not allowed")
        return name if realm == self._home else principal


def _parts(principal: str) -> tuple[str, str]:
    """Name and realm; a backslash before an @ makes that a letter of either (RFC 1964 §2.1.1)."""
    if "\\" not in principal:  # nearly always
        name, _, realm = principal.rpartition("@")
        return name, realm
    at = -1
    escaped = False
    for place, letter in enumerate(principal):
        if letter == "@" and not escaped:
            at = place
        escaped = letter == "\\" and not escaped
    return (principal, "") if at < 0 else (principal[:at], principal[at + 1 :])
