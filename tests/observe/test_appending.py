"""Lines stay whole where several processes write to one file, whatever the disk has room for."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hosier.observe.appending import append_lines

FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT


def test_all_of_it(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "log", FLAGS)
    for shared in (False, True):
        assert append_lines(fd, b"one\ntwo\n", shared=shared) == (8, None)
    os.close(fd)
    assert (tmp_path / "log").read_text() == "one\ntwo\n" * 2


# A process whose files may have 20 octets, which is told of it by an error as on a full disk.
LIMITED = """
import os, resource, signal, sys
from hosier.observe.appending import append_lines
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
taken, error = append_lines(fd, sys.argv[2].encode(), shared=True)
print(taken, error and error.errno)
"""


def append_within_limit(path: Path, lines: str) -> tuple[str, str]:
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path), lines], capture_output=True, check=True, text=True)
    taken, error = done.stdout.split()
    return taken, error


@pytest.mark.linux
def test_half_a_line_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "log"
    full = str(errno.EFBIG)
    assert append_within_limit(path, "123456\n" * 5) == ("14", full)
    assert path.read_text() == "123456\n" * 2
    assert append_within_limit(path, "a line that is too long\n") == ("0", full)
    assert append_within_limit(path, "12345\n") == ("6", "None")
    assert append_within_limit(path, "\n") == ("0", full)
    assert path.read_text() == "123456\n123456\n12345\n"


WRITER = """
import os, sys
from hosier.observe.appending import append_lines
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
data = b"".join(b"%s %04d\\n" % (sys.argv[2].encode(), number) for number in range(2000))
while data:
    data = data[append_lines(fd, data[:70], shared=True)[0]:]
"""


def test_of_several_who_write_at_once_nobody_loses_an_octet(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in ("a", "b", "c")]
    assert [writer.wait(30) for writer in writers] == [0, 0, 0]
    lines = path.read_text().splitlines()
    for name in ("a", "b", "c"):
        assert [line for line in lines if line[0] == name] == [f"{name} {number:04d}" for number in range(2000)]
    assert len(lines) == 3 * 2000


def test_what_others_wrote_behind_it_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They ask nobody: the part of a line is theirs to live with."""
    path = tmp_path / "log"
    fd = os.open(path, FLAGS)
    pieces = iter((6, None))
    write = os.write

    def writes_a_part(to: int, data: memoryview) -> int:
        size = next(pieces)
        if size is None:
            with path.open("ab") as other:
                other.write(b"other\n")
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(to, data[:size])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", writes_a_part)
        taken, error = append_lines(fd, b"one\ntwo\n", shared=True)
    assert taken == 6
    assert error is not None
    assert append_lines(fd, b"one\ntwo\n"[taken:], shared=True) == (2, None)
    os.close(fd)
    assert path.read_text() == "one\ntwother\no\n"


def test_from_a_pipe_nothing_can_be_taken_back() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    room = 1 << 20
    taken, error = append_lines(write, b"x" * 100 * room, shared=True)
    assert isinstance(error, BlockingIOError)
    assert 0 < taken < 100 * room
    os.close(read)
    os.close(write)
