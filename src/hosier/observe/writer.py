"""Lines to a file descriptor, gathered and written by a thread, so that a slow reader of a log never stops a session.

Bounded: when too much waits to be written, lines are dropped, and how many is written in their place.
"""

import contextlib
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ("LineWriter",)

GATHER: Final = 0.1  # seconds between two writes
MOST: Final = 200_000  # lines that may wait
PIPE_PIECE: Final = getattr(select, "PIPE_BUF", 512)  # octets that a pipe takes from one writer without others between


class LineWriter:
    """``write(line)`` from one thread; ``close()`` writes the rest. ``shared``: other processes write to the same
    descriptor, and lines must not mix even if it is a pipe."""

    def __init__(self, fd: int, *, shared: bool = False, dropped: Callable[[int], object] = lambda count: None) -> None:
        """``dropped`` is told of lines that are not written, in the thread that writes them."""
        self._fd = fd
        self._tell_dropped = dropped
        self._piece = PIPE_PIECE if shared else sys.maxsize
        self._lines: deque[str] = deque()  # one side appends, the other takes: no line is lost between them
        self._dropped = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="hosier-log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        if len(self._lines) < MOST:
            self._lines.append(line)
        else:
            self._dropped += 1

    def close(self) -> None:
        """Writes what waits and ends; gives a reader that takes nothing two seconds."""
        self._ended.set()
        self._thread.join(2)

    # --- private ---

    def _work(self) -> None:
        while not self._ended.wait(GATHER):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        waiting = self._lines
        lines = [waiting.popleft() for _ in range(len(waiting))]
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self._tell_dropped(dropped)
            lines.append(f"# {dropped} lines dropped: the log is read too slowly\n")
        self._put(lines)

    def _put(self, lines: list[str]) -> None:
        data = "".join(lines).encode("utf-8", "backslashreplace")
        with contextlib.suppress(OSError):  # nobody reads the log any more; the server goes on
            start = 0
            while start < len(data):
                start += os.write(self._fd, memoryview(data)[start : self._end(data, start)])

    def _end(self, data: bytes, start: int) -> int:
        """Where what is written at once ends: behind the last line that goes into a piece."""
        if len(data) - start <= self._piece:
            return len(data)
        return data.rfind(b"\n", start, start + self._piece) + 1 or start + self._piece
