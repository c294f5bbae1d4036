"""One stored password: its text, its cost, what matches it."""

from __future__ import annotations

import hmac
from base64 import b64encode
from hashlib import scrypt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosier.auth import scrypt as module
from hosier.auth.scrypt import ORDINARY, ScryptHash, hash_password, parse_hash


def cheap(password: bytes) -> ScryptHash:
    return hash_password(password, log_n=1, r=1, p=1)


@pytest.mark.parametrize(
    "password",
    [b"open sesame", b"", b"\x00", b"a\x00b", b"p" * 255, "påsswörd 密碼".encode(), b"\xff\xfe"],
    ids=["text", "empty", "zero", "zero inside", "255", "other letters", "no letters"],
)
def test_octets_are_opaque(password: bytes) -> None:
    """UP-REQ-11, UP-REQ-12."""
    stored = cheap(password)
    assert stored.matches(password)
    assert not stored.matches(password + b"\x00")
    assert not stored.matches(password + b"x")
    assert not password or not stored.matches(password[:-1])


def test_test_vector() -> None:
    """RFC 7914 §12, the second one."""
    digest = bytes.fromhex(
        "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"
    )
    stored = ScryptHash(10, 8, 16, b"NaCl", digest)
    assert stored.matches(b"password")
    assert not stored.matches(b"Password")


def test_there_and_back() -> None:
    stored = cheap(b"open sesame")
    assert parse_hash(str(stored)) == stored
    assert str(stored).startswith("$scrypt$ln=1,r=1,p=1$")
    assert "=" not in str(stored).rpartition("p=1")[2]


def test_a_hash_made_by_others() -> None:
    salt = b"0123456789abcdef"
    digest = scrypt(b"open sesame", salt=salt, n=16, r=2, p=3, dklen=32)
    text = f"$scrypt$ln=4,r=2,p=3${b64encode(salt).decode().rstrip('=')}${b64encode(digest).decode().rstrip('=')}"
    assert parse_hash(text).matches(b"open sesame")


def test_every_hash_has_its_salt() -> None:
    assert cheap(b"open sesame") != cheap(b"open sesame")


def test_ordinary_cost() -> None:
    """What is made by default costs what it should: 32 MiB, and a text that is read again."""
    stored = hash_password(b"open sesame")
    assert (stored.log_n, stored.r, stored.p) == (15, 8, 1) == (ORDINARY.log_n, ORDINARY.r, ORDINARY.p)
    assert (len(stored.salt), len(stored.digest)) == (len(ORDINARY.salt), len(ORDINARY.digest))
    assert parse_hash(str(stored)).matches(b"open sesame")


def test_nobody_s() -> None:
    """As dear as the pattern, and nothing matches it, not twice the same."""
    stored = cheap(b"open sesame")
    nobody = stored.for_nobody()
    assert (nobody.log_n, nobody.r, nobody.p, len(nobody.salt)) == (1, 1, 1, len(stored.salt))
    assert not nobody.matches(b"open sesame")
    assert nobody.digest != stored.for_nobody().digest


def test_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """UP-REQ-13."""
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def compare_digest(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    stored = cheap(b"open sesame")
    assert not stored.matches(b"close sesame")
    ((found, kept),) = compared
    assert kept == stored.digest
    assert len(found) == len(kept)


def test_repr_hides_it() -> None:
    stored = cheap(b"open sesame")
    assert repr(stored) == "<ScryptHash ln=1,r=1,p=1>"
    assert str(stored).rpartition("$")[2] not in repr([stored])


SALT, DIGEST = "MDEyMzQ1Njc4OWFiY2RlZg", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a hash looks like"),
        ("secret", "a hash looks like"),
        (f"$2b$12${SALT}{DIGEST}", "a hash looks like"),
        (f"$scrypt$ln=4,r=1,p=1${SALT}$", "a hash looks like"),
        (f"$scrypt$ln=4,r=1,p=1${SALT}${DIGEST}=", "a hash looks like"),
        (f"$scrypt$ln=4,r=1,p=1${SALT}${DIGEST} ", "a hash looks like"),
        (f"$scrypt$ln=-4,r=1,p=1${SALT}${DIGEST}", "a hash looks like"),
        (f"$scrypt$ln=4,r=1,p=1$AAAAA${DIGEST}", "cannot be 1 more than a multiple of 4"),
        (f"$scrypt$ln=0,r=1,p=1${SALT}${DIGEST}", "the cost ln=0,r=1,p=1 is nothing"),
        (f"$scrypt$ln=4,r=0,p=1${SALT}${DIGEST}", "the cost ln=4,r=0,p=1 is nothing"),
        (f"$scrypt$ln=4,r=1,p=0${SALT}${DIGEST}", "the cost ln=4,r=1,p=0 is nothing"),
        (f"$scrypt$ln=99,r=8,p=1${SALT}${DIGEST}", "more than 256 MiB and some seconds"),
        (f"$scrypt$ln=19,r=8,p=1${SALT}${DIGEST}", "more than 256 MiB and some seconds"),
        (f"$scrypt$ln=15,r=8,p=99${SALT}${DIGEST}", "more than 256 MiB and some seconds"),
        (f"$scrypt$ln=4,r=1,p=1${SALT}$AAAA", "shorter than 16 octets"),
        (f"$scrypt$ln=4,r=1,p=1${SALT}${'A' * 88}", "longer than 64"),
    ],
)
def test_what_is_no_hash(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_hash(text)


def test_the_dearest_hash_that_is_read_can_be_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL's own bound does not come before ours; the arithmetic is asked, not 256 MiB of memory."""
    asked: list[dict[str, int]] = []

    def fake(_: bytes, **cost: int) -> bytes:
        asked.append(cost)
        return bytes(32)

    monkeypatch.setattr(module, "scrypt", fake)
    for text in (f"$scrypt$ln=18,r=8,p=4${SALT}${DIGEST}", f"$scrypt$ln=13,r=8,p=128${SALT}${DIGEST}"):
        parse_hash(text).matches(b"")
        cost = asked.pop()
        blocks = 128 * cost["r"] * (cost["n"] + cost["p"] + 2)
        assert blocks <= cost["maxmem"]


@settings(derandomize=True, database=None, deadline=None, max_examples=50)
@given(st.binary(max_size=255), st.binary(max_size=255))
def test_matches_is_equality(password: bytes, other: bytes) -> None:
    assert cheap(password).matches(other) == (password == other)
