from __future__ import annotations

from hosier.engine import flow_status
from hosier.engine.flow_status import ABANDONED, BLOCKED, BULK, DONE, OVER, QUEUED


def test_each_is_a_flag_of_its_own_and_the_later_ones_are_larger() -> None:
    flags = [QUEUED, BULK, BLOCKED, OVER, DONE, ABANDONED]
    assert flags == [1 << place for place in range(len(flags))]
    assert {getattr(flow_status, name) for name in flow_status.__all__} == set(flags)


def test_who_is_past_what_is_told_by_one_comparison() -> None:
    """A flow that was given up is over and done; one that is blocked may have been queued and be bulk."""
    assert QUEUED | BULK < BLOCKED
    assert QUEUED | BULK | BLOCKED < OVER
    assert QUEUED | BULK | BLOCKED | OVER < DONE
    assert QUEUED | OVER | DONE < ABANDONED
