"""Starts the workers, keeps their sockets, and replaces those that die.

All listening sockets are the supervisor's: each worker serves one per address, and a worker that follows a dead one
gets the same, with the connections that wait in it. So a worker's death costs its own sessions and nothing else.
"""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from time import monotonic, time
from typing import Any, Final, NamedTuple, Self

from ..engine.egress import MakeEgress
from ..errors import ConfigError
from ..observe.pages import Health
from ..server.capacity import room
from ..server.listening import shared_listening_sockets
from ..server.reload import NEED_RESTART, kept_settings
from ..server.settings import ListenAddress, ServerSettings
from ..server.snapshot import merged
from ..server.terms import Terms
from .channel import (
    ABANDON,
    DRAIN,
    END,
    PREPARE,
    READY,
    SNAPSHOT,
    SWITCH,
    Assignment,
    packed,
    packed_settings,
    receive_value,
)
from .counting import bury, create_counts, read_counts
from .memory import CommonMemory
from .shared import SharedTable
from .tallies import Totals, create_table, read_totals, sessions_under_way
from .vault import create_vault_table

__all__ = ("Supervisor",)

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
SHORT_LIFE: Final = 10.0
"""Seconds. A worker that dies sooner counts for the back-off."""

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
"""Seconds before the next attempt; connections wait in the queue of the dead one meanwhile."""


ANSWER: Final = 2.0
"""Seconds that a worker has to say who is with it."""


PREPARING: Final = 30.0
"""Seconds that a worker has to make what other settings need."""

WORKERS_KEEP: Final = frozenset(("listen", "caps"))
"""Settings that workers got at their start and keep, besides those that every server keeps."""


class Outcome(NamedTuple):
    """What came of a reload."""

    kept: list[str]
    """Names of settings that differ and stay as they were until the next start."""

    ended: int
    """Sessions that were forbidden by it."""


