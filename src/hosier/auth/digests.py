"""Passwords that are known to be right, in a form that is quick to compare and worth nothing outside this process."""

import hmac
import secrets
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2s
from types import MappingProxyType
from typing import Final

from ..protocol.auth.password import Credentials

__all__ = ("PasswordDigests",)

_NOTHING: Final[Mapping[bytes, bytes]] = MappingProxyType({})


class PasswordDigests:
    """Names, each with the digest of one password under a key that is made anew for each process.

    At most one digest for a name, so it is bounded by the number of users.

    Args:
        passwords: what is known from the start.
        key: 32 octets that several processes may share; by default, each object has its own.
    """

    def __init__(self, passwords: Mapping[bytes, bytes] = _NOTHING, *, key: bytes | None = None) -> None:
        self._keyed = blake2s(key=key or secrets.token_bytes(blake2s.MAX_KEY_SIZE))  # the key is digested once for all
        self._digests = {name: self._digest(password) for name, password in passwords.items()}
        self._nobody = secrets.token_bytes(blake2s.MAX_DIGEST_SIZE)

    def __repr__(self) -> str:
        return f"<PasswordDigests of {len(self._digests)} users>"

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, name: object) -> bool:
        return name in self._digests

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._digests)

    def match(self, credentials: Credentials) -> bool:
        """Whether this is the password known for the name. Constant time; an unknown name costs the same work."""
        username, password = credentials
        known = self._digests.get(username, self._nobody)
        return hmac.compare_digest(known, self._digest(password))

    def learn(self, credentials: Credentials) -> None:
        """From now on these match, and no other password of the name does."""
        self._digests[credentials.username] = self._digest(credentials.password)

    def keep(self, wanted: Callable[[bytes], bool]) -> None:
        """Forgets every name that is not wanted."""
        self._digests = {name: digest for name, digest in self._digests.items() if wanted(name)}

    def lot(self, name: bytes, of: int) -> int:
        """A number below ``of``, always the same for a name, that nobody outside can foretell."""
        return int.from_bytes(self._digest(name)[:8], "big") % of

    def _digest(self, password: bytes) -> bytes:
        digest = self._keyed.copy()
        digest.update(password)
        return digest.digest()
