"""Who has used how many octets of which budget, on disk: SQLite, which several processes may write at once.

Everything here is slow, so it is called in a thread. What cannot be written now is the caller's to keep and to bring
again.
"""

import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Final, NamedTuple

from ..errors import ConfigError

__all__ = ("Entry", "Ledger")

WAIT: Final = 0.5
"""Seconds to wait for another process that writes."""

OPENING: Final = 3.0
"""Seconds to wait for another process that opens the file too: the change to WAL waits for nobody by itself."""

MODE: Final = 0o640
"""Of a new file."""

READ_SHARE: Final = 50
"""Times as long as reading took, before it is read again."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS usage (
    budget TEXT NOT NULL,
    key TEXT NOT NULL,
    since INTEGER NOT NULL,
    octets INTEGER NOT NULL,
    PRIMARY KEY (budget, key)
) WITHOUT ROWID
"""

_ALL: Final = "SELECT budget, key, since, octets FROM usage"

# A row of an earlier period is over; one of a later period was written by somebody whose clock is ahead.
_ADD: Final = """
INSERT INTO usage (budget, key, since, octets) VALUES (?, ?, ?, ?)
ON CONFLICT (budget, key) DO UPDATE SET
    octets = CASE WHEN excluded.since > since THEN excluded.octets ELSE octets + excluded.octets END,
    since = max(since, excluded.since)
RETURNING since, octets
"""

# Several may write what they know into a new file: it is the same, but for what they have not heard of each other.
_RESTORE: Final = """
INSERT INTO usage (budget, key, since, octets) VALUES (?, ?, ?, ?)
ON CONFLICT (budget, key) DO UPDATE SET
    octets = CASE WHEN excluded.since = since THEN max(octets, excluded.octets)
                  WHEN excluded.since > since THEN excluded.octets ELSE octets END,
    since = max(since, excluded.since)
"""


class Entry(NamedTuple):
    """A period's beginning in seconds since 1970, and octets."""

    since: int
    octets: int


class Ledger:
    """One connection to the file; of one thread at a time."""

    def __init__(self, path: str, *, new: bool = True) -> None:
        """Opens the file; ``new``: or makes it. Raises ConfigError if that cannot be."""
        self.path = path
        self._connection: sqlite3.Connection
        self._identity: tuple[int, int] | None
        self._version: int
        self._read_again: float
        self._open(new=new)

    @property
    def is_lost(self) -> bool:
        """Whether its path leads to another file by now, or nowhere: nobody else sees what is written here."""
        return _identity(self.path) != self._identity

    def restore(self, known: Mapping[tuple[str, str], Entry]) -> None:
        """Opens the file anew, or makes it, and writes what is known, unless it says more. Raises OSError; then the
        old one stays open."""
        before = self._connection
        try:
            self._open(new=True)
        except ConfigError as error:
            raise OSError(str(error)) from None
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(_RESTORE, ((*key, *entry) for key, entry in known.items()))
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._connection.close()
            self._connection, self._identity = before, None
            raise OSError(f"{self.path}: {error}") from error
        before.close()

    def entries(self) -> dict[tuple[str, str], Entry]:
        """All of it, by budget and key. Raises OSError."""
        try:
            rows = self._connection.execute(_ALL).fetchall()
        except sqlite3.Error as error:
            raise OSError(f"{self.path}: {error}") from error
        return {(budget, key): Entry(since, octets) for budget, key, since, octets in rows}

    def news(self) -> dict[tuple[str, str], Entry] | None:
        """All of it, if others have changed it since it was last read; None: they have not, or it was read just now.

        A large file is read less often, so that reading it is never more than a small part of the time. Raises OSError.
        """
        began = monotonic()
        if began < self._read_again:
            return None
        try:
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error as error:
            raise OSError(f"{self.path}: {error}") from error
        if version == self._version:
            return None
        entries = self.entries()
        self._version = version
        now = monotonic()
        self._read_again = now + READ_SHARE * (now - began)
        return entries

    def add(self, used: Mapping[tuple[str, str], Entry]) -> dict[tuple[str, str], Entry]:
        """Adds to what is there, all or nothing; returns what there is now, with what other processes have added.

        Raises OSError if it cannot be written; then nothing is.
        """
        found = {}
        try:
            with closing(self._connection.cursor()) as cursor:
                cursor.execute("BEGIN IMMEDIATE")
                try:
                    for key, entry in used.items():
                        found[key] = Entry(*cursor.execute(_ADD, (*key, *entry)).fetchone())
                    cursor.execute("COMMIT")
                except BaseException:  # whatever it is: an open transaction would keep all other processes from theirs
                    if self._connection.in_transaction:
                        cursor.execute("ROLLBACK")
                    raise
        except sqlite3.Error as error:
            raise OSError(f"{self.path}: {error}") from error
        return found

    def reset(self, budget: str | None, key: str | None) -> int:
        """Forgets what was used: of one budget and key, or where None stands, of all. Returns how many were."""
        try:
            cursor = self._connection.execute(
                "DELETE FROM usage WHERE (:budget IS NULL OR budget = :budget) AND (:key IS NULL OR key = :key)",
                {"budget": budget, "key": key},
            )
        except sqlite3.Error as error:
            raise OSError(f"{self.path}: {error}") from error
        return cursor.rowcount

    def forget(self, budgets: Iterable[tuple[str, int]]) -> None:
        """Takes out what is older than the period of its budget that begins then."""
        try:
            self._connection.executemany("DELETE FROM usage WHERE budget = ? AND since < ?", budgets)
        except sqlite3.Error as error:
            raise OSError(f"{self.path}: {error}") from error

    def close(self) -> None:
        self._connection.close()

    # --- private ---

    def _open(self, *, new: bool) -> None:
        """Raises ConfigError."""
        path = self.path
        self._version = -1
        self._read_again = 0.0
        deadline = monotonic() + OPENING
        while True:
            try:
                self._connection = _opened(path, new=new)
                self._identity = _identity(path)
                return
            except sqlite3.Error as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or monotonic() >= deadline:
                    raise ConfigError(f"cannot keep usage in {path}: {error}") from None
            sleep(0.02)


def _identity(path: str) -> tuple[int, int] | None:
    """Which file it is; None: there is none that could be seen."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _make(path: str) -> None:
    """So that others than the group cannot read who uses how much; SQLite gives the files beside it the same mode."""
    with suppress(OSError):  # it is there, or SQLite says what is wrong
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, MODE))


def _opened(path: str, *, new: bool) -> sqlite3.Connection:
    if new:
        _make(path)
    place = f"{Path(path).absolute().as_uri()}?mode={'rwc' if new else 'rw'}"
    connection = sqlite3.connect(place, timeout=WAIT, isolation_level=None, check_same_thread=False, uri=True)
    try:
        if new:
            # Readers and a writer do not wait for each other, and a process that dies leaves what it has committed.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(_SCHEMA)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"{_ALL} LIMIT 0")  # it may be somebody else's table
    except BaseException:
        connection.close()
        raise
    return connection
