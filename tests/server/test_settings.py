"""What a server can be told: defaults, forms of addresses, and the message for each mistake."""

from __future__ import annotations

import dataclasses
import re
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from hosier.engine.ports import PortRange
from hosier.errors import ConfigError
from hosier.server.advertise import Advertised
from hosier.server.gssapi import GssapiSettings
from hosier.server.settings import (
    DEFAULT_LISTEN,
    BindSettings,
    Limits,
    ListenAddress,
    ServerSettings,
    UdpSettings,
    parse_listen,
)

BOTH = ("127.0.0.1", "::1")
EVERYWHERE = ("0.0.0.0", "::")


def addresses(hosts: tuple[str, ...], port: int) -> tuple[ListenAddress, ...]:
    return tuple(ListenAddress(host, port) for host in hosts)


def test_defaults_are_safe() -> None:
    """ID-REQ-01, ID-REQ-20, S4-REQ-02, S5-REQ-01."""
    settings = ServerSettings()
    assert settings.listen_addresses == DEFAULT_LISTEN == addresses(BOTH, 1080)
    assert settings.effective_methods == ("none",)
    assert not settings.is_public
    assert not settings.open
    assert not settings.strict
    assert (settings.ident, settings.ident_port) == (False, 113)
    assert settings.limits == Limits()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1081", addresses(BOTH, 1081)),
        (":1081", addresses(BOTH, 1081)),
        ("localhost:1081", addresses(BOTH, 1081)),
        ("localhost", addresses(BOTH, 1080)),
        ("*:1081", addresses(EVERYWHERE, 1081)),
        ("*", addresses(EVERYWHERE, 1080)),
        ("192.0.2.1:0", addresses(("192.0.2.1",), 0)),
        ("192.0.2.1", addresses(("192.0.2.1",), 1080)),
        ("192.0.2.1:65535", addresses(("192.0.2.1",), 65535)),
        ("[2001:DB8::1]:7", addresses(("2001:db8::1",), 7)),
        ("[::1]", addresses(("::1",), 1080)),
        ("::1", addresses(("::1",), 1080)),
        ("", addresses(BOTH, 1080)),
    ],
)
def test_parse_listen(text: str, expected: tuple[ListenAddress, ...]) -> None:
    assert parse_listen(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("192.0.2.1:65536", "'65536' in '192.0.2.1:65536' is not a port: 0 to 65535 are"),
        ("65536", "'65536' in '65536' is not a port"),
        (":socks", "'socks' in ':socks' is not a port"),
        (":-1", "'-1' in ':-1' is not a port"),
        ("192.0.2.1:٣", "'٣' in '192.0.2.1:٣' is not a port"),
        ("example.com:1080", "cannot listen on 'example.com:1080': write 127.0.0.1:1080, [::1]:1080"),
        ("192.0.2.256:1080", "cannot listen on '192.0.2.256:1080'"),
    ],
)
def test_parse_listen_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_listen(text)


def test_listen_address_as_text() -> None:
    assert str(ListenAddress("192.0.2.1", 1)) == "192.0.2.1:1"
    assert str(ListenAddress("2001:db8::1", 1)) == "[2001:db8::1]:1"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False)],
)
def test_what_is_loopback(host: str, loopback: bool) -> None:
    assert ListenAddress(host, 1).is_loopback is loopback
    settings = ServerSettings(listen=[ListenAddress(host, 1)], open=True)
    assert settings.is_public is not loopback


