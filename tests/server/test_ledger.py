"""Usage on disk: what is added stays, whoever adds, and what cannot be written is not half written."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from hosier.errors import ConfigError
from hosier.server import ledger as module
from hosier.server.ledger import Entry, Ledger

ANN, BOB = ("fair", "user ann"), ("fair", "user bob")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "usage.db")


def test_it_adds_up_over_processes_and_lives(path: str) -> None:
    one, other = Ledger(path), Ledger(path)
    assert one.entries() == {}
    assert one.add({ANN: Entry(100, 5)}) == {ANN: Entry(100, 5)}
    assert other.add({ANN: Entry(100, 7), BOB: Entry(100, 1)}) == {ANN: Entry(100, 12), BOB: Entry(100, 1)}
    assert one.add({ANN: Entry(100, 0)}) == {ANN: Entry(100, 12)}
    one.close()
    other.close()
    again = Ledger(path)
    assert again.entries() == {ANN: Entry(100, 12), BOB: Entry(100, 1)}
    again.close()


def test_a_new_period_begins_with_nothing(path: str) -> None:
    ledger = Ledger(path)
    ledger.add({ANN: Entry(100, 5)})
    assert ledger.add({ANN: Entry(200, 3)}) == {ANN: Entry(200, 3)}
    assert ledger.add({ANN: Entry(100, 2)}) == {ANN: Entry(200, 5)}  # its clock is behind; nothing is lost
    ledger.close()


def test_reset_and_forget(path: str) -> None:
    ledger = Ledger(path)
    entries = {(budget, key): Entry(100, 5) for budget in ("fair", "large") for key in ("user ann", "user bob")}
    ledger.add(entries)
    assert ledger.reset("fair", "user ann") == 1
    assert ledger.reset(None, "user ann") == 1
    assert ledger.reset("large", None) == 1
    assert ledger.entries() == {BOB: Entry(100, 5)}
    ledger.forget([("fair", 100)])
    assert ledger.entries() == {BOB: Entry(100, 5)}
    ledger.forget([("fair", 101), ("large", 500)])
    assert ledger.entries() == {}
    ledger.add(entries)
    assert ledger.reset(None, None) == 4
    ledger.close()


def test_names_of_strangers_are_data(path: str) -> None:
    ledger = Ledger(path)
    name = ("fair", "user '); DROP TABLE usage; --")
    ledger.add({name: Entry(1, 2)})
    assert ledger.entries() == {name: Entry(1, 2)}
    ledger.close()


def test_while_another_writes(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All or nothing, and then again."""
    monkeypatch.setattr(module, "WAIT", 0.05)
    ledger = Ledger(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    for _ in range(2):
        with pytest.raises(OSError, match="database is locked"):
            ledger.add({ANN: Entry(100, 5)})
        with pytest.raises(OSError, match="database is locked"):
            ledger.reset(None, None)
        with pytest.raises(OSError, match="database is locked"):
            ledger.forget([("fair", 100)])
    other.execute("ROLLBACK")
    other.close()
    assert ledger.add({ANN: Entry(100, 5)}) == {ANN: Entry(100, 5)}
    ledger.close()


def test_a_full_disk_leaves_what_there_is(path: str) -> None:
    ledger = Ledger(path)
    ledger.add({ANN: Entry(100, 5)})
    ledger._connection.execute("PRAGMA max_page_count = 4")
    many = {("fair", f"user {number} {'x' * 500}"): Entry(100, 1) for number in range(100)}
    with pytest.raises(OSError, match="full"):
        ledger.add({ANN: Entry(100, 1), **many})
    assert ledger.entries() == {ANN: Entry(100, 5)}
    assert ledger.add({ANN: Entry(100, 1)}) == {ANN: Entry(100, 6)}
    ledger.close()


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "usage.db").write_text("dear diary, " * 1000)
    with pytest.raises(ConfigError, match=r"^cannot keep usage in .*: file is not a database$"):
        Ledger(str(tmp_path / "usage.db"))
    with pytest.raises(ConfigError, match=r"^cannot keep usage in .*: unable to open database file$"):
        Ledger(str(tmp_path / "nowhere" / "usage.db"))


