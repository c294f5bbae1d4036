"""One worker, as its supervisor sees it: a process, and our end of the channel to it."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
from collections import defaultdict, deque
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final, Self

from ..server.settings import ServerSettings
from .channel import PREPARE, READY, SNAPSHOT, Assignment, packed, packed_settings, receive_value

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

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        channel: socket.socket,
        doors: socket.socket,
        assignment: Assignment,
    ) -> None:
        self.pid = process.pid
        self.serves = False
        self._beats = -1
        self._beat_at = monotonic()
        self._asked: defaultdict[bytes, deque[asyncio.Future[Any]]] = defaultdict(deque)
        self._process = process
        self._channel = channel
        self._doors = doors
        self._outbox = packed(assignment)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @classmethod
    def start(cls, assignment: Assignment) -> Self:
        """A fresh interpreter: what is forked from a running program inherits its locks, threads and secrets."""
        ours, theirs = socket.socketpair()
        our_doors, their_doors = socket.socketpair()
        assignment = assignment._replace(doors=their_doors.fileno())
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
            our_doors.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
            their_doors.close()
        return cls(process, ours, our_doors, assignment)

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

    def post(self, word: bytes, more: bytes = b"") -> "asyncio.Future[Any]":
        """Says a word that will be answered, with what belongs to it. Answers come in the order of the questions, so
        that a late one is nobody else's."""
        answer = asyncio.get_running_loop().create_future()
        if self._has_ended:
            answer.set_result(None)
            return answer
        self._asked[word].append(answer)
        self.tell(word + more)
        return answer

    async def snapshot(self) -> dict[str, Any] | None:
        """Who is with it; several who ask at the same time get one answer. None: it does not say."""
        asked = self._asked[SNAPSHOT]
        found: dict[str, Any] | None = await self.answer(asked[-1] if asked else self.post(SNAPSHOT), ANSWER)
        return found

    def prepare(self, settings: ServerSettings, sockets: Sequence[socket.socket]) -> "asyncio.Future[Any]":
        """Lets it make what other settings need; ``sockets``: where it is to accept besides. The answer is what is
        wrong with that, empty if nothing is."""
        if sockets and not self._has_ended:
            with contextlib.suppress(ConnectionError):  # it has just died, and will answer nothing
                socket.send_fds(self._doors, [b"d"], [sock.fileno() for sock in sockets])
        return self.post(PREPARE, packed_settings(settings, len(sockets)))

    @property
    def _has_ended(self) -> bool:
        return self._doors.fileno() < 0

    @staticmethod
    async def answer(awaited: "asyncio.Future[Any]", patience: float) -> Any:
        """None if there is none in time, or ever."""
        try:
            return await asyncio.wait_for(asyncio.shield(awaited), patience)
        except TimeoutError:
            return None

    async def end(self) -> int:
        """Waits for its end; the exit status, negative for a signal's number."""
        assert self._streams is not None
        reader, writer = self._streams
        while word := await _read(reader):
            await self._hear(word, reader)
        self.serves = False
        for waiting in self._asked.values():
            for awaited in waiting:
                awaited.set_result(None)
            waiting.clear()
        self._doors.close()
        writer.close()
        return await asyncio.to_thread(self._process.wait)

    async def _hear(self, word: bytes, reader: asyncio.StreamReader) -> None:
        """An answer; one that is cut short is that of a worker which dies."""
        with contextlib.suppress(EOFError, ConnectionError):
            answer = await receive_value(reader)
            self._asked[word].popleft().set_result(answer)


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
