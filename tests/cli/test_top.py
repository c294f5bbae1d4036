"""``hosier top``: what is on the page; a real server is asked in ``tests/real``."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from hosier.cli import main as cli
from hosier.cli.top import _UnixConnection, lines, short

SESSION = {
    "client": "192.0.2.1 40000",
    "user": "ann",
    "command": "CONNECT",
    "target": "www.example.com:443",
    "seconds": 12.3,
    "up": 1,
    "down": 2,
    "up_rate": 1200.0,
    "down_rate": 34_500_000.0,
}
USER = {"sessions": 3, "up": 10, "down": 2_000_000, "up_rate": 0.0, "down_rate": 5.0}


def status(**more: Any) -> dict[str, Any]:
    return {
        "version": "1.2.3",
        "ready": True,
        "alive": True,
        "why": "",
        "uptime": 7200.0,
        "sessions": 3,
        "counts": {"octets": {"up": 1000, "down": 10**12}},
        "busiest": [SESSION],
        "users": {"ann": USER},
        **more,
    }


def test_a_page() -> None:
    head, _, titles, ann, _, columns, session = lines(status(), 50)
    assert head == "hosier 1.2.3  ready  up 2.0 h  3 sessions  1.0kB up, 1.0TB down"
    assert titles.split() == ["user", "sessions", "up", "down", "up/s", "down/s"]
    assert ann.split() == ["ann", "3", "10", "2.0M", "0", "5"]
    assert columns.split()[0] == "client"
    assert session.split() == ["192.0.2.1", "40000", "ann", "www.example.com:443", "12s", "1.2k", "34.5M"]


def test_it_fits() -> None:
    crowd = status(users={f"user {number}": USER for number in range(100)}, busiest=[SESSION] * 100)
    for room in (5, 24, 60):
        page = lines(crowd, room)
        assert len(page) == room
    assert sum(line.startswith("user ") for line in lines(crowd, 24)) == 9  # and the title


def test_a_server_that_is_not_well() -> None:
    assert "worker 2 hangs" in lines(status(alive=False, why="worker 2 hangs"), 50)[0]
    assert "not ready" in lines(status(ready=False), 50)[0]


def test_names_of_strangers_command_no_terminal() -> None:
    evil = "\x1b[2Jann\n" + "x" * 100
    page = lines(status(users={evil: USER}, busiest=[{**SESSION, "user": evil, "target": None, "command": None}]), 50)
    assert not any("\x1b" in line or "\n" in line for line in page)
    assert page[3].startswith("\\x1b[2Jann\\n")
    assert "handshake" in page[-1]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (999.6, "1.0k"),
        (1234, "1.2k"),
        (99_949, "99.9k"),
        (123_456, "123k"),
        (5e6, "5.0M"),
        (2e21, "2000E"),
    ],
)
def test_short_numbers(number: float, text: str) -> None:
    assert short(number) == text


# --- who is asked ---


def answered(answer: bytes, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str, bytes]:
    """What ``hosier top --once`` makes of a server that says this; and what it asked for."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            guest = listener.accept()[0]
            with guest:
                asked.append(guest.recv(10_000))
                guest.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        code = cli.main(["top", "--once", f"127.0.0.1:{listener.getsockname()[1]}"])
        thread.join(20)
    output, messages = capsys.readouterr()
    return code, output, messages, asked[0]


def test_the_token_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSIER_ADMIN_TOKEN", "open-sesame")
    code, _, messages, asked = answered(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", capsys)
    assert code == 2
    assert b"Authorization: Bearer open-sesame\r\n" in asked
    assert messages.endswith("does not tell: HOSIER_ADMIN_TOKEN is not its token\n")
    assert "sesame" not in messages
    monkeypatch.delenv("HOSIER_ADMIN_TOKEN")
    code, _, messages, _ = answered(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", capsys)
    assert (code, messages.endswith("does not tell: set HOSIER_ADMIN_TOKEN\n")) == (2, True)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{]}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"status":"up"}',
        b"HTTP/1.1 404 No\r\n\r\nthere are: none",
        b"HTTP/1.1 404 No\r\n\r\n<html>\n<p>there are: none</p>\n</html>",
    ],
)
def test_a_server_that_is_another(answer: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    code, output, messages, _ = answered(answer, capsys)
    assert code == 2
    assert not output
    assert len(messages.splitlines()) == 1
    assert "admin pages at" in messages or "does not tell: there are: none" in messages or "it answers 404" in messages


def test_nobody_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "admin.sock"
    assert cli.main(["top", "--once", f"unix:{path}"]) == 2
    assert capsys.readouterr().err.endswith(f"start hosier serve --admin unix:{path}\n")
    assert cli.main(["top", "--every", "0"]) == cli.main(["top", "--every", "nan"]) == 2
    capsys.readouterr()
    assert cli.main(["top", "nowhere"]) == 2
    assert capsys.readouterr().err == "hosier: 'nowhere' is no place of admin pages: write HOST:PORT or unix:PATH\n"


def test_a_socket_that_is_somebody_elses(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """There is a server; what is missing is the permission."""

    def forbidden(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(_UnixConnection, "connect", forbidden)
    assert cli.main(["top", "--once", "unix:/run/hosier/admin"]) == 2
    assert capsys.readouterr().err == (
        "hosier: this user may not read unix:/run/hosier/admin: ask as root, or as the user that the server runs as\n"
    )
