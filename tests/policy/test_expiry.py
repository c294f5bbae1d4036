"""Days and moments until which something holds."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from math import inf

import pytest

from hosier.policy.accounts import Account
from hosier.policy.budgets import Budget
from hosier.policy.expiry import end_of


def test_a_day_holds_to_its_end() -> None:
    assert end_of(date(2026, 1, 31)) == datetime(2026, 2, 1).timestamp()


def test_a_moment() -> None:
    assert end_of(datetime(2026, 1, 31, 12, tzinfo=UTC)) == 1_769_860_800.0
    assert end_of(None) is None


@pytest.mark.parametrize("make", [Account, Budget])
def test_days_that_mean_never_and_always(make: type[Account | Budget]) -> None:
    assert make(expires=date(9999, 12, 31)).end == inf
    far = datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))
    assert (make(expires=far).end or 0) > 2e11
    assert (make(expires=datetime.min).end or 0) < -6e10
