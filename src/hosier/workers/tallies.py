"""Sessions counted over all workers: the tallies of ``policy.limits`` in a table that they share.

A cap is never exceeded, and nearly never costs a lock: a worker first writes itself down, then looks. If it sees fewer
than allowed even when each other worker is about to write one down, it may go on. Else it looks again under the lock,
one after the other, and who sees too many takes itself out. See decisions/0017.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from ..policy.limits import Caps, Tally
from .shared import SharedTable

__all__ = ("SharedTallyBook", "Totals", "create_table", "read_totals", "sessions_under_way")

MOST_ROWS: Final = 1 << 20
"""Sources and users that a table has places for, whatever the caps say."""


_ALL: Final = 0
"""The fixed row of what is not counted per key; below, its fields and those of every key's row."""
_SESSIONS: Final = 0
_HANDSHAKES: Final = 1

_TOTALS: Final = 1
"""The fixed row of what only grows; below, its fields."""
_SERVED: Final = 0
_OCTETS: Final = 1


class Totals(NamedTuple):
    """What has been done since the start."""

    served: int = 0
    octets: int = 0

    def plus(self, other: "Totals") -> "Totals":
        return Totals(self.served + other.served, self.octets + other.octets)


def create_table(caps: Caps, workers: int) -> SharedTable:
    """One with twice the places that the caps allow to be taken, so that nearly never all those of one key are."""
    sources = bool(caps.sessions_per_source or caps.handshakes_per_source)
    rows = 2 * (caps.sessions or 0) * (sources + bool(caps.sessions_per_user))
    return SharedTable.create(rows=min(rows, MOST_ROWS), fields=2, workers=workers)


def read_totals(table: SharedTable, worker: int) -> Totals:
    """What one worker has done since it started."""
    cells = table.cells
    return Totals(cells[table.cell(_TOTALS, _SERVED, worker)], cells[table.cell(_TOTALS, _OCTETS, worker)])


def sessions_under_way(table: SharedTable) -> int:
    """Over all workers."""
    return table.total(_ALL, _SESSIONS)


class SharedTally:
    """A row, as one worker sees it. Nobody else writes the worker's own numbers, so it need not read them."""

    def __init__(self, table: SharedTable, row: int, worker: int) -> None:
        workers = table.plan.workers
        self._lock = table.lock
        self._cells = cells = table.cells
        self._my_sessions = table.cell(row, _SESSIONS, worker)
        self._my_handshakes = table.cell(row, _HANDSHAKES, worker)
        self.sessions = cells[self._my_sessions]
        self.handshakes = cells[self._my_handshakes]
        first = table.cell(row, _SESSIONS)
        self._all_sessions = cells[first : first + workers]
        first = table.cell(row, _HANDSHAKES)
        self._all_handshakes = cells[first : first + workers]
        self._numbers = table.numbers
        self._hidden = workers - 1  # that others may have begun to write down, at most

    def enter(self, sessions: int, handshakes: int) -> str:
        cells, numbers = self._cells, self._numbers
        self.sessions = cells[self._my_sessions] = self.sessions + 1
        self.handshakes = cells[self._my_handshakes] = self.handshakes + 1
        inside, hidden = sum(numbers(self._all_sessions)), self._hidden
        # Whoever is in its handshake is a session before it and after: few sessions are few handshakes.
        if inside <= sessions - hidden and (
            inside <= handshakes - hidden or sum(numbers(self._all_handshakes)) <= handshakes - hidden
        ):
            return ""
        return self._enter_alone(sessions, handshakes)

    def greeted(self) -> None:
        self.handshakes = self._cells[self._my_handshakes] = self.handshakes - 1

    def leave(self) -> None:
        self.sessions = self._cells[self._my_sessions] = self.sessions - 1

    # --- private ---

    def _enter_alone(self, sessions: int, handshakes: int) -> str:
        """One who is written down already looks again, while no other one does."""
        with self._lock:
            if sum(self._numbers(self._all_sessions)) > sessions:
                reached = "sessions"
            elif sum(self._numbers(self._all_handshakes)) > handshakes:
                reached = "handshakes"
            else:
                return ""
            self.greeted()
            self.leave()
            return reached


class _PassingTally(SharedTally):
    """One whose row others may have after this worker's last session in it."""

    def __init__(self, table: SharedTable, row: int, worker: int, forget: Callable[[], object]) -> None:
        super().__init__(table, row, worker)
        self._forget = forget

    def leave(self) -> None:
        super().leave()
        if not self.sessions:
            self._forget()


class SharedTallyBook:
    """All of one worker."""

    def __init__(self, table: SharedTable, worker: int) -> None:
        self.all: Tally = SharedTally(table, _ALL, worker)
        self._table = table
        self._worker = worker
        self._known: dict[str, _PassingTally] = {}
        self._served = table.cell(_TOTALS, _SERVED, worker)
        self._octets = table.cell(_TOTALS, _OCTETS, worker)

    def __len__(self) -> int:
        return len(self._known)

    def of(self, key: str) -> Tally | None:
        tally = self._known.get(key)
        if tally is None:
            row = self._table.hold(key.encode("utf-8", "surrogatepass"), self._worker)
            if row is None:
                return None

            def forget() -> None:
                del self._known[key]
                self._table.let_go(row, self._worker)

            tally = self._known[key] = _PassingTally(self._table, row, self._worker, forget)
        return tally

    def tell(self, served: int, octets: int) -> None:
        """What this worker has done since its start."""
        cells = self._table.cells
        cells[self._served] = served
        cells[self._octets] = octets
