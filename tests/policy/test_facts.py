"""What is not known is nothing."""

from __future__ import annotations

from hosier.policy.facts import Facts


def test_what_is_not_known() -> None:
    facts = Facts()
    assert (facts.user, facts.name, facts.address, facts.port) == (None, None, None, None)
    assert facts.groups == frozenset()
