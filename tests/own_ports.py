"""Ports that the kernel does not hand out by itself, for what must be told one before it listens."""

from __future__ import annotations

import os
import random
from typing import Final

__all__ = ("own_ports",)

_PROCESSES: Final = 6
_SHARE: Final = 1_600
"""Each of pytest's processes has ports of its own: one must not take what another has found free."""


def own_ports() -> list[int]:
    """In another order each time. Free they are as far as these tests go; other programs may have some."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % _PROCESSES
    first = 20_000 + number * _SHARE
    return random.sample(range(first, first + _SHARE), _SHARE)
