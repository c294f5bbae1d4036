"""What workers remember together, as two of them see it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from hosier.policy.backoff import PER_SOURCE, PER_USER
from hosier.workers.memory import CommonMemory

HOME, AWAY, EVIL = "192.0.2.1", "2001:db8::/64", "203.0.113.66"

Pair = tuple[CommonMemory, CommonMemory]


@pytest.fixture
def both() -> Iterator[Pair]:
    one = CommonMemory.create()
    other = CommonMemory.open(one.plan._replace(fd=os.dup(one.plan.fd)))
    yield one, other
    other.close()
    one.close()


def test_failures_add_up(both: Pair) -> None:
    """Guesses at two workers are as many as at one."""
    for number in range(PER_SOURCE.free):
        assert both[number % 2].failures.failed(EVIL, b"ann", 10.0) == 0
    assert both[0].failures.failed(EVIL, b"ann", 10.0) == 1
    assert both[1].failures.wait(EVIL, None, 10.0) == 1
    assert both[1].failures.failed(EVIL, b"bob", 10.5) == pytest.approx(2, abs=0.1)
    assert both[0].failures.wait(EVIL, b"carl", 11.0) > 0
    assert both[0].failures.wait(HOME, b"ann", 11.0) == 0
    assert both[0].failures.wait(EVIL, b"ann", 13.0) == 0


def test_failures_against_one_user_add_up(both: Pair) -> None:
    for number in range(PER_USER.free + 1):
        both[number % 2].failures.failed(f"198.51.100.{number}", b"ann", 0.0)
    for memory in both:
        assert memory.failures.wait(HOME, b"ann", 0.0) == 1
        assert memory.failures.wait(HOME, b"bob", 0.0) == 0
        assert memory.failures.wait(HOME, None, 0.0) == 0


def test_who_is_welcome_at_one_is_so_at_the_other(both: Pair) -> None:
    both[0].failures.succeeded(AWAY, b"ann")
    both[0].failures.succeeded(AWAY, b"ann")
    for number in range(PER_USER.free + 5):
        both[0].failures.failed(f"198.51.100.{number}", b"ann", 0.0)
    assert both[1].failures.wait(HOME, b"ann", 0.0) > 0
    assert both[1].failures.wait(AWAY, b"ann", 0.0) == 0
    for _ in range(PER_SOURCE.free + 1):
        both[1].failures.failed(AWAY, b"ann", 0.0)
    assert both[0].failures.wait(AWAY, b"ann", 0.0) == 1


def test_sources_and_users_are_not_taken_for_each_other(both: Pair) -> None:
    for _ in range(PER_SOURCE.free + 3):
        both[0].failures.failed(EVIL, None, 0.0)
    assert both[1].failures.wait(HOME, EVIL.encode(), 0.0) == 0
    assert both[1].failures.wait(EVIL, b"ann", 0.0) == 4


def test_proofs(both: Pair) -> None:
    assert b"of ann" not in both[0].passwords
    both[0].passwords.add(b"of ann")
    assert b"of ann" in both[1].passwords
    assert b"of bob" not in both[1].passwords
