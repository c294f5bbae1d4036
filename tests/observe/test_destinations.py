"""The log in files, at syslog and in the journal: nothing is lost that need not be, and nobody waits."""

from __future__ import annotations

import errno
import logging
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from hosier.errors import ConfigError
from hosier.observe import destinations as module
from hosier.observe import writer
from hosier.observe.destinations import STDOUT, Destination, FileWriter, JournalWriter, SyslogWriter
from hosier.observe.writer import LineWriter


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "GATHER", 0.01)


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = monotonic() + 20
    while not condition():
        assert monotonic() < deadline, f"waited in vain: {what}"
        sleep(0.001)


# --- a file ---


def test_lines_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    log = FileWriter(str(path))
    log.write("one\n")
    log.write("zwö\n")
    log.close()
    assert path.read_text(encoding="utf-8") == "before\none\nzwö\n"


def test_nobody_else_reads_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        FileWriter(str(tmp_path / "log")).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o640


def test_opened_anew_after_it_was_moved_no_line_is_lost(tmp_path: Path) -> None:
    path, old = tmp_path / "log", tmp_path / "log.1"
    log = FileWriter(str(path))
    for number in range(500):
        log.write(f"{number}\n")
        if number == 250:
            path.rename(old)
            log.reopen()
            wait_until(path.exists, "there is a new one")
    log.close()
    lines = (old.read_text() + path.read_text()).split()
    assert lines == [str(number) for number in range(500)]
    assert path.read_text()


def test_where_another_user_may_not_open_it_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was opened as root, before privileges were given up: a line says what to do, and nothing is lost."""
    path = tmp_path / "log"
    log = FileWriter(str(path))

    def refused(_: str) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(module, "_open", refused)
    log.reopen()
    log.write("one\n")
    log.close()
    assert path.read_text() == "one\n"
    assert [record.getMessage() for record in caplog.records] == [
        f"cannot open {path} anew: Permission denied; the log goes on where it went before; "
        "make it for the user that the server runs as"
    ]


def test_where_it_cannot_be_opened_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = FileWriter(str(folder / "log"))
    folder.rename(tmp_path / "moved")
    with caplog.at_level(logging.WARNING, "hosier"):
        log.reopen()
        log.write("still here\n")
        log.close()
    assert (tmp_path / "moved" / "log").read_text() == "still here\n"
    assert caplog.messages == [
        f"cannot open {folder / 'log'} anew: No such file or directory; the log goes on where it went before"
    ]


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Room on the disk: what is in the list, in octets."""
    room = [0]
    genuine = os.write

    def write(fd: int, data: memoryview) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = genuine(fd, data[: room[0]])
        room[0] -= done
        return done

    monkeypatch.setattr(os, "write", write)
    yield room
    monkeypatch.undo()


def test_what_a_full_disk_does_not_take_is_written_later(
    tmp_path: Path, full: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log"
    with caplog.at_level(logging.WARNING, "hosier"):
        log = FileWriter(str(path))
        full[0] = 7
        for number in range(100):
            log.write(f"line {number}\n")
        wait_until(lambda: caplog.messages, "it complains")
        log.write("last\n")
        assert path.read_text() == "line 0\n"
        full[0] = 1 << 20
        log.write("now\n")
        log.close()
    assert path.read_text() == "".join(f"line {number}\n" for number in range(100)) + "last\nnow\n"
    assert caplog.messages == [f"cannot write the log to {path}: No space left on device; it waits"]


def test_what_waits_is_bounded(tmp_path: Path, full: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKLOG", 100)
    dropped: list[int] = []
    log = FileWriter(str(tmp_path / "log"), dropped=dropped.append)
    for _ in range(50):
        log.write("ten octets\n")
    wait_until(lambda: sum(dropped) == 41, "all but nine are dropped")
    full[0] = 1 << 20
    log.close()
    assert (tmp_path / "log").read_text() == "ten octets\n" * 9


def test_a_file_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^cannot write the log to .*: No such file or directory$"):
        FileWriter(str(tmp_path / "nowhere" / "log"))


# --- sockets ---


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "socket"))
        sock.settimeout(20)
        yield sock


