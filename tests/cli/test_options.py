"""Options to settings by key, and the passwords of users for whom none is given."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest

from hosier.cli import serve
from hosier.cli.main import main
from hosier.cli.options import values_of
from hosier.config.build import build_settings
from hosier.config.keys import keys_of, leaves
from hosier.config.settings import ServeSettings
from hosier.config.sources import Sources
from hosier.engine.ports import PortRange
from hosier.errors import ConfigError
from hosier.policy.limits import Caps
from hosier.server.advertise import parse_advertise
from hosier.server.gssapi import GssapiSettings
from hosier.server.settings import BindSettings, Limits, ListenAddress, UdpSettings


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Callable[..., argparse.Namespace]:
    """What the options become."""
    found: list[argparse.Namespace] = []

    def run(arguments: argparse.Namespace) -> int:
        found.append(arguments)
        return 0

    monkeypatch.setattr(serve, "run", run)
    monkeypatch.delenv("HOSIER_PASSWORD", raising=False)

    def of(*arguments: str) -> argparse.Namespace:
        assert main(["serve", *arguments]) == 0
        return found.pop()

    return of


@pytest.fixture
def settings(parse: Callable[..., argparse.Namespace]) -> Callable[..., ServeSettings]:
    return lambda *arguments: build_settings(Sources(values_of(parse(*arguments))))


Settings = Callable[..., ServeSettings]


# --- options ---


def test_without_options(settings: Settings) -> None:
    assert settings() == ServeSettings()


def test_listen(settings: Settings) -> None:
    found = settings("--listen", "127.0.0.1:1", "--listen=[::1]:2", "--listen", "3")
    assert found.listen == [
        ListenAddress("127.0.0.1", 1),
        ListenAddress("::1", 2),
        ListenAddress("127.0.0.1", 3),
        ListenAddress("::1", 3),
    ]


def test_open(settings: Settings) -> None:
    assert settings("--listen", "*:1080", "--open").is_public


def test_ways_in(settings: Settings) -> None:
    found = settings("--advertise", "192.0.2.1", "--advertise=10.0.0.5=192.0.2.5", "--ports", "40000-40999")
    assert found.advertised == (parse_advertise("192.0.2.1"), parse_advertise("10.0.0.5=192.0.2.5"))
    assert found.port_range == PortRange(40_000, 40_999)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ((), BindSettings()),
        (("--bind", "on"), BindSettings()),
        (("--bind", "anyone"), BindSettings(anyone=True)),
        (("--bind", "off"), BindSettings(enabled=False)),
    ],
)
def test_bind(option: tuple[str, ...], expected: BindSettings, settings: Settings) -> None:
    assert settings(*option).bind == expected


def test_users(settings: Settings) -> None:
    found = settings("--user", "ann:open sesame", "--user", "bob:a:b", "--user=eve:")
    assert found.users == {"ann": "open sesame", "bob": "a:b", "eve": ""}


def test_users_file(settings: Settings) -> None:
    assert settings("--users", "some/file").users_file == "some/file"
    assert settings("--users=some/file", "--socks4-userid").socks4_userid


def test_ident(settings: Settings) -> None:
    assert settings("--ident").ident
    assert not settings().ident


def test_backoff(settings: Settings) -> None:
    assert settings().backoff
    assert not settings("--no-backoff").backoff


def test_methods(parse: Callable[..., argparse.Namespace]) -> None:
    assert values_of(parse("--method", "other", "--method", "none")) == {"methods": ["other", "none"]}


def test_networks(settings: Settings) -> None:
    found = settings("--allow", "10.0.0.0/8", "--allow", "[fd00::]", "--deny", "192.0.2.1", "--deny", "2001:db8::/32")
    assert found.allow == [ip_network("10.0.0.0/8"), ip_network("fd00::/128")]
    assert found.deny == [ip_network("192.0.2.1/32"), ip_network("2001:db8::/32")]


def test_upstream(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATE", "socks5h://ann:sesame@gate.example")
    made = settings("--upstream", "env:GATE", "--upstream", "socks4a://far.example")
    assert [str(proxy) for proxy in made.chain] == ["socks5h://gate.example:1080", "socks4a://far.example:1080"]


def test_udp(settings: Settings) -> None:
    found = settings("--udp=follow=on", "--udp", "reassemble=off", "--udp=idle=1.5", "--udp=targets=9", "--udp=idle=2")
    assert found.udp == UdpSettings(follow=True, reassemble=False, idle=2, targets=9)


def test_limits(settings: Settings) -> None:
    found = settings("--timeout", "idle=600", "--timeout", "connect=0.5", "--timeout=idle=601")
    assert found.limits == Limits(idle=601, connect=0.5)


def test_caps(settings: Settings) -> None:
    assert settings().caps == Caps()
    found = settings("--cap", "sessions=100", "--cap", "sessions-per-source=0", "--cap=handshakes_per_source=3")
    assert found.caps == Caps(sessions=100, sessions_per_source=0, handshakes_per_source=3)


def test_workers(settings: Settings) -> None:
    assert settings().workers == 1
    assert settings("--workers", "3").workers == 3
    assert settings("--workers", "auto").workers == "auto"


def test_strict(settings: Settings) -> None:
    assert settings("--strict").strict
    assert not settings().strict


def test_the_rest(settings: Settings) -> None:
    plain = settings()
    assert (plain.log, plain.uvloop, plain.verbose) == ("text", False, False)
    found = settings("--log", "json", "--uvloop", "-v")
    assert (found.log, found.uvloop, found.verbose) == ("json", True, True)
    assert settings("--verbose", "--log=off").log == "off"


def test_every_option_is_a_key() -> None:
    """And says nothing if it is not given: its key is left to the file."""
    verbs = argparse.ArgumentParser().add_subparsers()
    serve.add_parser(verbs)
    options = {action.dest: action for action in verbs.choices["serve"]._actions}
    keys = {key.name for key in keys_of(ServeSettings)} | {".".join(path) for path, _ in leaves(ServeSettings)}
    assert set(options) - keys == {"help", "config"}
    assert {action.default for dest, action in options.items() if dest != "config"} == {argparse.SUPPRESS}


def test_what_is_not_said_is_left_to_the_file(parse: Callable[..., argparse.Namespace]) -> None:
    assert values_of(parse()) == {}
    assert values_of(parse("--open", "--timeout=idle=5")) == {"open": True, "limits": {"idle": 5}}


def test_kerberos(settings: Settings) -> None:
    """Keys within a table."""
    told = settings("--gssapi", "--keytab=/srv/keys", "--gssapi-service=rcmd", "--gssapi-levels=1,2").gssapi
    assert told == GssapiSettings(enabled=True, keytab=Path("/srv/keys"), service="rcmd", levels=[1, 2])
    assert settings("--gssapi").gssapi == GssapiSettings(enabled=True)
    assert not settings().gssapi.enabled


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gssapi", "--gssapi-levels=high"], "--gssapi-levels 'high': write for example 2,1"),
        (["--gssapi", "--gssapi-levels=2,2"], "the GSSAPI levels are some of 2, 1, 3 and 0"),
        (["--keytab=/srv/keys"], "add --gssapi"),
    ],
)
def test_mistakes_about_kerberos(settings: Settings, options: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        settings(*options)


# --- passwords ---


def test_password_from_the_environment(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOSIER_PASSWORD", "from outside")
    assert settings("--user", "ann", "--user", "bob:own").users == {"ann": "from outside", "bob": "own"}
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("variable", [None, ""])
def test_password_that_is_made(
    variable: str | None, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is shown once, and differs each time."""
    made = set()
    for _ in range(2):
        if variable is not None:
            monkeypatch.setenv("HOSIER_PASSWORD", variable)
        password = settings("--user", "ann").users["ann"]
        assert len(password) >= 16
        output, messages = capsys.readouterr()
        assert messages == f"hosier: the password of ann is {password} (shown only now)\n"
        assert not output
        made.add(password)
    assert len(made) == 2


@pytest.mark.parametrize("text", ["", ":", ":open sesame"])
def test_user_without_a_name(settings: Settings, text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--user without a name: write NAME or NAME:PASSWORD$"):
        settings("--user", text)
