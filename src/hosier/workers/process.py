"""One worker, as its supervisor sees it: a process, and our end of the channel to it."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
from time import monotonic
from typing import Any, Final, Self

from .channel import READY, Assignment, packed, receive_value

__all__ = ("REOPEN_SIGNAL", "STOP_SIGNALS", "WorkerProcess", "obituary")

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
REOPEN_SIGNAL: Final = signal.SIGUSR1
SUPERVISORS_SIGNALS: Final = (*STOP_SIGNALS, REOPEN_SIGNAL, signal.SIGHUP)
"""Those that a terminal or an operator may send to the whole group, and that only the supervisor heeds."""

ANSWER: Final = 2.0
"""Seconds that a worker has to answer, unless it is said otherwise."""

HANGS: Final = 10.0
"""Seconds without a beat of a worker's loop, after which it is not alive."""


class WorkerProcess:
    """A worker's process, and our end of the channel to it."""

    def __init__(self, process: "subprocess.Popen[bytes]", channel: socket.socket, assignment: Assignment) -> None:
        self.pid = process.pid
        self.serves = False
        self._beats = -1
        self._beat_at = monotonic()
        self._asked: dict[bytes, asyncio.Future[Any]] = {}
        self._process = process
        self._channel = channel
        self._outbox = packed(assignment)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @classmethod
    def start(cls, assignment: Assignment) -> Self:
        """A fresh interpreter: what is forked from a running program inherits its locks, threads and secrets."""
        ours, theirs = socket.socketpair()
        # It must never take one of our signals for itself, not even before its first line has run.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SUPERVISORS_SIGNALS)
        try:
            process = subprocess.Popen(  # noqa: S603  # ourselves
                [sys.executable, "-P", "-m", "hosier.workers.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *assignment.descriptors),
            )
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        return cls(process, ours, assignment)

    async def is_ready(self) -> bool:
        """Waits until it accepts; False: it died before."""
        reader, writer = self._streams = await asyncio.open_unix_connection(sock=self._channel)
        writer.write(self._outbox)
        self._outbox = b""
        self.serves = await _read(reader) == READY
        return self.serves

    def hangs(self, beats: int) -> bool:
        """Whether a worker that serves has not had a beat for long; it should have two a second."""
        if beats != self._beats or not self.serves:
            self._beats, self._beat_at = beats, monotonic()
        return monotonic() - self._beat_at > HANGS

    def tell(self, order: bytes) -> None:
        if self._streams is None:
            self._outbox += order
        else:
            self._streams[1].write(order)

    async def ask(self, word: bytes, more: bytes = b"", patience: float = ANSWER) -> Any:
        """Says a word, with what belongs to it, unless its answer is awaited already; the answer. None if there is
        none, whatever the reason."""
        if word not in self._asked:
            self._asked[word] = asyncio.get_running_loop().create_future()
            self.tell(word + more)
        try:
            return await asyncio.wait_for(asyncio.shield(self._asked[word]), patience)
        except TimeoutError:
            return None

    async def end(self) -> int:
        """Waits for its end; the exit status, negative for a signal's number."""
        assert self._streams is not None
        reader, writer = self._streams
        while word := await _read(reader):
            await self._hear(word, reader)
        self.serves = False
        for awaited in self._asked.values():
            awaited.set_result(None)
        writer.close()
        return await asyncio.to_thread(self._process.wait)

    async def _hear(self, word: bytes, reader: asyncio.StreamReader) -> None:
        """An answer; one that is cut short is that of a worker which dies."""
        with contextlib.suppress(EOFError, ConnectionError):
            answer = await receive_value(reader)
            if (awaited := self._asked.pop(word, None)) is not None:
                awaited.set_result(answer)


async def _read(reader: asyncio.StreamReader) -> bytes:
    """A word of a worker's; empty when it is gone, however it went."""
    try:
        return await reader.read(1)
    except ConnectionError:
        return b""


def obituary(status: int) -> str:
    """An exit status in words, negative for the number of a signal."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
