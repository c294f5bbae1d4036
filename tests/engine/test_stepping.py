"""Flows that take steps: what an edge begins."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hosier.engine.endpoint import ARRIVALS
from hosier.engine.events import EPOLLIN
from hosier.engine.flow_status import BLOCKED, QUEUED
from hosier.engine.stepping import SteppingFlow


class Flow(SteppingFlow):
    """Notes what it was asked for."""

    __slots__ = ("_frame_size", "asked")

    def __init__(self, frame_size: int, source: Any) -> None:
        super().__init__(SimpleNamespace(crashed=self.note), source, source)  # type: ignore[arg-type]
        self._frame_size = frame_size
        self.asked: list[object] = []

    def note(self, what: object) -> None:
        self.asked.append(what)

    def pump(self) -> None:
        self.note("step")

    def turn(self) -> None:
        self.note("turn")


class Source:
    """A quiet one, or one beside others."""

    def __init__(self, quiet: bool) -> None:
        self.engine = SimpleNamespace(is_quiet=quiet, queue=lambda flow: flow.note("queued"))
        self.ignored: list[int] = []

    def ignore(self, events: int) -> None:
        self.ignored.append(events)


@pytest.mark.parametrize(
    ("frame_size", "quiet", "expected"),
    [(0, True, "step"), (0, False, "step"), (60_000, True, "turn"), (60_000, False, "queued")],
)
def test_an_edge_begins_a_step(frame_size: int, quiet: bool, expected: str) -> None:
    """Of bulk a turn, and not before others had theirs."""
    source: Any = Source(quiet)
    flow = Flow(frame_size, source)
    flow.on_edge(source, EPOLLIN)
    assert flow.asked == [expected]
    assert (flow.status == QUEUED) == (expected == "queued")


def test_an_edge_waits_for_a_sink_that_is_full() -> None:
    source: Any = Source(quiet=True)
    flow = Flow(0, source)
    flow.status = BLOCKED
    flow.on_edge(source, EPOLLIN)
    assert flow.asked == []
    assert source.ignored == [ARRIVALS]


def test_a_step_that_crashes_ends_its_relay_alone() -> None:
    source: Any = Source(quiet=True)
    fault = ValueError("not thought of")

    class Crashing(Flow):
        __slots__ = ()

        def pump(self) -> None:
            raise fault

    flow = Crashing(0, source)
    flow.on_edge(source, EPOLLIN)
    assert flow.asked == [fault]


def test_a_step_is_for_each_kind_to_say() -> None:
    source: Any = Source(quiet=True)
    with pytest.raises(NotImplementedError):
        SteppingFlow(SimpleNamespace(), source, source).pump()  # type: ignore[arg-type]
