"""Bulk whose sender is a little slower than we are: octets are let gather for a moment, as each turn costs, and small
frames cost more than large ones.

The kernel does the waiting (socket(7), SO_RCVLOWAT), so that nothing wakes the engine before it is worth it, and a
timer bounds it. Whoever waits for an answer should not wait for this: only what flows one way is let gather, after
enough has come to be sure, and only while it comes so fast that the wait is short. Where an answer comes after all, so
much more is enough next time.
"""

import sys
from contextlib import suppress
from socket import SO_RCVLOWAT, SOL_SOCKET
from time import monotonic
from typing import Final

from .endpoint import Endpoint
from .flow import OVER, QUEUED, Flow

__all__ = ("LOOK_AGAIN", "MOMENT", "ONE_WAY", "Gathering")

ONE_WAY: Final = 4 << 20
"""Octets that flowed while nothing came back, before anything is let gather."""

MOMENT: Final = 0.002
"""Seconds for which octets gather, at the rate at which they have come since they were counted."""

LOOK_AGAIN: Final = 0.003
"""Seconds between two looks whether they still do; what has gathered waits for two of them at most, and the loop."""

_CAN: Final = sys.platform == "linux"
"""Elsewhere a socket may refuse to give what is there already, and not only to tell of it."""


class Gathering:
    """What one flow lets gather. It is told of the flow with each call, and so does not keep it."""

    __slots__ = ("_answered", "_counted_from", "_counted_since", "_enough", "_has_gathered", "_moved", "_octets")

    def __init__(self) -> None:
        self._octets = 0
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
        self._moved = 0
        """What had moved at the last look."""

    def ran_dry(self, flow: Flow, frame: int, most: int) -> None:
        """The flow waits for more; ``frame``: the octets that make one of its frames, or of its reads; ``most``: how
        many it moves at once."""
        if self._octets:
            return
        moved, now, answered = flow.moved, monotonic(), flow.twin.moved
        if answered == self._answered:
            if (octets := moved - self._counted_from) < self._enough or not _CAN:
                return
            frames = int(octets * MOMENT / (max(now - self._counted_since, MOMENT) * frame))
            if frames:
                self._octets = min(frames, most) * frame
                self._has_gathered = True
                _tell_of(flow.source, self._octets)
                self._look_soon(flow)
                return
        elif self._has_gathered:  # whoever answers had to wait for the last octets
            self._enough *= 2
            self._has_gathered = False
        self._counted_from, self._counted_since, self._answered = moved, now, answered

    # --- private ---

    def _look_soon(self, flow: Flow) -> None:
        self._moved = flow.moved
        flow.source.engine.loop.call_later(LOOK_AGAIN, self._look, flow)

    def _look(self, flow: Flow) -> None:
        if flow.status >= OVER:
            return
        # What moved is not quite what came: frames are more than what is in them.
        if 2 * (flow.moved - self._moved) > self._octets and flow.twin.moved == self._answered:
            self._look_soon(flow)
            return
        _tell_of(flow.source, 1)
        self._octets = 0
        self._counted_from, self._counted_since = flow.moved, monotonic()
        if not flow.status:  # else it looks by itself, sooner or later
            flow.status = QUEUED
            flow.source.engine.queue(flow)  # not every kernel tells of what is there already


def _tell_of(source: Endpoint, octets: int) -> None:
    with suppress(OSError):  # whoever forbids it is told of everything
        source.sock.setsockopt(SOL_SOCKET, SO_RCVLOWAT, octets)
