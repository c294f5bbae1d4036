"""From options and a file to settings and a server, and contradictions with file, line and key."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from hosier.client.egress import Upstreams
from hosier.config.build import _made, build_egress, build_server, build_settings
from hosier.config.load import load
from hosier.config.settings import ServeSettings
from hosier.config.sources import Sources
from hosier.errors import ConfigError
from hosier.observe.record import SessionRecord
from hosier.policy import rules
from hosier.policy.accounts import Account
from hosier.server.privileges import identity_of
from hosier.server.settings import Limits

Build = Callable[..., ServeSettings]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Settings from the text of a file, and options as keywords."""
    monkeypatch.chdir(tmp_path)

    def built(text: str, **options: Any) -> ServeSettings:
        Path("h.toml").write_text(text, encoding="utf-8")
        return build_settings(Sources(options, load(Path("h.toml"))))

    return built


def test_nothing_given() -> None:
    assert build_settings(Sources()) == ServeSettings()


def test_options_alone() -> None:
    settings = build_settings(Sources({"limits": {"idle": 5.0}, "users": {"ann": "sesame"}, "log": "json"}))
    assert settings == ServeSettings(limits=Limits(idle=5.0), users={"ann": "sesame"}, log="json")


def test_every_kind_of_key(build: Build) -> None:
    settings = build(
        """
        listen = ["127.0.0.1:1", "*:2"]
        allow = ["10.0.0.0/8"]
        log = "off"
        uvloop = true
        [users]
        ann = "open sesame"
        [limits]
        idle = 600
        """
    )
    assert settings == ServeSettings(
        listen=["127.0.0.1:1", "*:2"],
        allow=[ip_network("10.0.0.0/8")],
        log="off",
        uvloop=True,
        users={"ann": "open sesame"},
        limits=Limits(idle=600),
    )


def test_options_go_before_the_file(build: Build) -> None:
    text = 'listen = ["127.0.0.1:1"]\nlog = "off"\nusers = { ann = "a", bob = "b" }\nlimits = { idle = 1, drain = 2 }'
    settings = build(text, listen=["127.0.0.1:9"], users={"bob": "c"}, limits={"idle": 3.0}, open=True)
    assert settings.listen == ["127.0.0.1:9"]
    assert settings.users == {"ann": "a", "bob": "c"}
    assert (settings.limits.idle, settings.limits.drain) == (3.0, 2.0)
    assert (settings.log, settings.open) == ("off", True)


OPEN = "listening on 0.0.0.0:1080 without authentication would be an open proxy"
CONTRADICTION = "method 'none' contradicts configured users"


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ('open = false\nlisten = ["*:1080"]', {}, [f"h.toml:2: listen: {OPEN}"]),
        ('listen = ["127.0.0.1:1",\n "*:1080"]', {}, [f"h.toml:1: listen: {OPEN}"]),
        ("\nlisten = []", {}, ["h.toml:2: listen: no address to listen on"]),
        ('methods = ["none"]\n[users]\nann = "x"', {}, [f"h.toml:3: users.ann: {CONTRADICTION}"]),
        ('methods = ["none"]', {"users": {"ann": "x"}}, [f"h.toml:1: methods: {CONTRADICTION}"]),
        ('[users]\nann = "x"', {"methods": ["none"]}, [f"h.toml:2: users.ann: {CONTRADICTION}"]),
        (f'[users]\nann = "x"\nbob = "{"x" * 256}"', {}, ["h.toml:3: users.bob: user 'bob': name and password have"]),
        ('open = true\nmethods = ["nonsense"]', {}, ["h.toml:2: methods: there is no method 'nonsense'; known: "]),
        ("limits.idle = 0", {}, ["h.toml:1: limits.idle: the limit idle is 0.0: it must be more than 0"]),
        ("[limits]\nidle = nan", {}, ["h.toml:2: limits.idle: the limit idle is nan: it must be more than 0"]),
        (
            'listen = ["*:1080"]\n[limits]\nlinger = 11\nidle = 5\nhandshake = -1',
            {},
            [
                f"h.toml:1: listen: {OPEN}",
                "h.toml:3: limits.linger: the limit linger is 11.0: RFC 1928 allows",
                "h.toml:5: limits.handshake: the limit handshake is -1.0: it must be",
            ],
        ),
        ("open = false", {"listen": ["*:1080"]}, [OPEN]),
        ("limits.idle = 5", {"limits": {"idle": 0.0}}, ["the limit idle is 0.0"]),
        ("limits.idle = 5", {"limits": {"drain": 0.0}}, ["the limit drain is 0.0"]),
    ],
)
def test_contradictions(build: Build, text: str, options: dict[str, Any], expected: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        build(text, **options)
    found = str(caught.value).splitlines()
    assert len(found) == len(expected)
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True)), found


def test_an_option_mends_the_file(build: Build) -> None:
    """Only both together must fit."""
    assert build('listen = ["*:1080"]', users={"ann": "x"}).is_public
    assert build("limits.idle = 0", limits={"idle": 5.0}).limits.idle == 5


def test_secrets_are_not_in_contradictions(build: Build) -> None:
    with pytest.raises(ConfigError) as caught:
        build(f'users.ann = "{"sesame" * 50}"')
    assert "sesame" not in str(caught.value)


RECORD = SessionRecord(("127.0.0.1", 1), None, 5, "", "", None, None, None, None, 0, 0, 0.0, "over")


