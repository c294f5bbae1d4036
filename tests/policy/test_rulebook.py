"""The first rule whose conditions hold decides; what can be said before a name is looked up."""

from __future__ import annotations

from dataclasses import fields, replace
from ipaddress import ip_address, ip_network
from typing import Any

from hosier.policy.facts import Facts
from hosier.policy.rulebook import Rulebook, label_of
from hosier.policy.rules import Rule

INSIDE = ip_address("10.1.2.3").packed
OUTSIDE = ip_address("192.0.2.1").packed
TEN = ip_network("10.0.0.0/8")


def book(*rules: Rule, otherwise: bool = False, **groups: list[str]) -> Rulebook:
    return Rulebook(rules, groups, otherwise=otherwise)


def test_the_first_decides() -> None:
    rules = book(
        Rule(action="deny", name="not eve", users=["eve"]),
        Rule(action="allow", ports=[443]),
        Rule(action="deny"),
        Rule(action="allow"),
    )
    assert len(rules) == 4
    assert rules.decide(Facts(user="eve", port=443))[:2] == (False, "rule 1 (not eve)")
    assert rules.decide(Facts(user="ann", port=443))[:2] == (True, "rule 2")
    assert rules.decide(Facts(user="ann", port=80))[:2] == (False, "rule 3")


def test_where_no_rule_holds() -> None:
    for otherwise in (True, False):
        verdict = book(Rule(action="deny", users=["eve"]), otherwise=otherwise).decide(Facts())
        assert (verdict.allowed, verdict.rule) == (otherwise, "")


def test_every_fact_counts() -> None:
    """Whichever is another one, the verdict is another one."""
    wanted = Facts(
        "here:1", INSIDE, "ann", frozenset(("staff",)), 5, "password", "connect", "a.example", INSIDE, 443, 7
    )
    rules = book(
        Rule(
            action="allow",
            listeners=["here:1"],
            clients=[TEN],
            users=["ann"],
            groups=["staff"],
            versions=[5],
            methods=["password"],
            commands=["connect"],
            names=["a.example"],
            networks=[TEN],
            ports=[443],
            times=["mon 00:07-00:08"],
        )
    )
    others: dict[str, Any] = {
        "listener": "there:1",
        "client": OUTSIDE,
        "user": "eve",
        "groups": frozenset(),
        "version": 4,
        "method": "none",
        "command": "bind",
        "name": "b.example",
        "address": OUTSIDE,
        "port": 80,
        "minute": 8,
    }
    assert others.keys() == {field.name for field in fields(Facts)}
    assert rules.decide(wanted).allowed
    for name, value in others.items():
        assert not rules.decide(replace(wanted, **{name: value})).allowed, name


def test_clients_that_no_rule_tells_apart_are_of_one_kind() -> None:
    networks = [TEN, ip_network("10.1.0.0/16"), ip_network("2001:db8::/32")]
    rules = book(Rule(action="allow", clients=networks[:2]), Rule(action="deny", clients=networks[2:]))
    kinds = {
        host: rules.kind_of(ip_address(host).packed)
        for host in ("10.1.0.1", "10.1.9.9", "10.2.0.1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db9::1")
    }
    assert kinds["10.1.0.1"] == kinds["10.1.9.9"]
    assert kinds["192.0.2.1"] == kinds["192.0.2.2"] == kinds["2001:db9::1"] == ()
    assert len(set(kinds.values())) == 4


def test_groups() -> None:
    rules = book(Rule(action="allow", groups=["staff"]), staff=["ann", "bob"], night=["bob"])
    assert rules.groups_of("bob") == {"staff", "night"}
    assert rules.groups_of("eve") == rules.groups_of(None) == frozenset()


