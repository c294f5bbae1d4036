"""Times of the week as a rule writes them: ``mon-fri 08:00-18:00``, ``sat,sun``, ``22:00-06:00``.

Time is the minute of the week, from Monday, 00:00, by the clock of the machine; who asks brings it.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from ..errors import ConfigError

__all__ = ("DAYS", "WEEK", "TimeWindow", "moment", "next_change", "parse_moment", "parse_times")

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_DAY: Final = 24 * 60
WEEK: Final = 7 * _DAY
"""Minutes of a week."""

_FORM: Final = re.compile(r"(?P<days>[a-z,-]+)?(?:^|\s+|$)(?:(\d\d):(\d\d)-(\d\d):(\d\d))?")
_EXPECTED: Final = "write mon-fri 08:00-18:00, sat,sun or 22:00-06:00"


class TimeWindow(NamedTuple):
    """From one minute of the week up to another, which is outside; later than the end of the week means its beginning
    again."""

    start: int
    end: int

    def holds(self, minute: int) -> bool:
        return self.start <= minute < self.end or minute + WEEK < self.end


def parse_times(text: str) -> tuple[TimeWindow, ...]:
    """The windows of one text, one for each of its days. A window that ends before it starts ends on the next day.

    Raises ConfigError.
    """
    found = _FORM.fullmatch(text.strip().lower())
    if found is None or not found[0]:
        raise ConfigError(f"{text!r} is no time of the week: {_EXPECTED}")
    days = range(7) if found["days"] is None else sorted(set(_days(found["days"], text)))
    if found[2] is None:
        return tuple(TimeWindow(day * _DAY, (day + 1) * _DAY) for day in days)
    start, end = _minute(found[2], found[3], text), _minute(found[4], found[5], text)
    if start in (_DAY, end):
        raise ConfigError(f"{text!r} starts and ends at the same time: {_EXPECTED}")
    length = (end - start) % _DAY or _DAY
    return tuple(TimeWindow(day * _DAY + start, day * _DAY + start + length) for day in days)


def moment(minute: int) -> str:
    """A minute of the week as text: ``mon 08:00``."""
    day, rest = divmod(minute, _DAY)
    return f"{DAYS[day]} {rest // 60:02}:{rest % 60:02}"


def parse_moment(text: str) -> int:
    """The minute of the week that ``mon 08:00`` is. Raises ConfigError."""
    found = re.fullmatch(r"([a-z]{3})\s+(\d\d):(\d\d)", text.strip().lower())
    if found is None or found[1] not in DAYS:
        raise ConfigError(f"{text!r} is no time of the week: write for example mon 08:00")
    minute = _minute(found[2], found[3], text)
    return (DAYS.index(found[1]) * _DAY + minute) % WEEK


def next_change(windows: Iterable[TimeWindow], minute: int) -> int | None:
    """Minutes until one of the windows opens or closes next; None: there is none."""
    edges = {edge % WEEK for window in windows for edge in window}
    return min(((edge - minute - 1) % WEEK + 1 for edge in edges), default=None)


def _days(text: str, whole: str) -> Iterator[int]:
    for part in text.split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if first not in DAYS or last not in DAYS:
            raise ConfigError(f"{part!r} in {whole!r} is no day: {', '.join(DAYS)} are")
        start, end = DAYS.index(first), DAYS.index(last)
        yield from (day % 7 for day in range(start, end + 1 if end >= start else end + 8))


def _minute(hour: str, minute: str, whole: str) -> int:
    value = int(hour) * 60 + int(minute)
    if int(minute) > 59 or value > _DAY:
        raise ConfigError(f"{hour}:{minute} in {whole!r} is no time of the day: 00:00 to 24:00 are")
    return value