def test_a_file_that_is_gone_bad(path: str) -> None:
    ledger = Ledger(path)
    ledger._connection.execute("DROP TABLE usage")
    with pytest.raises(OSError, match="no such table"):
        ledger.entries()
    ledger.close()


def test_who_is_killed_leaves_what_it_has_added(path: str) -> None:
    program = (
        "import sys\nfrom hosier.server.ledger import Entry, Ledger\nledger = Ledger(sys.argv[1])\n"
        "for number in range(1, 10**9):\n"
        "    print(ledger.add({('fair', 'user ann'): Entry(100, 1)})['fair', 'user ann'].octets, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    for _ in range(20):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    told = max(map(int, process.communicate()[0].split()), default=20)
    ledger = Ledger(path)
    assert ledger.entries()[ANN].octets - told in (0, 1)
    ledger.close()


def test_what_cannot_be_written_leaves_no_transaction_open(path: str) -> None:
    """Neither this process nor another would write anything any more."""
    one, other = Ledger(path), Ledger(path)
    with pytest.raises(UnicodeEncodeError):
        one.add({ANN: Entry(100, 5), ("fair", "user \udcff"): Entry(100, 5)})
    assert other.add({ANN: Entry(100, 1)}) == one.add({ANN: Entry(100, 0)}) == {ANN: Entry(100, 1)}
    one.close()
    other.close()


def test_a_table_of_somebody_else(path: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE usage (what TEXT)")
    with pytest.raises(ConfigError, match=r"cannot keep usage in .*: no such column"):
        Ledger(path)


def test_two_may_open_a_new_file_at_once(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The change to WAL fails at once while another process makes it; so it is tried again, for a time."""
    monkeypatch.setattr(module, "WAIT", 0.0)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        other.execute("CREATE TABLE other (number INTEGER)")
        with monkeypatch.context() as patch:
            patch.setattr(module, "OPENING", 0.0)
            with pytest.raises(ConfigError, match=r"database is locked$"):
                Ledger(path)
        monkeypatch.setattr(module, "sleep", lambda _: other.execute("COMMIT") if other.in_transaction else None)
        ledger = Ledger(path)
        assert ledger.entries() == {}
        ledger.close()


def test_a_file_that_was_taken_away(path: str) -> None:
    """What was known is in the new one, as much as whoever knows most; what comes is added there."""
    one, other = Ledger(path), Ledger(path)
    one.add({ANN: Entry(100, 5), BOB: Entry(100, 5)})
    assert not one.is_lost
    for name in ("", "-wal", "-shm"):
        Path(path + name).unlink()
    assert one.is_lost
    one.restore({ANN: Entry(100, 5), BOB: Entry(100, 5)})
    assert not one.is_lost
    assert other.is_lost
    other.restore({ANN: Entry(100, 7), BOB: Entry(50, 9)})
    assert not other.is_lost
    assert other.entries() == one.entries() == {ANN: Entry(100, 7), BOB: Entry(100, 5)}
    assert other.add({ANN: Entry(100, 1)}) == {ANN: Entry(100, 8)}
    one.close()
    other.close()


def test_a_file_that_cannot_be_made_again(path: str, tmp_path: Path) -> None:
    """The old one goes on, and it is tried again."""
    ledger = Ledger(path)
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    tmp_path.rename(moved)
    with pytest.raises(OSError, match="cannot keep usage in"):
        ledger.restore({})
    assert ledger.is_lost
    assert ledger.entries() == {}
    moved.rename(tmp_path)
    assert not ledger.is_lost
    Path(path).unlink()
    with closing(sqlite3.connect(path)) as foreign:
        foreign.execute("CREATE TABLE usage (budget TEXT PRIMARY KEY, key TEXT, since INTEGER, octets INTEGER)")
    with pytest.raises(OSError, match=r"usage.db: "):
        ledger.restore({ANN: Entry(100, 5)})
    assert ledger.is_lost
    ledger.close()


def test_others_cannot_read_it(path: str) -> None:
    before = os.umask(0)
    try:
        ledger = Ledger(path)
        ledger.add({ANN: Entry(100, 5)})
    finally:
        os.umask(before)
    modes = {name: Path(path + name).stat().st_mode & 0o777 for name in ("", "-wal", "-shm")}
    ledger.close()
    assert set(modes.values()) == {0o640}
