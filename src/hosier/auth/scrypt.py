"""One password, stored: scrypt (RFC 7914) with its salt and its cost, as a text of one line.

The text is the usual one: ``$scrypt$ln=15,r=8,p=1$SALT$DIGEST``, base64 without padding. Each line tells its own cost,
so that dearer ones can be made later while the old ones go on working.
"""

import hmac
import re
import secrets
from base64 import b64decode, b64encode
from hashlib import scrypt, sha512
from typing import Final, NamedTuple

__all__ = ("ORDINARY", "ScryptHash", "hash_password", "parse_hash")

# N = 2^15, r = 8, p = 1: 32 MiB and about a tenth of a second for each guess.
_LOG_N: Final = 15
_R: Final = 8
_P: Final = 1

_SALT: Final = 16  # octets
_DIGEST: Final = 32

# A line must not be able to take the machine: these allow 256 MiB and some seconds.
_MOST_MEMORY: Final = 256 << 20
_MOST_WORK: Final = 1 << 23  # N * r * p; the cost above is 2^18

_TEXT: Final = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,3}),p=(\d{1,3})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)")


class ScryptHash(NamedTuple):
    """What is kept of a password. ``str()`` is the text for a file; ``repr()`` shows the cost only."""

    log_n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    def __str__(self) -> str:
        salt, digest = (b64encode(octets).decode().rstrip("=") for octets in (self.salt, self.digest))
        return f"$scrypt$ln={self.log_n},r={self.r},p={self.p}${salt}${digest}"

    def __repr__(self) -> str:
        return f"<ScryptHash ln={self.log_n},r={self.r},p={self.p}>"

    def matches(self, password: bytes) -> bool:
        """Whether it was made of this password; compared in constant time (UP-REQ-13). Takes its time: not for an
        event loop. Other threads run meanwhile."""
        found = _scrypt(password, self.salt, self.log_n, self.r, self.p, len(self.digest))
        return hmac.compare_digest(found, self.digest)

    def for_nobody(self) -> "ScryptHash":
        """One that costs the same and that no password matches."""
        return self._replace(salt=secrets.token_bytes(len(self.salt)), digest=secrets.token_bytes(len(self.digest)))


ORDINARY: Final = ScryptHash(_LOG_N, _R, _P, bytes(_SALT), bytes(_DIGEST))
"""What a new hash costs; no password's."""


def hash_password(password: bytes, *, log_n: int = _LOG_N, r: int = _R, p: int = _P) -> ScryptHash:
    """A new hash with a salt of its own. Any octets are a password, none of them is special (UP-REQ-12)."""
    salt = secrets.token_bytes(_SALT)
    return ScryptHash(log_n, r, p, salt, _scrypt(password, salt, log_n, r, p, _DIGEST))


def parse_hash(text: str) -> ScryptHash:
    """The reverse of ``str()``. Raises ValueError for a text that is no hash, or one that costs too much to check."""
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError("a hash looks like $scrypt$ln=15,r=8,p=1$SALT$DIGEST")
    log_n, r, p = map(int, found.group(1, 2, 3))
    salt, digest = (b64decode(part + "=" * (-len(part) % 4)) for part in found.group(4, 5))
    if not (log_n and r and p) or (128 * r << log_n) > _MOST_MEMORY or (r * p << log_n) > _MOST_WORK:
        raise ValueError(f"the cost ln={log_n},r={r},p={p} is nothing, or more than 256 MiB and some seconds")
    if not 16 <= len(digest) <= 64:
        raise ValueError("the digest is shorter than 16 octets or longer than 64")
    return ScryptHash(log_n, r, p, salt, digest)


def _scrypt(password: bytes, salt: bytes, log_n: int, r: int, p: int, size: int) -> bytes:
    if password.endswith(b"\x00"):
        # HMAC fills its key up with zero octets, so scrypt takes a password and the same with one more for one and the
        # same. Ours are octets, zero ones included (UP-REQ-12): no other password becomes this digest.
        password = sha512(password).digest()
    # OpenSSL counts some blocks beside the large table; twice the bound is room enough for any of them.
    return scrypt(password, salt=salt, n=1 << log_n, r=r, p=p, maxmem=2 * _MOST_MEMORY, dklen=size)
