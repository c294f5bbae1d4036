"""Numbers of octets as people write them: 10MB, 1.5GiB, 500k."""

import re
from typing import Final

from ..errors import ConfigError

__all__ = ("Octets", "parse_octets")

MOST: Final = 1 << 60

_FORM: Final = re.compile(r"(\d{1,18}(?:\.\d{1,6})?)\s*([kMGT]?)(i?)B?", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


class Octets(int):
    """A number of octets."""


def parse_octets(given: int | str) -> Octets:
    """Reads ``10MB`` (powers of 1000), ``10MiB`` (of 1024), or a plain number. Raises ConfigError."""
    found = _FORM.fullmatch(str(given).strip())
    if found is None:
        raise ConfigError(f"{given!r} is no number of octets: write for example 500k, 10MB or 1.5GiB")
    number, unit, binary = found.groups()
    octets = float(number) * (1024 if binary else 1000) ** _POWERS[unit.lower()]
    if not 1 <= octets <= MOST:
        raise ConfigError(f"{given!r} is out of range: from 1 octet to 1 EiB can be")
    return Octets(octets)
