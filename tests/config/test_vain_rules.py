"""Rules that no client could ever meet are told, and all others are not."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from hosier.config.settings import ServeSettings
from hosier.config.vain_rules import vain_rules
from hosier.policy.rules import Rule
from hosier.server.gssapi import GssapiSettings

ANN = {"users": {"ann": "open sesame"}}
OPEN = "nobody comes like that: there are SOCKS5 with none, SOCKS4 with none"
GUARDED = "nobody comes like that: there are SOCKS5 with password"


def found(settings: dict[str, Any], **fields: Any) -> dict[tuple[str | int, ...], str]:
    rules = [Rule(action="deny", ports=[25]), Rule(action="allow", **fields)]
    return dict(vain_rules(ServeSettings(**settings, rules=rules)))


@pytest.mark.parametrize(
    ("settings", "fields", "key", "what"),
    [
        ({}, {"methods": ["password"]}, "methods", OPEN),
        ({}, {"methods": ["gssapi", "ident", "userid"]}, "methods", OPEN),
        (ANN, {"methods": ["none"]}, "methods", GUARDED),
        (ANN, {"versions": [4]}, "versions", GUARDED),
        ({}, {"versions": [4], "methods": ["password"]}, "methods", OPEN),
        (
            {**ANN, "socks4_userid": True},
            {"versions": [5], "methods": ["userid"]},
            "methods",
            GUARDED + ", SOCKS4 with userid",
        ),
        (
            {**ANN, "ident": True},
            {"versions": [4], "methods": ["password"]},
            "methods",
            GUARDED + ", SOCKS4 with ident",
        ),
        ({}, {"versions": [4], "commands": ["associate"]}, "commands", "SOCKS4 has no UDP: this never holds"),
    ],
)
def test_nobody_comes_like_that(settings: dict[str, Any], fields: dict[str, Any], key: str, what: str) -> None:
    assert found(settings, **fields) == {("rules", 1, key): what}


@pytest.mark.parametrize(
    ("settings", "fields"),
    [
        ({}, {}),
        ({}, {"versions": [4]}),
        ({}, {"versions": [4, 5], "commands": ["associate"]}),
        ({}, {"versions": [4], "commands": ["associate", "bind"]}),
        ({}, {"methods": ["password", "none"]}),
        (ANN, {"versions": [5], "methods": ["password"]}),
        ({**ANN, "socks4_userid": True}, {"versions": [4], "methods": ["userid"]}),
        ({**ANN, "ident": True}, {"methods": ["ident"]}),
        ({"gssapi": GssapiSettings(enabled=True)}, {"methods": ["gssapi"]}),
        ({"methods": ["none", "a-package's"]}, {"methods": ["password"]}),
    ],
)
def test_somebody_might(settings: dict[str, Any], fields: dict[str, Any]) -> None:
    assert found(settings, **fields) == {}


def test_addresses_that_are_not_ours() -> None:
    told = found({}, egress=[ip_address("127.0.0.9"), ip_address("2001:db8::9")])
    assert told == {("rules", 1, "egress", 1): "2001:db8::9 is no address of this machine: nothing leaves from it"}
    assert list(found({}, egress=[ip_address("192.0.2.9")])) == [("rules", 1, "egress", 0)]
