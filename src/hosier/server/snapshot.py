"""Who is here now, as plain data for people who watch: sessions and users, the busiest first."""

from heapq import nlargest
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from ..protocol.messages import Command
from .meter import Progress

if TYPE_CHECKING:
    from .server import Server
    from .session import Session

__all__ = ("MOST", "merged", "snapshot")

MOST: Final = 200
"""Sessions and users that one snapshot names; the others are in its sums."""

_NOTHING: Final = Progress()
_SUMS: Final = ("sessions", "up", "down", "up_rate", "down_rate")


def snapshot(server: "Server") -> dict[str, Any]:
    """``sessions``: how many; ``busiest``: some of them; ``users``: sums for each, ``-`` for those without a name.

    Rates are octets a second, over the last second that was looked at. It holds no secret.
    """
    progress = server.meter.progress
    users: dict[str, dict[str, float]] = {}
    for session in server.living():
        moved = progress.get(session, _NOTHING)
        user = users.setdefault(session.user or "-", dict.fromkeys(_SUMS, 0))
        user["sessions"] += 1
        user["up"] += moved.up
        user["down"] += moved.down
        user["up_rate"] += moved.up_rate
        user["down_rate"] += moved.down_rate
    living = nlargest(MOST, server.living(), key=lambda session: _rate(progress.get(session, _NOTHING)._asdict()))
    return {
        "sessions": server.sessions,
        "busiest": [_session(session, progress.get(session, _NOTHING)) for session in living],
        "users": _busiest_users(users),
    }


def merged(snapshots: list[dict[str, Any]]) -> dict[str, Any]:
    """Those of several processes as one."""
    users: dict[str, dict[str, float]] = {}
    for one in snapshots:
        for name, sums in one["users"].items():
            into = users.setdefault(name, dict.fromkeys(_SUMS, 0))
            for key in _SUMS:
                into[key] += sums[key]
    return {
        "sessions": sum(one["sessions"] for one in snapshots),
        "busiest": nlargest(MOST, (each for one in snapshots for each in one["busiest"]), key=_rate),
        "users": _busiest_users(users),
    }


def _busiest_users(users: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return dict(nlargest(MOST, users.items(), key=lambda item: _rate(item[1])))


def _rate(moved: dict[str, Any]) -> tuple[float, float]:
    return moved["up_rate"] + moved["down_rate"], moved["up"] + moved["down"]


def _session(session: "Session", moved: Progress) -> dict[str, Any]:
    request = session.request
    return {
        "client": f"{session.peer[0]} {session.peer[1]}",
        "user": session.user,
        "command": None if request is None else Command(request.command).name,
        "target": None if request is None else str(request.address),
        "seconds": round(monotonic() - session.started, 3),
        "up": moved.up,
        "down": moved.down,
        "up_rate": round(moved.up_rate, 1),
        "down_rate": round(moved.down_rate, 1),
    }
