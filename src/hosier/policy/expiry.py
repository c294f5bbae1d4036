"""Until when something holds, as an operator writes it."""

from datetime import date, datetime, time, timedelta
from math import inf

__all__ = ("end_of",)


def end_of(expires: date | datetime | None) -> float | None:
    """The moment after a day, or the moment itself, in seconds since 1970, by the machine's clock; None: there is none.

    What no clock can tell any more, such as the day after 9999-12-31, is infinitely far away.
    """
    if expires is None:
        return None
    try:
        if isinstance(expires, datetime):
            return expires.timestamp()
        return datetime.combine(expires + timedelta(days=1), time()).timestamp()
    except (OverflowError, ValueError):
        return inf if expires.year > 1 else -inf