def test_listen_takes_texts_and_addresses() -> None:
    settings = ServerSettings(listen=["127.0.0.1:0", ListenAddress("::1", 5), "7"])
    assert settings.listen_addresses == (
        ListenAddress("127.0.0.1", 0),
        ListenAddress("::1", 5),
        *addresses(BOTH, 7),
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"listen": []}, "no address to listen on"),
        ({"listen": ["nonsense"]}, "cannot listen on 'nonsense'"),
        ({"users": {"n" * 256: "p"}}, f"user '{'n' * 32}': name and password have at most 255 octets each (RFC 1929)"),
        ({"users": {"ann": "ü" * 128}}, "user 'ann': name and password have at most 255 octets each (RFC 1929)"),
        (
            {"users": {"ann": "pw"}, "methods": ["none"]},
            "method 'none' contradicts configured users: leave one of them out",
        ),
        (
            {"users": {"ann": "pw"}, "methods": ["password", "none"]},
            "method 'none' contradicts configured users: leave one of them out",
        ),
        (
            {"users": {"ann": "pw"}, "methods": ["other"]},
            "users are configured, but no method asks for a password: add --method password",
        ),
        ({"methods": ["password"]}, "method 'password' needs users: add --user NAME:PASSWORD or --users FILE"),
        ({"users_file": "f", "methods": ["none"]}, "method 'none' contradicts configured users"),
        ({"users_file": "f", "methods": ["other"]}, "users are configured, but no method asks for a password"),
        (
            {"users_file": "f", "ident": True, "socks4_userid": True},
            "--ident asks for proof of a SOCKS4 user and --socks4-userid for none: leave one out",
        ),
        ({"socks4_userid": True}, "--socks4-userid needs users: add --users FILE or --user NAME:PASSWORD"),
        ({"ident_port": 0}, "the ident port is 0: 1 to 65535 are ports"),
        ({"ident_port": 65536}, "the ident port is 65536: 1 to 65535 are ports"),
        ({"methods": ["none", "none"]}, "a method is named twice"),
        ({"methods": ["gssapi"]}, "method 'gssapi' is not enabled: add --gssapi"),
        ({"methods": ["none"], "gssapi": GssapiSettings(enabled=True)}, "no method asks for it: add --method gssapi"),
        (
            {"listen": ["*:1080"]},
            "listening on 0.0.0.0:1080 without authentication would be an open proxy: "
            "add --user NAME:PASSWORD or --users FILE, or --open if you mean it",
        ),
        ({"listen": ["127.0.0.1:1", "[2001:db8::1]:2"]}, "listening on [2001:db8::1]:2 without authentication"),
        ({"advertise": ["example.com"]}, "cannot advertise 'example.com': write an IP address"),
        ({"advertise": ["192.0.2.1", "192.0.2.2"]}, "two addresses are advertised for IPv4"),
        ({"ports": "9-8"}, "9-8 is not a range of ports: write for example 40000-40999"),
        ({"listen": ["192.0.2.1:1"], "methods": ["other", "none"]}, "listening on 192.0.2.1:1 without authentication"),
    ],
)
def test_mistakes_have_their_message(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        ServerSettings(**fields)
    assert "\n" not in str(caught.value)


def test_passwords_are_asked_for_before_tickets() -> None:
    """Many clients offer GSSAPI unasked, and have no ticket."""
    kerberos = GssapiSettings(enabled=True)
    assert ServerSettings(gssapi=kerberos).effective_methods == ("gssapi",)
    assert ServerSettings(gssapi=kerberos, users={"ann": "pw"}).effective_methods == ("password", "gssapi")
    assert ServerSettings(gssapi=kerberos, listen=["*:1080"]).is_public  # no open proxy


def test_ways_in() -> None:
    settings = ServerSettings()
    assert (settings.advertised, settings.port_range) == ((), None)
    assert settings.bind == BindSettings(enabled=True, anyone=False)
    assert settings.limits.bind == 120
    entry = Advertised(ip_address("192.0.2.1"))
    settings = ServerSettings(advertise=["192.0.2.1", Advertised(ip_address("2001:db8::1"))], ports="5-7")
    assert settings.advertised == (entry, Advertised(ip_address("2001:db8::1")))
    assert settings.port_range == PortRange(5, 7)
    assert ServerSettings(ports=PortRange(5, 7)).port_range == PortRange(5, 7)


@pytest.mark.parametrize(
    "fields",
    [
        {"listen": ["*:1080"], "users": {"ann": "pw"}},
        {"listen": ["*:1080"], "open": True},
        {"listen": ["*:1080"], "methods": ["other"]},
        {"users": {"n" * 255: "p" * 255}},
        {"users": {"ann": "pw"}, "methods": ["other", "password"]},
        {"allow": [ip_network("10.0.0.0/8")], "deny": [ip_network("2001:db8::/32")]},
    ],
)
def test_what_fits_together(fields: dict[str, Any]) -> None:
    ServerSettings(**fields)


def test_users_bring_the_password_method() -> None:
    assert ServerSettings(users={"ann": "pw"}).effective_methods == ("password",)


def test_secrets_do_not_appear() -> None:
    settings = ServerSettings(users={"ann": "open sesame"})
    assert "sesame" not in repr(settings)
    with pytest.raises(ConfigError) as caught:
        ServerSettings(users={"ann": "sesame" * 50})
    assert "sesame" not in str(caught.value)


def test_settings_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ServerSettings().open = True  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Limits().idle = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Limits)])
@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_limits_are_more_than_nothing(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"^the limit {name} is {value}: it must be"):
        Limits(**{name: value})


def test_linger_is_what_the_rfc_allows() -> None:
    """S5-REQ-48."""
    assert Limits(linger=10).linger == 10
    with pytest.raises(ConfigError, match=r"^the limit linger is 10\.5: RFC 1928 allows at most 10 seconds$"):
        Limits(linger=10.5)


# --- datagrams ---


def test_udp_defaults_are_safe() -> None:
    udp = ServerSettings().udp
    assert udp == UdpSettings()
    assert (udp.enabled, udp.follow, udp.filtering, udp.reassemble) == (True, False, "address", True)


