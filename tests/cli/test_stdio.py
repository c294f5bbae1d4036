"""Standard input and output joined with a connection: whatever they are, nothing is lost and each end is passed on."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 20
CHILD = """\
import socket, sys
from hosier.cli.stdio import join_stdio
from hosier.cli.endings import ended
sock = socket.socket(fileno=int(sys.argv[1]))
try:
    counted = join_stdio(sock, progress=sys.argv[2])
except OSError as error:
    sys.exit(ended(error))
print(counted.up, counted.down, file=sys.stderr)
"""
BIG = bytes(range(256)) * 8192  # 2 MiB: no buffer on the way holds it


class Joined:
    """The program, and the other end of its connection."""

    def __init__(self, process: subprocess.Popen[bytes], peer: socket.socket) -> None:
        self.process = process
        self.peer = peer

    def ended(self) -> tuple[int, bytes]:
        assert self.process.stderr is not None
        said = self.process.stderr.read()
        return self.process.wait(PATIENCE), said


@contextmanager
def joined(stdin: Any = subprocess.PIPE, stdout: Any = subprocess.PIPE, *, progress: str = "auto") -> Iterator[Joined]:
    """With TCP, so that resets are there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs = listener.accept()[0]
    ours.settimeout(PATIENCE)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(theirs.fileno()), progress],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            pass_fds=(theirs.fileno(),),
        )
    with ours, process:
        try:
            yield Joined(process, ours)
        finally:
            process.kill()


def everything(sock: socket.socket) -> bytes:
    data = b""
    while piece := sock.recv(1 << 18):
        data += piece
    return data


def test_pipes() -> None:
    """More than any buffer holds, both ways at once; then each end by itself."""
    with joined() as both:
        assert both.process.stdin is not None
        assert both.process.stdout is not None
        sending = threading.Thread(target=lambda: (both.process.stdin.write(BIG), both.process.stdin.close()))  # type: ignore[union-attr]
        answering = threading.Thread(target=both.peer.sendall, args=(BIG,))
        sending.start()
        answering.start()
        received: list[bytes] = []
        reading = threading.Thread(target=lambda: received.append(both.process.stdout.read()))  # type: ignore[union-attr]
        reading.start()
        assert everything(both.peer) == BIG
        answering.join(PATIENCE)
        both.peer.sendall(b"the rest")
        both.peer.shutdown(socket.SHUT_WR)
        reading.join(PATIENCE)
        assert received == [BIG + b"the rest"]
        assert both.ended() == (0, f"{len(BIG)} {len(BIG) + 8}\n".encode())
        sending.join(PATIENCE)


def test_files(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(BIG)
    with (
        open(tmp_path / "in", "rb") as stdin,
        open(tmp_path / "out", "wb") as stdout,
        joined(stdin, stdout) as both,
    ):
        assert everything(both.peer) == BIG
        both.peer.sendall(BIG[:1000])
        both.peer.close()
        assert both.ended()[0] == 0
    assert (tmp_path / "out").read_bytes() == BIG[:1000]


def test_sockets_that_somebody_made_non_blocking() -> None:
    """ssh may give one for both, and shares it with others."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    ours.settimeout(PATIENCE)
    with theirs, ours, joined(theirs, theirs) as both:
        answering = threading.Thread(target=both.peer.sendall, args=(BIG,))
        answering.start()
        received = b""
        while len(received) < len(BIG):
            received += ours.recv(1 << 18)
        assert received == BIG
        ours.sendall(b"hello")
        assert both.peer.recv(5) == b"hello"
        ours.shutdown(socket.SHUT_WR)
        assert both.peer.recv(5) == b""
        both.peer.close()
        assert both.ended()[0] == 0
        answering.join(PATIENCE)


def test_pipes_that_somebody_made_non_blocking() -> None:
    (child_in, our_out), (our_in, child_out) = os.pipe(), os.pipe()
    os.set_blocking(child_in, False)
    os.set_blocking(child_out, False)
    with joined(child_in, child_out) as both:
        os.close(child_in)
        os.close(child_out)
        answering = threading.Thread(target=both.peer.sendall, args=(BIG,))
        answering.start()
        with open(our_in, "rb") as reader, open(our_out, "wb", buffering=0) as writer:
            assert reader.read(len(BIG)) == BIG
            writer.write(b"hello")
            assert both.peer.recv(5) == b"hello"
            both.peer.shutdown(socket.SHUT_WR)
            assert reader.read() == b""
            writer.write(b"after the end")
            assert both.peer.recv(13) == b"after the end"
        assert both.peer.recv(1) == b""
        assert both.ended()[0] == 0
        answering.join(PATIENCE)


def test_person_at_a_terminal_is_not_waited_for() -> None:
    ours, theirs = pty.openpty()
    try:
        with joined(theirs) as both:
            os.write(ours, b"hello\n")
            assert both.peer.recv(6) == b"hello\n"
            both.peer.close()
            assert both.ended()[0] == 0
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("progress", ["auto", "never"])
def test_input_that_is_closed(progress: str) -> None:
    """As with `<&-`: an end, and nothing more."""
    program = f"exec {sys.executable} -c '{CHILD}' \"$@\" <&-"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs = listener.accept()[0]
    with ours, theirs:
        number = str(theirs.fileno())
        process = subprocess.Popen(["sh", "-c", program, "sh", number, progress], pass_fds=(theirs.fileno(),))
        theirs.close()
        with process:
            ours.sendall(b"")
            ours.close()
            assert process.wait(PATIENCE) == 0


def test_reset() -> None:
    with joined() as both:
        both.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        both.peer.close()
        status, said = both.ended()
        assert (status, said.startswith(b"hosier: the connection broke: ")) == (1, True)


def test_nobody_reads_the_output() -> None:
    with joined() as both:
        assert both.process.stdout is not None
        both.process.stdout.close()
        both.peer.sendall(BIG[:1000])
        assert both.ended() == (141, b"")


def test_signal() -> None:
    """Whoever asks sees that a signal has ended it."""
    with joined() as both:
        both.process.send_signal(signal.SIGTERM)
        assert both.ended() == (-signal.SIGTERM, b"")


# --- progress ---


def test_progress_is_told_and_wiped_away() -> None:
    with joined(progress="always") as both:
        assert both.process.stdout is not None
        assert both.process.stderr is not None
        answering = threading.Thread(target=both.peer.sendall, args=(BIG,))
        answering.start()
        assert both.process.stdout.read(len(BIG)) == BIG
        told = b""
        while b"/s" not in told:
            piece = both.process.stderr.read1(100)  # type: ignore[attr-defined]
            assert piece
            told += piece
        assert re.match(rb"\rhosier: 0 B up, [12]\.\d MB down, ", told)
        answering.join(PATIENCE)
        both.process.stdin.close()  # type: ignore[union-attr]
        both.peer.close()
        status, rest = both.ended()
        assert status == 0
        assert b" \r" in rest


@pytest.mark.parametrize("progress", ["auto", "never"])
def test_no_progress_where_nobody_looks(progress: str) -> None:
    with joined(progress=progress) as both:
        both.process.stdin.close()  # type: ignore[union-attr]
        both.peer.close()
        assert both.ended() == (0, b"0 0\n")
