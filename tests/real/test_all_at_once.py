"""Everything that an operator fears, on one evening: five hundred busy sessions, a hundred reloads, a quota database
that somebody locks, a worker that is killed, a disk that fills up.

Whoever should live lives, whoever should end ends, and what the server has counted, in its metrics, its usage file and
its access log, is what clients and targets have counted.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import re
import signal
import socket
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any, Final

import pytest

from .census import peers_of
from .harness import PATIENCE, Address, Hosier, run, wait_until
from .talkers import Talker, Talkers
from .test_workers import successor, workers
from .wire import connect_request, credentials, exactly

WORKERS: Final = 2
PASSWORD: Final = "open sesame"
SECOND: Final = 1.0
"""What a killed worker may take along."""

NETWORKS: Final = {"ann": "127.16", "bob": "127.17", "cid": "127.18", "dan": "127.19", "eve": "127.20"}
VISITOR: Final = "200.1"
"""The end of an address that none of the crowd has."""

CROWD: Final = {"ann": 260, "bob": 60, "cid": 60, "dan": 60, "eve": 60}
"""Sessions of each user. Ann's are never forbidden; the others' are, each in a way of its own."""

SETTINGS: Final = """
listen = {listen}
usage_file = "{disk}/usage.db"
log = "json"
log_file = "{disk}/access.log"

[admin]
place = "unix:{folder}/admin.sock"

[users]
{users}
[groups]
guests = ["bob"]
all = ["ann", "bob", "cid", "dan", "eve"]

{accounts}
[budgets.month]
per = "user"
octets = "100GB"
period = "ever"

[budgets.each]
per = "source"
octets = "10GB"
period = "ever"

[budgets.special]
per = "all"
sessions = 1000

[budgets.uplink]
per = "all"
up = "900GB"
down = "900GB"
{rules}
[[rules]]
name = "the crowd"
action = "allow"
groups = ["all"]

