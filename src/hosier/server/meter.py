"""From sessions to counts: what each of them adds to which cell, and when.

What a session did is counted when it is known: its handshake and its reply at once, its octets twice a second while it
lives and when it ends. A short session costs a few additions.
"""

from bisect import bisect_left
from math import floor
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from ..observe.counts import FAMILIES, NANOSECONDS, Counts, place_of
from ..protocol.messages import Command
from .udp_relay import UdpRelay

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .session import Session

__all__ = ("Meter", "Progress")

_BOUNDS: Final = {family.name: family.bounds for family in FAMILIES}
_HANDSHAKE: Final = place_of("handshake_seconds")
_HANDSHAKE_BOUNDS: Final = _BOUNDS["handshake_seconds"]
_HANDSHAKE_SUM: Final = _HANDSHAKE + len(_HANDSHAKE_BOUNDS) + 1
_DIAL: Final = place_of("dial_seconds")
_DIAL_BOUNDS: Final = _BOUNDS["dial_seconds"]
_DIAL_SUM: Final = _DIAL + len(_DIAL_BOUNDS) + 1
_LAG: Final = place_of("loop_lag_seconds")
_LAG_BOUNDS: Final = _BOUNDS["loop_lag_seconds"]
_STARTED: Final = place_of("sessions_started")
_OK: Final = place_of("handshakes", "ok")
_UP: Final = place_of("octets", "up")
_DOWN: Final = place_of("octets", "down")
_ENDED: Final = {0: place_of("sessions_ended", "none")} | {
    int(command): place_of("sessions_ended", command.name) for command in Command
}
_REPLIES: Final = {code: place_of("replies", str(code)) for code in range(256)}
_GRANTED: Final = _REPLIES[0]
_CONNECT: Final = int(Command.CONNECT)
_ASSOCIATE: Final = int(Command.UDP_ASSOCIATE)

_OUTCOMES: Final = (
    ("authentication failed", "authentication failed"),
    ("no acceptable method", "no acceptable method"),
    ("client left", "client left"),
    ("client lost", "client left"),
    ("handshakes limit", "pushed out"),
    ("refused", "refused"),
    ("server stopped", "server stopped"),
)
"""How a handshake ended, by how the session's end begins; those that end with a time limit are told by that."""


class Progress(NamedTuple):
    """What a session had moved when it was last looked at, and how fast it was then, in octets a second."""

    up: int = 0
    down: int = 0
    up_rate: float = 0.0
    down_rate: float = 0.0
    datagrams: tuple[int, int] = (0, 0)
    dropped: "Mapping[str, int]" = MappingProxyType({})


_NOTHING: Final = Progress()


class Meter:
    """Told of each step of each session.

    ``progress`` holds those sessions that lived when they were last looked at together.
    """

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.progress: dict[Session, Progress] = {}
        self._cells = counts.cells

    def started(self) -> None:
        self._cells[_STARTED] += 1

    def greeted(self, session: "Session") -> None:
        """Its request is here."""
        session.asked = now = session.engine.now
        cells, seconds = self._cells, now - session.started
        cells[_OK] += 1
        # As ``Counts.took`` does it: every session comes by here.
        cells[_HANDSHAKE + bisect_left(_HANDSHAKE_BOUNDS, seconds)] += 1
        cells[_HANDSHAKE_SUM] += floor(seconds * NANOSECONDS)

    def answered(self, session: "Session") -> None:
        """Its command has succeeded."""
        cells = self._cells
        cells[_GRANTED] += 1
        if session.request[1] == _CONNECT:  # type: ignore[index]  # there is one, or nothing would be answered
            seconds = session.engine.now - session.asked
            cells[_DIAL + bisect_left(_DIAL_BOUNDS, seconds)] += 1
            cells[_DIAL_SUM] += floor(seconds * NANOSECONDS)

    def ended(self, session: "Session", octets: tuple[int, int], *, greeted: bool) -> int:
        """The last of it. ``octets``: of payload that it has moved up and down; ``greeted``: its handshake was over
        before. Returns the octets, both ways, that it has moved since it was looked at."""
        cells, request, relay, reply = self._cells, session.request, session.relay, session.reply
        command = 0 if request is None else request[1]
        cells[_ENDED[command]] += 1
        if not greeted:
            self.counts.count("handshakes", _outcome(session.end))
        if session.end and session.end.endswith(" limit"):
            self.counts.count("limits_hit", session.limit)
        up, down = octets
        if relay is not None:
            before = self.progress.pop(session, _NOTHING)
            if before is not _NOTHING:  # most are over before anybody has looked
                up, down = up - before.up, down - before.down
            cells[_UP] += up
            cells[_DOWN] += down
            if command == _ASSOCIATE:
                self._datagrams(cast("UdpRelay", relay), before)
        if reply or (reply is not None and relay is None):
            cells[_REPLIES[reply]] += 1
        return up + down

    def look(self, sessions: "Iterable[Session]", seconds: float) -> None:
        """At all that live, so many seconds after the last time."""
        progress, cells = self.progress, self._cells
        for session in sessions:
            relay = session.relay
            if relay is None:
                continue
            before = progress.get(session, _NOTHING)
            up, down = relay.up.payload, relay.down.payload
            more_up, more_down = up - before.up, down - before.down
            cells[_UP] += more_up
            cells[_DOWN] += more_down
            for purse in session.purses:
                purse.usage.moved(more_up + more_down)
            if isinstance(relay, UdpRelay):
                told = self._datagrams(relay, before)
                progress[session] = Progress(up, down, more_up / seconds, more_down / seconds, *told)
            else:
                progress[session] = Progress(up, down, more_up / seconds, more_down / seconds)

    def lagged(self, seconds: float) -> None:
        """The event loop was so late."""
        self.counts.took(_LAG, _LAG_BOUNDS, seconds)

    def limited(self, name: str) -> None:
        """A cap or a budget was reached."""
        self.counts.count("limits_hit", name)

    # --- private ---

    def _datagrams(self, relay: UdpRelay, before: Progress) -> "tuple[tuple[int, int], Mapping[str, int]]":
        """Counts what an association did since it was looked at; returns what it has done in all."""
        sent, received, dropped = relay.counts()
        self.counts.count("datagrams", "up", sent - before.datagrams[0])
        self.counts.count("datagrams", "down", received - before.datagrams[1])
        for reason, number in dropped.items():
            self.counts.count("datagrams_dropped", reason, number - before.dropped.get(reason, 0))
        return (sent, received), dropped


def _outcome(end: str) -> str:
    for beginning, outcome in _OUTCOMES:
        if end.startswith(beginning):
            return outcome
    return "time limit" if end.endswith(" limit") else "protocol error"
