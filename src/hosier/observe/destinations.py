"""Where the access log can go besides standard output: a file that is opened anew on demand, syslog, the journal.

All of them gather lines as ``LineWriter`` does, and none of them ever stops a session.
"""

import contextlib
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from errno import EACCES
from time import monotonic
from typing import Final, NamedTuple

from ..errors import ConfigError
from .appending import append_lines
from .writer import LineWriter

__all__ = ("Destination", "FileWriter", "JournalWriter", "STDOUT", "SyslogWriter")

SYSLOG: Final = "/dev/log"
JOURNAL: Final = "/run/systemd/journal/socket"

BACKLOG: Final = 16 << 20
"""Octets that wait for a disk that is full."""

AGAIN: Final = 60.0
"""Seconds between two lines about the same trouble."""

_DAEMON_INFO: Final = 3 << 3 | 6  # facility and severity (RFC 5424 §6.2.1)
_log = logging.getLogger("hosier")

Dropped = Callable[[int], object]


class Destination(NamedTuple):
    """Where lines go."""

    to: str = "stdout"
    """"stdout", "syslog" or "journald"."""

    file: str | None = None
    """A path: there and nowhere else."""

    def writer(self, *, shared: bool, dropped: Dropped) -> LineWriter:
        """``shared``: other processes write to it, too. Raises ConfigError if it cannot be had."""
        if self.file is not None:
            return FileWriter(self.file, shared=shared, dropped=dropped)
        if self.to == "syslog":
            return SyslogWriter(dropped=dropped)
        if self.to == "journald":
            return JournalWriter(dropped=dropped)
        return LineWriter(sys.stdout.fileno(), shared=shared, dropped=dropped)


STDOUT: Final = Destination()


class _Trouble:
    """A line for the operator when something goes wrong, and at most one a minute while it does."""

    def __init__(self) -> None:
        self._next_line = 0.0

    def tell(self, line: str) -> None:
        now = monotonic()
        if now >= self._next_line:
            self._next_line = now + AGAIN
            _log.warning("%s", line)


class FileWriter(LineWriter):
    """Appends to a file; ``reopen()`` opens it anew by its name, after it was moved away.

    What a full disk does not take waits, within bounds, and is written when there is room.
    """

    def __init__(self, path: str, *, shared: bool = False, dropped: Dropped = lambda count: None) -> None:
        self.path = path
        self._is_shared = shared
        self._backlog = b""
        self._is_stale = False
        self._trouble = _Trouble()
        try:
            fd = _open(path)
        except OSError as error:
            raise ConfigError(f"cannot write the log to {path}: {error.strerror}") from None
        super().__init__(fd, dropped=dropped)

    def reopen(self) -> None:
        """Before the next lines."""
        self._is_stale = True

    def close(self) -> None:
        super().close()
        with contextlib.suppress(OSError):
            os.close(self._fd)

    def _put(self, lines: list[str]) -> None:
        if self._is_stale:
            self._is_stale = False
            self._open_anew()
        data = self._backlog + "".join(lines).encode("utf-8", "backslashreplace")
        taken, error = append_lines(self._fd, data, shared=self._is_shared)
        if error is not None:
            self._trouble.tell(f"cannot write the log to {self.path}: {error.strerror}; it waits")
        self._backlog = data[taken:]
        if len(self._backlog) > BACKLOG:
            kept = self._backlog.rfind(b"\n", 0, BACKLOG) + 1
            self._tell_dropped(self._backlog.count(b"\n", kept))
            self._backlog = self._backlog[:kept]

    def _open_anew(self) -> None:
        try:
            fd = _open(self.path)
        except OSError as error:
            # Mostly it was opened as root, before privileges were given up.
            advice = "; make it for the user that the server runs as" if error.errno == EACCES else ""
            self._trouble.tell(
                f"cannot open {self.path} anew: {error.strerror}; the log goes on where it went before{advice}"
            )
            return
        os.close(self._fd)
        self._fd = fd


class _DatagramWriter(LineWriter):
    """A datagram for each line, to a socket of this machine's. One that is not there, or does not read, loses them, and
    the operator is told."""

    def __init__(self, place: str, dropped: Dropped) -> None:
        self._place = place
        self._trouble = _Trouble()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.connect(place)
        except OSError as error:
            self._socket.close()
            raise ConfigError(f"cannot write the log to {place}: {error.strerror}") from None
        self._socket.settimeout(1.0)
        super().__init__(self._socket.fileno(), dropped=dropped)

    def close(self) -> None:
        super().close()
        self._socket.close()

    def _put(self, lines: list[str]) -> None:
        for at, line in enumerate(lines):
            octets = self._frame(line.rstrip("\n").encode("utf-8", "backslashreplace"))
            try:
                self._send(octets)
            except OSError as error:
                # To wait for each of the others as long would only keep those that come from their turn.
                lost = len(lines) - at
                self._tell_dropped(lost)
                reason = error.strerror or "nobody reads it"
                self._trouble.tell(
                    f"cannot write the log to {self._place}: {reason}; lines are lost until it works again"
                )
                return

    def _send(self, octets: bytes) -> None:
        """Raises OSError; TimeoutError if the daemon does not read."""
        try:
            self._socket.send(octets)
        except TimeoutError:
            raise
        except OSError:  # whoever listens there may have been started anew
            self._socket.connect(self._place)
            self._socket.send(octets)

    def _frame(self, line: bytes) -> bytes:
        raise NotImplementedError


class SyslogWriter(_DatagramWriter):
    """Facility "daemon", severity "info", in the form that syslog daemons read from their own machine."""

    def __init__(self, place: str = SYSLOG, *, dropped: Dropped = lambda count: None) -> None:
        super().__init__(place, dropped)

    def _frame(self, line: bytes) -> bytes:
        moment = time.strftime("%b %e %H:%M:%S")
        return b"<%d>%s hosier[%d]: %s" % (_DAEMON_INFO, moment.encode(), os.getpid(), line)


class JournalWriter(_DatagramWriter):
    """systemd's journal, in its own protocol: a field to a line."""

    def __init__(self, place: str = JOURNAL, *, dropped: Dropped = lambda count: None) -> None:
        super().__init__(place, dropped)

    def _frame(self, line: bytes) -> bytes:
        return b"PRIORITY=6\nSYSLOG_IDENTIFIER=hosier\nSYSLOG_FACILITY=3\nMESSAGE=%s\n" % line


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
