"""Gives each session the purses that it draws on, holds its flows to them, and keeps the books.

Twice a second what was moved is written down, by a thread: the loop never waits for a disk, and a disk that is full or
a file that is locked costs nobody a session.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from time import monotonic, time
from typing import TYPE_CHECKING, Final

from ..errors import PolicyDenied
from ..observe.access_log import printable
from ..policy.bucket import Pace, Store
from ..policy.budgets import Budget
from ..policy.periods import start_of
from ..policy.purses import Exhausted, Purse, Usage, Vault
from ..policy.rules import Verdict
from ..policy.sources import source_of
from .ledger import Entry, Ledger

if TYPE_CHECKING:
    from .session import Session

__all__ = ("Treasurer",)

AGAIN: Final = 60.0
"""Seconds between two lines about the same trouble."""

MOST_PACES: Final = 1024
MOST_USUAL: Final = 4096

MOST_KNOWN: Final = 1 << 20
"""Keys of which the octets are remembered; who comes when there are more, and was never seen, is refused."""

LAST_WORDS: Final = 2.0
"""Seconds that the last writing may take when the server stops."""

_HOUR: Final = 3600.0
_UNPACED: Final = (None, None)
_Totals = dict[tuple[str, str], Entry]
_log = logging.getLogger("hosier")


class Treasurer:
    """Of a server.

    Args:
        budgets: by name.
        on_demand: names of those that only rules give out.
        groups: the users of each group.
        vault: where the numbers of purses stand.
        ledger: where octets are written down; None: nowhere.
        limited: told what was reached, in the words of the metrics.
    """

    def __init__(
        self,
        budgets: Mapping[str, Budget],
        vault: Vault,
        ledger: Ledger | None,
        *,
        on_demand: Iterable[str] = (),
        groups: Mapping[str, Sequence[str]] | None = None,
        limited: Callable[[str], object] = lambda limit: None,
    ) -> None:
        self.paces = False
        """Whether there is, or was, a budget that holds flows to a pace."""
        self._vault = vault
        self._ledger = ledger
        self._budgets: Mapping[str, Budget]
        self._general: tuple[str, ...]
        self._groups: dict[str, list[str]]
        self._limited = limited
        self._purses: dict[tuple[str, str], Purse] = {}
        self._known: dict[tuple[str, str], Entry] = {} if ledger is None else ledger.entries()
        self._usual: dict[tuple[str | None, str, str], tuple[Purse, ...]] = {}  # what everybody draws on, by who came
        self._paces: dict[tuple[Purse, ...], tuple[Pace | None, Pace | None]] = {}  # of those who came lately
        self._writing: asyncio.Future[None] | None = None
        self._next_line = 0.0
        self._clean_at = 0.0
        self._look_at = 0.0
        self.adopt(budgets, on_demand=on_demand, groups=groups or {})

    def __len__(self) -> int:
        """Purses that are open."""
        return len(self._purses)

    def adopt(
        self, budgets: Mapping[str, Budget], *, on_demand: Iterable[str], groups: Mapping[str, Sequence[str]]
    ) -> None:
        """From now on these hold, for who comes; who is here goes on drawing on those that it draws on, in their new
        measure (``Purse.changed``)."""
        self._usual.clear()
        self._budgets = budgets
        self.paces = self.paces or any(budget.up or budget.down or budget.octets for budget in budgets.values())
        special = set(on_demand)
        self._general = tuple(name for name in budgets if name not in special)
        self._by_source = any(budgets[name].per == "source" for name in self._general)
        self._groups = {}
        for group, users in groups.items():
            for user in users:
                self._groups.setdefault(user, []).append(group)
        for place, purse in self._purses.items():
            if (budget := budgets.get(place[0])) is not None and budget != purse.budget:
                self._purses[place] = purse.changed(budget, time())

    def admit(self, session: "Session") -> None:
        """Opens the purses that everybody draws on, for one that draws on none yet. Raises PolicyDenied."""
        if not self._general:
            return
        user = session.user
        whose = user, session.peer[0] if user is None or self._by_source else "", session.listener
        if (usual := self._usual.get(whose)) is not None:
            self._enter(session, usual)
            return
        self.draw(session, self._general)
        if len(self._usual) >= MOST_USUAL:
            self._usual.clear()
        self._usual[whose] = session.purses

    def draw(self, session: "Session", names: Sequence[str], rule: str = "") -> None:
        """Opens those of the named budgets for a session, all or none. Raises PolicyDenied."""
        found: list[Purse] = []
        for name in names:
            for key in self._keys(self._budgets[name], session, rule):
                purse = self._purses.get((name, key)) or self._opened(name, key)
                # By usage: a session goes on under the form of a budget that it came under.
                if purse not in found and not any(purse.usage is held.usage for held in session.purses):
                    found.append(purse)
        self._enter(session, tuple(found))

    def draw_more(self, session: "Session", verdict: Verdict) -> None:
        """Opens those that a rule gives to a session which is under way already. Raises PolicyDenied."""
        before = session.purses
        self.draw(session, verdict.budgets, verdict.owner)
        if session.purses != before:
            self.hold(session)

    def hold(self, session: "Session") -> None:
        """Holds the session's flows to its purses, before its relay runs."""
        paces = self._paces.get(session.purses)
        if paces is None:
            if len(self._paces) >= MOST_PACES:
                self._paces.clear()
            ways = zip(*((purse.up, purse.down) for purse in session.purses), strict=True)
            up, down = ([store for stores in way for store in stores] for way in ways)
            paces = self._paces[session.purses] = _pace(up), _pace(down)
        if paces != _UNPACED and session.relay is not None:
            session.relay.pace(*paces)

    def leave(self, session: "Session", moved: int) -> None:
        """The session has ended, and has moved so many octets that its purses have not been told of."""
        for purse in session.purses:
            purse.leave(moved)

    def beat(self, sessions: "Iterable[Session]") -> None:
        """Twice a second: ends what has nothing to draw on any more, begins to write, forgets what nobody uses."""
        today, now = time(), monotonic()
        # By usage: who came under an earlier form of a budget shares that, though not the purse.
        spent = {purse.usage: why for purse in self._purses.values() if (why := _why_spent(purse, today)) is not None}
        for session in [session for session in sessions if not session.end] if spent else ():
            found = next((spent[purse.usage] for purse in session.purses if purse.usage in spent), None)
            if found is not None:
                limit, reason = found
                self._limited(limit)
                session.interrupt(PolicyDenied(reason))
        if self._writing is None:
            self._forget_idle(now)
            if self._ledger is not None:
                self._writing = asyncio.ensure_future(self._write(self._ledger))

    async def close(self) -> None:
        """Writes the rest."""
        if self._writing is not None:
            await self._writing
        if self._ledger is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._write(self._ledger), LAST_WORDS)
            self._ledger.close()

    # --- private ---

    def _enter(self, session: "Session", purses: tuple[Purse, ...]) -> None:
        """Into all of them or none. Raises Exhausted."""
        now, today = session.engine.now, time()
        try:
            for purse in purses:
                purse.enter(now, today)
        except Exhausted as exhausted:
            for entered in purses[: purses.index(purse)]:
                entered.leave()
            self._limited(exhausted.limit)
            raise
        session.purses = session.purses + purses if session.purses else purses

    def _keys(self, budget: Budget, session: "Session", rule: str) -> Sequence[str]:
        """Whose purses of a budget a session draws on."""
        if budget.per == "user" and session.user is not None:  # nearly always
            return (f"user {printable(session.user)}",)
        match budget.per:
            case "all":
                return ("all",)
            case "listener":
                return (f"listener {session.listener}",)
            case "rule":
                return (rule,)
            case "group":
                return [f"group {group}" for group in self._groups.get(session.user or "", ())]
        return (f"source {source_of(session.peer[0])}",)

    def _opened(self, name: str, key: str) -> Purse:
        """The purse of one who has not come yet, or was forgotten. Raises Exhausted if there is no room."""
        has_place = self._ledger is None or (name, key) in self._known or len(self._known) < MOST_KNOWN
        slot = self._vault.open(_slot_of(name, key)) if has_place else None
        if slot is None:
            self._limited("table")
            raise Exhausted("table", f"there is no room for another {key} in the budgets")
        budget, now = self._budgets[name], time()
        since, used = self._known.get((name, key), (0, 0))
        limit = None if budget.octets is None else int(budget.octets)
        usage = Usage(limit, budget.period, now, used if since == start_of(budget.period, now) else 0)
        purse = self._purses[name, key] = Purse(name, budget, key, slot, usage)
        return purse

    def _forget_idle(self, now: float) -> None:
        for place, purse in [(place, purse) for place, purse in self._purses.items() if purse.is_idle]:
            if purse.is_full(now) and not (self._ledger is not None and purse.usage.unsaved):
                if self._ledger is not None:
                    self._known[place] = Entry(purse.usage.since, purse.usage.used)
                del self._purses[place]
                self._usual.clear()
                self._vault.close(_slot_of(*place))

    async def _write(self, ledger: Ledger) -> None:
        today = time()
        purses = dict(self._purses)
        for purse in purses.values():
            purse.usage.renew(today)
        moved = ((place, purse.usage) for place, purse in purses.items() if purse.usage.unsaved)
        used = {place: Entry(usage.since, usage.unsaved) for place, usage in moved}
        over = self._over(today) if today >= self._clean_at else []
        try:
            if today >= self._look_at:
                self._look_at = today + AGAIN
                await self._find_again(ledger, purses)
            totals, news = await asyncio.to_thread(_write, ledger, used, over)
        except OSError as error:
            self._complain(error)
        else:
            for place, entry in used.items():
                purses[place].usage.saved(*entry, totals[place].octets)
            if news is not None:
                self._known = news
                # Who has just written learns it, too, for that may have been given back since; and who has come
                # meanwhile, with what was known before. They would not be told a second time.
                for place, purse in self._purses.items():
                    usage = purse.usage
                    since, octets = news.get(place, (usage.since, 0))
                    if since == usage.since:
                        usage.learn(octets)
        finally:
            self._writing = None

    async def _find_again(self, ledger: Ledger, purses: Mapping[tuple[str, str], Purse]) -> None:
        """Where somebody has taken the file away, there is a new one with what is known. Raises OSError."""
        if not await asyncio.to_thread(lambda: ledger.is_lost):
            return
        usages = {place: purse.usage for place, purse in purses.items()}
        known = {place: Entry(usage.since, usage.used - usage.unsaved) for place, usage in usages.items()}
        await asyncio.to_thread(ledger.restore, {**self._known, **known})
        _log.warning("the usage file %s was taken away: there is a new one, with what was known", ledger.path)

    def _over(self, today: float) -> list[tuple[str, int]]:
        """Once an hour: the budgets, and what is before their period. Forgets it here."""
        self._clean_at = today + _HOUR
        starts = {name: start_of(budget.period, today) for name, budget in self._budgets.items()}
        return list(starts.items())

    def _complain(self, error: OSError) -> None:
        now = monotonic()
        if now >= self._next_line:
            self._next_line = now + AGAIN
            _log.warning("cannot write usage: %s; it is kept in memory until that works again", error)


def _slot_of(name: str, key: str) -> str:
    return f"{name}\n{key}"  # no name of a budget has a line's end


def _write(
    ledger: Ledger, used: Mapping[tuple[str, str], Entry], over: Sequence[tuple[str, int]]
) -> tuple[_Totals, _Totals | None]:
    """In a thread: what there is now of those who are here, and of all if others have changed that."""
    if over:
        ledger.forget(over)
    totals = ledger.add(used) if used else {}
    try:
        return totals, ledger.news()
    except OSError:
        return totals, None  # what was added is written, and must not be brought again; news can wait


def _why_spent(purse: Purse, today: float) -> tuple[str, str] | None:
    """Why nobody can draw on a purse any more, in the words of the metrics and in ours."""
    if today >= purse.end:
        return "budget expired", f"{purse.key}: budget {purse.name!r} has expired"
    if purse.budget.octets is not None and purse.usage.left <= 0:
        return "budget octets", purse.usage.used_up
    return None


def _pace(stores: Sequence[Store]) -> Pace | None:
    return Pace(stores) if stores else None
