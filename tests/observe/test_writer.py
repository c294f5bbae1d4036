"""Lines to a descriptor: all of them, in order, and never at the price of a wait."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic

import pytest

from hosier.observe import writer as module
from hosier.observe.writer import LineWriter

PATIENCE = 20.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with suppress(OSError):  # the test closed it
            os.close(end)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written before the end."""
    monkeypatch.setattr(module, "GATHER", 3600.0)


def drained(fd: int) -> bytes:
    """What is in the pipe; its other end is closed."""
    data = b""
    while piece := os.read(fd, 65536):
        data += piece
    return data


def test_lines_come_in_time_and_in_order(pipe: tuple[int, int]) -> None:
    out, into = pipe
    writer = LineWriter(into)
    writer.write("one\n")
    writer.write("two\n")
    data = b""
    while len(data) < 8:  # a read waits until the thread has written
        data += os.read(out, 100)
    assert data == b"one\ntwo\n"
    writer.close()


@pytest.mark.usefixtures("patient")
def test_close_writes_the_rest(pipe: tuple[int, int]) -> None:
    out, into = pipe
    writer = LineWriter(into)
    for number in range(1000):
        writer.write(f"line {number}\n")
    writer.close()
    assert not writer._thread.is_alive()
    os.close(into)
    assert drained(out) == b"".join(b"line %d\n" % number for number in range(1000))


@pytest.mark.usefixtures("patient")
def test_nothing_written_is_nothing(pipe: tuple[int, int]) -> None:
    out, into = pipe
    LineWriter(into).close()
    os.close(into)
    assert drained(out) == b""


@pytest.mark.usefixtures("patient")
def test_it_is_bounded_and_counts_what_it_drops(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    out, into = pipe
    monkeypatch.setattr(module, "MOST", 3)
    writer = LineWriter(into)
    for number in range(10):
        writer.write(f"{number}\n")
    assert len(writer._lines) == 3
    writer.close()
    os.close(into)
    assert drained(out) == b"0\n1\n2\n# 7 lines dropped: the log is read too slowly\n"


@pytest.mark.usefixtures("patient")
def test_after_a_drop_it_goes_on(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    out, into = pipe
    monkeypatch.setattr(module, "MOST", 1)
    writer = LineWriter(into)
    writer.write("a\n")
    writer.write("b\n")
    writer._flush()
    writer.write("c\n")
    writer.close()
    os.close(into)
    assert drained(out) == b"a\n# 1 lines dropped: the log is read too slowly\nc\n"


@pytest.mark.usefixtures("patient")
def test_a_broken_pipe_is_harmless(pipe: tuple[int, int]) -> None:
    out, into = pipe
    os.close(out)
    writer = LineWriter(into)
    writer.write("nobody reads this\n")
    writer._flush()
    writer.write("nor this\n")
    writer.close()
    assert not writer._thread.is_alive()


def test_a_reader_that_takes_nothing_stops_nobody(pipe: tuple[int, int]) -> None:
    """The writer's caller goes on while its thread waits for the reader."""
    out, into = pipe
    writer = LineWriter(into)
    big = "x" * 99_999 + "\n"  # more than a pipe holds
    writer.write(big)
    deadline = monotonic() + PATIENCE
    while writer._lines:  # until the thread has taken it
        assert monotonic() < deadline
        threading.Event().wait(0.001)
    for number in range(1000):
        writer.write(f"{number}\n")
    assert len(writer._lines) == 1000
    reader_saw = b""
    size = len(big) + sum(len(f"{number}\n") for number in range(1000))
    while len(reader_saw) < size:
        reader_saw += os.read(out, 65536)
    assert reader_saw.decode() == big + "".join(f"{number}\n" for number in range(1000))
    writer.close()


@pytest.mark.usefixtures("patient")
def test_what_cannot_be_encoded_is_escaped(pipe: tuple[int, int]) -> None:
    out, into = pipe
    writer = LineWriter(into)
    writer.write("ü \udcff\n")
    writer.close()
    os.close(into)
    assert drained(out) == "ü \\udcff\n".encode()


def test_lines_of_several_processes_do_not_mix(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written to a pipe at once, and is no longer than PIPE_BUF, stays together."""
    monkeypatch.setattr(module, "GATHER", 3600.0)
    out, into = pipe
    sizes: list[int] = []
    write = os.write

    def watched(fd: int, data: bytes) -> int:
        piece = bytes(data)
        assert piece.endswith(b"\n") or len(piece) == module.PIPE_PIECE
        sizes.append(len(piece))
        return write(fd, data)

    writer = LineWriter(into, shared=True)
    lines = [f"{number} {'x' * (number % 700)}\n" for number in range(40)] + ["y" * 5000 + "\n", "end\n"]
    monkeypatch.setattr(os, "write", watched)
    for line in lines:
        writer.write(line)
    writer.close()
    os.close(into)
    assert drained(out) == "".join(lines).encode()
    assert max(sizes) <= module.PIPE_PIECE
    assert len(sizes) < 12


def test_lines_for_one_process_go_at_once(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHER", 3600.0)
    out, into = pipe
    calls: list[int] = []
    write = os.write
    writer = LineWriter(into)

    def watched(fd: int, data: bytes) -> int:
        calls.append(len(data))
        return write(fd, data)

    monkeypatch.setattr(os, "write", watched)
    for _ in range(100):
        writer.write("x" * 100 + "\n")
    writer.close()
    os.close(into)
    assert len(drained(out)) == sum(calls) == 10_100
    assert len(calls) == 1
