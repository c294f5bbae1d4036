from __future__ import annotations

from collections.abc import Iterator

import pytest

from .harness import Hosier, has_ipv6
from .target import Target

USER = "alice"
PASSWORD = "open:sesame"


@pytest.fixture
def hosier() -> Iterator[Hosier]:
    """A server without authentication."""
    with Hosier() as server:
        yield server


@pytest.fixture
def guarded() -> Iterator[Hosier]:
    """A server that lets alice in, with her password, and nobody else."""
    with Hosier(f"--user={USER}:{PASSWORD}") as server:
        yield server


@pytest.fixture
def target() -> Iterator[Target]:
    """The web server that clients are to reach."""
    with Target() as server:
        yield server


@pytest.fixture
def ipv6() -> None:
    if not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback address")