[[rules]]
action = "deny"
"""

ONE, TWO = '["127.0.0.1:0"]', '["127.0.0.1:0", "127.0.0.2:0"]'

HARMLESS: Final[Sequence[dict[str, str]]] = (
    {},
    {"listen": TWO},
    {"rules": '[[rules]]\naction = "deny"\nports = [25]\n'},
    {"rules": '[[rules]]\naction = "allow"\nusers = ["ann"]\nbudgets = ["special"]\n'},
    {"accounts": "[accounts.ann]\nclients = ['127.16.0.0/16']\nexpires = 2999-12-31\n"},
)
WRONG: Final = (
    {"listen": "[7]"},
    {"rules": '[[rules]]\naction = "dny"\n'},
    {"rules": '[[rules]]\naction = "deny"\nports = [0]\n'},
    {"accounts": "[accounts.ann\n"},
    {"listen": '["127.0.0.1:0", "192.0.2.1:1"]'},  # nobody has this address
)
FORBID: Final = {
    "bob": {"rules": '[[rules]]\naction = "deny"\ngroups = ["guests"]\n'},
    "cid": {"rules": '[[rules]]\naction = "deny"\nclients = ["127.18.0.0/16"]\n'},
    "dan": {"accounts": "[accounts.dan]\nexpires = 2020-01-31\n"},
    "eve": {"users": "".join(f'{user} = "{PASSWORD}"\n' for user in CROWD if user != "eve")},
}


class Operator:
    """Whoever writes the file, sends SIGHUP, and reads what is said about it."""

    _SAID = re.compile(r"^hosier: ((?:not )?reloaded: .*)$", re.MULTILINE)

    def __init__(self, folder: Path, disk: Path) -> None:
        self.file = folder / "hosier.toml"
        self.file.touch(mode=0o600)
        self.reloads = 0
        self.hosier: Hosier
        self._places = {"folder": folder, "disk": disk}
        self._dice = random.Random(8)
        self.write({})

    def write(self, changes: dict[str, str]) -> None:
        usual = {
            "listen": ONE,
            "users": "".join(f'{user} = "{PASSWORD}"\n' for user in CROWD),
            "accounts": "",
            "rules": "",
        }
        self.file.write_text(SETTINGS.format(**self._places, **usual | changes), encoding="utf-8")

    def reload(self, changes: dict[str, str]) -> str:
        """What the server says about it."""
        before = len(self._SAID.findall(self.hosier.messages))
        self.write(changes)
        self.hosier.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(self._SAID.findall(self.hosier.messages)) > before, "it is reloaded")
        self.reloads += 1
        said: list[str] = self._SAID.findall(self.hosier.messages)
        return said[before]

    def reload_often(self, times: int) -> None:
        """Of which a third is wrong, and none ends anybody."""
        for number in range(times):
            if number % 3 == 1:
                assert self.reload(self._dice.choice(WRONG)).startswith("not reloaded: ")
            else:
                assert self.reload(self._dice.choice(HARMLESS)) == "reloaded: no session had to end"


NO_USER: Final = b"\x05\x02\x01\x01"
NOT_ALLOWED: Final = b"\x05\x02\x01\x00\x05\x02"


def answer(server: Address, target: Address, user: str) -> bytes:
    """What a client is told that asks for the target under a user's name, up to the reply's code."""
    with socket.create_connection(server, PATIENCE, source_address=(f"{NETWORKS[user]}.{VISITOR}", 0)) as client:
        client.sendall(b"\x05\x01\x02" + credentials(user, PASSWORD) + connect_request(target))
        login = exactly(client, 4)
        return login if login == NO_USER else login + exactly(client, 2)


def forbid(operator: Operator, crowd: Talkers, user: str) -> list[Talker]:
    """Forbids a user's sessions: all of them end, and nobody of that name comes in, until it is taken back and as many
    come again. Returns those that were ended."""
    theirs = [talker for talker in crowd.living if talker.user == user]
    assert len(theirs) == CROWD[user]
    assert operator.reload(FORBID[user]) == f"reloaded: {len(theirs)} sessions ended"
    wait_until(lambda: all(talker.has_ended for talker in theirs), "they have ended")
    assert answer(operator.hosier.address, crowd.target, user) in (NO_USER, NOT_ALLOWED)
    assert operator.reload({}) == "reloaded: no session had to end"
    crowd.begin(user, NETWORKS[user], CROWD[user])
    return theirs


@contextlib.contextmanager
def locked(file: Path, messages: Callable[[], str]) -> Iterator[None]:
    """Somebody else writes to the usage file, and does not come to an end."""
    with closing(sqlite3.connect(file, isolation_level=None, timeout=PATIENCE)) as other:
        other.execute("BEGIN EXCLUSIVE")
        wait_until(lambda: re.search("cannot write usage: .* is locked", messages()), "it is noticed")
        yield
        other.execute("ROLLBACK")


@contextlib.contextmanager
def full(disk: Path) -> Iterator[None]:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 12))
    yield
    ballast.unlink()


def written(file: Path) -> dict[str, int]:
    """Octets by key, such as "user ann" and "source 127.16.0.1"."""
    with closing(sqlite3.connect(file, timeout=PATIENCE)) as connection:
        return dict(connection.execute("SELECT key, octets FROM usage"))


class Pages:
    """The admin pages, through curl."""

    def __init__(self, curl: str, folder: Path) -> None:
        self._ask = [curl, "--silent", "--unix-socket", str(folder / "admin.sock")]

    def metric(self, name: str) -> int:
        page = run([*self._ask, "http://localhost/metrics"]).stdout.decode()
        (value,) = re.findall(rf"^hosier_{re.escape(name)} (\S+)$", page, re.MULTILINE)
        return int(float(value))

    def octets(self) -> tuple[int, int]:
        return self.metric('octets_total{direction="up"}'), self.metric('octets_total{direction="down"}')

    def is_ready(self) -> bool:
        return run([*self._ask, "http://localhost/readyz"]).stdout == b"ready\n"


def kill_one(hosier: Hosier, crowd: Talkers, file: Path) -> tuple[list[Talker], float]:
    """Kills a worker; returns whose sessions it had, and a moment, at most a second before, up to which all that they
    had moved was written down.
    """
    victim, other = workers(hosier.pid)
    moment = 0.0

    def is_written() -> bool:
        used = written(file)
        return all(used[f"source {talker.source}"] >= sum(talker.certain(moment)) for talker in crowd.living)

    def in_time() -> bool:
        """A machine that is busy with other things may need longer now and then."""
        nonlocal moment
        moment = monotonic()
        wait_until(is_written, "what was moved is written down")
        return monotonic() - moment <= SECOND

    wait_until(in_time, "it takes no longer than a second")
    os.kill(victim, signal.SIGSTOP)
    peers = peers_of(victim)
    lost = [talker for talker in crowd.living if talker.source in peers]
    os.kill(victim, signal.SIGKILL)
    successor(hosier, victim, other)
    return lost, moment


def logged(file: Path) -> dict[str, dict[str, Any]]:
    """The lines of the access log, by the address that each client has alone."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    ours = [line for line in lines if f".{VISITOR}:" not in line["client"]]
    found = {line["client"].rpartition(":")[0]: line for line in ours}
    assert len(found) == len(ours), "one line for each session"
    return found


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_nothing_is_lost_and_nobody_kept(
    program: Callable[..., str], small_disk: Callable[[str], Path], tmp_path: Path
) -> None:
    disk = small_disk("16m")
    usage, log = disk / "usage.db", disk / "access.log"
    operator, pages = Operator(tmp_path, disk), Pages(program("curl"), tmp_path)
    arguments = ("--config", str(operator.file), "--workers", str(WORKERS))
    with Hosier(*arguments, listen=(), listeners=1) as hosier, Talkers(hosier.address, PASSWORD) as crowd:
        operator.hosier = hosier
        for user, count in CROWD.items():
            crowd.begin(user, NETWORKS[user], count)

        operator.reload_often(22)
        forbidden = forbid(operator, crowd, "bob")
        crowd.go_on()

        with locked(usage, lambda: hosier.messages):
            operator.reload_often(22)
            forbidden += forbid(operator, crowd, "cid")
            crowd.go_on()

        lost, moment = kill_one(hosier, crowd, usage)
        assert 0 < len(lost) < sum(CROWD.values())
        operator.reload_often(4)  # while another worker takes its place
        wait_until(lambda: all(talker.has_ended for talker in lost), "its sessions are lost")
        for user, count in Counter(talker.user for talker in lost).items():
            crowd.begin(user, NETWORKS[user], count)
        operator.reload_often(20)
        forbidden += forbid(operator, crowd, "dan")
        crowd.go_on()

        with full(disk):
            operator.reload_often(22)
            forbidden += forbid(operator, crowd, "eve")
            crowd.go_on()
            wait_until(lambda: "cannot write the log to" in hosier.messages, "the log has no room")
            wait_until(lambda: "disk is full" in hosier.messages, "nor has the usage file")

        operator.reload_often(2)
        crowd.go_on()
        assert operator.reloads == 100
        assert len(crowd.living) == sum(CROWD.values())
        crowd.end()

        assert pages.is_ready()
        wait_until(lambda: not pages.metric("sessions"), "the server knows that they have ended")
        finished = check_who_was_cut(crowd, forbidden, lost)
        wait_until(lambda: log.read_text().count("\n") == len(finished) + len(forbidden) + len(FORBID), "all lines")
        lines = logged(log)
        check_log(lines, finished, forbidden)
        check_counts(pages, lines, lost, moment)
        check_usage(usage, lines, lost, moment)
    assert hosier.messages.count("was ended by SIGKILL") == 1


