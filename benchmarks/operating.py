"""Figures of a server as operators run it: with passwords, with several workers, under a flood of half-open handshakes.

Each compares Hosier with itself, one right after the other, so the machine's mood is the same for both.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import measure
from generator import HERE, LOAD_CORE, LoadError, pin
from peers import Hosier, Server, running

USER, PASSWORD = "ann", "correct horse battery staple"  # of a server that lives for a second
FLOOD = 20_000
FLOODERS = 2  # each within the limit of open files


class Bench(Protocol):
    """What is needed of the runner."""

    user: str | None

    def load(self, server: Server, mode: str, *more: object) -> tuple[object, ...]: ...

    def short_cpu_us(self, server: Server, *more: object) -> float: ...

    def round_trips(self, server: Server) -> dict[str, float]: ...


class Results(Protocol):
    def add(self, server: str, figures: dict[str, float]) -> None: ...


def password(bench: Bench, results: Results) -> None:
    """Short sessions without authentication, and with a user of a file who has logged in before."""
    with running(Hosier(), bench.user) as server:
        results.add("hosier", {"password_off_cpu_us": bench.short_cpu_us(server)})
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        users = Path(folder) / "users"
        command = [sys.executable, "-m", "hosier", "passwd", str(users), USER]
        subprocess.run(command, input=PASSWORD + "\n", text=True, check=True, env=Hosier().environment())
        users.chmod(0o644)
        with running(Hosier(options=("--users", str(users))), bench.user) as server:
            used = bench.short_cpu_us(server, "--user", f"{USER}:{PASSWORD}")
            results.add("hosier", {"password_cpu_us": used})


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


@contextmanager
def half_open(server: Server) -> Iterator[None]:
    """Clients that greet and then say no more; whoever is thrown out comes again."""

    def flooder() -> None:
        pin(LOAD_CORE)()
        os.nice(19)  # measured is the server, not how the load and the flood share their core

    flooders = [
        subprocess.Popen(
            [sys.executable, str(HERE / "half_open.py"), server.proxy, str(FLOOD // FLOODERS), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=flooder,
        )
        for number in range(FLOODERS)
    ]
    try:
        for process in flooders:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line or json.loads(line)["open"] < FLOOD // FLOODERS:
                raise LoadError("the flood did not come up")
        yield
    finally:
        for process in flooders:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
