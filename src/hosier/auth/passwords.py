"""Username/password (RFC 1929): deciding who is who, and the client's half.

Passwords are kept as keyed digests and compared in constant time (UP-REQ-13); an unknown user costs the same work.
"""

import hmac
import secrets
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from ..protocol.auth.base import AuthFraming, AuthStep, Outcome
from ..protocol.auth.password import Credentials, PasswordFraming, Status

__all__ = ("FixedPasswords", "PasswordMethod")


class FixedPasswords:
    """Names and passwords that were given at the start. Its ``repr`` tells how many."""

    def __init__(self, users: Mapping[bytes, bytes]) -> None:
        self._key = secrets.token_bytes(32)
        self._digests = {name: self._digest(password) for name, password in users.items()}
        self._nobody = secrets.token_bytes(32)

    def __repr__(self) -> str:
        return f"<FixedPasswords of {len(self._digests)} users>"

    def verify(self, credentials: Credentials) -> bool:
        """Whether the name is known and the password is the name's."""
        known = self._digests.get(credentials.username, self._nobody)
        return hmac.compare_digest(known, self._digest(credentials.password))

    def _digest(self, password: bytes) -> bytes:
        return blake2b(password, key=self._key, digest_size=32).digest()


class PasswordMethod:
    """Method 02. ``passwords`` is the server's side, ``credentials`` the client's; either may be absent."""

    name: str = "password"

    def __init__(
        self, passwords: FixedPasswords | None = None, credentials: Credentials | None = None, *, strict: bool = False
    ) -> None:
        self.framing: AuthFraming = PasswordFraming(strict=strict)
        self._passwords = passwords
        self._credentials = credentials

    def server_exchange(self) -> "_ServerSide":
        assert self._passwords is not None  # a server is built with them
        return _ServerSide(self._passwords)

    def client_exchange(self) -> "_ClientSide":
        assert self._credentials is not None  # a client is built with them
        return _ClientSide(self._credentials)


class _ServerSide:
    __slots__ = ("_passwords",)

    def __init__(self, passwords: FixedPasswords) -> None:
        self._passwords = passwords

    def step(self, message: Any) -> AuthStep:
        if self._passwords.verify(message):
            identity = message.username.decode("utf-8", "backslashreplace")
            return AuthStep(Status(0), Outcome(identity))
        return AuthStep(Status(1), Outcome(None))


class _ClientSide:
    __slots__ = ("_credentials",)

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def step(self, message: Any) -> AuthStep:
        if message is None:
            return AuthStep(self._credentials)
        identity = self._credentials.username.decode("utf-8", "backslashreplace") if message.code == 0 else None
        return AuthStep(None, Outcome(identity))
