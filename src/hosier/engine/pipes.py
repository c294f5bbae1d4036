"""Kernel pipes for splice.

A pipe is either empty and in the pool, or held by the one flow whose octets it carries, or closed. A pipe that may
hold octets of a flow that ended is closed, never given to another.
"""

import os
from typing import Any, Final

__all__ = ("SPLICE_FLAGS", "Pipe", "PipePool", "splice")

splice: Final[Any] = getattr(os, "splice", None)  # where there is none, no flow gets a pipe
SPLICE_FLAGS: Final = 3  # SPLICE_F_MOVE | SPLICE_F_NONBLOCK

_WANTED: Final = 1 << 20
_F_SETPIPE_SZ: Final = 1031
_F_GETPIPE_SZ: Final = 1032


class Pipe:
    """Two descriptors, how many octets fit between them, and how many there are."""

    __slots__ = ("capacity", "octets", "read_fd", "write_fd")

    def __init__(self) -> None:
        """Raises OSError if the process has no descriptors left."""
        import fcntl  # not everywhere, but then there is no splice either

        self.octets = 0
        self.read_fd, self.write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self.capacity = fcntl.fcntl(self.write_fd, _F_SETPIPE_SZ, _WANTED)
        except OSError:
            # An ordinary user may own 64 MiB of pipes by default (pipe-user-pages-soft); small ones work too.
            self.capacity = fcntl.fcntl(self.write_fd, _F_GETPIPE_SZ)

    def close(self) -> None:
        os.close(self.read_fd)
        os.close(self.write_fd)


class PipePool:
    """Empty pipes, a bounded number of them."""

    __slots__ = ("_empty", "_keep", "open")

    def __init__(self, keep: int = 32) -> None:
        self._empty: list[Pipe] = []
        self._keep = keep
        self.open = 0
        """Pipes that exist, empty or held."""

    def take(self) -> Pipe | None:
        """An empty pipe; None if there is none and none can be made."""
        if self._empty:
            return self._empty.pop()
        try:
            pipe = Pipe()
        except OSError:
            return None
        self.open += 1
        return pipe

    def give(self, pipe: Pipe) -> None:
        """Takes an empty pipe back."""
        if len(self._empty) < self._keep:
            self._empty.append(pipe)
        else:
            self.discard(pipe)

    def discard(self, pipe: Pipe) -> None:
        """Closes a pipe, with whatever it may hold."""
        self.open -= 1
        pipe.close()

    def close(self) -> None:
        while self._empty:
            self.discard(self._empty.pop())
