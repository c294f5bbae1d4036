"""When periods begin."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from hosier.policy.periods import PERIODS, start_of

NOON = datetime(2026, 3, 4, 12, 34, 56, 789, UTC)  # a Wednesday


@pytest.mark.parametrize(
    ("period", "start"),
    [
        ("hour", datetime(2026, 3, 4, 12, tzinfo=UTC)),
        ("day", datetime(2026, 3, 4, tzinfo=UTC)),
        ("week", datetime(2026, 3, 2, tzinfo=UTC)),
        ("month", datetime(2026, 3, 1, tzinfo=UTC)),
        ("ever", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_starts(period: str, start: datetime) -> None:
    assert start_of(period, NOON.timestamp()) == start.timestamp()
    assert start_of(period, start.timestamp()) == start.timestamp()


@pytest.mark.parametrize("period", PERIODS)
def test_over_a_year_they_follow_each_other_without_a_gap(period: str) -> None:
    moment, seen = NOON.timestamp(), set()
    for _ in range(366 * 24):
        start = start_of(period, moment)
        assert start <= moment
        seen.add(start)
        moment += 3600
    assert len(seen) == {"hour": 8784, "day": 367, "week": 53, "month": 13, "ever": 1}[period]


def test_a_leap_day_and_the_turn_of_a_year() -> None:
    leap = datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC).timestamp()
    assert start_of("month", leap) == datetime(2028, 2, 1, tzinfo=UTC).timestamp()
    assert start_of("month", leap + 1) == datetime(2028, 3, 1, tzinfo=UTC).timestamp()
    assert (
        start_of("week", datetime(2027, 1, 1, tzinfo=UTC).timestamp()) == datetime(2026, 12, 28, tzinfo=UTC).timestamp()
    )
