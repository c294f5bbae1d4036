"""Digests of passwords: what matches, at what cost, and what is never shown (catalogue 4)."""

import hmac
import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosier.auth.digests import PasswordDigests
from hosier.protocol.auth.password import Credentials

USERS = {b"ann": b"hunter2", b"bob": b"correct horse"}

any_octets = st.binary(max_size=255)


def test_wrong() -> None:
    known = PasswordDigests(USERS)
    for username, right in USERS.items():
        assert known.match(Credentials(username, right))
        for wrong in (b"", right[:-1], right + b"\x00", right.upper()):
            assert not known.match(Credentials(username, wrong))
    assert not known.match(Credentials(b"ann", USERS[b"bob"]))
    assert not known.match(Credentials(b"Ann", USERS[b"ann"]))


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
    users = PasswordDigests({username: password})
    assert users.match(Credentials(username, password))
    assert not users.match(Credentials(username, password + b"x"))
    assert not users.match(Credentials(username + b"x", password))
    if password:
        assert not users.match(Credentials(username, password[:-1]))


def test_only_the_last_octet_differs() -> None:
    users = PasswordDigests({b"ann": b"p" * 254 + b"a"})
    assert users.match(Credentials(b"ann", b"p" * 254 + b"a"))
    assert not users.match(Credentials(b"ann", b"p" * 254 + b"b"))


def test_no_normalisation() -> None:
    """UP-REQ-12: two ways to write one accent are two passwords."""
    users = PasswordDigests({b"ann": "\N{LATIN SMALL LETTER E WITH ACUTE}".encode()})
    assert not users.match(Credentials(b"ann", "e\N{COMBINING ACUTE ACCENT}".encode()))


@pytest.mark.parametrize("username", [b"ann", b"carol"])
def test_same_path_for_unknown_users(username: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """UP-REQ-13: a known and an unknown name cost one digest of the password and one comparison in constant time."""
    compared: list[tuple[int, int]] = []
    digested: list[bytes] = []
    compare, right = hmac.compare_digest, PasswordDigests._digest

    def compare_digest(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return compare(a, b)

    def digest(users: PasswordDigests, password: bytes) -> bytes:
        digested.append(password)
        return right(users, password)

    users = PasswordDigests(USERS)
    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    monkeypatch.setattr(PasswordDigests, "_digest", digest)
    for password in (b"hunter2", b"wrong", b"", b"x" * 255):
        compared.clear()
        digested.clear()
        assert users.match(Credentials(username, password)) == (username == b"ann" and password == b"hunter2")
        assert compared == [(32, 32)]
        assert digested == [password]


def test_an_unknown_user_has_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an unknown name is compared with is made at random, not the digest of anything one could send."""
    users = PasswordDigests({})
    for password in (b"", b"\x00" * 32, b"carol"):
        assert not users.match(Credentials(b"carol", password))
    tokens = iter((b"k" * 32, b"n" * 32))
    monkeypatch.setattr(secrets, "token_bytes", lambda size: next(tokens)[:size])
    assert not PasswordDigests({}).match(Credentials(b"carol", b"n" * 32))


def test_passwords_are_not_kept() -> None:
    """UP-REQ-13: neither shown nor anywhere in the object; a memory dump of two servers shows different digests."""
    users, again = PasswordDigests(USERS), PasswordDigests(USERS)
    assert repr(users) == "<PasswordDigests of 2 users>"
    assert "hunter2" not in repr(vars(users))
    assert vars(users)["_digests"].keys() == USERS.keys()
    assert vars(users)["_digests"] != vars(again)["_digests"]


@settings(derandomize=True, database=None, deadline=None)
@given(st.dictionaries(any_octets, any_octets, max_size=4), any_octets, any_octets)
def test_match_is_a_look_up(users: dict[bytes, bytes], username: bytes, password: bytes) -> None:
    known = PasswordDigests(users)
    assert known.match(Credentials(username, password)) == (users.get(username) == password)
    for name, right in users.items():
        assert known.match(Credentials(name, right))


def test_learning_and_forgetting() -> None:
    """A name has one password: the last that was learnt."""
    known = PasswordDigests()
    for password in (b"first", b"second"):
        known.learn(Credentials(b"ann", password))
        assert known.match(Credentials(b"ann", password))
    known.learn(Credentials(b"bob", b"other"))
    assert not known.match(Credentials(b"ann", b"first"))
    assert (len(known), b"ann" in known, b"carol" in known) == (2, True, False)
    known.keep(lambda name: name == b"bob")
    assert not known.match(Credentials(b"ann", b"second"))
    assert known.match(Credentials(b"bob", b"other"))
    assert (len(known), b"ann" in known) == (1, False)


def test_a_key_can_be_shared() -> None:
    one, other = (PasswordDigests(USERS, key=b"k" * 32) for _ in range(2))
    assert vars(one)["_digests"] == vars(other)["_digests"]


def test_lots() -> None:
    """The same for a name, in range, not the same for all names, and not foretold by another process."""
    known = PasswordDigests()
    names = [str(number).encode() for number in range(100)]
    lots = [known.lot(name, 4) for name in names]
    assert lots == [known.lot(name, 4) for name in names]
    assert set(lots) == {0, 1, 2, 3}
    assert lots != [PasswordDigests().lot(name, 4) for name in names]


def test_names() -> None:
    assert set(PasswordDigests(USERS)) == set(USERS)
