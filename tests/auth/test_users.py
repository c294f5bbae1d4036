"""Users that are given at the start."""

from __future__ import annotations

import asyncio

from hosier.auth.users import FixedUsers, Users
from hosier.protocol.auth.password import Credentials


def test_fixed_users() -> None:
    users: Users = FixedUsers({b"ann": b"open sesame", b"": b""})
    assert users.verify_at_once(Credentials(b"ann", b"open sesame")) is True
    assert users.verify_at_once(Credentials(b"", b"")) is True  # UP-REQ-11: they said so
    assert users.verify_at_once(Credentials(b"ann", b"close sesame")) is False
    assert users.verify_at_once(Credentials(b"bob", b"open sesame")) is False
    assert asyncio.run(users.verify(Credentials(b"ann", b"open sesame")))
    assert not asyncio.run(users.verify(Credentials(b"ann", b"close sesame")))
    assert asyncio.run(users.knows(b"ann"))
    assert not asyncio.run(users.knows(b"bob"))
    assert repr(users) == "<FixedUsers: 2>"
    users.open()
    users.close()
    users.close()


def test_the_names_of_sessions() -> None:
    """What is no UTF-8 is escaped in them."""
    users: Users = FixedUsers({b"ann": b"x", b"\xff": b"x", "bäckslash\\".encode(): b"x"})
    for name in ("ann", "\\xff", "bäckslash\\"):
        assert users.has(name)
    for name in ("bob", "\\xfe", ""):
        assert not users.has(name)
