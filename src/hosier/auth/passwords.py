"""Username/password (RFC 1929): deciding who is who, and the client's half. Who there is, ``users`` knows."""

from collections.abc import Awaitable
from functools import lru_cache
from typing import Any, Final

from ..protocol.auth.base import AuthFraming, AuthStep, Outcome
from ..protocol.auth.password import Credentials, PasswordFraming, Status
from .users import Users

__all__ = ("PasswordMethod",)

_ACCEPTED: Final = Status(0)
_REFUSED: Final = AuthStep(Status(1), Outcome(None))  # the same for a wrong name and a wrong password (UP-REQ-13)


class PasswordMethod:
    """Method 02. ``users`` is the server's side, ``credentials`` the client's; either may be absent."""

    name: str = "password"
    guessable: bool = True

    def __init__(
        self, users: Users | None = None, credentials: Credentials | None = None, *, strict: bool = False
    ) -> None:
        self.framing: AuthFraming = PasswordFraming(strict=strict)
        self._server_side = None if users is None else _ServerSide(users)
        self._credentials = credentials

    def server_exchange(self) -> "_ServerSide":
        assert self._server_side is not None  # a server is built with users
        return self._server_side  # one message is the whole conversation, so nothing is kept that others could see

    def client_exchange(self) -> "_ClientSide":
        assert self._credentials is not None  # a client is built with them
        return _ClientSide(self._credentials)


class _ServerSide:
    __slots__ = ("_users",)

    def __init__(self, users: Users) -> None:
        self._users = users

    def step(self, message: Any) -> AuthStep | Awaitable[AuthStep]:
        verdict = self._users.verify_at_once(message)
        if verdict is None:
            return self._verify(message)
        return _accepted(message[0]) if verdict else _REFUSED

    async def _verify(self, credentials: Credentials) -> AuthStep:
        return _accepted(credentials[0]) if await self._users.verify(credentials) else _REFUSED


class _ClientSide:
    __slots__ = ("_credentials",)

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def step(self, message: Any) -> AuthStep:
        if message is None:
            return AuthStep(self._credentials)
        identity = self._credentials.username.decode("utf-8", "backslashreplace") if message.code == 0 else None
        return AuthStep(None, Outcome(identity))


@lru_cache(1024)
def _accepted(username: bytes) -> AuthStep:
    """It can be told to as many as come: nothing in it changes."""
    return AuthStep(_ACCEPTED, Outcome(username.decode("utf-8", "backslashreplace")))
