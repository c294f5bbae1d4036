"""Builds and drives the C programs of this folder: the load generator with its target, and the limit."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
LOAD_CORE = 1


class LoadError(Exception):
    """The load could not be brought to its end; the message says why."""


def build(source: str) -> Path:
    """Compiles NAME.c to build/NAME, if it is newer."""
    program = BUILD / Path(source).stem
    if not program.exists() or program.stat().st_mtime < (HERE / source).stat().st_mtime:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise SystemExit("the benchmarks need a C compiler (cc)")
        BUILD.mkdir(exist_ok=True)
        subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(HERE / source)], check=True)
    return program


CORES = frozenset(os.sched_getaffinity(0))
"""Those that this machine gives us, before anything is pinned: a child of a pinned process sees only its parent's."""


def pin(core: int) -> Callable[[], None]:
    """What a child calls to stay on one core, where the machine has that core."""
    return lambda: os.sched_setaffinity(0, {core} & CORES or CORES)


class Job:
    """A run of the load generator that waits for its signals."""

    def __init__(self, arguments: list[str]) -> None:
        self.process = subprocess.Popen(
            [str(build("load.c")), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=pin(LOAD_CORE),
        )

    def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            assert self.process.stderr is not None
            raise LoadError(self.process.stderr.read().strip() or f"load: exit code {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def signal(self) -> None:
        """Start, or close."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write("\n")
            self.process.stdin.flush()

    def close(self) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


@contextmanager
def job(*arguments: object) -> Iterator[Job]:
    running = Job([str(argument) for argument in arguments])
    try:
        yield running
    finally:
        running.close()


class Target:
    """The echo, source and sink servers; `echo` is a list of ports as the load wants it."""

    def __init__(self, *flags: str) -> None:
        self._job = Job(["target", "--timeout", "36000", *flags])
        ports = self._job.line()
        self.echo = ",".join(map(str, ports["echo"]))
        self.source, self.sink = int(ports["source"]), int(ports["sink"])
        self.datagrams, self.joined_datagrams = int(ports["datagrams"]), int(ports["joined_datagrams"])

    def close(self) -> None:
        self._job.close()
