"""Username/password: who is let in, at what cost, and what is never shown (catalogue 4)."""

import hmac
import secrets
from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosier.auth.passwords import FixedPasswords, PasswordMethod
from hosier.protocol.auth.base import AuthStep, Outcome
from hosier.protocol.auth.password import Credentials, PasswordFraming, Status

USERS = {b"ann": b"hunter2", b"bob": b"correct horse"}

any_octets = st.binary(max_size=255)


def answer(users: FixedPasswords, username: bytes, password: bytes) -> AuthStep:
    return PasswordMethod(users).server_exchange().step(Credentials(username, password))


@pytest.mark.parametrize(("username", "password"), USERS.items())
def test_right(username: bytes, password: bytes) -> None:
    """UP-REQ-05."""
    assert answer(FixedPasswords(USERS), username, password) == (Status(0), Outcome(username.decode()))


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
    assert answer(FixedPasswords(USERS), username, password) == (Status(1), Outcome(None))


@pytest.mark.parametrize(
    ("username", "password"),
    [
        (b"u" * 255, b"p" * 255),
        (b"\x00", b"\x00"),
        (b"zero\x00inside", b"pass\x00word"),
        ("Zoë".encode(), "påsswörd 密碼".encode()),
        (b"\xff\xfe", b"\x80"),  # no UTF-8 at all
        (b"ann", b""),
        (b"", b"password only"),
        (b"", b""),
    ],
)
def test_octets_are_opaque(username: bytes, password: bytes) -> None:
    """UP-REQ-11, UP-REQ-12: any 0 to 255 of them, compared to the last."""
    users = FixedPasswords({username: password})
    assert users.verify(Credentials(username, password))
    assert not users.verify(Credentials(username, password + b"x"))
    assert not users.verify(Credentials(username + b"x", password))
    if password:
        assert not users.verify(Credentials(username, password[:-1]))


def test_only_the_last_octet_differs() -> None:
    users = FixedPasswords({b"ann": b"p" * 254 + b"a"})
    assert users.verify(Credentials(b"ann", b"p" * 254 + b"a"))
    assert not users.verify(Credentials(b"ann", b"p" * 254 + b"b"))


def test_no_normalisation() -> None:
    """UP-REQ-12: two ways to write one accent are two passwords."""
    users = FixedPasswords({b"ann": "\N{LATIN SMALL LETTER E WITH ACUTE}".encode()})
    assert not users.verify(Credentials(b"ann", "e\N{COMBINING ACUTE ACCENT}".encode()))


@pytest.mark.parametrize("username", [b"ann", b"carol"])
def test_same_path_for_unknown_users(username: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """UP-REQ-13: a known and an unknown name cost one digest of the password and one comparison in constant time."""
    compared: list[tuple[int, int]] = []
    digested: list[bytes] = []
    compare = hmac.compare_digest

    def compare_digest(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return compare(a, b)

    def digest(data: bytes, *, key: bytes, digest_size: int) -> object:
        digested.append(data)
        return blake2b(data, key=key, digest_size=digest_size)

    users = FixedPasswords(USERS)
    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    monkeypatch.setattr("hosier.auth.passwords.blake2b", digest)
    for password in (b"hunter2", b"wrong", b"", b"x" * 255):
        compared.clear()
        digested.clear()
        assert users.verify(Credentials(username, password)) == (username == b"ann" and password == b"hunter2")
        assert compared == [(32, 32)]
        assert digested == [password]


def test_an_unknown_user_has_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an unknown name is compared with is made at random, not the digest of anything one could send."""
    users = FixedPasswords({})
    for password in (b"", b"\x00" * 32, b"carol"):
        assert not users.verify(Credentials(b"carol", password))
    tokens = iter((b"k" * 32, b"n" * 32))
    monkeypatch.setattr(secrets, "token_bytes", lambda size: next(tokens)[:size])
    assert not FixedPasswords({}).verify(Credentials(b"carol", b"n" * 32))


def test_passwords_are_not_kept() -> None:
    """UP-REQ-13: neither shown nor anywhere in the object; a memory dump of two servers shows different digests."""
    users, again = FixedPasswords(USERS), FixedPasswords(USERS)
    assert repr(users) == "<FixedPasswords of 2 users>"
    assert "hunter2" not in repr(vars(users))
    assert vars(users)["_digests"].keys() == USERS.keys()
    assert vars(users)["_digests"] != vars(again)["_digests"]


def test_secrets_do_not_show() -> None:
    method = PasswordMethod(FixedPasswords(USERS), Credentials(b"ann", b"hunter2"))
    server, client = method.server_exchange(), method.client_exchange()
    steps = [client.step(None), server.step(Credentials(b"ann", b"hunter2")), client.step(Status(0))]
    for thing in (method, server, client, *steps):
        assert "hunter2" not in repr(thing)


def test_identity_is_text() -> None:
    """Octets that are no UTF-8 are escaped, so that two users cannot look alike."""
    users = FixedPasswords({b"\xff": b"p", b"\\xff": b"p", "Zoë".encode(): b"p"})
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


@settings(derandomize=True, database=None, deadline=None)
@given(st.dictionaries(any_octets, any_octets, max_size=4), any_octets, any_octets)
def test_verify_is_a_look_up(users: dict[bytes, bytes], username: bytes, password: bytes) -> None:
    known = FixedPasswords(users)
    assert known.verify(Credentials(username, password)) == (users.get(username) == password)
    for name, right in users.items():
        assert known.verify(Credentials(name, right))
