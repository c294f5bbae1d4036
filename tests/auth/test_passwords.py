"""Username/password: who is let in, and what is never shown (catalogue 4)."""

import asyncio

import pytest

from hosier.auth.passwords import PasswordMethod
from hosier.auth.users import FixedUsers
from hosier.errors import PolicyDenied
from hosier.protocol.auth.base import AuthStep, Outcome
from hosier.protocol.auth.password import Credentials, PasswordFraming, Status

USERS = {b"ann": b"hunter2", b"bob": b"correct horse"}


def answer(users: FixedUsers, username: bytes, password: bytes) -> AuthStep:
    step = PasswordMethod(users).server_exchange().step(Credentials(username, password))
    assert isinstance(step, AuthStep), "what is quick is told at once"
    return step


@pytest.mark.parametrize(("username", "password"), USERS.items())
def test_right(username: bytes, password: bytes) -> None:
    """UP-REQ-05."""
    assert answer(FixedUsers(USERS), username, password) == (Status(0), Outcome(username.decode()))


@pytest.mark.parametrize(
    ("username", "password"),
    [
        (b"ann", b"correct horse"),  # somebody else's
        (b"ann", b"hunter"),
        (b"ann", b"hunter22"),
        (b"ann", b"Hunter2"),
        (b"ann", b"hunter2\x00"),
        (b"ann", b""),
        (b"Ann", b"hunter2"),
        (b"ann\x00", b"hunter2"),
        (b"carol", b"hunter2"),
        (b"carol", b""),
        (b"", b""),
    ],
)
def test_wrong(username: bytes, password: bytes) -> None:
    """UP-REQ-05, UP-REQ-13: one answer, whatever was wrong."""
    assert answer(FixedUsers(USERS), username, password) == (Status(1), Outcome(None))


def test_secrets_do_not_show() -> None:
    method = PasswordMethod(FixedUsers(USERS), Credentials(b"ann", b"hunter2"))
    server, client = method.server_exchange(), method.client_exchange()
    steps = [client.step(None), server.step(Credentials(b"ann", b"hunter2")), client.step(Status(0))]
    for thing in (method, server, client, *steps):
        assert "hunter2" not in repr(thing)


def test_identity_is_text() -> None:
    """Octets that are no UTF-8 are escaped, so that two users cannot look alike."""
    users = FixedUsers({b"\xff": b"p", b"\\xff": b"p", "Zoë".encode(): b"p"})
    assert answer(users, "Zoë".encode(), b"p").outcome == Outcome("Zoë")
    assert answer(users, b"\xff", b"p").outcome == Outcome("\\xff")


def test_client() -> None:
    """UP-REQ-01, UP-REQ-05: it begins, and any status but 0 is a failure."""
    method = PasswordMethod(credentials=Credentials(b"ann", b"hunter2"))
    assert method.client_exchange().step(None) == AuthStep(Credentials(b"ann", b"hunter2"))
    assert method.client_exchange().step(Status(0)) == AuthStep(None, Outcome("ann"))
    for code in (1, 0xFF):
        assert method.client_exchange().step(Status(code)) == AuthStep(None, Outcome(None))


@pytest.mark.parametrize("strict", [False, True])
def test_framing(strict: bool) -> None:
    """UP-REQ-11: a strict server does not even take empty fields."""
    framing = PasswordMethod(strict=strict).framing
    assert isinstance(framing, PasswordFraming)
    assert framing.code == 2
    assert framing.strict is strict


class SlowUsers(FixedUsers):
    """They are who they are, but it takes time to tell."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__(USERS)
        self.error = error

    def verify_at_once(self, credentials: Credentials) -> None:  # type: ignore[override]
        pass

    async def verify(self, credentials: Credentials) -> bool:
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return FixedUsers.verify_at_once(self, credentials)


def test_checks_that_take_time() -> None:
    async def main() -> None:
        for password, expected in (
            (b"hunter2", AuthStep(Status(0), Outcome("ann"))),
            (b"wrong", AuthStep(Status(1), Outcome(None))),
        ):
            step = PasswordMethod(SlowUsers()).server_exchange().step(Credentials(b"ann", password))
            assert not isinstance(step, AuthStep)
            assert await step == expected

    asyncio.run(main())


def test_checks_that_are_turned_away() -> None:
    async def main() -> None:
        step = PasswordMethod(SlowUsers(PolicyDenied("busy"))).server_exchange().step(Credentials(b"ann", b"hunter2"))
        assert not isinstance(step, AuthStep)
        with pytest.raises(PolicyDenied, match="busy"):
            await step

    asyncio.run(main())
