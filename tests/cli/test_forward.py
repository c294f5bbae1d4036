"""``hosier forward``: a local port that leads through proxies."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

import hosier
from hosier.testing import ScriptedServer, ThreadedServer, receive, send

from .harness import PATIENCE, ran, running


def announced(process: Any) -> tuple[str, int]:
    """Where it listens, from the line that it says."""
    line = process.stderr.readline().decode()
    found = re.search(r"(127\.0\.0\.\d+|\[::1\]):(\d+)", line)
    assert found is not None, line
    return found[1].strip("[]"), int(found[2])


def test_stream() -> None:
    with (
        ThreadedServer(users={"ann": "sesame"}) as proxy,
        ScriptedServer([send(b"220 hello\r\n"), receive(3), send(b"bye")]) as target,
    ):
        url = proxy.url.replace("//", "//ann:sesame@")
        with running("forward", "--proxy", url, "127.0.0.1:0", f"localhost:{target.address[1]}") as process:
            with socket.create_connection(announced(process), PATIENCE) as sock:
                assert sock.recv(99) == b"220 hello\r\n"
                sock.sendall(b"abc")
                assert sock.recv(99) == b"bye"
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
            assert b"sesame" not in process.stderr.read()


def test_both_families_and_a_target_that_is_not_there() -> None:
    with socket.socket() as closed, ThreadedServer() as proxy:
        closed.bind(("127.0.0.1", 0))
        with running("forward", "--proxy", proxy.url, "0", f"127.0.0.1:{closed.getsockname()[1]}") as process:
            four, six = announced(process), announced(process)
            assert (four[0], six[0]) == ("127.0.0.1", "::1")
            for place in (four, six):
                with socket.create_connection(place, PATIENCE) as sock, pytest.raises(ConnectionResetError):
                    sock.recv(1)
                assert b"connection refused (reply 5)" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0


def test_datagrams() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target, ThreadedServer() as proxy:
        target.bind(("127.0.0.1", 0))
        target.settimeout(PATIENCE)
        place = f"localhost:{target.getsockname()[1]}"
        with running("forward", "--udp", "--proxy", proxy.url, "127.0.0.1:0", place) as process:
            local = announced(process)
            clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
            for number, client in enumerate(clients):
                client.settimeout(PATIENCE)
                client.sendto(b"question %d" % number, local)
                data, relay = target.recvfrom(99)
                target.sendto(b"answer to " + data, relay)
                assert client.recvfrom(99) == (b"answer to question %d" % number, local)
                client.close()


def test_socks_port() -> None:
    with ThreadedServer(users={"ann": "sesame"}) as proxy, ScriptedServer([send(b"hello")]) as target:
        url = proxy.url.replace("//", "//ann:sesame@")
        with running("forward", "--socks", "--proxy", url, "127.0.0.1:0") as process:
            host, port = announced(process)
            with hosier.connect(f"socks5h://{host}:{port}", *target.address, timeout=PATIENCE) as sock:
                assert sock.recv(5) == b"hello"
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0


def taken_line(port: int) -> str:
    return f"hosier: cannot listen on 127.0.0.1:{port}: the port is taken; stop the other program or take another one\n"


@pytest.mark.parametrize("what", ["--socks", "localhost:53"])
def test_a_port_that_is_taken(what: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, _, said = ran("forward", "--proxy", "socks5h://127.0.0.1:9", f"127.0.0.1:{port}", what)
    assert (status, said) == (2, taken_line(port))


def test_fixed_port_for_datagrams_and_one_that_is_taken() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        arguments = ("forward", "--udp", "--proxy", "socks5h://127.0.0.1:9", f"127.0.0.1:{port}", "localhost:53")
        status, _, said = ran(*arguments)
        assert (status, said) == (2, taken_line(port))
    with running(*arguments) as process:
        assert announced(process) == ("127.0.0.1", port)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("0",), "where to?"),
        (("0", "localhost"), "is no place"),
        (("0", "localhost:0"), "is no place"),
        (("--socks", "0", "localhost:1"), "leave it out"),
        (("--socks", "*:1081"), "hosier serve --upstream"),
        (("nonsense:x", "localhost:1"), "is not a port"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], words: str) -> None:
    status, output, said = ran("forward", "--proxy", "socks5h://127.0.0.1:9", *arguments)
    assert (status, output, said.count("\n")) == (2, b"", 1)
    assert words in said


@pytest.mark.parametrize(
    ("listen", "proxy"),
    [
        ("7001", "127.0.0.1:7001"),
        ("7001", "socks5h://[::1]:7001"),
        ("127.0.0.1:7001", "http://localhost:7001"),
        ("*:7001", "127.0.0.1:7001"),
    ],
)
def test_not_through_itself(listen: str, proxy: str) -> None:
    """One connection would use all sockets up."""
    status, output, said = ran("forward", "--proxy", proxy, listen, "target.example:80")
    assert (status, output, said.count("\n")) == (2, b"", 1)
    assert "would be this very port" in said


def test_a_unix_socket_has_no_port() -> None:
    with running("forward", "--proxy", "socks5h://localhost/nowhere", "127.0.0.1:0", "target.example:80") as process:
        assert announced(process)[1] > 0


# --- progress ---


class Flood:
    """A target that sends to whoever comes, and goes on until it is told to stop; then the connection stays."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.enough = threading.Event()
        self.left = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        with suppress(OSError), self._listener.accept()[0] as sock:
            sock.recv(1)
            while not self.enough.is_set():
                sock.sendall(bytes(1 << 16))
            self.left.wait(PATIENCE)


