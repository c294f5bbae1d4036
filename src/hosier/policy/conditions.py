"""The conditions of a rule as questions that can be asked of facts.

One list for deciding and for explaining, so that what is told about a decision is what made it.
"""

from collections.abc import Callable, Iterable, Iterator
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Any, NamedTuple

from .facts import Facts
from .networks import Networks
from .rules import Rule
from .time_windows import moment

__all__ = ("Condition", "conditions_of", "host_of")

Resolve = Callable[[str], Iterable[str]]
"""Given a listener as a rule names it, the listeners of the server that are meant."""


class Condition(NamedTuple):
    """One key of a rule."""

    key: str
    holds: Callable[[Facts], bool]
    shown: Callable[[Facts], str]
    """What it is asked about, for people."""


def conditions_of(rule: Rule, listeners: Resolve) -> Iterator[Condition]:
    """Those that the rule has, the cheap ones first."""
    if rule.commands:
        yield _among("commands", rule.commands, lambda facts: facts.command)
    if rule.versions:
        yield _among("versions", rule.versions, lambda facts: facts.version)
    if rule.listeners:
        named = (name for text in rule.listeners for name in listeners(text))
        yield _among("listeners", named, lambda facts: facts.listener)
    if rule.methods:
        yield _among("methods", rule.methods, lambda facts: facts.method)
    if rule.users:
        yield _among("users", rule.users, lambda facts: facts.user)
    if rule.groups:
        groups = frozenset(rule.groups)
        yield Condition(
            "groups", lambda facts: not groups.isdisjoint(facts.groups), lambda facts: _listed(sorted(facts.groups))
        )
    if rule.spans:
        yield Condition("ports", _ports(rule), lambda facts: _shown(facts.port))
    if rule.windows:
        windows = rule.windows
        yield Condition(
            "times",
            lambda facts: any(window.holds(facts.minute) for window in windows),
            lambda facts: moment(facts.minute),
        )
    if rule.clients:
        clients = Networks(rule.clients)
        yield Condition(
            "clients", lambda facts: clients.find(facts.client) is not None, lambda facts: host_of(facts.client)
        )
    if rule.patterns:
        yield Condition("names", _names(rule), lambda facts: _shown(facts.name))
    if rule.networks:
        yield Condition("networks", _networks(rule), lambda facts: host_of(facts.address))


def _among(key: str, values: Iterable[Any], of: Callable[[Facts], Any]) -> Condition:
    wanted = frozenset(values)
    return Condition(key, lambda facts: of(facts) in wanted, lambda facts: _shown(of(facts)))


def _ports(rule: Rule) -> Callable[[Facts], bool]:
    if all(span.first == span.last for span in rule.spans):
        ports = frozenset(span.first for span in rule.spans)
        return lambda facts: facts.port in ports
    spans = rule.spans

    def within(facts: Facts) -> bool:
        port = facts.port
        return port is not None and any(first <= port <= last for first, last in spans)

    return within


def _names(rule: Rule) -> Callable[[Facts], bool]:
    patterns = rule.patterns

    def named(facts: Facts) -> bool:
        name = facts.name
        return name is not None and any(pattern.matches(name) for pattern in patterns)

    return named


def _networks(rule: Rule) -> Callable[[Facts], bool]:
    networks = Networks(rule.networks or ())

    def within(facts: Facts) -> bool:
        address = facts.address
        return address is not None and networks.find(address) is not None

    return within


def host_of(octets: bytes | None) -> str:
    """An address as text."""
    return "nothing" if octets is None else inet_ntop(AF_INET if len(octets) == 4 else AF_INET6, octets)


def _shown(value: object) -> str:
    return "nothing" if value is None else str(value)


def _listed(values: Iterable[str]) -> str:
    return ", ".join(values) or "no group"
