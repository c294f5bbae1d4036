"""The command's own settings."""

from __future__ import annotations

from ipaddress import ip_address
from typing import get_args, get_type_hints

import pytest

from hosier.config.settings import AdminSettings, ServeSettings
from hosier.errors import ConfigError
from hosier.observe.access_log import FORMATS
from hosier.policy.rules import Rule
from hosier.server.server import Server
from hosier.server.settings import ServerSettings


def test_defaults_are_the_server_s() -> None:
    settings = ServeSettings()
    assert (settings.log, settings.uvloop, settings.verbose) == ("text", False, False)
    assert all(getattr(settings, name) == getattr(ServerSettings(), name) for name in ServerSettings.__slots__)


def test_logs_are_those_that_there_are() -> None:
    assert get_args(get_type_hints(ServeSettings)["log"]) == (*FORMATS, "off")


def test_workers() -> None:
    for number in (1, 256, "auto"):
        assert ServeSettings(workers=number).workers == number
    for number in (0, 257):
        with pytest.raises(ConfigError, match=f"^there cannot be {number} workers"):
            ServeSettings(workers=number)


def test_the_server_s_own_checks_are_made() -> None:
    with pytest.raises(ConfigError, match="no address to listen on"):
        ServeSettings(listen=())


def test_a_server_takes_them() -> None:
    settings = ServeSettings(strict=True, log="off")
    assert Server(settings).settings is not None


# --- the admin pages ---


@pytest.mark.parametrize(
    ("listen", "places"),
    [
        ("", []),
        ("127.0.0.1:9180", [("127.0.0.1", 9180)]),
        (":9180", [("127.0.0.1", 9180), ("::1", 9180)]),
        ("unix:/run/hosier/admin.sock", ["unix:/run/hosier/admin.sock"]),
    ],
)
def test_where_the_admin_pages_are(listen: str, places: list[object]) -> None:
    assert AdminSettings(place=listen).places == places


def test_admin_pages_are_off_and_never_public_without_a_token() -> None:
    assert ServeSettings().admin.places == []
    with pytest.raises(ConfigError, match=r"^the admin pages on 0\.0\.0\.0:9180 would tell strangers who does what"):
        AdminSettings(place="*:9180")
    assert len(AdminSettings(place="*:9180", token="open-sesame").places) == 2
    assert "sesame" not in repr(AdminSettings(place="*:9180", token="open-sesame"))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"place": "unix:"}, "the admin socket has no name"),
        ({"place": "nowhere"}, "cannot listen on 'nowhere'"),
        ({"token": "open sesame"}, "the admin token has letters that HTTP cannot carry"),
        ({"token": "ö"}, "the admin token has letters that HTTP cannot carry"),
    ],
)
def test_mistakes_about_the_admin_pages(settings: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=f"^{complaint}"):
        AdminSettings(**settings)


def test_no_client_may_go_to_the_admin_pages() -> None:
    settings = ServeSettings(admin=AdminSettings(place="127.0.0.1:9180"))
    assert settings.own_places == [("127.0.0.1", 9180)]
    assert ServeSettings(admin=AdminSettings(place="unix:x")).own_places == []


# --- upstreams ---


def test_upstreams_are_a_chain_and_a_secret() -> None:
    settings = ServeSettings(upstream=["socks5h://ann:open%20sesame@gate.example", "socks4a://far.example:9"])
    assert [str(proxy) for proxy in settings.chain] == ["socks5h://gate.example:1080", "socks4a://far.example:9"]
    assert settings.chain[0].password == b"open sesame"
    assert "sesame" not in repr(settings)
    assert ServeSettings().chain == ()


@pytest.mark.parametrize(
    ("listen", "upstream"),
    [
        (":1080", ["socks5h://127.0.0.1"]),
        (":1080", ["socks5h://[::1]:1080"]),
        (":1080", ["socks5h://localhost"]),
        ("*:1080", ["socks5h://127.0.0.9"]),
        ("192.0.2.1:1080", ["socks5h://192.0.2.1"]),
        ("192.0.2.1:1080", ["socks5h://gate.example", "socks5h://192.0.2.1"]),
    ],
)
def test_the_server_is_not_its_own_upstream(listen: str, upstream: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"^the upstream .* is this server itself"):
        ServeSettings(listen=[listen], upstream=upstream, open=True)


@pytest.mark.parametrize(
    ("listen", "upstream"),
    [
        (":1080", ["socks5h://127.0.0.1:1081"]),
        (":1080", ["socks5h://192.0.2.1"]),
        (":1080", ["socks5h://127.0.0.9"]),
        (":1080", ["socks5h://gate.example", "socks5h://127.0.0.1"]),
        (":1080", ["socks5h://localhost/run/proxy"]),
        ("127.0.0.1:1080", ["socks5h://[::1]:1080"]),
    ],
)
def test_others_are(listen: str, upstream: list[str]) -> None:
    assert len(ServeSettings(listen=[listen], upstream=upstream).chain) == len(upstream)


def test_an_upstream_that_is_none() -> None:
    with pytest.raises(ConfigError, match="no proxy scheme 'ftp'") as caught:
        ServeSettings(upstream=["ftp://ann:sesame@gate.example"])
    assert "sesame" not in str(caught.value)


def test_no_egress_address_towards_an_upstream() -> None:
    rules = [Rule(action="allow"), Rule(action="allow", egress=[ip_address("192.0.2.1")])]
    assert ServeSettings(rules=rules).rules == rules
    with pytest.raises(ConfigError, match="the upstream decides where targets are reached from") as caught:
        ServeSettings(rules=rules, upstream=["socks5h://192.0.2.9:1080"])
    assert caught.value.at == ("rules", 1, "egress")
