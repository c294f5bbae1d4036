"""The index finds just what asking all rules one by one finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosier.policy.conditions import conditions_of
from hosier.policy.facts import Facts
from hosier.policy.rule_index import MOST_KEYS, NumberedRule, RuleIndex, _Dimension
from hosier.policy.rules import Rule

steady = settings(derandomize=True, database=None, deadline=None, max_examples=300)

USERS = ("ann", "bob", "eve")
NAMES = ("a.example", "b.a.example", "example", "other.test")
NETWORKS = tuple(map(ip_network, ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "0.0.0.0/0", "2001:db8::/32", "::/0")))
ADDRESSES = tuple(ip_address(host).packed for host in ("10.1.2.3", "10.2.0.1", "192.0.2.1", "2001:db8::1", "::5"))


def some(*values: object) -> st.SearchStrategy[list[object] | None]:
    return st.one_of(st.none(), st.lists(st.sampled_from(values), min_size=1, max_size=2))


RULES = st.builds(
    lambda **fields: Rule(action="allow", **fields),
    users=some(*USERS),
    groups=some("x", "y"),
    versions=some(4, 5),
    names=some("a.example", ".example", "*.a.example", "*a*", ".test"),
    networks=some(*NETWORKS),
    clients=some(*NETWORKS),
    ports=some(80, "80-90", "1-9000", 443),
)
FACTS = st.builds(
    Facts,
    user=st.sampled_from((*USERS, None)),
    groups=st.frozensets(st.sampled_from("xy")),
    version=st.sampled_from((4, 5)),
    name=st.sampled_from((*NAMES, None)),
    address=st.sampled_from((*ADDRESSES, None)),
    client=st.sampled_from(ADDRESSES),
    port=st.sampled_from((80, 85, 443, 9, None)),
)


def numbered(rules: Sequence[Rule]) -> list[NumberedRule]:
    return [
        NumberedRule(number, rule, tuple(conditions_of(rule, lambda text: [text])), rule.verdict(str(number)))
        for number, rule in enumerate(rules, 1)
    ]


def one_by_one(rules: Sequence[NumberedRule], facts: Facts) -> NumberedRule | None:
    return next((one for one in rules if one.holds(facts)), None)


@steady
@given(st.lists(RULES, max_size=12), st.lists(FACTS, min_size=1, max_size=4))
def test_the_first_that_holds(rules: list[Rule], facts: list[Facts]) -> None:
    all_rules = numbered(rules)
    index = RuleIndex(all_rules)
    for each in facts:
        assert index.first(each) is one_by_one(all_rules, each)


@steady
@given(st.lists(RULES, max_size=12), FACTS)
def test_the_same_where_no_address_is_known(rules: list[Rule], facts: Facts) -> None:
    """For rules that have no condition on it."""
    all_rules = numbered([replace(rule, networks=None) for rule in rules])
    unknown = replace(facts, address=None)
    assert RuleIndex(all_rules, unknown={"networks"}).first(unknown) is one_by_one(all_rules, unknown)


@pytest.mark.parametrize(
    "vary",
    [
        lambda n: {"users": [f"u{n}"]},
        lambda n: {"groups": [f"g{n}"]},
        lambda n: {"names": [f"{n}.example"], "users": ["ann"]},
        lambda n: {"names": [f".{n}.example"]},
        lambda n: {"networks": [ip_network((n, 32))], "ports": [443]},
        lambda n: {"clients": [ip_network((n, 32))], "users": ["ann"]},
        lambda n: {"ports": [n + 1], "users": ["ann"]},
    ],
)
def test_few_of_many_are_asked(vary: object) -> None:
    """By whatever condition tells them apart, even if others are the same in all."""
    rules = numbered([Rule(action="allow", **vary(n)) for n in range(2000)])  # type: ignore[operator]
    asked = []
    for one in rules:
        one.questions = ((lambda number: lambda _: asked.append(number) or False)(one.number),)  # type: ignore[func-returns-value]
    facts = Facts(
        user="u7",
        groups=frozenset({"g7"}),
        name="7.example",
        address=bytes((0, 0, 0, 7)),
        client=bytes((0, 0, 0, 7)),
        port=8,
    )
    for user in ("u7", "ann"):
        RuleIndex(rules).first(replace(facts, user=user))
    assert set(asked) == {8}


def test_a_rule_with_too_many_keys_is_found_by_another() -> None:
    many = [f"u{n}" for n in range(MOST_KEYS + 1)]
    rules = numbered([Rule(action="allow", users=many, ports=[1]), Rule(action="allow", users=many)])
    index = RuleIndex(rules)
    assert index.first(Facts(user="u5", port=1)) is rules[0]
    assert index.first(Facts(user="u5", port=2)) is rules[1]
    assert index.first(Facts(user="eve", port=2)) is None


def test_a_dimension_says_how() -> None:
    with pytest.raises(NotImplementedError):
        _Dimension.keys(Rule(action="allow"))
    with pytest.raises(NotImplementedError):
        _Dimension().look(Facts())
