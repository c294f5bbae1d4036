"""Figures of a server as operators run it: with passwords, with several workers, under a flood of half-open handshakes.

Each compares Hosier with itself, one right after the other, so the machine's mood is the same for both.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import measure
from generator import HERE, LOAD_CORE, LoadError, pin
from peers import Hosier, Server, running

USER, PASSWORD = "ann", "correct horse battery staple"  # of a server that lives for a second
LOGIN = ("--user", f"{USER}:{PASSWORD}")
FLOOD = 20_000
FLOODERS = 2  # each within the limit of open files


class Bench(Protocol):
    """What is needed of the runner."""

    user: str | None

    def load(self, server: Server, mode: str, *more: object) -> tuple[object, ...]: ...

    def short_cpu_us(self, server: Server, *more: object) -> float: ...

    def round_trips(self, server: Server, *more: object) -> dict[str, float]: ...


class Results(Protocol):
    def add(self, server: str, figures: dict[str, float]) -> None: ...


def password(bench: Bench, results: Results) -> None:
    """Short sessions without authentication, and with a user of a file who has logged in before."""
    with running(Hosier(), bench.user) as server:
        results.add("hosier", {"password_off_cpu_us": bench.short_cpu_us(server)})
    with users_file() as users, running(Hosier(options=("--users", users)), bench.user) as server:
        results.add("hosier", {"password_cpu_us": bench.short_cpu_us(server, *LOGIN)})


def guesses(bench: Bench, results: Results) -> None:
    """Small round trips of a user without and beside a flood of wrong passwords from many addresses."""
    with users_file() as users:
        with running(Hosier(options=("--users", users)), bench.user) as server:
            alone = bench.round_trips(server, *LOGIN)
            results.add("hosier", {f"unguessed_{key}": value for key, value in alone.items()})
        with running(Hosier(options=("--users", users)), bench.user) as server:
            bench.round_trips(server, *LOGIN)  # the first login pays for its hash
            with flooders([["guesses.py", server.proxy, "bob"]]):
                beside = bench.round_trips(server, *LOGIN)
            results.add("hosier", {f"guessed_{key}": value for key, value in beside.items()})


@contextmanager
def users_file() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        users = Path(folder) / "users"
        command = [sys.executable, "-m", "hosier", "passwd", str(users), USER]
        subprocess.run(command, input=PASSWORD + "\n", text=True, check=True, env=Hosier().environment())
        users.chmod(0o644)
        yield str(users)


def workers(bench: Bench, results: Results) -> None:
    """Short sessions with one worker and with two, on one core; and what the idler of the two has done."""
    for count in (1, 2):
        with running(Hosier(options=("--workers", str(count))), bench.user) as server:
            bench.short_cpu_us(server)  # so that all workers have come up
            before = {pid: measure.cpu_ns(pid) for pid in measure.tree(server.pid) if pid != server.pid}
            figures = {f"workers_{count}_cpu_us": bench.short_cpu_us(server)}
            if count > 1:
                used = [measure.cpu_ns(pid) - started for pid, started in before.items()]
                figures["workers_least_share"] = 100 * min(used) / sum(used)
            results.add("hosier", figures)


def flood(bench: Bench, results: Results) -> None:
    """Small round trips without and beside 20,000 handshakes that do not go on."""
    with running(Hosier(options=("--timeout", "handshake=300")), bench.user) as server:
        results.add("hosier", {f"calm_{key}": value for key, value in bench.round_trips(server).items()})
    with running(Hosier(options=("--timeout", "handshake=300")), bench.user) as server, half_open(server):
        results.add("hosier", {f"flood_{key}": value for key, value in bench.round_trips(server).items()})


def half_open(server: Server) -> AbstractContextManager[None]:
    """Clients that greet and then say no more; whoever is thrown out comes again."""
    share = str(FLOOD // FLOODERS)
    return flooders([["half_open.py", server.proxy, share, str(number)] for number in range(FLOODERS)])


@contextmanager
def flooders(commands: list[list[str]]) -> Iterator[None]:
    """Scripts of this folder that trouble the server from when each has printed its line until the end."""

    def enter() -> None:
        pin(LOAD_CORE)()
        os.nice(19)  # measured is the server, not how the load and the flood share their core

    processes = [
        subprocess.Popen(
            [sys.executable, str(HERE / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=enter,
        )
        for script, *arguments in commands
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise LoadError("the flood did not come up")
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
