"""How many may be inside at once: in all, from one source, for one user, and in their handshake.

A *tally* counts the sessions and the handshakes under way of one source, of one user, or of all. Where the numbers live
is not decided here: one process keeps them in a dict (below), several share a table (``workers``).
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from sys import maxsize
from typing import Final, NamedTuple, Protocol, final

from ..errors import ConfigError
from ..typed import check_types
from .sources import source_of

__all__ = ("Admission", "Caps", "LocalTallyBook", "Refusal", "TallyBook", "Tally", "room_for")

MOST: Final = 10_000_000
"""What a cap may be; far more than a machine carries."""

RESERVED: Final = 64
"""Descriptors of a process that are not for sessions."""

SESSION_MEMORY: Final = 64 << 10
"""Octets that a session may take, the kernel's buffers included: several times what one takes in peace."""

FEWEST: Final = 16
"""Sessions that are let in whatever the machine says about itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caps:
    """How many may be inside at once. A source is an IPv4 address or an IPv6 network of 64 bits."""

    sessions: int | None = None
    """In all, from accept to end. Not set: what descriptors and memory carry."""

    sessions_per_source: int | None = None
    """From one source, 0: no cap. Not set: half of all, if others than this machine can reach the server."""

    sessions_per_user: int | None = None
    """Of one user, once it is known who it is. Not set, or 0: no cap."""

    handshakes: int | None = None
    """From accept to the request, in all. Not set: as many as sessions."""

    handshakes_per_source: int | None = None
    """From one source, 0: no cap. Not set: half of all, if others than this machine can reach the server."""

    def __post_init__(self) -> None:
        check_types(self)
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if "_per_" in field.name else 1
            if value is not None and not least <= value <= MOST:
                name = field.name.replace("_", "-")
                none = " (0: no cap)" if least == 0 else ""
                raise ConfigError(f"the cap {name} is {value}: it must be from {least} to {MOST}{none}")

    def complete(self, room: int, *, is_public: bool) -> "Caps":
        """Every cap with its number. ``room``: sessions that the machine carries (``room_for``)."""
        sessions = room if self.sessions is None else self.sessions
        handshakes = sessions if self.handshakes is None else self.handshakes

        def share(cap: int | None, of: int) -> int:
            derived = max(1, of // 2) if is_public else 0
            return derived if cap is None else cap

        return replace(
            self,
            sessions=sessions,
            sessions_per_source=share(self.sessions_per_source, sessions),
            sessions_per_user=self.sessions_per_user or 0,
            handshakes=handshakes,
            handshakes_per_source=share(self.handshakes_per_source, handshakes),
        )


def room_for(descriptors: int, memory: int, workers: int = 1) -> int:
    """Sessions that processes with so many descriptors each and so many octets of memory together can carry."""
    by_descriptors = (descriptors - RESERVED) * workers // 2
    return max(FEWEST, min(by_descriptors, memory // SESSION_MEMORY, MOST))


@final
class Refusal(NamedTuple):
    """Which cap is reached, by its name in ``Caps``, and what it is."""

    name: str
    cap: int


class Tally(Protocol):
    """Sessions and handshakes under way under one key."""

    def enter(self, sessions: int, handshakes: int) -> str:
        """One more, in its handshake. If there are as many as allowed already, nothing changes, and the word
        "sessions" or "handshakes" tells which; else the empty text."""

    def greeted(self) -> None:
        """One has its handshake behind it."""

    def leave(self) -> None:
        """One that is past its handshake has ended."""


class TallyBook(Protocol):
    """All tallies of a server."""

    all: Tally

    def of(self, key: str) -> Tally | None:
        """The tally of a source or user, to be entered at once. None: there is no room for another one."""


class LocalTally:
    """For a server that is one process: two numbers."""

    __slots__ = ("handshakes", "sessions")

    def __init__(self) -> None:
        self.sessions = 0
        self.handshakes = 0

    def enter(self, sessions: int, handshakes: int) -> str:
        if self.sessions >= sessions:
            return "sessions"
        if self.handshakes >= handshakes:
            return "handshakes"
        self.sessions += 1
        self.handshakes += 1
        return ""

    def greeted(self) -> None:
        self.handshakes -= 1

    def leave(self) -> None:
        self.sessions -= 1


class _PassingTally(LocalTally):
    """One that is forgotten with its last session."""

    __slots__ = ("_forget", "_key")

    def __init__(self, key: str, forget: Callable[[str], object]) -> None:
        super().__init__()
        self._key = key
        self._forget = forget

    def leave(self) -> None:
        self.sessions -= 1
        if not self.sessions:
            self._forget(self._key)


class LocalTallyBook:
    """A dict, bounded by the cap on sessions: what is in it has at least one."""

    def __init__(self) -> None:
        self.all: Tally = LocalTally()
        self._tallies: dict[str, _PassingTally] = {}

    def __len__(self) -> int:
        return len(self._tallies)

    def of(self, key: str) -> Tally | None:
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = _PassingTally(key, self._tallies.pop)
        return tally


class Admission:
    """Decides who comes in. ``caps`` must be complete.

    What ``enter`` and ``enter_as`` return belongs to the session: ``greeted()`` when its handshake is over, ``leave()``
    when it has ended, each once.
    """

    def __init__(self, caps: Caps, tallies: TallyBook) -> None:
        assert None not in (caps.sessions, caps.handshakes, caps.sessions_per_source, caps.handshakes_per_source)
        self._caps = caps
        self._tallies = tallies
        self._all = tallies.all
        self._only_all = (tallies.all,)
        self._sessions = caps.sessions or maxsize
        self._handshakes = caps.handshakes or maxsize
        self._counts_sources = bool(caps.sessions_per_source or caps.handshakes_per_source)
        self._sessions_per_source = caps.sessions_per_source or maxsize
        self._handshakes_per_source = caps.handshakes_per_source or maxsize
        self._sessions_per_user = caps.sessions_per_user

    def enter(self, host: str) -> tuple[Tally, ...] | Refusal:
        """A connection from an address, at its accept: the tallies that it counts in from now on."""
        if reached := self._all.enter(self._sessions, self._handshakes):
            return self._refusal(reached)
        return self._enter_source(host) if self._counts_sources else self._only_all

    def take_over(self, host: str, place: tuple[Tally, ...]) -> tuple[Tally, ...] | Refusal:
        """A connection that gets the place of one in its handshake, which has lost it. It is never free in between:
        another process could take it."""
        for tally in place[1:]:
            tally.greeted()
            tally.leave()
        return self._enter_source(host) if self._counts_sources else self._only_all

    def enter_as(self, user: str) -> tuple[Tally, ...] | Refusal:
        """A session past its handshake whose user is known: what it counts in besides, already greeted."""
        if not self._sessions_per_user:
            return ()
        tally = self._tallies.of(f"user {user}")
        if tally is None or tally.enter(self._sessions_per_user, maxsize):
            return self._refusal("table" if tally is None else "sessions", "_per_user")
        tally.greeted()
        return (tally,)

    # --- private ---

    def _enter_source(self, host: str) -> tuple[Tally, ...] | Refusal:
        """The second half, for one who is counted among all; who is refused is so no more."""
        tally = self._tallies.of(source_of(host))
        if tally is None:
            reached = "table"
        else:
            reached = tally.enter(self._sessions_per_source, self._handshakes_per_source)
            if not reached:
                return self._all, tally
        self._all.greeted()
        self._all.leave()
        return self._refusal(reached, "_per_source")

    def _refusal(self, reached: str, whose: str = "") -> Refusal:
        if reached == "table":
            return Refusal("table", 0)
        name = reached + whose
        return Refusal(name, getattr(self._caps, name))
