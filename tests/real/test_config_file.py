"""A server that is told everything by a file, and curl through it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .harness import Hosier, command, run
from .target import Target

pytestmark = pytest.mark.real

CONFIG = """
listen = ["127.0.0.1:0"]
log = "json"
deny = ["127.0.0.2"]

[users]
ann = { file = "ann.password" }
bob = { env = "BOBS_PASSWORD" }
eve = "open sesame"

[limits]
idle = 600
"""
PASSWORDS = {"ann": "ann's: secret", "bob": "bob's", "eve": "open sesame"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "hosier.toml"
    path.write_text(CONFIG, encoding="utf-8")
    path.chmod(0o600)
    password = tmp_path / "ann.password"
    password.write_text(PASSWORDS["ann"] + "\n", encoding="utf-8")
    password.chmod(0o600)
    return path


@pytest.fixture
def curl(program: Callable[..., str]) -> list[str]:
    return [program("curl"), "-q", "-4", "--silent", "--show-error", "--fail"]


def served(config: Path, *options: str) -> Hosier:
    """The harness adds --log=json, as the file says anyway."""
    environment = {"BOBS_PASSWORD": PASSWORDS["bob"]}
    return Hosier(f"--config={config}", *options, listen=(), listeners=1, env=environment)


def test_served_from_a_file(curl: list[str], config: Path, target: Target) -> None:
    with served(config) as server:
        proxy = ["--socks5-hostname", str(server.address), "--proxy-user"]
        for name, password in PASSWORDS.items():
            run([*curl, *proxy, f"{name}:{password}", target.url("127.0.0.1")])
        sessions = server.sessions(target.at("127.0.0.1"), 5, len(PASSWORDS))
        assert sorted(str(session["user"]) for session in sessions) == sorted(PASSWORDS)
        run([*curl, *proxy, "ann:wrong", target.url("127.0.0.1")], status=97)
        run([*curl, *proxy, "eve:open sesame", "http://127.0.0.2:9/"], status=97)
        assert server.sessions("127.0.0.2:9", 5)[0]["reply"] == 2
        assert not any(password in server.messages for password in PASSWORDS.values())
        assert "warning" not in server.messages


def test_options_go_before_the_file(curl: list[str], config: Path, target: Target) -> None:
    """Another password for ann; a network of the file's is no longer denied."""
    with served(config, "--user=ann:another", "--deny=127.0.0.3", "--listen=127.0.0.2:0") as server:
        assert server.host == "127.0.0.2"
        proxy = ["--socks5-hostname", str(server.address), "--proxy-user"]
        run([*curl, *proxy, "ann:another", target.url("127.0.0.1")])
        run([*curl, *proxy, f"ann:{PASSWORDS['ann']}", target.url("127.0.0.1")], status=97)
        run([*curl, *proxy, f"bob:{PASSWORDS['bob']}", "http://127.0.0.3:9/"], status=97)
        assert server.sessions("127.0.0.3:9", 5)[0]["reply"] == 2


def test_from_init_to_a_request(curl: list[str], tmp_path: Path, target: Target) -> None:
    """As the page says: init, edit, check, serve."""
    config = tmp_path / "hosier.toml"
    run(command("config", "init", str(config)))
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace('#listen = ["127.0.0.1:1080", "[::1]:1080"]', 'listen = ["127.0.0.1:0"]'), "utf-8")
    assert b"no mistakes, no warnings" in run(command("config", "check", str(config))).stdout
    with served(config) as server:
        answer = json.loads(run([*curl, "--socks5", str(server.address), target.url("127.0.0.1")]).stdout)
        assert answer["host"] == target.at("127.0.0.1")


def test_a_file_with_mistakes(config: Path) -> None:
    config.write_text(CONFIG.replace("deny", "denny").replace("600", '"long"'), encoding="utf-8")
    done = run(command("serve", "--config", str(config)), env={"BOBS_PASSWORD": "x"}, status=2)
    assert done.stderr.decode().splitlines() == [
        f"hosier: {config}:4: denny: there is no such key; did you mean deny?",
        f'hosier: {config}:12: limits.idle: expected a number, found "long"',
    ]