class Supervisor:
    """``count`` workers that serve as one server; ``await run()`` is its life.

    Args:
        settings: what the server is told; its caps hold for all workers together.
        count: how many workers.
        say: told of everything that the operator should know, line by line.
        log: the form of the access log, as ``AccessLog`` knows it, or "off".
        uvloop: whether the workers run on uvloop.
        verbose: whether they explain each refusal.
        egress: makes the way to targets, as the server takes it.
    """

    def __init__(
        self,
        settings: ServerSettings,
        count: int,
        *,
        say: Callable[[str], object],
        log: str = "text",
        uvloop: bool = False,
        verbose: bool = False,
        egress: MakeEgress | None = None,
        watched: bool = True,
    ) -> None:
        caps = settings.caps.complete(room(count), is_public=settings.is_public)
        self.settings = replace(settings, caps=caps)
        self._given = settings
        self.count = count
        self.totals = Totals()
        """What dead workers have done: once it has run, all."""
        self.started = time()
        self._deaths = 0
        self._say = say
        self._log, self._uvloop, self._verbose, self._egress = log, uvloop, verbose, egress
        self._sockets: list[list[socket.socket]] = []
        self._table: SharedTable
        self._memory: CommonMemory
        self._counts = create_counts(count)
        self._purses = create_vault_table(count, used=bool(settings.budgets))
        self._watched = watched
        self._workers: dict[int, _Worker] = {}
        self._ready: set[int] = set()
        self._settled = asyncio.Event()
        self._stopping = asyncio.Event()
        self._status = 0

    async def run(self, announce: Callable[[Sequence[ListenAddress]], object]) -> int:
        """Serves until SIGTERM or SIGINT, and returns the exit code: 0, or 1 if the workers could not start.

        ``announce(addresses)`` is called when all are ready. Raises ConfigError if an address cannot be had.
        """
        loop = asyncio.get_running_loop()
        self._sockets = shared_listening_sockets(self.settings.listen_addresses, self.count)
        addresses = [ListenAddress(*sock.getsockname()[:2]) for sock in self._sockets[0]]
        self._table = create_table(self.settings.caps, self.count)
        self._memory = CommonMemory.create()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.stop)
        try:
            keepers = [asyncio.ensure_future(self._keep(number)) for number in range(self.count)]
            await self._settled.wait()
            if len(self._ready) == self.count:
                announce(addresses)
            await asyncio.gather(*keepers)
        finally:
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)
            self._stop_listening()
            self._table.close()
            self._memory.close()
        return self._status

    # --- for the admin pages ---

    def cells(self) -> Sequence[int]:
        """The counts of all workers, the dead ones' too."""
        return read_counts(self._counts)

    def gauges(self) -> Mapping[str, tuple[str, float]]:
        return {
            "workers": ("Processes that let clients in.", len(self._serving())),
            "worker_deaths": ("Workers that died and were replaced.", self._deaths),
        }

    def health(self) -> Health:
        """Ready when all workers are, or were and are being replaced."""
        serving = len(self._serving())
        if self._stopping.is_set():
            return Health(False, True, "stopping")
        if not serving:
            return Health(False, len(self._ready) < self.count, "no worker lets clients in")
        return Health(True, True, "" if serving == self.count else f"{serving} of {self.count} workers let clients in")

    async def snapshot(self) -> dict[str, Any]:
        """Who is here, with any worker."""
        asked = [worker.ask(SNAPSHOT) for worker in self._serving()]
        return merged([found for found in await asyncio.gather(*asked) if found is not None])

    async def reload(self, settings: ServerSettings, keep: Collection[str] = ()) -> Outcome:
        """Other settings for all workers: each makes what they need, then all change; or none does.

        ``keep``: settings besides those known here that stay as they are until the next start. Raises ConfigError,
        with nothing changed.
        """
        kept = kept_settings(self._given, settings, {*NEED_RESTART, *WORKERS_KEEP, *keep})
        settings = replace(settings, **{name: getattr(self._given, name) for name in kept})
        (await asyncio.to_thread(Terms, settings)).close()
        asked = self._serving()
        after = replace(settings, caps=self.settings.caps)
        answers = await asyncio.gather(*(worker.ask(PREPARE, packed_settings(after), PREPARING) for worker in asked))
        wrong = [answer for worker, answer in zip(asked, answers, strict=True) if answer != "" and worker.serves]
        if wrong:
            for worker in asked:
                worker.tell(ABANDON)
            raise ConfigError(wrong[0] or "a worker does not answer")
        self._given, self.settings = settings, after
        ended = await asyncio.gather(*(worker.ask(SWITCH, b"", PREPARING) for worker in asked))
        for worker in self._workers.values():
            if worker not in asked:  # it was being born, with the settings of before
                worker.tell(PREPARE + packed_settings(after) + SWITCH)
        return Outcome(kept, sum(count or 0 for count in ended))

    def stop(self) -> None:
        """Drains all workers; a second time ends them at once."""
        order = END if self._stopping.is_set() else DRAIN
        self._stopping.set()
        self._settled.set()
        # Ours go first: a worker that closed its copy alone would leave the port open, with nobody to accept.
        self._stop_listening()
        if order is DRAIN and (sessions := sessions_under_way(self._table)):
            patience = self.settings.limits.drain
            self._say(f"stopping: waiting up to {patience:g} s for {sessions} sessions; again to end them")
        for worker in self._workers.values():
            worker.tell(order)

    # --- private ---

    def _serving(self) -> "list[_Worker]":
        return [worker for worker in self._workers.values() if worker.serves]

    async def _keep(self, number: int) -> None:
        """Sees to it that there is a worker of this number."""
        short_lives = 0
        while not self._stopping.is_set():
            born = monotonic()
            death = await self._live(number)
            if self._stopping.is_set():
                return
            if number not in self._ready:
                self._give_up(f"{death} before it was ready")
                return
            short_lives = short_lives + 1 if monotonic() - born < SHORT_LIFE else 0
            await self._pause(death, short_lives)

    async def _live(self, number: int) -> str:
        """One worker, from its start to its end, and what is to be said about that."""
        name = f"worker {number + 1}"
        try:
            worker = _Worker.start(self._assignment(number))
        except OSError as error:
            return f"{name} could not be started ({error.strerror})"
        self._workers[number] = worker
        if await worker.is_ready():
            self._ready.add(number)
            if len(self._ready) == self.count:
                self._settled.set()
        status = await worker.end()
        del self._workers[number]
        bury(self._counts, number)
        self.totals = self.totals.plus(read_totals(self._table, number))
        self._table.forget(number)
        self._purses.forget(number)
        return f"{name} (process {worker.pid}) {_obituary(status)}"

    async def _pause(self, death: str, short_lives: int) -> None:
        """Tells of a death, and waits if there were some in a row; one alone is replaced at once."""
        seconds = min(FIRST_PAUSE * 2 ** (short_lives - 2), LONGEST_PAUSE) if short_lives > 1 else 0
        when = f"in {seconds:g} s, the death number {short_lives} in a row" if seconds else "at once"
        self._deaths += 1
        self._say(f"{death}; its sessions are lost; another follows {when}")
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    def _give_up(self, why: str) -> None:
        self._say(f"{why}; giving up")
        self._status = 1
        self.stop()

    def _assignment(self, number: int) -> Assignment:
        sockets = tuple(sock.fileno() for sock in self._sockets[number])
        return Assignment(
            self.settings,
            sockets,
            self._table.plan,
            self._counts.plan,
            self._purses.plan,
            self._memory.plan,
            number,
            self._log,
            self._uvloop,
            verbose=self._verbose,
            egress=self._egress,
            watched=self._watched,
        )

    def _stop_listening(self) -> None:
        while self._sockets:
            for sock in self._sockets.pop():
                sock.close()


class _Worker:
    """A worker's process, and our end of the channel to it."""

    def __init__(self, process: "subprocess.Popen[bytes]", channel: socket.socket, assignment: Assignment) -> None:
        self.pid = process.pid
        self.serves = False
        self._asked: dict[bytes, asyncio.Future[Any]] = {}
        self._process = process
        self._channel = channel
        self._outbox = packed(assignment)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @classmethod
    def start(cls, assignment: Assignment) -> Self:
        """A fresh interpreter: what is forked from a running program inherits its locks, threads and secrets."""
        ours, theirs = socket.socketpair()
        # It must never take a signal for itself that is ours, not even before its first line has run.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (*STOP_SIGNALS, signal.SIGHUP))
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


def _obituary(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
