"""What the tests of the commands share: a command as a process of its own, and what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

PATIENCE = 20


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Without any proxy but what is given."""
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return {**clean, **(more or {})}


def ran(*arguments: str, data: bytes = b"", env: Mapping[str, str] | None = None) -> tuple[int, bytes, str]:
    """What a command came to: its code, its output and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "hosier", *arguments],
        input=data,
        capture_output=True,
        env=environment(env),
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.decode()


@contextmanager
def running(*arguments: str, env: Mapping[str, str] | None = None, stderr: int = subprocess.PIPE) -> Iterator[Any]:
    """A command that goes on, as a Popen whose pipes are all there; it is ended behind the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hosier", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=environment(env),
    )
    with process:
        try:
            yield process
        finally:
            process.kill()
