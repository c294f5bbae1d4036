"""UDP where the path is not loopback's: a small MTU, and a route that leads nowhere.

A run of datagrams that the path does not take as one is sent one by one; a failure costs its own datagrams only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .harness import run

pytestmark = pytest.mark.real


def test_small_mtu_and_no_route(program: Callable[..., str]) -> None:
    """In a network namespace of its own."""
    program("ip")
    namespace = [program("unshare"), "--map-root-user", "--net"]
    run([*namespace, sys.executable, "-m", "tests.real.narrow"], cwd=Path(__file__).parents[2])
