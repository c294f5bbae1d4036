"""Spans of time after which a count begins anew, all in UTC, so that no summer time makes one longer."""

from datetime import UTC, datetime, timedelta
from typing import Final, Literal, get_args

__all__ = ("PERIODS", "Period", "start_of")

Period = Literal["hour", "day", "week", "month", "ever"]
PERIODS: Final = get_args(Period)


def start_of(period: str, now: float) -> int:
    """When the period began that ``now`` is in, both in seconds since 1970; weeks begin on Monday."""
    if period == "ever":
        return 0
    moment = datetime.fromtimestamp(now, UTC).replace(minute=0, second=0, microsecond=0)
    if period != "hour":
        moment = moment.replace(hour=0)
    if period == "week":
        moment -= timedelta(days=moment.weekday())
    if period == "month":
        moment = moment.replace(day=1)
    return int(moment.timestamp())
