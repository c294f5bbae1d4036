"""All rules together: the first whose conditions hold decides.

A name is judged twice: before it is looked up, so that nobody is asked about what is forbidden anyway, and then each
address that it stands for.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from .conditions import Resolve, conditions_of
from .facts import Facts
from .rule_index import NumberedRule, RuleIndex
from .rules import Rule, Verdict
from .time_windows import next_change

__all__ = ("Rulebook", "Step")

NO_RULE_ALLOWS: Final = Verdict(allowed=True, rule="")
NO_RULE_DENIES: Final = Verdict(allowed=False, rule="")


class Step(NamedTuple):
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
        self._of_no_address = RuleIndex([one for one in self._rules if not one.rule.networks])
        self._openings = RuleIndex(
            [_whatever_the_address(one) for one in self._rules if one.rule.networks and one.verdict.allowed],
            by_address=False,
        )
        self._windows = [window for rule in rules for window in rule.windows]
        self.has_times = bool(self._windows)
        """Whether any rule asks for the time."""
        self.has_names = any(rule.patterns for rule in rules)
        """Whether any rule asks for a name."""

    def __len__(self) -> int:
        return len(self._rules)

    def groups_of(self, user: str | None) -> frozenset[str]:
        return _NO_GROUPS if user is None else self._groups.get(user, _NO_GROUPS)

    def decide(self, facts: Facts) -> Verdict:
        """The verdict. All facts must be known that there are."""
        found = self._all.first(facts)
        return self._otherwise if found is None else found.verdict

    def foresee(self, facts: Facts) -> Verdict:
        """The verdict before the address is known; it allows if one address might be allowed."""
        found = self._of_no_address.first(facts)
        verdict = self._otherwise if found is None else found.verdict
        opening = self._openings.first(facts)
        if opening is not None and (found is None or opening.number < found.number):
            return opening.verdict
        return verdict

    def next_change(self, minute: int) -> int | None:
        """Minutes from a minute of the week until the times of a rule begin or end; None: no rule has any."""
        return next_change(self._windows, minute)

    def steps(self, facts: Facts) -> Iterator[Step]:
        """Each rule that is asked, up to the one that decides."""
        for one in self._rules:
            wrong = next((condition for condition in one.conditions if not condition.holds(facts)), None)
            if wrong is not None:
                yield Step(one.verdict.rule, holds=False, why=f"{wrong.key}: not {wrong.shown(facts)}")
                continue
            yield Step(one.verdict.rule, holds=True, why=", ".join(condition.key for condition in one.conditions))
            return


_NO_GROUPS: Final[frozenset[str]] = frozenset()


def label_of(number: int, rule: Rule) -> str:
    """What a rule is called."""
    return f"rule {number} ({rule.name})" if rule.name else f"rule {number}"


def _whatever_the_address(one: NumberedRule) -> NumberedRule:
    others = [condition for condition in one.conditions if condition.key != "networks"]
    return NumberedRule(one.number, one.rule, others, one.verdict)