@contextmanager
def flood() -> Iterator[tuple[str, Flood]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        flood = Flood(listener)
        flood.thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}", flood
        finally:
            flood.enough.set()
            flood.left.set()
            listener.shutdown(socket.SHUT_RDWR)
            flood.thread.join(PATIENCE)


def swallow(sock: socket.socket) -> threading.Thread:
    def read() -> None:
        with suppress(OSError):
            while sock.recv(1 << 18):
                pass

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def until(terminal: int, words: bytes) -> bytes:
    """What is told up to these words, and a little more."""
    told = b""
    while words not in told:
        piece = os.read(terminal, 4096)
        assert piece
        told += piece
    return told


@pytest.mark.timeout(60)
@pytest.mark.parametrize("socks", [False, True], ids=["port", "socks"])
def test_progress_on_a_terminal(socks: bool) -> None:
    """While octets flow in bulk, and no longer; what else is said has a line of its own."""
    terminal, theirs = pty.openpty()
    with ThreadedServer() as proxy, flood() as (place, target):
        what = ("--socks", "127.0.0.1:0") if socks else ("127.0.0.1:0", place)
        with running("forward", "--proxy", proxy.url, *what, stderr=theirs) as process:
            os.close(theirs)
            said = until(terminal, b"\n").decode()
            port = int(re.findall(r"127\.0\.0\.1:(\d+)", said)[0])
            host, _, target_port = place.partition(":")
            if socks:
                sock = hosier.connect(f"socks5h://127.0.0.1:{port}", host, int(target_port), timeout=PATIENCE)
            else:
                sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
            with sock:
                sock.sendall(b"x")
                reader = swallow(sock)
                told = until(terminal, b"/s")
                assert re.match(rb"\rhosier: .* up, .* [MG]B down, .*B/s", told)
                target.enough.set()
                until(terminal, b" \r")  # nothing moves any more, and the line is gone
                process.send_signal(signal.SIGTERM)
                assert process.wait(PATIENCE) == 0
                reader.join(PATIENCE)
    os.close(terminal)


def test_no_progress_where_nobody_looks() -> None:
    with (
        ThreadedServer() as proxy,
        flood() as (place, target),
        running("forward", "--proxy", proxy.url, "127.0.0.1:0", place) as process,
    ):
        with socket.create_connection(announced(process), PATIENCE) as sock:
            sock.sendall(b"x")
            moved = 0
            while moved < 4 << 20:
                moved += len(sock.recv(1 << 18))
            target.enough.set()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == b""