@pytest.mark.parametrize(("log", "beginning"), [("json", "{"), ("text", "20")])
def test_server_writes_its_log(log: Any, beginning: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    server = build_server(ServeSettings(log=log), lines.append)
    assert server._on_session_end is not None
    server._on_session_end(RECORD)
    (line,) = lines
    assert line.startswith(beginning)


def test_server_without_a_log() -> None:
    server = build_server(ServeSettings(log="off"))
    assert server._on_session_end is None
    assert server.settings == ServeSettings(log="off")


@dataclass
class Rule:
    target: str
    port: int = 0


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (Rule | None, {"target": "a"}, Rule("a")),
        (Sequence[Rule], [{"target": "a"}, {"target": "b", "port": 1}], [Rule("a"), Rule("b", 1)]),
        (Mapping[str, Rule], {"x": {"target": "a"}}, {"x": Rule("a")}),
        (Sequence[str], ["a"], ["a"]),
    ],
)
def test_tables_become_what_they_describe(hint: Any, value: Any, expected: Any) -> None:
    assert _made(hint, value) == expected


# --- the way to targets ---


def test_upstreams_from_a_file(build: Build, tmp_path: Path) -> None:
    (tmp_path / "gate").write_text("socks5h://ann:sesame@gate.example\n", encoding="utf-8")
    settings = build('upstream = [{ file = "gate" }, "socks5h://far.example"]')
    egress = build_egress(settings)
    assert egress == Upstreams(settings.chain)
    assert [proxy.host for proxy in settings.chain] == ["gate.example", "far.example"]


def test_straight_out() -> None:
    assert build_egress(ServeSettings()) is None


def test_mistakes_about_upstreams(build: Build) -> None:
    with pytest.raises(ConfigError) as caught:
        build('\nupstream = ["ftp://ann:sesame@gate.example"]')
    assert str(caught.value).startswith("h.toml:2: upstream: there is no proxy scheme 'ftp'")


RULES = """
listen = ["127.0.0.1:1080"]
[groups]
staff = ["ann"]
[accounts.ann]
expires = 2027-01-31
clients = ["192.0.2.0/24"]
[[rules]]
action = "allow"
groups = ["staff"]
ports = [443, "8000-8999"]
[[rules]]
name = "the rest"
action = "deny"
"""


def test_rules(build: Build) -> None:
    settings = build(RULES)
    assert settings.groups == {"staff": ["ann"]}
    assert settings.accounts == {"ann": Account(expires=date(2027, 1, 31), clients=[ip_network("192.0.2.0/24")])}
    assert settings.rules == [
        rules.Rule(action="allow", groups=["staff"], ports=[443, "8000-8999"]),
        rules.Rule(action="deny", name="the rest"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            'groups = ["staff"]',
            'groups = ["stuff"]',
            "h.toml:10: rules, item 1, groups, item 1: there is no group 'stuff'",
        ),
        (
            'groups = ["staff"]',
            'methods = ["pasword"]',
            "h.toml:10: rules, item 1, methods, item 1: there is no method 'pasword'; known: gssapi, ",
        ),
        (
            'groups = ["staff"]',
            'listeners = ["*:1"]',
            "h.toml:10: rules, item 1, listeners, item 1: '*:1' is not in listen",
        ),
        ('groups = ["staff"]', 'names = ["::1"]', "h.toml:10: rules, item 1, names: '::1' is an address: write it"),
        (
            'groups = ["staff"]',
            'reply = "ttl-expired"',
            "h.toml:10: rules, item 1, reply: a reply goes with the action deny",
        ),
        ("443", "0", "h.toml:11: rules, item 1, ports: 0 are no ports"),
        ("443", "true", "h.toml:11: rules, item 1, ports, item 1: expected a number such as 443, or a text"),
        ('action = "deny"', "", "h.toml:12: rules, item 2, action: is missing: write"),
        ('action = "deny"', 'action = "drop"', 'h.toml:14: rules, item 2, action: expected "allow" or "deny"'),
        (
            'action = "deny"',
            'action = "deny"\negress = ["::1"]',
            "h.toml:15: rules, item 2, egress: egress and budgets go",
        ),
        (
            'action = "deny"',
            'action = "deny"\nexpires = 2027-01-31',
            "h.toml:15: rules, item 2, expires: there is no such key",
        ),
        ('clients = ["192.0.2.0/24"]', 'networks = ["::/0"]', "h.toml:7: accounts.ann.networks: there is no such key"),
        (
            "expires = 2027-01-31",
            'expires = "soon"',
            "h.toml:6: accounts.ann.expires: expected a date such as 2027-01-31",
        ),
    ],
)
def test_mistakes_in_rules(build: Build, old: str, new: str, complaint: str) -> None:
    """A key means the same wherever it may stand, and is refused elsewhere."""
    with pytest.raises(ConfigError) as caught:
        build(RULES.replace(old, new, 1))
    assert str(caught.value).startswith(complaint)


def test_each_rule_is_looked_at(build: Build) -> None:
    with pytest.raises(ConfigError) as caught:
        build('[[rules]]\naction = "allow"\nports = [0]\n[[rules]]\naction = "allow"\ntimes = ["x"]\nnames = [""]')
    assert [line.partition(": ")[0] for line in str(caught.value).splitlines()] == ["h.toml:3", "h.toml:6", "h.toml:7"]


BECOME = """
import sys
from hosier.config.build import become
from hosier.config.settings import AdminSettings, ServeSettings
become(ServeSettings(run_as="nobody", admin=AdminSettings(place=f"unix:{sys.argv[1]}"), log_file=sys.argv[2]))
"""


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can become somebody else")
def test_who_is_become_has_the_admin_socket_and_the_log_file(tmp_path: Path) -> None:
    place, log = tmp_path / "admin", tmp_path / "log"
    log.touch()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(place))
    subprocess.run([sys.executable, "-c", BECOME, str(place), str(log)], check=True, cwd="/")
    nobody = identity_of("nobody").uid
    assert (place.stat().st_uid, log.stat().st_uid) == (nobody, nobody)