def test_syslog(listener: socket.socket) -> None:
    log = SyslogWriter(listener.getsockname())
    log.write("one line ä\n")
    log.write("another\n")
    form = rf"<30>[A-Z][a-z][a-z] [ \d]\d \d\d:\d\d:\d\d hosier\[{os.getpid()}\]: "
    assert re.fullmatch(form + "one line ä", listener.recv(1000).decode())
    assert re.fullmatch(form + "another", listener.recv(1000).decode())
    log.close()


def test_the_journal(listener: socket.socket) -> None:
    log = JournalWriter(listener.getsockname())
    log.write("MESSAGE=forged \\x0a\n")
    fields = dict(line.split(b"=", 1) for line in listener.recv(1000).splitlines())
    assert fields == {
        b"PRIORITY": b"6",
        b"SYSLOG_IDENTIFIER": b"hosier",
        b"SYSLOG_FACILITY": b"3",
        b"MESSAGE": b"MESSAGE=forged \\x0a",
    }
    log.close()


def test_a_daemon_that_is_started_anew(listener: socket.socket) -> None:
    name = listener.getsockname()
    dropped: list[int] = []
    log = SyslogWriter(name, dropped=dropped.append)
    listener.close()
    os.unlink(name)
    log.write("nobody hears this\n")
    wait_until(lambda: dropped, "it is counted")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as new:
        new.bind(name)
        new.settimeout(20)
        log.write("but this\n")
        assert new.recv(1000).endswith(b": but this")
    log.close()
    assert dropped == [1]


def test_a_daemon_that_goes_away_is_told_in_a_line(listener: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    name = listener.getsockname()
    dropped: list[int] = []
    log = SyslogWriter(name, dropped=dropped.append)
    listener.close()
    os.unlink(name)
    for count in range(1, 4):
        log.write("nobody hears this\n")
        wait_until(lambda count=count: sum(dropped) == count, "it is counted")  # type: ignore[misc]
    log.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"cannot write the log to {name}: No such file or directory; lines are lost until it works again"
    ]


def test_a_daemon_that_does_not_read_is_waited_for_once(
    listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    """Not once for each line: what comes later would wait for hours."""
    dropped: list[int] = []
    log = SyslogWriter(listener.getsockname(), dropped=dropped.append)
    log._socket.settimeout(0.05)
    for _ in range(5000):
        log.write("a line\n")
    wait_until(lambda: dropped, "its queue is full")
    log.close()
    assert sum(dropped) > 4000
    assert "nobody reads it" in caplog.text


def test_a_daemon_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^cannot write the log to .*/nobody: No such file or directory$"):
        JournalWriter(str(tmp_path / "nobody"))


# --- which ---


def test_files(tmp_path: Path) -> None:
    for destination, kind in (
        (Destination(file=str(tmp_path / "log")), FileWriter),
        (Destination("stdout", str(tmp_path / "log")), FileWriter),
    ):
        log = destination.writer(shared=True, dropped=lambda _: None)
        assert type(log) is kind
        log.close()
    assert Destination("stdout", None) == STDOUT


def test_standard_output() -> None:
    program = (
        "from hosier.observe.destinations import STDOUT\nlog = STDOUT.writer(shared=True, dropped=print)\n"
        "log.write('hello\\n')\nlog.close()\nprint(type(log).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "hello\nLineWriter\n"
    assert LineWriter.__name__ == "LineWriter"


@pytest.mark.parametrize(("name", "kind"), [("syslog", SyslogWriter), ("journald", JournalWriter)])
def test_sockets_of_this_machine(name: str, kind: type[LineWriter], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kind, "__init__", lambda log, *, dropped: None)
    assert type(Destination(name).writer(shared=False, dropped=lambda _: None)) is kind