@pytest.mark.parametrize("filtering", ["endpoint-independent", "address", "address-and-port"])
def test_filterings(filtering: Any) -> None:
    assert UdpSettings(filtering=filtering).filtering == filtering


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"filtering": "cone"},
            "filtering: expected 'endpoint-independent', 'address' or 'address-and-port', found 'c",
        ),
        ({"idle": 0}, "udp idle is 0: it must be more than 0 seconds"),
        ({"idle": 1e9}, "udp idle is 1000000000.0"),
        ({"targets": 1}, "udp targets is 1: it must be at least 2"),
        ({"associations": 0}, "udp associations is 0: it must be at least 1"),
        ({"per_user": -1}, "udp per_user is -1: it must be at least 1"),
        ({"buffer": 100}, "udp buffer is 100: it must be at least 4096"),
        ({"buffer": 1 << 31}, "udp buffer is 2147483648: "),
    ],
)
def test_udp_mistakes(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        UdpSettings(**fields)


# --- what is no setting at all ---


TEXT: Any = "192.0.2.1"
TEXTS = "hosier.server.settings.ListenAddress or a text"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"listen": "127.0.0.1:1080"}, f"listen: expected a list, each item {TEXTS}, found str; write [...] around it"),
        ({"listen": ("127.0.0.1", 1080)}, f"listen, item 2: expected {TEXTS}, found int"),
        ({"listen": [("127.0.0.1", 1080)]}, f"listen, item 1: expected {TEXTS}, found tuple"),
        ({"listen": [ListenAddress("127.0.0.1", TEXT)]}, "listen, item 1, port: expected a whole number, found str"),
        (
            {"listen": [ListenAddress("localhost", 80)]},
            "cannot listen on localhost:80: a ListenAddress has an IP addre",
        ),
        ({"listen": [ListenAddress("::1", 65536)]}, "cannot listen on [::1]:65536: a ListenAddress has an IP address"),
        ({"users": {"ann": b"secret"}}, "users, 'ann': expected a text, found bytes"),
        ({"users": ["ann"]}, "users: expected a dict, each value a text, found list"),
        ({"users_file": 5}, "users_file: expected a path, a text or None, found int"),
        ({"ident": "yes"}, "ident: expected True or False, found str"),
        ({"ident_port": True}, "ident_port: expected a whole number, found bool"),
        ({"socks4_userid": 1}, "socks4_userid: expected True or False, found int"),
        ({"backoff": None}, "backoff: expected True or False, found None"),
        ({"methods": "none"}, "methods: expected a list, each item a text, found str; write [...] around it"),
        ({"open": 0}, "open: expected True or False, found int"),
        ({"allow": ["10.0.0.0/8"]}, "allow, item 1: expected a network of ipaddress.ip_network, found str"),
        ({"deny": "10.0.0.0/8"}, "deny: expected a list, each item a network of ipaddress.ip_network, found str"),
        ({"rules": [{"action": "deny"}]}, "rules, item 1: expected hosier.policy.rules.Rule, found dict"),
        ({"groups": {"staff": "ann"}}, "groups, 'staff': expected a list, each item a text, found str; write [...] ar"),
        ({"accounts": {"ann": {}}}, "accounts, 'ann': expected hosier.policy.accounts.Account, found dict"),
        ({"advertise": "192.0.2.1"}, "advertise: expected a list, each item hosier.server.advertise.Advertised or a t"),
        ({"advertise": [Advertised(TEXT)]}, "advertise, item 1, address: expected an address of ipaddress.ip_address"),
        ({"ports": (1, 2)}, "ports: expected hosier.engine.ports.PortRange, a text or None, found tuple"),
        ({"bind": True}, "bind: expected hosier.server.settings.BindSettings, found bool"),
        ({"gssapi": True}, "gssapi: expected hosier.server.gssapi.GssapiSettings, found bool"),
        ({"udp": {"idle": 5}}, "udp: expected hosier.server.settings.UdpSettings, found dict"),
        ({"limits": {"idle": 5}}, "limits: expected hosier.server.settings.Limits, found dict"),
        ({"caps": 5}, "caps: expected hosier.policy.limits.Caps, found int"),
        ({"budgets": {"slow": "1MB"}}, "budgets, 'slow': expected hosier.policy.budgets.Budget, found str"),
        ({"usage_file": b"usage"}, "usage_file: expected a path, a text or None, found bytes"),
        ({"engine": "kqueue"}, "engine: expected 'auto', 'epoll' or 'portable', found 'kqueue'"),
        ({"strict": "no"}, "strict: expected True or False, found str"),
    ],
)
def test_each_setting_has_a_type(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        ServerSettings(**fields)


def test_every_setting_is_among_those() -> None:
    (mark,) = test_each_setting_has_a_type.pytestmark
    tried = {name for fields, _ in mark.args[1] for name in fields}
    assert tried == {field.name for field in dataclasses.fields(ServerSettings)}


@pytest.mark.parametrize("table", [Limits, BindSettings, UdpSettings, GssapiSettings])
def test_so_have_those_of_tables(table: type) -> None:
    for field in dataclasses.fields(table):
        with pytest.raises(ConfigError, match=f"^{field.name}: expected .*, found object$"):
            table(**{field.name: object()})


# --- the engine ---


def test_engines_are_those_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ServerSettings().engine == "auto"
    assert ServerSettings(engine="epoll").engine == "epoll"
    monkeypatch.setattr("hosier.server.settings.ENGINES", ("auto", "portable"))
    assert ServerSettings(engine="portable").engine == "portable"
    with pytest.raises(ConfigError, match="there is no engine 'epoll' here; there are: auto, portable"):
        ServerSettings(engine="epoll")
