"""The line that tells how much has gone."""

from __future__ import annotations

import os
import pty

import pytest

from hosier.cli import progress
from hosier.cli.progress import MUCH, ProgressLine, is_wanted


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds; only the test moves it."""
    now = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    return now


def test_it_is_written_anew_and_wiped_away(capsys: pytest.CaptureFixture[str]) -> None:
    line = ProgressLine()
    long, short = "hosier: 0 B up, 123 MB down, 4.5 kB/s", "hosier: 1 B up, 2 B down, 3 B/s"
    line.tell(0, 123_456_789, 4_500)
    assert capsys.readouterr().err == f"\r{long}"
    line.tell(1, 2, 3)
    assert capsys.readouterr().err == f"\r{short:<{len(long)}}"
    line.wipe()
    assert capsys.readouterr().err == f"\r{' ' * len(short)}\r"
    line.wipe()
    assert capsys.readouterr().err == ""


def test_what_else_is_said_has_its_own_line(capsys: pytest.CaptureFixture[str]) -> None:
    line = ProgressLine()
    line.tell(1, 2, 3)
    line.say("the target was not reached")
    assert capsys.readouterr().err.endswith("/s\r" + " " * 31 + "\rhosier: the target was not reached\n")


def test_bulk_is_told_and_small_talk_is_not(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    line = ProgressLine()
    moved = [0, 0]

    def look(up: int, down: int) -> str:
        clock[0] += 0.5
        moved[0] += up
        moved[1] += down
        line.look(*moved)
        return capsys.readouterr().err

    assert look(1000, 2000) == ""
    assert look(0, MUCH - 1) == ""
    assert look(0, 2_000_000) == "\rhosier: 1 kB up, 3.05 MB down, 4 MB/s"
    assert look(0, 1000).startswith("\rhosier: 1 kB up, 3.05 MB down, 2 kB/s")
    assert look(0, 0).strip("\r ") == ""
    assert look(0, 1000) == ""
    assert look(5_000_000_000, 0) == "\rhosier: 5 GB up, 3.05 MB down, 10 GB/s"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_who_wants_it(is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = pty.openpty() if is_terminal else os.pipe()
    kept = os.dup(2)
    try:
        os.dup2(other, 2)
        found = [is_wanted(wanted, condition) for wanted in ("always", "never", "auto") for condition in (False, True)]
    finally:
        os.dup2(kept, 2)
        for descriptor in (kept, one, other):
            os.close(descriptor)
    assert found == [True, True, False, False, False, is_terminal]
