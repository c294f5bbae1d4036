"""``hosier usage``: what is shown of a file that a server keeps, and what is taken out of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosier.cli.main import main
from hosier.server.ledger import Entry, Ledger

NOVEMBER = 1_793_491_200

ENTRIES = {
    ("monthly", "user ann"): Entry(NOVEMBER, 1_234_567),
    ("monthly", "user bob"): Entry(NOVEMBER, 99),
    ("all time", "all"): Entry(0, 5_000_000),
}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """That of a server which runs."""
    ledger = Ledger(str(tmp_path / "usage.db"))
    ledger.add(ENTRIES)
    yield ledger
    ledger.close()


def test_most_first(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", ledger.path]) == 0
    assert capsys.readouterr() == (
        " octets  since       budget    key\n"
        "5000000  ever        all time  all\n"
        "1234567  2026-11-01  monthly   user ann\n"
        "     99  2026-11-01  monthly   user bob\n",
        "",
    )


def test_some_of_it(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    for options, expected in (
        (["--budget", "monthly"], ["user ann", "user bob"]),
        (["--key", "user bob"], ["user bob"]),
        (["--budget", "all time", "--key", "user bob"], []),
    ):
        assert main(["usage", ledger.path, *options]) == 0
        lines = capsys.readouterr().out.splitlines()[1:]
        assert [line.rpartition("  ")[2] for line in lines] == expected
    assert ledger.entries() == ENTRIES, "to look changes nothing"


def test_reset(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    for options, count, left in (
        (["--key", "user ann"], "1 entry", {"user bob", "all"}),
        (["--key", "user ann"], "0 entries", {"user bob", "all"}),
        (["--budget", "all time", "--key", "user bob"], "0 entries", {"user bob", "all"}),
        (["--budget", "monthly"], "1 entry", {"all"}),
    ):
        assert main(["usage", ledger.path, "--reset", *options]) == 0
        assert capsys.readouterr() == ("", f"hosier: {count} forgotten\n")
        assert {key for _, key in ledger.entries()} == left


def test_nothing_is_forgotten_by_mistake(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", ledger.path, "--reset"]) == 2
    assert capsys.readouterr().err == ("hosier: what is to be forgotten? write --budget NAME, --key KEY or both\n")
    assert ledger.entries() == ENTRIES


def test_files_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """None is made, and somebody else's is left as it is."""
    missing, other, text = (tmp_path / name for name in ("missing.db", "other.db", "text"))
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE theirs (what TEXT)")
    connection.close()
    text.write_text("no database, but long enough to be taken for one\n" * 40)
    before = other.read_bytes()
    for path, why in (
        (missing, "unable to open database file"),
        (other, "no such table: usage"),
        (text, "file is not a database"),
    ):
        assert main(["usage", str(path)]) == 2
        assert capsys.readouterr().err == f"hosier: cannot keep usage in {path}: {why}\n"
    assert not missing.exists()
    assert other.read_bytes() == before


def test_a_file_that_somebody_else_keeps_locked(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    other = sqlite3.connect(ledger.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert main(["usage", ledger.path]) == 0, "readers wait for nobody"
    capsys.readouterr()
    assert main(["usage", ledger.path, "--key", "all", "--reset"]) == 2
    assert capsys.readouterr().err == f"hosier: {ledger.path}: database is locked\n"
    other.close()


def test_names_that_would_steer_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = Ledger(str(tmp_path / "usage.db"))
    ledger.add({("a\x1b[2Jb", "user \nann"): Entry(0, 1)})
    assert main(["usage", ledger.path]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["     1  ever        a\\x1b[2Jb  user \\nann"]
    ledger.close()
