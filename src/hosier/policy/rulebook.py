"""All rules together: the first whose conditions hold decides.

A name is judged twice: before it is looked up, so that nobody is asked about what is forbidden anyway, and then each
address that it stands for.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from .conditions import Resolve, conditions_of
from .facts import Facts
from .rule_index import NumberedRule, RuleIndex, network_key
from .rules import Rule, Verdict
from .time_windows import next_change

__all__ = ("Rulebook", "Asked")

NO_RULE_ALLOWS: Final = Verdict(allowed=True, rule="")
NO_RULE_DENIES: Final = Verdict(allowed=False, rule="")


class Asked(NamedTuple):
    """One rule on the way to a decision."""

    label: str
    holds: bool
    why: str
    """The condition that does not hold, and for what; or the keys of all those that do."""


class Rulebook:
    """The rules of a server.

    Args:
        rules: in the order in which they are asked.
        groups: users by the name of their group.
        listeners: the server's listeners that are meant by one that a rule names.
        otherwise: whether what no rule holds for is allowed.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        groups: Mapping[str, Iterable[str]],
        *,
        listeners: Resolve = lambda text: (text,),
        otherwise: bool = False,
    ) -> None:
        self._rules = [
            NumberedRule(number, rule, tuple(conditions_of(rule, listeners)), rule.verdict(label_of(number, rule)))
            for number, rule in enumerate(rules, 1)
        ]
        self._otherwise = NO_RULE_ALLOWS if otherwise else NO_RULE_DENIES
        self._groups: dict[str, frozenset[str]] = {}
        for group, users in groups.items():
            for user in users:
                self._groups[user] = self._groups.get(user, frozenset()) | {group}
        self._all = RuleIndex(self._rules)
        self._without_address = _Foresight(self._rules, _OF_ADDRESS)
        self._without_target = _Foresight(self._rules, _OF_TARGET)
        self._windows = [window for rule in rules for window in rule.windows]
        self.has_times = bool(self._windows)
        """Whether any rule asks for the time."""
        self._clients = frozenset(network_key(network) for rule in rules for network in rule.clients or ())
        self._client_sizes = sorted({(size, rest) for size, rest, _ in self._clients})
        self.has_names = any(rule.patterns for rule in rules)
        """Whether any rule asks for a name."""

    def __len__(self) -> int:
        return len(self._rules)

    def groups_of(self, user: str | None) -> frozenset[str]:
        return _NO_GROUPS if user is None else self._groups.get(user, _NO_GROUPS)

    def kind_of(self, client: bytes) -> tuple[tuple[int, int, int], ...]:
        """All that the rules can tell of a client's address, 4 or 16 octets: clients of one kind are one to them."""
        value, octets = int.from_bytes(client, "big"), len(client)
        keys = ((size, rest, value >> rest) for size, rest in self._client_sizes if size == octets)
        return tuple(key for key in keys if key in self._clients)

    def decide(self, facts: Facts) -> Verdict:
        """The verdict. All facts must be known that there are."""
        found = self._all.first(facts)
        return self._otherwise if found is None else found.verdict

    def foresee(self, facts: Facts) -> Verdict:
        """The verdict before the address is known; it allows if one address might be allowed."""
        return self._without_address.verdict(facts) or self._otherwise

    def foresee_any(self, facts: Facts) -> Verdict:
        """The verdict before any target is known; it allows if one target might be allowed."""
        return self._without_target.verdict(facts) or self._otherwise

    def is_settled(self, facts: Facts) -> bool:
        """Whether ``foresee_any`` names the rule by which every target passes that does."""
        return self._without_target.is_settled(facts)

    def next_change(self, minute: int) -> int | None:
        """Minutes from a minute of the week until the times of a rule begin or end; None: no rule has any."""
        return next_change(self._windows, minute)

    def steps(self, facts: Facts) -> Iterator[Asked]:
        """Each rule that is asked, up to the one that decides."""
        for one in self._rules:
            wrong = next((condition for condition in one.conditions if not condition.holds(facts)), None)
            if wrong is not None:
                yield Asked(one.verdict.rule, holds=False, why=f"{wrong.key}: not {wrong.shown(facts)}")
                continue
            yield Asked(one.verdict.rule, holds=True, why=", ".join(condition.key for condition in one.conditions))
            return


class _Foresight:
    """What can be said while the facts for some conditions are unknown."""

    def __init__(self, rules: Sequence[NumberedRule], unknown: frozenset[str]) -> None:
        sure, open_ = [], []
        for one in rules:
            known = [condition for condition in one.conditions if condition.key not in unknown]
            if len(known) == len(one.conditions):
                sure.append(one)
            elif one.verdict.allowed:
                open_.append(NumberedRule(one.number, one.rule, known, one.verdict))
        self._sure = RuleIndex(sure, unknown=unknown)
        self._open = RuleIndex(open_, unknown=unknown)

    def verdict(self, facts: Facts) -> Verdict | None:
        """That of the first rule which holds whatever is unknown, or of one before it that allows and might hold."""
        sure, might = self._sure.first(facts), self._open.first(facts)
        if might is not None and (sure is None or might.number < sure.number):
            return might.verdict
        return None if sure is None else sure.verdict

    def is_settled(self, facts: Facts) -> bool:
        """Whether no rule that allows and might hold stands before the first that holds whatever is unknown."""
        sure, might = self._sure.first(facts), self._open.first(facts)
        return might is None or (sure is not None and sure.number < might.number)


_NO_GROUPS: Final[frozenset[str]] = frozenset()
_OF_ADDRESS: Final = frozenset(("networks",))
_OF_TARGET: Final = frozenset(("names", "networks", "ports"))


def label_of(number: int, rule: Rule) -> str:
    """What a rule is called."""
    return f"rule {number} ({rule.name})" if rule.name else f"rule {number}"
