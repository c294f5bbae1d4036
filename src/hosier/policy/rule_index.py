"""Finds the first rule that holds without asking all of them.

Each rule stands in one place: under that of its conditions which tells it best from the others. Facts lead to a few
places, in each of which the rules keep their order; the lowest number that holds is the first one that holds. Rules
without such a condition are asked one by one.
"""

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence
from sys import maxsize
from typing import Final

from .conditions import Condition
from .facts import Facts
from .rules import Network, Rule, Verdict

__all__ = ("NumberedRule", "RuleIndex", "network_key")

MOST_KEYS: Final = 1024
"""Keys under which one rule stands; with more it is asked for by another condition."""


class NumberedRule:
    """A rule that is ready to be asked."""

    __slots__ = ("conditions", "number", "questions", "rule", "verdict")

    def __init__(self, number: int, rule: Rule, conditions: Sequence[Condition], verdict: Verdict) -> None:
        self.number = number
        """Its place in the list, from 1."""
        self.rule = rule
        self.conditions = conditions
        self.questions = tuple(condition.holds for condition in conditions)
        self.verdict = verdict

    def holds(self, facts: Facts) -> bool:
        for question in self.questions:  # all() of a generator costs more than the questions
            if not question(facts):
                break
        else:
            return True
        return False


class _Dimension:
    """One kind of condition as an index: the places that its keys name, and which of them facts lead to."""

    key = ""
    """The condition."""

    def __init__(self) -> None:
        self.places: dict[Hashable, list[NumberedRule]] = {}

    @staticmethod
    def keys(rule: Rule) -> Collection[Hashable]:
        """Where a rule stands: if it holds, facts lead to one of them. Empty: it cannot be found this way."""
        raise NotImplementedError

    def add(self, key: Hashable, one: NumberedRule) -> None:
        self.places.setdefault(key, []).append(one)

    def look(self, facts: Facts) -> Iterable[list[NumberedRule]]:
        """The places where rules may stand that hold."""
        raise NotImplementedError


class RuleIndex:
    """``first(facts)`` among rules that come in the order of their numbers.

    ``unknown``: conditions by which none may be found, since the facts for them are not there yet.
    """

    def __init__(self, rules: Sequence[NumberedRule], *, unknown: Collection[str] = ()) -> None:
        dimensions = [kind() for kind in _DIMENSIONS if kind.key not in unknown]
        keys = [[dimension.keys(one.rule) for one in rules] for dimension in dimensions]
        counts = [Counter(key for each in column for key in each) for column in keys]
        self._others: list[NumberedRule] = []
        for row, one in enumerate(rules):
            crowds = [
                (max(count[key] for key in column[row]), at)
                for at, (column, count) in enumerate(zip(keys, counts, strict=True))
                if 0 < len(column[row]) <= MOST_KEYS
            ]
            if not crowds:
                self._others.append(one)
                continue
            _, at = min(crowds)
            for key in keys[at][row]:
                dimensions[at].add(key, one)
        self._looks = [dimension.look for dimension in dimensions if dimension.places]

    def first(self, facts: Facts) -> NumberedRule | None:
        """The rule with the lowest number among those that hold; None: none does."""
        best: NumberedRule | None = None
        before = maxsize
        for one in self._others:
            if one.holds(facts):
                best, before = one, one.number
                break
        for look in self._looks:
            for place in look(facts):
                for one in place:
                    if one.number >= before:
                        break
                    if one.holds(facts):
                        best, before = one, one.number
                        break
        return best


class _Users(_Dimension):
    key = "users"

    @staticmethod
    def keys(rule: Rule) -> Collection[Hashable]:
        return set(rule.users or ())

    def look(self, facts: Facts) -> Iterable[list[NumberedRule]]:
        found = self.places.get(facts.user)
        return () if found is None else (found,)


class _Groups(_Dimension):
    key = "groups"

    @staticmethod
    def keys(rule: Rule) -> Collection[Hashable]:
        return set(rule.groups or ())

    def look(self, facts: Facts) -> Iterable[list[NumberedRule]]:
        return [self.places[group] for group in facts.groups if group in self.places]


class _Ports(_Dimension):
    key = "ports"

    @staticmethod
    def keys(rule: Rule) -> Collection[Hashable]:
        if sum(last - first for first, last in rule.spans) > MOST_KEYS:
            return ()
        return {port for first, last in rule.spans for port in range(first, last + 1)}

    def look(self, facts: Facts) -> Iterable[list[NumberedRule]]:
        found = self.places.get(facts.port)
        return () if found is None else (found,)


class _Names(_Dimension):
    """Keys are names, and domains with a dot before them."""

    key = "names"

    @staticmethod
    def keys(rule: Rule) -> Collection[Hashable]:
        keys = {pattern.key for pattern in rule.patterns}
        return () if None in keys else keys

    def look(self, facts: Facts) -> Iterable[list[NumberedRule]]:
        name, places = facts.name, self.places
        if name is None:
            return ()
        found = [places[name]] if name in places else []
        domain = f".{name}"
        while domain:
            if domain in places:
                found.append(places[domain])
            _, dot, rest = domain[1:].partition(".")
            domain = dot + rest
        return found


class _Networks(_Dimension):
    """Keys are the octets of an address, the bits that may differ in a network, and the others as a number."""

    def __init__(self) -> None:
        super().__init__()
        self._sizes: dict[int, list[int]] = {4: [], 16: []}

    def add(self, key: Hashable, one: NumberedRule) -> None:
        assert isinstance(key, tuple)  # one of ours
        size, rest, _ = key
        if rest not in self._sizes[size]:
            self._sizes[size].append(rest)
        super().add(key, one)

    def holding(self, octets: bytes) -> list[list[NumberedRule]]:
        """The places of the networks that hold an address."""
        size, value, places = len(octets), int.from_bytes(octets, "big"), self.places
        return [places[key] for rest in self._sizes[size] if (key := (size, rest, value >> rest)) in places]


class _Clients(_Networks):
    key = "clients"

    @staticmethod
    def keys(rule: Rule) -> Collection[Hashable]:
        return set(map(network_key, rule.clients or ()))

    def look(self, facts: Facts) -> Iterable[list[NumberedRule]]:
        return self.holding(facts.client)


class _Targets(_Networks):
    key = "networks"

    @staticmethod
    def keys(rule: Rule) -> Collection[Hashable]:
        return set(map(network_key, rule.networks or ()))

    def look(self, facts: Facts) -> Iterable[list[NumberedRule]]:
        return () if facts.address is None else self.holding(facts.address)


def network_key(network: Network) -> tuple[int, int, int]:
    """Octets of its addresses, bits that may differ in them, and the others as a number."""
    rest = network.max_prefixlen - network.prefixlen
    return network.max_prefixlen // 8, rest, int(network.network_address) >> rest


_DIMENSIONS: Final[tuple[type[_Dimension], ...]] = (_Users, _Groups, _Ports, _Names, _Clients, _Targets)
