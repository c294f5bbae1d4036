"""On which engines and loops a test runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def platforms(test: Any, known: Sequence[Any], *, linux: int) -> list[Any]:
    """Those of the known platforms, of which the first ones are Linux's own, that a test's markers leave it to.

    ``linux``: those alone. ``patient``: the quick tests do with the first one.
    """
    left = list(known[:linux] if test.get_closest_marker("linux") else known)
    if test.get_closest_marker("patient"):
        left[1:] = [name if hasattr(name, "marks") else pytest.param(name, marks=pytest.mark.slow) for name in left[1:]]
    return left
