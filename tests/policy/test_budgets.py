"""What a budget can be told."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from hosier.errors import ConfigError
from hosier.policy.budgets import Budget


def test_nothing_is_limited_by_default() -> None:
    budget = Budget()
    assert (budget.per, budget.sessions, budget.rate, budget.up, budget.down, budget.octets) == (
        *("user", 0, 0.0),
        *(None, None, None),
    )
    assert budget.end is None


def test_octets_are_read() -> None:
    budget = Budget(up="1MB", down="2000", octets="1GiB")
    assert (budget.up, budget.down, budget.octets) == (1_000_000, 2000, 1 << 30)


def test_its_end() -> None:
    moment = datetime(2027, 1, 31, 18, tzinfo=UTC)
    assert Budget(expires=moment).end == moment.timestamp()
    end = Budget(expires=date(2027, 1, 31)).end
    assert end is not None
    assert datetime.fromtimestamp(end) == datetime(2027, 2, 1)
    assert datetime.fromtimestamp(end - 1).date() == date(2027, 2, 1) - timedelta(days=1)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"per": "tea"}, "per: expected 'all', .* or 'rule', found 'tea'"),
        ({"period": "year"}, "period: expected 'hour', .* or 'ever', found 'year'"),
        ({"sessions": "5"}, "sessions: expected a whole number, found str"),
        ({"sessions": -1}, "a budget of -1 sessions"),
        ({"rate": -0.5}, "a budget of -0.5 sessions a second"),
        ({"rate": float("nan")}, "a budget of nan sessions a second"),
        ({"up": "much"}, "'much' is no number of octets"),
        ({"octets": 0}, "0 is out of range"),
    ],
)
def test_mistakes(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=f"^{complaint}"):
        Budget(**fields)