def test_before_the_address_is_known() -> None:
    """Denied is what no address could open; a rule that may open one counts only where it comes first and where
    its other conditions hold."""
    opening = Rule(action="allow", networks=[TEN], users=["ann"])
    named = Rule(action="deny", names=[".example"])
    rest = Rule(action="allow")
    evil = Facts(name="a.example")
    assert not book(named, opening, rest).foresee(Facts(name="a.example", user="ann")).allowed
    assert book(opening, named, rest).foresee(Facts(name="a.example", user="ann")).rule == "rule 1"
    assert not book(opening, named, rest).foresee(evil).allowed
    assert book(opening, named, rest).foresee(Facts(name="b.test")).rule == "rule 3"
    assert not book(opening).foresee(evil).allowed
    assert book(opening).foresee(Facts(user="ann", name="a.example")).allowed
    assert book(Rule(action="deny", networks=[TEN]), otherwise=True).foresee(evil).allowed


def test_what_is_foreseen_as_denied_is_denied_for_every_address() -> None:
    rules = book(
        Rule(action="allow", networks=[TEN], ports=[1]), Rule(action="deny", names=["x"]), Rule(action="allow")
    )
    facts = Facts(name="x", port=2)
    assert not rules.foresee(facts).allowed
    for address in (INSIDE, OUTSIDE):
        assert not rules.decide(Facts(name="x", port=2, address=address)).allowed


def test_times() -> None:
    assert book(Rule(action="deny")).next_change(0) is None
    assert not book(Rule(action="deny")).has_times
    rules = book(Rule(action="deny", times=["mon 00:00-01:00"]), otherwise=True)
    assert rules.has_times
    assert rules.next_change(0) == 60
    assert not rules.decide(Facts(minute=59)).allowed
    assert rules.decide(Facts(minute=60)).allowed


def test_whether_names_matter() -> None:
    assert book(Rule(action="deny", names=["a"])).has_names
    assert not book(Rule(action="deny")).has_names


def test_steps() -> None:
    rules = book(
        Rule(action="deny", name="mail", ports=[25]),
        Rule(action="allow", users=["ann"], ports=[80]),
        Rule(action="deny"),
    )
    assert [tuple(step) for step in rules.steps(Facts(user="ann", port=80))] == [
        ("rule 1 (mail)", False, "ports: not 80"),
        ("rule 2", True, "users, ports"),
    ]
    assert [step.why for step in rules.steps(Facts(port=81))] == ["ports: not 81", "users: not nothing", ""]
    assert [step.holds for step in book(Rule(action="deny", users=["x"])).steps(Facts())] == [False]


def test_labels() -> None:
    assert label_of(3, Rule(action="deny")) == "rule 3"
    assert label_of(3, Rule(action="deny", name="x")) == "rule 3 (x)"


def test_before_any_target_is_known() -> None:
    """An association may be opened if one datagram might be allowed."""
    rest = Rule(action="deny")
    for opening in (
        Rule(action="allow", ports=[53]),
        Rule(action="allow", names=[".example"]),
        Rule(action="allow", networks=[TEN]),
    ):
        assert book(opening, rest).foresee_any(Facts(command="associate")).allowed
        assert not book(rest, opening).foresee_any(Facts(command="associate")).allowed
        assert not book(rest, opening).foresee(Facts(port=53)).allowed
    only_ann = Rule(action="allow", ports=[53], users=["ann"])
    assert not book(only_ann).foresee_any(Facts()).allowed
    assert book(only_ann).foresee_any(Facts(user="ann")).allowed
    assert book(Rule(action="deny", ports=[25]), otherwise=True).foresee_any(Facts()).allowed


def test_which_rule_it_will_be() -> None:
    """It is settled if no other rule could let a datagram pass, whatever is denied."""
    dns, mail, rest = Rule(action="allow", ports=[53]), Rule(action="deny", ports=[25]), Rule(action="allow")
    assert book(rest, dns).is_settled(Facts())
    assert book(mail, rest).is_settled(Facts())
    assert book(mail).is_settled(Facts())
    assert not book(dns, rest).is_settled(Facts())
    assert not book(dns).is_settled(Facts())
