"""Each dangerous choice has its warning, and harmless ones have none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from hosier.auth.scrypt import hash_password
from hosier.auth.users_file import change_user
from hosier.config.build import build_settings
from hosier.config.dangers import _secrets, dangers
from hosier.config.load import load
from hosier.config.secrets import Secret
from hosier.config.settings import ServeSettings
from hosier.config.sources import Sources
from hosier.policy.rules import Rule
from hosier.server.gssapi import GssapiSettings

Warn = Callable[..., list[str]]


@pytest.fixture
def warn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warn:
    """The warnings about a file with this text, of this mode, and options as keywords."""
    monkeypatch.chdir(tmp_path)

    def warned(text: str, mode: int = 0o600, **options: Any) -> list[str]:
        file = Path("h.toml")
        file.write_text(text, encoding="utf-8")
        file.chmod(mode)
        sources = Sources(options, load(file))
        return sources.told(dangers(build_settings(sources), sources))

    return warned


ANN = '\nusers.ann = "open sesame"'
OPEN = "this is an open proxy: whoever reaches its port can use it, in your name"
METADATA = "holds cloud metadata: clients can ask for this machine's keys"
NAMES = "what names stand for is seen by the last upstream only: it must protect inner networks"
LOOPBACK = "holds loopback: clients reach what this machine offers only to itself"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('open = true\nlisten = ["*:1"]', [f"h.toml:1: open: {OPEN}"]),
        (
            'listen = ["*:1"]\nallow = ["10.0.0.0/8",\n"169.254.0.0/16"]' + ANN,
            [f"h.toml:3: allow, item 2: 169.254.0.0/16 {METADATA}"],
        ),
        (
            'listen = ["*:1"]\nupstream = ["socks5h://gate.example"]' + ANN,
            [f"h.toml:2: upstream: {NAMES}"],
        ),
        ('listen = ["*:1"]\nupstream = ["socks5://gate.example"]' + ANN, []),
        (
            'listen = ["*:1"]\nrules = [{ action = "allow", networks = [\n"0.0.0.0/0",\n"127.0.0.1"] }, '
            '{ action = "deny", networks = ["::1"] }]' + ANN,
            [f"h.toml:4: rules, item 1, networks, item 2: 127.0.0.1/32 {LOOPBACK}"],
        ),
        ('listen = ["*:1"]\nallow = ["fd00::/8"]' + ANN, [f"h.toml:2: allow, item 1: fd00::/8 {METADATA}"]),
        ('listen = ["*:1"]\nallow = ["127.0.0.1"]' + ANN, [f"h.toml:2: allow, item 1: 127.0.0.1/32 {LOOPBACK}"]),
        (
            'listen = ["*:1"]\nallow = ["0.0.0.0/0"]' + ANN,
            [f"h.toml:2: allow, item 1: 0.0.0.0/0 {METADATA}", f"h.toml:2: allow, item 1: 0.0.0.0/0 {LOOPBACK}"],
        ),
        (
            'listen = ["*:1"]\n[users]\nann = "sesame"\nbob = "long enough"',
            ["h.toml:3: users.ann: a password of less than 8 characters is soon guessed"],
        ),
        (
            "limits.handshake = 600",
            ["h.toml:1: limits.handshake: whoever connects and says nothing holds a session for 600 seconds"],
        ),
    ],
)
def test_dangers(warn: Warn, text: str, expected: list[str]) -> None:
    assert warn(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "open = true",
        'allow = ["0.0.0.0/0", "::/0"]',
        'users.ann = "x"',
        'listen = ["*:1"]\nallow = ["10.0.0.0/8", "192.168.0.0/16"]' + ANN,
        "limits.handshake = 60",
    ],
)
def test_harmless(warn: Warn, text: str) -> None:
    assert warn(text) == []


def test_kerberos_without_protection() -> None:
    """Without a file: building a server of one wants the keys."""
    settings = ServeSettings(gssapi=GssapiSettings(enabled=True, levels=(2, 0), nec=True))
    assert [str(warning.what) for warning in dangers(settings, Sources())] == [
        "gssapi.levels: level 0 protects nothing once the ticket is checked: payload can be read and changed",
        "gssapi.nec: whoever is on the way can lower a level that is sent unprotected",
    ]
    assert dangers(ServeSettings(gssapi=GssapiSettings(enabled=True)), Sources()) == []


NAMED = """
accounts.eve = {}
groups.staff = ["ann",
"bob"]
rules = [{ action = "allow", users = ["ann",
"zoe"] }]
"""


@pytest.mark.parametrize(
    ("text", "unknown", "why"),
    [
        ('users.ann = "open sesame"', ["eve", "bob", "zoe"], "add it to the users"),
        ('users_file = "users"', ["eve", "zoe"], "add it to the users"),
        ("", ["eve", "ann", "bob", "ann", "zoe"], "no client has a name here"),
    ],
)
def test_users_whom_nobody_can_be(warn: Warn, text: str, unknown: list[str], why: str) -> None:
    for name in (b"ann", b"bob"):
        change_user("users", name, hash_password(b"open sesame"))
    lines = {"eve": "2: accounts.eve", "bob": "4: groups.staff, item 2", "zoe": "6: rules, item 1, users, item 2"}
    expected = [f"h.toml:{lines[user]}: there is no user {user!r}: {why}" for user in unknown if user != "ann"]
    found = [line for line in warn(NAMED + text) if "'ann'" not in line]
    assert found == expected
    assert len(warn(NAMED + text)) == len(unknown)


@pytest.mark.parametrize(
    "fields", [{"users_file": Path("gone")}, {"ident": True}, {"gssapi": GssapiSettings(enabled=True)}]
)
def test_users_who_may_be_anybody(fields: dict[str, Any]) -> None:
    """The file is not here, or names come from elsewhere."""
    settings = ServeSettings(rules=[Rule(action="allow", users=["eve"])], **fields)
    assert dangers(settings, Sources()) == []


def test_of_many_unknown_users_some_are_named(warn: Warn) -> None:
    names = ", ".join(f'"u{number}"' for number in range(1000))
    found = warn(f"groups.staff = [{names}]\n" + 'users.ann = "open sesame"')
    assert len(found) == 9
    assert found[-1] == "h.toml:1: groups.staff, item 9: nor are 992 others users that are named from here on"


READABLE = "everybody on this machine can read this secret: chmod o-r"


def test_a_password_in_a_file_that_everybody_can_read(warn: Warn) -> None:
    assert warn("[users]" + ANN.replace("users.", ""), 0o604) == [f"h.toml:2: users.ann: {READABLE} h.toml"]
    assert warn("[users]" + ANN.replace("users.", ""), 0o640) == []
    assert warn("open = true", 0o644) == []


def test_a_password_file_that_everybody_can_read(warn: Warn) -> None:
    password = Path("ann.password")
    password.write_text("open sesame", encoding="utf-8")
    password.chmod(0o644)
    text = 'users.ann = { file = "ann.password" }'
    assert warn(text, 0o644) == [f"h.toml:1: users.ann: {READABLE} ann.password"]
    password.chmod(0o600)
    assert warn(text, 0o644) == []


def test_a_password_from_the_environment(warn: Warn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANN", "open sesame")
    assert warn('users.ann = { env = "ANN" }', 0o644) == []


def test_a_file_that_everybody_can_change(warn: Warn) -> None:
    assert warn("open = true", 0o602) == ["h.toml: everybody on this machine can change it: chmod o-w h.toml"]


def test_a_file_that_has_gone(tmp_path: Path) -> None:
    path = tmp_path / "h.toml"
    path.write_text("open = true", encoding="utf-8")
    sources = Sources(file=load(path))
    path.unlink()
    assert dangers(build_settings(sources), sources) == []


def test_options_are_warned_of_too(warn: Warn) -> None:
    """Without a line of the file's, even if the file has the key."""
    options = {"listen": ["*:1"], "open": True, "allow": [ip_network("169.254.169.254")]}
    expected = [
        f"open: {OPEN}",
        f"allow, item 1: 169.254.169.254/32 {METADATA}",
    ]
    assert warn('allow = ["10.0.0.0/8"]\nopen = true', **options) == expected
    sources = Sources(options)
    assert sources.told(dangers(build_settings(sources), sources)) == expected


def test_secrets_are_not_shown(warn: Warn) -> None:
    assert "sesame" not in str(warn('listen = ["*:1"]\nusers.ann = "sesame"', 0o666))


def test_secrets_are_found_in_lists_too() -> None:
    assert list(_secrets(Sequence[Secret], ["a", {"file": "b"}], ("x",))) == [
        (("x", 0), "a"),
        (("x", 1), {"file": "b"}),
    ]
    assert list(_secrets(Sequence[str], ["a"], ("x",))) == []
