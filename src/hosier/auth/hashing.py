"""Work that takes long and little else: a few threads beside the event loop, and a queue that ends."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from ..errors import PolicyDenied

__all__ = ("HashingPool",)

THREADS: Final = max(1, min(4, (os.cpu_count() or 1) - 1))
"""One core is the event loop's; each thread may take a hash's memory."""

PENDING: Final = 128
"""Checks under way or waiting; beyond that, clients are turned away."""

_LAST: Final = (
    19  # of the scheduler's priorities; at 10, a flood of guesses doubled the delays of others on the same core
)
_Result = TypeVar("_Result")


class HashingPool:
    """``await pool.run(work)``: the work's result, computed in a thread.

    Its threads give way to the event loop's where the system can say so: a flood of checks takes what is left over.
    """

    def __init__(self, *, threads: int = THREADS, pending: int = PENDING) -> None:
        self._threads = threads
        self._most = pending
        self._pending = 0
        self._executor: ThreadPoolExecutor | None = None

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """Raises PolicyDenied at once if too much waits already. Work whose caller no longer waits is not begun."""
        if self._pending >= self._most:
            raise PolicyDenied("too many passwords are being checked")
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._threads, "hosier-hash", _give_way)
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        finally:
            self._pending -= 1

    def close(self) -> None:
        """Drops what waits; what runs ends by itself."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None


def _give_way() -> None:
    if sys.platform == "linux":  # elsewhere this would be about the whole process
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, _LAST)
