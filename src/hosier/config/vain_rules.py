"""Rules, or parts of them, that come to nothing on this server: no client could come so, or nothing could leave so."""

from collections.abc import Iterator
from functools import cache
from typing import Final

from ..policy.rules import Rule
from ..protocol.address import parse_address
from ..server.settings import ServerSettings
from ..server.terms import is_local
from .lines import KeyPath

__all__ = ("vain_rules",)

_BUILT_IN: Final = frozenset(("none", "password", "gssapi"))
"""Methods of which it is known how a client of theirs is called; a package may call its own as it likes."""


def vain_rules(settings: ServerSettings) -> Iterator[tuple[KeyPath, str]]:
    """What is in vain, by its key."""
    ways = _ways_in(settings)
    is_ours = cache(lambda address: is_local(parse_address(str(address), 0)))
    for index, rule in enumerate(settings.rules):
        if ways and not any(_holds_for(rule, *way) for way in ways):
            key = "methods" if rule.methods else "versions"
            yield ("rules", index, key), f"nobody comes like that: {_told(ways)}"
        elif set(rule.versions or ()) == {4} and set(rule.commands or ()) == {"associate"}:
            yield ("rules", index, "commands"), "SOCKS4 has no UDP: this never holds"
        for at, address in enumerate(rule.egress):
            if not is_ours(address):
                yield ("rules", index, "egress", at), f"{address} is no address of this machine: nothing leaves from it"


def _ways_in(settings: ServerSettings) -> list[tuple[int, str]]:
    """Versions, and how a client of them may have authenticated; none: who knows."""
    methods = settings.effective_methods
    if not _BUILT_IN.issuperset(methods):
        return []
    ways = [(5, method) for method in methods]
    if settings.ident:
        ways.append((4, "ident"))
    elif settings.socks4_userid:
        ways.append((4, "userid"))
    elif "none" in methods:
        ways.append((4, "none"))
    return ways


def _holds_for(rule: Rule, version: int, method: str) -> bool:
    return (not rule.versions or version in rule.versions) and (not rule.methods or method in rule.methods)


def _told(ways: list[tuple[int, str]]) -> str:
    return "there are " + ", ".join(f"SOCKS{version} with {method}" for version, method in ways)
