"""git over http, over ssh and over its own protocol: a push, a clone, and the same history at both ends."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from .conftest import PASSWORD, USER, every_engine
from .harness import Address, Hosier, end_program, free_port, run, wait_until
from .sshd import client_config, sshd
from .target import Target, stream

pytestmark = [pytest.mark.real, every_engine]

SETTINGS = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "Tester",
    "GIT_AUTHOR_EMAIL": "tester@example.invalid",
    "GIT_COMMITTER_NAME": "Tester",
    "GIT_COMMITTER_EMAIL": "tester@example.invalid",
}


def git(*arguments: str | Path, **settings: str) -> str:
    done = run(["git", *arguments], env={**SETTINGS, **settings})
    return done.stdout.decode().strip()


@pytest.fixture
def repositories(program: Callable[..., str], tmp_path: Path) -> Path:
    """A folder with a bare repository, project.git: three commits, the last one two megabytes."""
    program("git")
    work, bare = tmp_path / "first", tmp_path / "repositories" / "project.git"
    git("init", "-q", "-b", "main", work)
    for number in range(3):
        (work / "file").write_bytes(b"".join(stream(1 << (7 * number + 7))))
        git("-C", work, "add", "file")
        git("-C", work, "commit", "-q", "-m", f"commit {number}")
    git("clone", "-q", "--bare", work, bare)
    git("-C", bare, "config", "http.receivepack", "true")
    return bare.parent


def clone_and_push(tmp_path: Path, url: str, bare: Path, settings: dict[str, str], *, push: bool = True) -> None:
    """Clone, and push a commit: what the other end has afterwards is what this end has."""
    copy = tmp_path / "copy"
    git("clone", "-q", url, copy, **settings)
    assert git("-C", copy, "rev-parse", "HEAD") == git("-C", bare, "rev-parse", "main")
    git("-C", copy, "fsck", "--full")
    if push:
        (copy / "more").write_bytes(b"".join(stream(3_000_000)))
        git("-C", copy, "add", "more")
        git("-C", copy, "commit", "-q", "-m", "one more")
        git("-C", copy, "push", "-q", "origin", "main", **settings)
        assert git("-C", copy, "rev-parse", "HEAD") == git("-C", bare, "rev-parse", "main")


def config(name: str, value: str) -> dict[str, str]:
    return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": name, "GIT_CONFIG_VALUE_0": value}


@pytest.mark.parametrize(
    ("scheme", "version", "seen"),
    [("socks5h", 5, "localhost"), ("socks5", 5, "127.0.0.1"), ("socks4a", 4, "localhost"), ("socks4", 4, "127.0.0.1")],
)
def test_http(
    hosier: Hosier, target: Target, repositories: Path, tmp_path: Path, scheme: str, version: int, seen: str
) -> None:
    target.repositories = repositories
    proxy = config("http.proxy", f"{scheme}://{hosier.address}")
    clone_and_push(tmp_path, target.url(seen, "/git/project.git"), repositories / "project.git", proxy)
    hosier.sessions(target.at(seen), version, target.connections)


def test_http_with_password(guarded: Hosier, target: Target, repositories: Path, tmp_path: Path) -> None:
    target.repositories = repositories
    proxy = config("http.proxy", f"socks5h://{USER}:{quote(PASSWORD)}@{guarded.address}")
    clone_and_push(tmp_path, target.url("localhost", "/git/project.git"), repositories / "project.git", proxy)
    sessions = guarded.sessions(target.at("localhost"), 5, target.connections)
    assert {session["user"] for session in sessions} == {USER}


@pytest.mark.parametrize("version", [4, 5])
def test_ssh(program: Callable[..., str], hosier: Hosier, repositories: Path, tmp_path: Path, version: int) -> None:
    with sshd(program, tmp_path) as server:
        proxy_command = f"{program('nc.openbsd')} -X {version} -x {hosier.address} %h %p"
        settings = client_config(tmp_path, server, "127.0.0.1", proxy_command)
        ssh = f"{program('ssh')} -F {shlex.quote(str(settings))}"
        bare = repositories / "project.git"
        clone_and_push(tmp_path, f"ssh://target{bare}", bare, {"GIT_SSH_COMMAND": ssh, "GIT_SSH_VARIANT": "ssh"})
        hosier.sessions(str(server), version, count=2)


@pytest.fixture
def daemon(repositories: Path, tmp_path: Path) -> Iterator[Address]:
    """`git daemon` on a free port."""
    for _ in range(20):
        address = Address("127.0.0.1", free_port())
        with running_daemon(repositories, tmp_path / "daemon_log", address) as ready:
            if ready:
                yield address
                return
    raise AssertionError("no free port for git daemon")


@contextmanager
def running_daemon(repositories: Path, log: Path, address: Address) -> Iterator[bool]:
    """False when somebody else took the port in the meantime."""
    # By its own name, not as `git daemon`: so the process we start is the one to end
    binary = Path(git("--exec-path")) / "git-daemon"
    arguments = ["--verbose", "--export-all", f"--base-path={repositories}"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [binary, *arguments, f"--listen={address.host}", f"--port={address.port}", repositories],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **SETTINGS},
        )
    try:
        wait_until(lambda: b"Ready to rumble" in log.read_bytes() or process.poll() is not None, "git daemon is up")
        ready = process.poll() is None
        assert ready or b"in use" in log.read_bytes()
        yield ready
    except BaseException:
        print(log.read_text())
        raise
    finally:
        end_program(process)


def test_git_protocol(
    program: Callable[..., str], hosier: Hosier, daemon: Address, repositories: Path, tmp_path: Path
) -> None:
    proxy = tmp_path / "proxy"
    proxy.write_text(f'#!/bin/sh\nexec {program("nc.openbsd")} -X 5 -x {hosier.address} "$1" "$2"\n')
    proxy.chmod(0o755)
    bare = repositories / "project.git"
    clone_and_push(tmp_path, f"git://{daemon}/project.git", bare, {"GIT_PROXY_COMMAND": str(proxy)}, push=False)
    hosier.sessions(str(daemon), 5)
