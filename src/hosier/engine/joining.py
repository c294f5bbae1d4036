"""Whether a socket's arrivals are worth joining (UDP_GRO): a busy socket tries it, and goes back if nothing came of it.

To receive joined datagrams costs more per call, and nothing tells beforehand whether the kernel has any to join.
"""

from socket import SocketType
from typing import Final

from .segments import join_arrivals, part_arrivals

__all__ = ("BUSY", "DRAIN_BATCHES", "FIRST_TRY", "LAST_TRY", "TRIAL", "TRY_AGAIN", "Joining")

BUSY: Final = 8
"""Datagrams in a batch, for it to count."""

FIRST_TRY: Final = 64
"""Datagrams in such batches before the first try."""

TRY_AGAIN: Final = 8
"""Times as many before the next one."""

LAST_TRY: Final = 1 << 20
"""At most that many."""

TRIAL: Final = 64
"""Receptions of one try that bring nothing joined, before it counts as failed."""

DRAIN_BATCHES: Final = 8
"""Batches in a row with which a socket tries to empty its queue then, so that the try can end."""


class Joining:
    """One socket's tries."""

    __slots__ = ("_busy", "_drain_at", "_next_try", "_singles", "_sock", "drains", "on", "won")

    def __init__(self, sock: SocketType) -> None:
        self._sock = sock
        self._busy = 0
        self._next_try = FIRST_TRY
        self._singles = 0
        self._drain_at = TRIAL
        self.on = False
        """Arrivals may be joined now."""
        self.won = False
        """Some were: the socket stays so."""
        self.drains = False
        """The try has failed, and the socket may now have DRAIN_BATCHES batches in a row, to empty its queue."""

    def count_busy(self, datagrams: int) -> None:
        """So many have come in a batch of at least BUSY while it is off."""
        self._busy += datagrams
        if self._busy >= self._next_try:
            self._busy = self._singles = 0
            self._drain_at = TRIAL
            self._next_try = min(self._next_try * TRY_AGAIN, LAST_TRY)
            self.on = join_arrivals(self._sock)

    def count_singles(self, datagrams: int) -> None:
        """So many have come singly while it is on."""
        self._singles += datagrams
        if self._singles >= self._drain_at and not self.won:
            self._drain_at = 2 * self._singles  # ever more seldom: where too much comes it is in vain, and others wait
            self.drains = True

    def was_dry(self) -> None:
        """Nothing waited to be received a moment ago. Only then can a try end: what is queued joined when it ends would
        be read as one datagram."""
        if self._singles >= TRIAL and not self.won:
            self.on = not part_arrivals(self._sock)
