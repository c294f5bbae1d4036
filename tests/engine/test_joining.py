"""Whether arrivals are worth joining: when a socket tries it, and when it goes back."""

from __future__ import annotations

from typing import Any

import pytest

from hosier.engine import joining
from hosier.engine.joining import FIRST_TRY, LAST_TRY, TRIAL, TRY_AGAIN, Joining


class Kernel:
    """What the system would do: ``joins`` is the option, ``empty`` whether nothing waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, able: bool = True) -> None:
        self.able = able
        self.joins = False
        self.empty = True
        monkeypatch.setattr(joining, "join_arrivals", self._join)
        monkeypatch.setattr(joining, "part_arrivals", self._part)

    def _join(self, _: Any) -> bool:
        self.joins = self.able
        return self.able

    def _part(self, _: Any) -> bool:
        self.joins = not self.empty
        return self.empty


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(monkeypatch)


def tried(kernel: Kernel) -> Joining:
    """A socket's, in its first try."""
    state = Joining(None)  # type: ignore[arg-type]  # the kernel above looks at none
    state.count_busy(FIRST_TRY)
    assert state.on
    assert kernel.joins
    return state


def test_only_a_busy_socket_tries(kernel: Kernel) -> None:
    state = Joining(None)  # type: ignore[arg-type]
    state.count_busy(FIRST_TRY - 1)
    assert not state.on
    assert not kernel.joins
    state.count_busy(1)
    assert state.on
    assert kernel.joins


def test_a_try_lasts_until_enough_came_singly_and_none_waits(kernel: Kernel) -> None:
    state = tried(kernel)
    state.count_singles(TRIAL - 1)
    state.was_dry()
    assert state.on
    state.count_singles(1)
    assert state.on
    state.was_dry()
    assert not state.on
    assert not kernel.joins


def test_what_comes_at_the_last_moment_prolongs_it(kernel: Kernel) -> None:
    state = tried(kernel)
    state.count_singles(TRIAL)
    kernel.empty = False
    state.was_dry()
    assert state.on
    assert kernel.joins
    kernel.empty = True
    state.was_dry()
    assert not state.on


def test_a_queue_that_is_never_empty_is_drained_ever_more_seldom(kernel: Kernel) -> None:
    state = tried(kernel)
    drained = []
    for received in range(1, TRIAL * 20):
        state.count_singles(1)
        if state.drains:
            drained.append(received)
            state.drains = False
    assert drained == [TRIAL, 2 * TRIAL, 4 * TRIAL, 8 * TRIAL, 16 * TRIAL]
    state.was_dry()
    state.count_busy(FIRST_TRY * TRY_AGAIN)
    state.count_singles(TRIAL)
    assert state.drains, "the next try begins anew"


def test_it_stays_once_something_was_joined(kernel: Kernel) -> None:
    state = tried(kernel)
    state.won = True
    state.count_singles(TRIAL * 10)
    assert not state.drains
    state.was_dry()
    assert state.on
    assert kernel.joins


def test_each_try_that_failed_makes_the_next_one_rarer(kernel: Kernel) -> None:
    state = tried(kernel)
    wait = FIRST_TRY
    for _ in range(12):
        state.count_singles(TRIAL)
        state.was_dry()
        assert not state.on
        wait = min(wait * TRY_AGAIN, LAST_TRY)
        state.count_busy(wait - 1)
        assert not state.on
        state.count_busy(1)
        assert state.on
        state.was_dry()  # the singles of the last try are forgotten
        assert state.on
    assert wait == LAST_TRY


def test_a_system_that_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    Kernel(monkeypatch, able=False)
    state = Joining(None)  # type: ignore[arg-type]
    state.count_busy(FIRST_TRY)
    assert not state.on