def check_who_was_cut(crowd: Talkers, forbidden: Sequence[Talker], lost: Sequence[Talker]) -> list[Talker]:
    """Those who were forbidden, and those of the dead worker, and nobody else. Returns the others."""
    assert {talker for talker in crowd.all if talker.was_cut} == {*forbidden, *lost}
    assert [talker.wrong for talker in crowd.all if talker.wrong] == []
    return [talker for talker in crowd.all if not talker.was_cut]


def check_log(lines: dict[str, dict[str, Any]], finished: Sequence[Talker], forbidden: Sequence[Talker]) -> None:
    """A line for each session that came to its end, with what both its ends have counted. What was on its way when a
    session was forbidden is with one of them only."""
    assert lines.keys() == {talker.source for talker in itertools.chain(finished, forbidden)}
    for talker in finished:
        line = lines[talker.source]
        assert (line["end"], line["user"]) == ("client closed", talker.user)
        assert line["sent"] == talker.sent == talker.arrived
        assert line["received"] == talker.answered == talker.received
    for talker in forbidden:
        line = lines[talker.source]
        assert (line["end"].partition(":")[0], line["user"]) == ("refused", talker.user)
        assert talker.arrived <= line["sent"] <= talker.sent
        assert talker.received <= line["received"] <= talker.answered


def check_counts(pages: Pages, lines: dict[str, dict[str, Any]], lost: Sequence[Talker], moment: float) -> None:
    """The metrics say what the log says, and what was moved by sessions that were lost, but for their last second."""
    for way, counted in enumerate(pages.octets()):
        rest = counted - sum(line[("sent", "received")[way]] for line in lines.values())
        certain = sum(talker.certain(moment)[way] for talker in lost)
        most = sum((talker.sent, talker.answered)[way] for talker in lost)
        assert certain <= rest <= most
    assert pages.metric('sessions_ended_total{command="lost"}') == len(lost)
    assert pages.metric('replies_total{code="0"}') == len(lines) + len(lost)
    assert pages.metric("worker_deaths") == 1
    assert pages.metric("log_lines_dropped_total") == 0


def check_usage(file: Path, lines: dict[str, dict[str, Any]], lost: Sequence[Talker], moment: float) -> None:
    """And so does the usage file, session by session and user by user."""
    counted = {f"source {source}": line["sent"] + line["received"] for source, line in lines.items()}
    wait_until(lambda: counted.items() <= written(file).items(), "all is written down")
    used = written(file)
    for talker in lost:
        assert sum(talker.certain(moment)) <= used[f"source {talker.source}"] <= talker.sent + talker.answered
    for user, network in NETWORKS.items():
        theirs = [octets for key, octets in used.items() if key.startswith(f"source {network}.")]
        assert used[f"user {user}"] == sum(theirs) > 0
