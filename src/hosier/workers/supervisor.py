"""Starts the workers, keeps their sockets, and replaces those that die.

All listening sockets are the supervisor's: each worker serves one per address, and a worker that follows a dead one
gets the same, with the connections that wait in it. So a worker's death costs its own sessions and nothing else.
"""

import asyncio
import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from time import monotonic, time
from typing import Any, Final, NamedTuple

from ..engine.egress import MakeEgress
from ..errors import ConfigError
from ..observe.counts import beats
from ..observe.destinations import STDOUT, Destination
from ..observe.pages import Health
from ..server.capacity import room
from ..server.listening import configured_address, shared_listening_sockets
from ..server.reload import NEED_RESTART, kept_settings
from ..server.settings import ListenAddress, ServerSettings
from ..server.snapshot import merged
from ..server.terms import Terms
from .channel import (
    ABANDON,
    DRAIN,
    END,
    REOPEN,
    SWITCH,
    Assignment,
)
from .counting import bury, cells_of, create_counts, read_counts
from .memory import CommonMemory
from .process import REOPEN_SIGNAL, STOP_SIGNALS, WorkerProcess, obituary
from .shared import SharedTable
from .tallies import Totals, create_table, read_totals, sessions_under_way
from .vault import create_vault_table

__all__ = ("Supervisor",)

SHORT_LIFE: Final = 10.0
"""Seconds. A worker that dies sooner counts for the back-off."""

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
"""Seconds before the next attempt; connections wait in the queue of the dead one meanwhile."""

PREPARING: Final = 30.0
"""Seconds that a worker has to make what other settings need."""

WORKERS_KEEP: Final = frozenset(("caps",))
"""Settings that workers got at their start and keep, besides those that every server keeps."""

