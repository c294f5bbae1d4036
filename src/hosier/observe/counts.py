"""What a server counts, as plain numbers in cells: cheap to count, easy to share, and summed over processes.

``FAMILIES`` is all there is to know: each family has its place among the cells, and its labels have few values that are
known beforehand, so that no stranger can make a new series. A cell only grows; what goes up and down (sessions under
way) is the difference of two. Times are kept in whole nanoseconds.
"""

from bisect import bisect_left
from collections.abc import MutableSequence, Sequence
from typing import Final, NamedTuple

__all__ = (
    *("CELLS", "FAMILIES", "NANOSECONDS", "OTHER"),
    *("Counts", "Family", "add_up", "beats", "new_cells", "place_of", "value_of"),
)

OTHER: Final = "other"
"""The last value of a label that has it: whatever is none of the others."""

NANOSECONDS: Final = 1_000_000_000
"""A second, as it is kept."""


class Family(NamedTuple):
    """One kind of thing that is counted.

    Without ``bounds``: a cell for each of the label's ``values``, one alone if there is no label. With them, a
    histogram of seconds: a cell for each bound, one for what is above the last, and one for the sum.
    """

    name: str
    help: str
    label: str = ""
    values: tuple[str, ...] = ("",)
    bounds: tuple[float, ...] = ()

    @property
    def cells(self) -> int:
        return len(self.bounds) + 2 if self.bounds else len(self.values)


_LATENCIES: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

FAMILIES: Final = (
    Family("sessions_started", "Connections that were let in."),
    Family(
        "sessions_ended",
        "Sessions that have ended, by the command they asked for.",
        "command",
        ("CONNECT", "BIND", "UDP_ASSOCIATE", "none", "lost"),
    ),
    Family(
        "handshakes",
        "Handshakes that are over, by how.",
        "outcome",
        (
            "ok",
            "authentication failed",
            "no acceptable method",
            "client left",
            "time limit",
            "pushed out",
            "refused",
            "protocol error",
            "server stopped",
            "lost",
        ),
    ),
    Family("handshake_seconds", "From accept to request, of handshakes that were ok.", bounds=_LATENCIES),
    Family(
        "replies",
        "Replies to requests, by code; those of SOCKS4 as the codes of SOCKS5 they stand for, or their own.",
        "code",
        ("0", "1", "2", "3", "4", "5", "6", "7", "8", "91", "92", "93", OTHER),
    ),
    Family("dial_seconds", "From request to success: name look-up and connect.", bounds=_LATENCIES),
    Family("octets", "Octets of payload; up is from client to target.", "direction", ("up", "down")),
    Family("datagrams", "Datagrams that were relayed.", "direction", ("up", "down")),
    Family(
        "datagrams_dropped",
        "Datagrams that were not relayed.",
        "reason",
        (
            *("malformed", "stranger", "fragment", "refused target", "unreachable", "unresolved", "unexpected sender"),
            *(
                "too large",
                "no room",
                "icmp error",
                "too many names",
                "too many waiting",
                "not genuine",
                "bandwidth",
                OTHER,
            ),
        ),
    ),
    Family(
        "limits_hit",
        "How often a limit was reached: a cap, a budget or a time limit.",
        "limit",
        (
            *("sessions", "handshakes", "sessions_per_source", "handshakes_per_source", "sessions_per_user", "table"),
            *("associations", "budget sessions", "budget rate", "budget octets", "budget expired"),
            *("handshake", "auth", "connect", "bind", "idle", "ident", OTHER),
        ),
    ),
    Family("loop_lag_seconds", "How late the event loop is, looked at twice a second.", bounds=_LATENCIES),
    Family("log_lines_dropped", "Lines of the access log that were dropped, since it is read or written too slowly."),
)


def _places() -> dict[str, int]:
    places: dict[str, int] = {}
    place = 0
    for family in FAMILIES:
        places[family.name] = place
        place += family.cells
    return places


_PLACES: Final = _places()

CELLS: Final = sum(family.cells for family in FAMILIES)
"""How many cells a process needs."""


def place_of(name: str, value: str = "") -> int:
    """The cell of a family, of one value of its label; of a histogram, the first. An unknown value counts as OTHER."""
    family = next(family for family in FAMILIES if family.name == name)
    if family.bounds:
        return _PLACES[name]
    return _PLACES[name] + family.values.index(value if value in family.values else OTHER)


def value_of(cells: Sequence[int], name: str, value: str | None = None) -> int:
    """What was counted: of one value of the label, or of all together."""
    family = next(family for family in FAMILIES if family.name == name)
    first = _PLACES[name]
    return sum(cells[first : first + len(family.values)]) if value is None else cells[place_of(name, value)]


def new_cells() -> list[int]:
    """For a process that shares them with nobody."""
    return [0] * CELLS


def add_up(processes: Sequence[Sequence[int]]) -> list[int]:
    """The cells of several processes as if they were one."""
    return [sum(cells) for cells in zip(*processes, strict=True)]


def beats(cells: Sequence[int]) -> int:
    """How often a process has looked how late its loop is: twice a second, as long as it runs."""
    first = place_of("loop_lag_seconds")
    return sum(cells[first : first + len(_LATENCIES) + 1])


class Counts:
    """The cells of one process, with a verb for each way to count. Nobody else may write to them."""

    __slots__ = ("_places", "cells")

    def __init__(self, cells: MutableSequence[int] | None = None) -> None:
        self.cells: MutableSequence[int] = new_cells() if cells is None else cells
        self._places = {
            (family.name, value): place_of(family.name, value)
            for family in FAMILIES
            if not family.bounds
            for value in family.values
        }

    def count(self, name: str, value: str = "", number: int = 1) -> None:
        place = self._places.get((name, value))
        if place is None:
            place = self._places[name, OTHER]
        self.cells[place] += number

    def took(self, first: int, bounds: tuple[float, ...], seconds: float) -> None:
        """One more in a histogram whose cells begin at ``first``."""
        cells = self.cells
        cells[first + bisect_left(bounds, seconds)] += 1
        cells[first + len(bounds) + 1] += int(seconds * NANOSECONDS)

    def lose_the_living(self) -> None:
        """For the cells of a process that died: its sessions under way are over."""
        started, ended = value_of(self.cells, "sessions_started"), value_of(self.cells, "sessions_ended")
        self.count("handshakes", "lost", started - value_of(self.cells, "handshakes"))
        self.count("sessions_ended", "lost", started - ended)
