"""Lines at the end of a file that several processes write to: each of them stays whole, also where a disk fills up."""

import contextlib
import os
from collections.abc import Iterator

__all__ = ("append_lines",)


def append_lines(fd: int, lines: bytes, *, shared: bool) -> tuple[int, OSError | None]:
    """How many octets of the lines the file has taken, and what went wrong if that is not all of them.

    A disk that fills up takes a part of a line. It is taken back where that can be, or the line of another process,
    which finds room first, would stand in the middle of it. ``shared``: there are others, who call this, too.
    """
    with _alone(fd) if shared else contextlib.nullcontext():
        taken = 0
        try:
            while taken < len(lines):
                taken += os.write(fd, memoryview(lines)[taken:])
        except OSError as error:
            return _whole_lines(fd, lines, taken), error
    return taken, None


def _whole_lines(fd: int, lines: bytes, taken: int) -> int:
    """Takes back what was written of a line that has no end yet."""
    whole = lines.rfind(b"\n", 0, taken) + 1
    with contextlib.suppress(OSError):  # it is no file: nothing can be taken back
        end = os.lseek(fd, 0, os.SEEK_CUR)
        if whole < taken and os.fstat(fd).st_size == end:  # else somebody has written behind it who asks nobody
            os.ftruncate(fd, end - (taken - whole))
            return whole
    return taken


@contextlib.contextmanager
def _alone(fd: int) -> Iterator[None]:
    """While nobody else is; a process that dies is not. A file system without locks has none."""
    try:
        import fcntl
    except ImportError:  # Windows, where there are no others
        yield
        return
    with contextlib.suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_UN)