_TOO_LATE: Final = "it is stopping"


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
        destination: of the access log.
        become: gives up privileges, once the ports are open.
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
        destination: Destination = STDOUT,
        become: Callable[[], object] = lambda: None,
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
        self._destination, self._become = destination, become
        self._log, self._uvloop, self._verbose, self._egress = log, uvloop, verbose, egress
        self._sockets: list[list[socket.socket]] = []
        self._table: SharedTable
        self._memory: CommonMemory
        self._counts = create_counts(count)
        self._purses = create_vault_table(count)
        self._watched = watched
        self._workers: dict[int, WorkerProcess] = {}
        self._ready: set[int] = set()
        self._behind: set[int] = set()  # those that could not change at a reload
        self._settled = asyncio.Event()
        self._stopping = asyncio.Event()
        self._status = 0

    async def run(
        self,
        announce: Callable[[Sequence[ListenAddress]], object],
        stopping: Callable[[], object] = lambda: None,
    ) -> int:
        """Serves until SIGTERM or SIGINT, and returns the exit code: 0, or 1 if the workers could not start.

        ``announce(addresses)`` is called when all are ready, ``stopping()`` when it is told to stop. Raises
        ConfigError if an address cannot be had.
        """
        loop = asyncio.get_running_loop()
        self._sockets = shared_listening_sockets(self.settings.listen_addresses, self.count)
        addresses = [ListenAddress(*sock.getsockname()[:2]) for sock in self._sockets[0]]
        self._become()
        self._table = create_table(self.settings.caps, self.count)
        self._memory = CommonMemory.create()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(REOPEN_SIGNAL, self._tell_all, REOPEN)
        try:
            keepers = [asyncio.ensure_future(self._keep(number)) for number in range(self.count)]
            await self._settled.wait()
            if len(self._ready) == self.count:
                announce(addresses)
            await self._stopping.wait()
            stopping()
            await asyncio.gather(*keepers)
        finally:
            for number in (*STOP_SIGNALS, REOPEN_SIGNAL):
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
        if self._watched and (hanging := self._hanging()):
            return Health(True, False, f"worker {' and '.join(hanging)} hangs")
        if self._behind:
            behind = " and ".join(str(number + 1) for number in sorted(self._behind))
            return Health(False, True, f"worker {behind} keeps the settings of before a reload")
        return Health(True, True, "" if serving == self.count else f"{serving} of {self.count} workers let clients in")

    async def snapshot(self) -> dict[str, Any]:
        """Who is here, with any worker."""
        asked = [worker.snapshot() for worker in self._serving()]
        return merged([found for found in await asyncio.gather(*asked) if found is not None])

    async def reload(self, settings: ServerSettings, keep: Collection[str] = ()) -> Outcome:
        """Other settings for all workers: each makes what they need, then all change; or none does.

        ``keep``: settings besides those known here that stay as they are until the next start. Raises ConfigError,
        with nothing changed.
        """
        kept = kept_settings(self._given, settings, {*NEED_RESTART, *WORKERS_KEEP, *keep})
        settings = replace(settings, **{name: getattr(self._given, name) for name in kept})
        (await asyncio.to_thread(Terms, settings)).close()
        if self._stopping.is_set():
            raise ConfigError(_TOO_LATE)
        after = replace(settings, caps=self.settings.caps)
        new = [address for address in after.listen_addresses if address not in self._given.listen_addresses]
        doors = shared_listening_sockets(new, self.count) if new else [[] for _ in range(self.count)]
        asked = {number: worker for number, worker in self._workers.items() if worker.serves}
        preparing = [worker.answer(worker.prepare(after, doors[number]), PREPARING) for number, worker in asked.items()]
        answers = zip(asked.values(), await asyncio.gather(*preparing), strict=True)
        wrong = [answer for worker, answer in answers if answer != "" and worker.serves]
        if self._stopping.is_set():
            wrong = [_TOO_LATE]  # who drains opens no ports
        if wrong:
            for worker in asked.values():
                worker.tell(ABANDON)
            _close(doors)
            raise ConfigError(wrong[0] or "a worker does not answer")
        self._move(after, doors)
        self._given, self.settings = settings, after
        for number, worker in self._workers.items():
            if worker is not asked.get(number):  # it was being born, with the settings of before
                worker.prepare(after, doors[number])
        # All of them are told before anything else can be, a stop least of all.
        told = [(number, worker, worker.post(SWITCH)) for number, worker in self._workers.items()]
        switching = [self._switched(number, worker, posted) for number, worker, posted in told]
        return Outcome(kept, sum(await asyncio.gather(*switching)))

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
        self._tell_all(order)

    # --- private ---

    async def _switched(self, number: int, worker: WorkerProcess, posted: "asyncio.Future[Any]") -> int:
        """How many sessions a worker has ended by changing. One that serves and has not changed is known as such until
        it has, or is replaced: what it serves by are the settings of before."""
        answer = await worker.answer(posted, PREPARING)
        if isinstance(answer, int) or not worker.serves:
            self._behind.discard(number)
            return answer or 0
        self._behind.add(number)
        if answer is None:
            posted.add_done_callback(lambda late: self._has_changed(number, late.result()))
        why = answer or "it does not answer"
        self._say(f"worker {number + 1} keeps the settings of before: {why}; kill -KILL {worker.pid} replaces it")
        return 0

    def _has_changed(self, number: int, answer: int | str | None) -> None:
        """Later than it should have."""
        if isinstance(answer, int):
            self._behind.discard(number)

    def _hanging(self) -> list[str]:
        workers = self._workers.items()
        return [str(number + 1) for number, worker in workers if worker.hangs(beats(cells_of(self._counts, number)))]

    def _tell_all(self, order: bytes) -> None:
        for worker in self._workers.values():
            worker.tell(order)

    def _serving(self) -> "list[WorkerProcess]":
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
            worker = WorkerProcess.start(self._assignment(number))
        except OSError as error:
            return f"{name} could not be started ({error.strerror})"
        self._workers[number] = worker
        if await worker.is_ready():
            self._ready.add(number)
            if len(self._ready) == self.count:
                self._settled.set()
        status = await worker.end()
        del self._workers[number]
        self._behind.discard(number)
        bury(self._counts, number)
        self.totals = self.totals.plus(read_totals(self._table, number))
        self._table.forget(number)
        self._purses.forget(number)
        return f"{name} (process {worker.pid}) {obituary(status)}"

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
            destination=self._destination,
            egress=self._egress,
            watched=self._watched,
        )

    def _move(self, after: ServerSettings, doors: Sequence[Sequence[socket.socket]]) -> None:
        """From now on workers accept on other sockets, too, and not on some of those that they had."""
        before, wanted = self._given.listen_addresses, after.listen_addresses
        for sockets, added in zip(self._sockets, doors, strict=True):
            gone = [sock for sock in sockets if configured_address(sock, before) not in wanted]
            sockets[:] = [sock for sock in sockets if sock not in gone] + list(added)
            _close([gone])

    def _stop_listening(self) -> None:
        while self._sockets:
            for sock in self._sockets.pop():
                sock.close()


def _close(groups: Iterable[Iterable[socket.socket]]) -> None:
    for group in groups:
        for sock in group:
            sock.close()
