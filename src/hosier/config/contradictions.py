"""Which keys are to blame where values have the right types and the settings refuse them all the same.

The settings check themselves and know nothing of keys and lines. So the culprit is found by trying: it is the key
without which they would not complain, or not about this.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from ..errors import ConfigError
from .lines import KeyPath

__all__ = ("Values", "complaint_against", "contradictions", "reason_against", "suspects")

Values = Mapping[str, Any]
Make = Callable[[Values], object]

# A table with more entries is blamed as a whole: each suspect costs a trial.
_MOST_SUSPECTS: Final = 256


def contradictions(make: Make, values: Values) -> Iterator[tuple[list[KeyPath], str]]:
    """The keys to blame and the reason, for each complaint that ``make`` has about single keys of the values.

    Only where keys answer for themselves, as limits do, is it right to leave one out and to look for the next.
    """
    left = dict(values)
    while left and (reason := reason_against(make, left)):
        paths = list(suspects(make, left, reason))
        yield paths, reason
        if not paths:
            break
        for path in paths:
            left.pop(str(path[0]), None)


def reason_against(make: Make, values: Values) -> str | None:
    """What the settings say against the values; None: nothing."""
    error = complaint_against(make, values)
    return None if error is None else str(error)


def complaint_against(make: Make, values: Values) -> ConfigError | None:
    """The same, with the key, where the settings can tell it."""
    try:
        make(values)
    except ConfigError as error:
        return error
    return None


def suspects(make: Make, values: Values, reason: str) -> Iterator[KeyPath]:
    """The keys without any one of which the reason would be gone; in tables, down to the entry."""
    if len(values) > _MOST_SUSPECTS:
        return
    for name, value in values.items():
        others = {other: values[other] for other in values if other != name}
        try:
            if reason_against(make, others) == reason:
                continue
        except TypeError:  # a table cannot be without it
            continue
        deeper = suspects(_within(make, others, name), value, reason) if isinstance(value, Mapping) else ()
        yield from [(name, *path) for path in deeper] or [(name,)]


def _within(make: Make, others: Values, name: str) -> Make:
    return lambda inner: make({**others, name: inner})
