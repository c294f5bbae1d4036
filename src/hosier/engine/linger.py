"""Closing without destroying what is still on its way.

A socket closed over unread input answers with a reset, and a reset may overtake the reply that a peer has not read.
"""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from .endpoint import Endpoint
from .events import EPOLLERR, EPOLLIN
from .poller import SCRATCH
from .task import foreign
from .unsent import unsent

if TYPE_CHECKING:
    from .task import Task

__all__ = ("LINGER", "linger", "reset_when_sent")

LINGER: Final = 5.0
"""Seconds. RFC 1928 §6 wants a failed connection closed within 10 (S5-REQ-48, 49)."""

_MOST: Final = 256  # reads: a peer that does not stop sending is cut off
_LOOK: Final = 0.05  # seconds between two looks at the send queue: the kernel has no edge for "all sent"
_BLIND: Final = 1.0  # seconds that a reader gets where the kernel does not tell what is unsent


async def linger(task: "Task", endpoint: Endpoint, seconds: float = LINGER) -> None:
    """Ends our direction, discards what the peer still sends until it ends, too, and closes. Bounded."""
    endpoint.owner = task
    endpoint.seen |= EPOLLIN
    endpoint.shutdown()
    task.set_limit("linger", seconds)
    with contextlib.suppress(OSError):  # TimeoutError is one
        for _ in range(_MOST):
            if not await endpoint.recv(SCRATCH):
                break
    endpoint.close()


async def reset_when_sent(endpoint: Endpoint, seconds: float = LINGER) -> None:
    """Closes with a reset, but first lets the kernel deliver what was given to it: a reset would drop that."""
    try:
        for _ in range(int(seconds / _LOOK)):
            # On a connection that has failed the kernel counts as unsent what it has thrown away.
            if endpoint.seen & EPOLLERR or (left := unsent(endpoint.sock)) == 0:
                break
            if left is None:
                await foreign(endpoint.engine.loop, asyncio.sleep(min(seconds, _BLIND)))
                break
            await foreign(endpoint.engine.loop, asyncio.sleep(_LOOK))
    finally:
        endpoint.reset()  # also if a limit or a stop was faster: never an orderly end
