"""Bulk whose sender is a little slower than we are: octets are let gather for a moment, as each wake-up and each turn
costs, and small frames cost more than large ones.

The kernel does the waiting (socket(7), SO_RCVLOWAT), so that nothing wakes the engine before it is worth it, and a
timer bounds it. Whoever waits for an answer should not wait for this: only what flows one way is let gather, after
enough has come to be sure, and only while it comes so fast that the wait is short. Where an answer comes after all, so
much more is enough next time.
"""

import asyncio
import sys
from contextlib import suppress
from socket import SO_RCVLOWAT, SOL_SOCKET
from time import monotonic
from typing import TYPE_CHECKING, Final

from .flow_status import BULK, QUEUED

if TYPE_CHECKING:
    from .endpoint import Endpoint
    from .flow import Flow

__all__ = ("GATHERED", "LOOK_AGAIN", "MOMENT", "ONE_WAY", "Gathering", "Looks", "ran_dry")

ONE_WAY: Final = 4 << 20
"""Octets that flowed while nothing came back, before anything is let gather."""

MOMENT: Final = 0.002
"""Seconds for which octets gather, at the rate at which they have come since they were counted."""

LOOK_AGAIN: Final = 0.003
"""Seconds between two looks whether they still do; what has gathered waits for two of them at most, and the loop."""

GATHERED: Final = 2 << 20
"""Octets of bulk that gather at most where it is spliced: two pipes full."""

_NOT_LOOKED: Final = -1

_CAN: Final = sys.platform == "linux"
"""Elsewhere a socket may refuse to give what is there already, and not only to tell of it."""


class Gathering:
    """What one flow lets gather. It is told of the flow with each call, and so does not keep it."""

    __slots__ = ("_answered", "_counted_from", "_counted_since", "_enough", "_has_gathered", "_moved", "octets")

    def __init__(self) -> None:
        self.octets = 0
        """How many are let gather now; 0: none."""
        self._counted_from = 0
        """What had moved when the count began."""
        self._counted_since = 0.0
        """When that was."""
        self._answered = -1
        """What had come back then."""
        self._enough = ONE_WAY
        """So much must be counted."""
        self._has_gathered = False
        """Whether any have since something last came back."""
        self._moved = _NOT_LOOKED
        """What had moved at the last look."""

    def count(self, flow: "Flow", frame: int, most: int) -> None:
        """The flow waits for more, and has let none gather so far."""
        moved, now, answered = flow.moved, monotonic(), flow.twin.moved
        if answered == self._answered:
            if (octets := moved - self._counted_from) < self._enough or not _CAN:
                return
            frames = int(octets * MOMENT / (max(now - self._counted_since, MOMENT) * frame))
            if frames:
                self.octets = min(frames, most) * frame
                self._has_gathered = True
                self._moved = _NOT_LOOKED
                _tell_of(flow.source, self.octets)
                flow.source.engine.looks.add(flow)
                return
        elif self._has_gathered:  # whoever answers had to wait for the last octets
            self._enough *= 2
            self._has_gathered = False
        self._counted_from, self._counted_since, self._answered = moved, now, answered

    def look(self, flow: "Flow") -> bool:
        """Whether octets still come so fast that they may gather; if not, the flow is told of everything again."""
        if flow.ended:
            return False
        before, self._moved = self._moved, flow.moved
        # What moved is not quite what came: frames are more than what is in them.
        comes_fast = before == _NOT_LOOKED or 2 * (flow.moved - before) > self.octets
        if comes_fast and flow.twin.moved == self._answered:
            return True
        _tell_of(flow.source, 1)
        self.octets = 0
        self._counted_from, self._counted_since = flow.moved, monotonic()
        if not flow.status & ~BULK:  # else it looks by itself, sooner or later
            flow.status |= QUEUED
            flow.source.engine.queue(flow)  # not every kernel tells of what is there already
        return False


def ran_dry(flow: "Flow", frame: int, most: int) -> None:
    """A flow that has moved much waits for more. ``frame``: the octets that make one of its frames, or of its reads;
    ``most``: how many it moves at once."""
    gathering = flow.gathering
    if gathering is None:
        gathering = flow.gathering = Gathering()
    if not gathering.octets:
        gathering.count(flow, frame, most)


class Looks:
    """At the flows of one engine that let octets gather, all at once: a timer for each costs what they save."""

    __slots__ = ("_flows", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._flows: list[Flow] = []
        self._handle: asyncio.TimerHandle | None = None

    def add(self, flow: "Flow") -> None:
        self._flows.append(flow)
        if self._handle is None:
            self._handle = self._loop.call_later(LOOK_AGAIN, self._look)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._flows.clear()

    def _look(self) -> None:
        flows, self._flows, self._handle = self._flows, [], None
        for flow in flows:
            if _goes_on(flow):
                self.add(flow)


def _goes_on(flow: "Flow") -> bool:
    assert flow.gathering is not None  # or it would not be looked at
    try:
        return flow.gathering.look(flow)
    except Exception as error:  # noqa: BLE001  # it ends that relay alone
        flow.crashed(error)
        return False


def _tell_of(source: "Endpoint", octets: int) -> None:
    with suppress(OSError):  # whoever forbids it is told of everything
        source.sock.setsockopt(SOL_SOCKET, SO_RCVLOWAT, octets)
