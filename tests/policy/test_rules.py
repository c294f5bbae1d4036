"""A rule as it is written: what it takes, what it refuses, and what it then says."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from hosier.errors import ConfigError, ReplyCode
from hosier.policy.rules import CONDITIONS, REPLIES, PortSpan, Rule
from hosier.policy.targets import PROTECTED
from hosier.protocol.address import IPV4, IPV6, parse_address


def test_what_is_written_is_read() -> None:
    rule = Rule(action="allow", names=["*.example.com"], ports=[443, "8000-8999", "80"], times=["mon-tue"])
    assert [pattern.key for pattern in rule.patterns] == [".example.com"]
    assert rule.spans == (PortSpan(443, 443), PortSpan(8000, 8999), PortSpan(80, 80))
    assert len(rule.windows) == 2
    assert rule == Rule(action="allow", names=["*.example.com"], ports=[443, "8000-8999", "80"], times=["mon-tue"])


@pytest.mark.parametrize("port", [0, 65536, -1, "x", "", "-", "1-", "-1", "9-8", "1-65536", "1-2-3", "123456"])
def test_no_ports(port: int | str) -> None:
    with pytest.raises(ConfigError, match="are no ports: write 443"):
        Rule(action="allow", ports=[port])


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"action": "drop"}, "action: expected 'allow' or 'deny', found 'drop'"),
        ({"action": "allow", "reply": "host-unreachable"}, "a reply goes with the action deny"),
        ({"action": "deny", "egress": [ip_address("192.0.2.1")]}, "egress and budgets go with the action allow"),
        ({"action": "deny", "budgets": ["slow"]}, "egress and budgets go with the action allow"),
        ({"action": "deny", "reply": "go-away"}, "reply: expected 'general-failure', .* or None, found 'go-away'"),
        (
            {"action": "deny", "commands": ["conect"]},
            "commands, item 1: expected 'connect', 'bind' or 'associate', found",
        ),
        ({"action": "deny", "ports": 443}, r"ports: .*, found int; write \[...\] around it"),
        ({"action": "deny", "ports": [25], "commands": ["bind", "connect"]}, "the peer of a BIND has no port"),
        ({"action": "allow", "egress": [ip_address("192.0.2.1"), ip_address("192.0.2.2")]}, "of one family"),
        ({"action": "allow", "egress": [ip_address("0.0.0.0")]}, "an unspecified address is none to leave from"),
        ({"action": "allow", "names": ["10.0.0.1"]}, "is an address: write it under networks"),
        ({"action": "allow", "times": ["8-18"]}, "is no time of the week"),
        *(
            ({"action": "allow", key: empty}, f"{key} is empty, so that the rule could never hold")
            for key in CONDITIONS
            for empty in (list[str](), ())
        ),
    ],
)
def test_what_could_mean_nothing_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Rule(**fields)


def test_what_it_says() -> None:
    allow = Rule(
        action="allow",
        egress=[ip_address("192.0.2.1"), ip_address("2001:db8::1")],
        budgets=["slow", "small"],
        log_level="silent",
    ).verdict("rule 1")
    assert allow.allowed
    assert allow.rule == "rule 1"
    assert allow.egress == {IPV4: parse_address("192.0.2.1", 0), IPV6: parse_address("2001:db8::1", 0)}
    assert allow.budgets == ("slow", "small")
    assert allow.log_level == "silent"
    deny = Rule(action="deny").verdict("rule 2")
    assert not deny.allowed
    assert deny.reply is ReplyCode.NOT_ALLOWED


def test_all_replies_of_the_rfc() -> None:
    assert list(REPLIES.values()) == list(range(1, 9))
    for word, code in REPLIES.items():
        assert Rule(action="deny", reply=word).verdict("").reply == code  # type: ignore[arg-type]


def test_what_it_opens() -> None:
    """A protected network, or a part of it, that is named; nothing wider, however it is written."""
    named = [ip_network("10.1.0.0/16"), ip_network("fd00::/8"), ip_network("203.0.113.0/24")]
    opened = Rule(action="allow", networks=named).verdict("").opened
    assert opened.find(ip_address("10.1.2.3").packed)
    assert opened.find(ip_address("fd00:ec2::254").packed)
    assert not opened.find(ip_address("10.2.0.1").packed)
    assert not opened.find(ip_address("203.0.113.1").packed)
    for wide in ("0.0.0.0/0", "::/0", "192.0.0.0/8", "0.0.0.0/1"):
        everything = Rule(action="allow", networks=[ip_network(wide)]).verdict("").opened
        assert not any(everything.find(network[0].packed) for network, _ in PROTECTED)
    for network, _ in PROTECTED:
        assert Rule(action="allow", networks=[network]).verdict("").opened.find(network[-1].packed)
