"""``hosier top``: who is on a server now, and how fast, in the terminal."""

import argparse
import http.client
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..config.settings import UNIX, AdminSettings
from ..errors import ConfigError
from ..observe.access_log import word

__all__ = ("add_parser",)

DEFAULT: Final = "127.0.0.1:9180"
PATIENCE: Final = 5.0
"""Seconds that the server has to answer."""

MOST: Final = 64 << 20
"""Octets of an answer."""

_CLEAR: Final = "\x1b[H\x1b[2J"
_SHOWN: Final = frozenset(("alive", "busiest", "counts", "ready", "sessions", "uptime", "users", "version", "why"))
_UNITS: Final = ("", "k", "M", "G", "T", "P")


def add_parser(verbs: Any) -> None:
    """Adds the verb to the command."""
    parser = verbs.add_parser(
        "top",
        help="show who is on a server now, and how fast",
        description="Reads the admin pages of a server that runs with --admin. HOSIER_ADMIN_TOKEN is shown to it.",
    )
    parser.add_argument(
        "place",
        nargs="?",
        default=DEFAULT,
        metavar="PLACE",
        help=f"HOST:PORT or unix:PATH, as --admin has it ({DEFAULT})",
    )
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="how often to look (2)")
    parser.add_argument("--once", action="store_true", help="look once, show everything, and end")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Until it is interrupted. Raises ConfigError if there is no server to ask."""
    place = _place(arguments.place or DEFAULT)
    if not arguments.every >= 0.1:  # nor what is no number
        raise ConfigError(f"--every {arguments.every:g}: at least 0.1 seconds")
    if arguments.once:
        print("\n".join(lines(_status(place), sys.maxsize)))
        return 0
    try:
        while True:
            size = shutil.get_terminal_size()
            page = [line[: size.columns] for line in lines(_status(place), size.lines - 1)]
            print(_CLEAR + "\n".join(page), end="", flush=True)
            time.sleep(arguments.every)
    except KeyboardInterrupt:
        print()
        return 0


def lines(status: Mapping[str, Any], room: int) -> list[str]:
    """The page: what all do together, the users, the sessions, the busiest first; as much as there is room."""
    octets, busiest = status["counts"]["octets"], status["busiest"]
    state = "ready" if status["ready"] and status["alive"] else status["why"] or "not ready"
    head = [
        f"hosier {status['version']}  {state}  up {status['uptime'] / 3600:.1f} h  {status['sessions']} sessions"
        f"  {short(octets['up'])}B up, {short(octets['down'])}B down",
        "",
        f"{'user':<24}{'sessions':>9}{'up':>9}{'down':>9}{'up/s':>9}{'down/s':>9}",
    ]
    users = [f"{_fit(name, 24)}{sums['sessions']:>9}{_moved(sums)}" for name, sums in status["users"].items()]
    users = users[: max(3, room // 3)]
    sessions = list(_sessions(busiest))
    page = [*head, *users, "", f"{'client':<28}{'user':<14}{'target':<34}{'age':>7}{'up/s':>9}{'down/s':>9}", *sessions]
    return page[: max(room, len(head))]


def _sessions(busiest: list[Mapping[str, Any]]) -> Iterator[str]:
    for one in busiest:
        target = one["target"] or one["command"] or "handshake"
        yield (
            f"{_fit(one['client'], 28)}{_fit(one['user'] or '-', 14)}{_fit(target, 34)}{one['seconds']:>6.0f}s"
            f"{short(one['up_rate']):>9}{short(one['down_rate']):>9}"
        )


def _moved(sums: Mapping[str, float]) -> str:
    return "".join(f"{short(sums[key]):>9}" for key in ("up", "down", "up_rate", "down_rate"))


def _fit(text: str, width: int) -> str:
    """A name of a stranger's in a column, which it cannot leave, and the terminal it cannot command."""
    shown = text if text.isascii() and text.isprintable() else word(text)
    return f"{shown if len(shown) < width else shown[: width - 2] + '…':<{width}}"


def short(number: float) -> str:
    """Three digits and a unit: 0, 1.2k, 34.5M."""
    for unit in _UNITS:
        if number < 999.5:
            return f"{number:.0f}{unit}" if not unit or number >= 99.95 else f"{number:.1f}{unit}"
        number /= 1000
    return f"{number:.0f}E"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


def _place(text: str) -> "tuple[str, int] | str":
    """The first that ``--admin`` would listen at. Raises ConfigError."""
    try:
        # That the token may be missing is for the server to say.
        (place, *_) = AdminSettings(place=text, token="-").places  # noqa: S106
    except ConfigError:
        raise ConfigError(f"{text!r} is no place of admin pages: write HOST:PORT or unix:PATH") from None
    return place


def _why(status: int, body: bytes, token: str | None) -> str:
    """Why there is no answer, in one line; other servers explain themselves in pages."""
    if status == 401:
        return "HOSIER_ADMIN_TOKEN is not its token" if token else "set HOSIER_ADMIN_TOKEN"
    text = body.decode(errors="replace").strip()
    return f"it answers {status}" if "\n" in text or not text.isprintable() else text


def _status(place: "tuple[str, int] | str") -> dict[str, Any]:
    """What the server says of itself. Raises ConfigError."""
    if isinstance(place, str):
        connection: http.client.HTTPConnection = _UnixConnection(place.removeprefix(UNIX))
    else:
        connection = http.client.HTTPConnection(*place, timeout=PATIENCE)
    token = os.environ.get("HOSIER_ADMIN_TOKEN")
    shown = place if isinstance(place, str) else f"{place[0]}:{place[1]}"
    try:
        connection.request("GET", "/status", headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        body = answer.read(MOST)
        if answer.status != 200:
            raise ConfigError(f"the server at {shown} does not tell: {_why(answer.status, body, token)}")
        found: dict[str, Any] = json.loads(body)
        if not isinstance(found, dict) or not found.keys() >= _SHOWN:
            raise ValueError("somebody else answers there")
    except PermissionError:
        raise ConfigError(
            f"this user may not read {shown}: ask as root, or as the user that the server runs as"
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ConfigError(f"there are no admin pages at {shown} ({why}): start hosier serve --admin {shown}") from None
    finally:
        connection.close()
    return found
