"""The users of a file that may change while the server runs.

The first right password of a user costs a hash, beside the event loop; from then on a digest is compared, at once.
"""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Final, Protocol

from ..errors import ConfigError
from ..protocol.auth.password import Credentials
from .digests import PasswordDigests
from .hashing import HashingPool
from .scrypt import ORDINARY, ScryptHash
from .users import is_among
from .users_file import file_stamp, is_exposed, read_users

__all__ = ("Proofs", "WatchedUsers")

LOOK: Final = 1.0
"""Seconds between two looks whether the file has changed."""


class Proofs(Protocol):
    """What several processes have found to be right: octets that nobody may read, so they are kept as keyed digests."""

    def __contains__(self, proof: bytes, /) -> bool: ...

    def add(self, proof: bytes, /) -> None: ...


class WatchedUsers:
    """The users of a file, read anew when it changes; a file that is wrong then changes nothing.

    Args:
        path: the file.
        fixed: further users, with their passwords, that are in no file.
        tell: takes a line for the operator.
        pool: where hashes are computed.
        shared: what other processes know of the same file's users, and are told by us.

    Raises ConfigError if the file cannot be read or is wrong.
    """

    def __init__(
        self,
        path: str,
        fixed: PasswordDigests,
        tell: Callable[[str], None],
        *,
        pool: HashingPool | None = None,
        look: float = LOOK,
        shared: Proofs | None = None,
    ) -> None:
        self._path = path
        self._fixed = fixed
        self._tell = tell
        self._pool = pool or HashingPool()
        self._look = look
        self._shared = shared
        self._proven = PasswordDigests()
        self._hashes: dict[bytes, ScryptHash] = {}
        self._costs: tuple[ScryptHash, ...] = ()
        self._changing = threading.Lock()  # of users, and of what is known of them
        self._reading = asyncio.Lock()
        self._changed = False
        self._stamp = file_stamp(path)
        self._take(read_users(path))
        self._next_look = monotonic() + look

    def __repr__(self) -> str:
        return f"<WatchedUsers: {len(self._hashes)} in {self._path}, {len(self._fixed)} fixed>"

    def verify_at_once(self, credentials: Credentials) -> bool | None:
        # A wrong password takes time even if the right one is known: else the time would tell who is (UP-REQ-13).
        if self._changed or (monotonic() >= self._next_look and self._has_changed()):
            return None
        if self._proven.match(credentials) or self._fixed.match(credentials):
            return True
        return True if self._is_proven_elsewhere(credentials) else None

    async def verify(self, credentials: Credentials) -> bool:
        if self._has_changed():
            await self._read_again()
        stored = self._hashes.get(credentials.username)
        right = await self._pool.run(partial(self._matches, stored, credentials))
        if right and stored is not None and self._shared is not None:
            self._shared.add(_proof(credentials, stored))
        return right

    async def knows(self, name: bytes) -> bool:
        if self._has_changed():
            await self._read_again()
        return name in self._hashes or name in self._fixed

    def has(self, user: str) -> bool:
        return is_among(user, self._hashes) or is_among(user, self._fixed)

    def read_now(self) -> Callable[[], None]:
        """Reads the file, changed or not; what is returned takes it over. Raises ConfigError."""
        stamp = file_stamp(self._path)
        hashes = read_users(self._path)
        self._check(hashes)

        def take() -> None:
            self._take(hashes)
            self._stamp = stamp
            self._changed = False

        return take

    def open(self) -> None:
        if not self._hashes:
            self._tell(f"the users file {self._path} has no users: add one with hosier passwd {self._path} NAME")
        if is_exposed(self._path):
            self._tell(f"everybody on this machine can read the users file {self._path}: chmod o-r {self._path}")

    def close(self) -> None:
        self._pool.close()

    # --- private ---

    def _is_proven(self, credentials: Credentials) -> bool:
        return self._proven.match(credentials) or self._fixed.match(credentials)

    def _is_proven_elsewhere(self, credentials: Credentials) -> bool:
        """Whether another process has found them to be right, for the line that we know."""
        if self._shared is None:
            return False
        stored = self._hashes.get(credentials.username)
        # For a name that nobody has it is looked for, too: that takes the same time (UP-REQ-13).
        found = _proof(credentials, stored or ORDINARY) in self._shared
        return found and stored is not None and self._learn(credentials, stored)

    def _learn(self, credentials: Credentials, stored: ScryptHash | None) -> bool:
        """False if the file has changed meanwhile."""
        with self._changing:
            if self._hashes.get(credentials.username) != stored:
                return False
            self._proven.learn(credentials)
        return True

    def _matches(self, stored: ScryptHash | None, credentials: Credentials) -> bool:
        """In a thread."""
        if self._is_proven(credentials):  # while it waited for its turn, somebody else has shown that it is right
            return True
        right = (stored or self._nobody(credentials)).matches(credentials.password)
        return right and self._learn(credentials, stored)

    def _nobody(self, credentials: Credentials) -> ScryptHash:
        """What to compute for a name that has no hash: as much as for one of the file's lines, and for the same name
        always as much, so that the time tells nothing (UP-REQ-13)."""
        return self._costs[self._proven.lot(credentials.username, len(self._costs))].for_nobody()

    def _has_changed(self) -> bool:
        if not self._changed and (now := monotonic()) >= self._next_look:
            self._next_look = now + self._look
            self._changed = file_stamp(self._path) != self._stamp
        return self._changed

    async def _read_again(self) -> None:
        async with self._reading:
            if not self._changed:
                return  # whoever was here before us has done it
            # First the stamp: what is written after it makes another one.
            stamp = file_stamp(self._path)
            try:
                self._take(await asyncio.to_thread(read_users, self._path))
                self._tell(f"the users file {self._path} has changed: {len(self._hashes)} users now")
                self.open()
            except ConfigError as error:
                self._tell(f"{error}; the users stay as they were")
            self._stamp = stamp
            self._changed = False

    def _check(self, hashes: dict[bytes, ScryptHash]) -> None:
        twice = next((name for name in hashes if name in self._fixed), None)
        if twice is not None:
            raise ConfigError(
                f"user {ascii(twice)[1:]} has a password of its own and is in {self._path}: take one away"
            )

    def _take(self, hashes: dict[bytes, ScryptHash]) -> None:
        self._check(hashes)
        with self._changing:
            before, self._hashes = self._hashes, hashes
            # Whoever has the same line as before has the same password.
            self._proven.keep(lambda name: before.get(name) == hashes.get(name))
        self._costs = tuple(hashes.values()) or (ORDINARY,)


def _proof(credentials: Credentials, stored: ScryptHash) -> bytes:
    """That this is the password of this line. Another line, though the password is the same, needs another proof: so
    nothing need be taken back when the file changes."""
    return b"".join(b"%d:%b" % (len(part), part) for part in (*credentials, str(stored).encode()))
