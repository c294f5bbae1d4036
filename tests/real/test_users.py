"""A users file in use: curl logs in, `hosier passwd` changes it, sessions go on."""

from __future__ import annotations

import os
import pty
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .harness import PATIENCE, Hosier, command, run, wait_until
from .target import Target
from .wire import echo_server, exactly, socks5

pytestmark = pytest.mark.real


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    passwd(path, "alice", "open:sesame")
    return path


def passwd(path: Path, name: str, password: str) -> None:
    run(command("passwd", str(path), name), data=password.encode() + b"\n")


@pytest.fixture
def fetch(program: Callable[..., str], target: Target) -> Callable[[Hosier, str, str], int]:
    """curl's exit status: 0, or 97 if the server refuses it."""

    def status(hosier: Hosier, name: str, password: str) -> int:
        arguments = ["-q", "--silent", "--show-error", "--fail", "--output", os.devnull]
        proxy = ["--proxy", f"socks5h://{hosier.address}", "--proxy-user", f"{name}:{password}"]
        return run([program("curl"), *arguments, *proxy, target.url("127.0.0.1")], status=None).returncode

    return status


Fetch = Callable[[Hosier, str, str], int]


def test_login(users: Path, fetch: Fetch, target: Target) -> None:
    """Users of the file and given ones, side by side; the first login and the next."""
    passwd(users, "Zoë", "påss 密碼")
    with Hosier(f"--users={users}", "--user=bob:his own") as hosier:
        for _ in range(2):
            assert fetch(hosier, "alice", "open:sesame") == 0
            assert fetch(hosier, "Zoë", "påss 密碼") == 0
            assert fetch(hosier, "bob", "his own") == 0
        for name, password in (("alice", "wrong"), ("bob", "open:sesame"), ("carol", "open:sesame"), ("alice", "")):
            assert fetch(hosier, name, password) == 97
        assert {session["user"] for session in hosier.sessions(target.at("127.0.0.1"), 5, 6)} == {"alice", "Zoë", "bob"}
    assert "open:sesame" not in hosier.messages


def test_users_change_while_sessions_run(users: Path, fetch: Fetch) -> None:
    """Added ones come in, deleted ones stay out, changed passwords count, and what runs goes on."""
    with Hosier(f"--users={users}") as hosier, echo_server() as echo:
        with socks5(hosier.address, echo, ("alice", "open:sesame")) as session:
            passwd(users, "bob", "his own")
            wait_until(lambda: fetch(hosier, "bob", "his own") == 0, "bob comes in")
            passwd(users, "bob", "another")
            wait_until(lambda: fetch(hosier, "bob", "another") == 0, "bob's new password counts")
            assert fetch(hosier, "bob", "his own") == 97
            run(command("passwd", "--delete", str(users), "alice"))
            wait_until(lambda: fetch(hosier, "alice", "open:sesame") == 97, "alice stays out")
            session.sendall(b"still here")
            assert exactly(session, 10) == b"still here"
        users.write_text("nonsense\n")
        wait_until(
            lambda: fetch(hosier, "bob", "another") == 0 and "the users stay as they were" in hosier.messages,
            "the broken file is told, and bob is still known",
        )
    assert hosier.messages.count(f"{users}, line 1: a user is NAME:HASH") == 1


def test_a_mistake_costs_one_line(users: Path) -> None:
    users.write_text("nonsense\n")
    done = run(command("serve", "--listen=127.0.0.1:0", f"--users={users}"), status=2)
    message = f"hosier: {users}, line 1: a user is NAME:HASH; make one with hosier passwd\n"
    assert (done.stdout, done.stderr.decode()) == (b"", message)


def test_passwd_on_a_terminal(tmp_path: Path) -> None:
    """It asks twice, and shows nothing of the answers."""
    path = tmp_path / "users"
    terminal, inner = pty.openpty()
    process = subprocess.Popen(
        command("passwd", str(path), "alice"), stdin=inner, stdout=inner, stderr=inner, start_new_session=True
    )
    os.close(inner)
    try:
        seen = b""
        for prompt in (b"Password: ", b"Once more: "):
            while not seen.endswith(prompt):
                seen += os.read(terminal, 1000)
            os.write(terminal, b"open:sesame\n")
        try:
            while piece := os.read(terminal, 1000):
                seen += piece
        except OSError:  # what Linux says when nobody is at the other end any more
            pass
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    assert b"sesame" not in seen
    assert b"user 'alice' added" in seen
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith("alice:$scrypt$ln=15,r=8,p=1$")
