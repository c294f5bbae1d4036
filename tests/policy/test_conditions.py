"""Each condition of a rule, where it holds and where it does not."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from hosier.policy.conditions import Condition, conditions_of
from hosier.policy.facts import Facts
from hosier.policy.rules import Rule


def packed(host: str) -> bytes:
    return ip_address(host).packed


def only(**fields: Any) -> Condition:
    (condition,) = conditions_of(Rule(action="allow", **fields), lambda text: [text, f"{text} too"])
    return condition


@pytest.mark.parametrize(
    ("fields", "holds", "fails"),
    [
        ({"commands": ["connect", "bind"]}, [Facts(command="bind")], [Facts(command="associate")]),
        ({"versions": [4]}, [Facts(version=4)], [Facts(version=5)]),
        ({"listeners": ["a"]}, [Facts(listener="a"), Facts(listener="a too")], [Facts(listener="b")]),
        ({"methods": ["password"]}, [Facts(method="password")], [Facts(method="none")]),
        ({"users": ["ann"]}, [Facts(user="ann")], [Facts(user="Ann"), Facts()]),
        ({"groups": ["x"]}, [Facts(groups=frozenset("xy"))], [Facts(groups=frozenset("y")), Facts()]),
        ({"ports": [80, 443]}, [Facts(port=80), Facts(port=443)], [Facts(port=81), Facts()]),
        ({"ports": ["80-90", 1]}, [Facts(port=80), Facts(port=90), Facts(port=1)], [Facts(port=91), Facts()]),
        ({"times": ["mon 00:00-00:10"]}, [Facts(minute=9)], [Facts(minute=10)]),
        (
            {"clients": [ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")]},
            [Facts(client=packed("192.0.2.9")), Facts(client=packed("2001:db8::1"))],
            [Facts(client=packed("192.0.3.9")), Facts(client=packed("2001:db9::1"))],
        ),
        ({"names": [".example"]}, [Facts(name="a.example")], [Facts(name="a.example.com"), Facts()]),
        (
            {"networks": [ip_network("192.0.2.0/24")]},
            [Facts(address=packed("192.0.2.9"))],
            [Facts(address=packed("192.0.3.9")), Facts(address=packed("::1")), Facts()],
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_both_ways(fields: dict[str, Any], holds: list[Facts], fails: list[Facts]) -> None:
    condition = only(**fields)
    assert [condition.key] == list(fields)
    assert all(condition.holds(facts) for facts in holds)
    assert not any(condition.holds(facts) for facts in fails)
    assert all(condition.shown(facts) for facts in (*holds, *fails))


def test_no_conditions() -> None:
    assert list(conditions_of(Rule(action="deny"), lambda text: [text])) == []


def test_what_is_shown() -> None:
    assert only(groups=["x"]).shown(Facts(groups=frozenset("ba"))) == "a, b"
    assert only(users=["x"]).shown(Facts()) == "nothing"
    assert only(networks=[ip_network("::/0")]).shown(Facts(address=packed("::1"))) == "::1"
    assert only(times=["mon"]).shown(Facts(minute=24 * 60 + 61)) == "tue 01:01"
    assert only(clients=[ip_network("::/0")]).shown(Facts(client=packed("192.0.2.1"))) == "192.0.2.1"
