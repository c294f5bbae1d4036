"""Bulk whose sender is a little slower than we are: octets are let gather for a moment, as each turn costs, and small
frames cost more than large ones.

The kernel does the waiting (socket(7), SO_RCVLOWAT), so that nothing wakes the engine before it is worth it, and a
timer bounds it. Whoever waits for an answer must not wait for this: only what flows one way is let gather, long enough
to be sure, and only while it comes so fast that the wait is short.
"""

import sys
from socket import SO_RCVLOWAT, SOL_SOCKET
from time import monotonic
from typing import Final

from .endpoint import Endpoint
from .events import EPOLLIN
from .flow import OVER, Flow

__all__ = ("LOOK_AGAIN", "MOMENT", "ONE_WAY", "Gathering")

ONE_WAY: Final = 4 << 20
"""Octets that flowed while nothing came back, before anything is let gather."""

MOMENT: Final = 0.002
"""Seconds for which octets gather, at the rate at which they have come."""

LOOK_AGAIN: Final = 0.003
"""Seconds between two looks whether they still do; what has gathered waits at most for two of them."""

_CAN: Final = sys.platform == "linux"
"""Elsewhere a socket may refuse to give what is there already, and not only to tell of it."""


class Gathering:
    """What one flow lets gather. It is told of the flow with each call, and so does not keep it."""

    __slots__ = ("_answered", "_began", "_begin", "_moved", "_octets")

    def __init__(self) -> None:
        self._octets = 0
        """How many are let gather now; 0: none."""
        self._begin = 0
        """What had moved when something last came back."""
        self._began = 0.0
        """When that was."""
        self._answered = -1
        """What had come back then."""
        self._moved = 0
        """What had moved at the last look."""

    def ran_dry(self, flow: Flow, frame: int, most: int) -> None:
        """The flow waits for more; ``frame``: the octets that make one of its frames; ``most``: frames that it moves
        at once."""
        if self._octets:
            return
        moved, now, answered = flow.moved, flow.source.engine.now, flow.twin.moved
        if answered == self._answered:
            if (octets := moved - self._begin) < ONE_WAY or not _CAN:
                return
            frames = int(octets * MOMENT / (max(now - self._began, MOMENT) * frame))
            if frames:
                self._octets = min(frames, most) * frame
                _tell_of(flow.source, self._octets)
                self._look_soon(flow)
                return
        self._begin, self._began, self._answered = moved, now, answered

    # --- private ---

    def _look_soon(self, flow: Flow) -> None:
        self._moved = flow.moved
        flow.source.engine.loop.call_later(LOOK_AGAIN, self._look, flow)

    def _look(self, flow: Flow) -> None:
        if flow.status >= OVER:
            return
        # What moved is less than what came: frames are more than what is in them.
        if 2 * (flow.moved - self._moved) > self._octets and flow.twin.moved == self._answered:
            self._look_soon(flow)
            return
        self._octets = 0
        self._begin, self._began = flow.moved, monotonic()
        _tell_of(flow.source, 1)
        flow.on_edge(flow.source, EPOLLIN)  # not every kernel tells of what is there already


def _tell_of(source: Endpoint, octets: int) -> None:
    source.sock.setsockopt(SOL_SOCKET, SO_RCVLOWAT, octets)
