"""The gateway as a process: nobody's child, and gone when it is not needed."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from hosier.run import outside
from hosier.run.doors import open_doors, send_doors
from hosier.run.mounts import cover
from hosier.run.plan import Plan, chain_for_run

from .inside import enter, forked

pytestmark = [pytest.mark.linux, pytest.mark.usefixtures("namespaces")]

PLAN = Plan(chain_for_run("127.0.0.1:9"))


def wait_for(condition: Any) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def is_gone(stat: Path) -> bool:
    """Whether the process of this file has ended; who is to be told may not have taken note yet."""
    try:
        return stat.read_text().split()[2] == "Z"
    except OSError:
        return True


def told(channel: socket.socket) -> int:
    """The number of the process at the other end, which says it itself."""
    return int(channel.recv(99))


@pytest.fixture
def speaking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the gateway tell its number before anything else."""
    serve = outside.serve

    def speak(channel: socket.socket, plan: Plan, program: int) -> None:
        channel.send(str(os.getpid()).encode())
        serve(channel, plan, program)

    monkeypatch.setattr(outside, "serve", speak)


@pytest.mark.usefixtures("speaking")
def test_it_is_no_child_and_has_no_terminal_and_ends_when_nothing_comes() -> None:
    def work() -> dict[str, object]:
        ours, theirs = socket.socketpair()
        outside.detach(theirs, PLAN, os.getpid())
        theirs.close()
        number = told(ours)
        with pytest.raises(ChildProcessError):
            os.wait()
        sessions = [os.getsid(0), os.getsid(number)]
        ours.close()
        stat = Path(f"/proc/{number}/stat")
        ended = wait_for(lambda: is_gone(stat))
        return {"own session": sessions[0] != sessions[1], "ended": ended}

    assert forked(work) == {"own session": True, "ended": True}


@pytest.mark.usefixtures("speaking")
def test_it_lives_as_long_as_the_namespace_and_holds_nothing_of_the_program_s() -> None:
    def work() -> dict[str, object]:
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        os.set_inheritable(writing, True)
        outside.detach(theirs, PLAN, os.getpid())
        theirs.close()
        number = told(ours)
        program = os.fork()
        if program == 0:
            ipv6, held = enter()
            send_doors(ours, open_doors(ipv6=ipv6, held=held, end=cover(ipv6=ipv6)))
            os.write(writing, b".")
            time.sleep(60)
            os._exit(0)
        os.close(writing)
        os.read(reading, 1)
        comm = Path(f"/proc/{number}/comm")
        named = wait_for(lambda: comm.read_text() == "hosier-gateway\n")
        pipes = []
        for path in Path(f"/proc/{number}/fd").iterdir():
            with contextlib.suppress(OSError):  # it is closed meanwhile
                pipes.append(os.readlink(path))
        os.kill(program, 9)
        os.waitpid(program, 0)
        closed = os.read(reading, 1) == b""  # nobody holds it any more
        stat = Path(f"/proc/{number}/stat")
        ended = wait_for(lambda: is_gone(stat))
        return {
            "named": named,
            "pipe": os.readlink(f"/proc/self/fd/{reading}") in pipes,
            "closed": closed,
            "ended": ended,
        }

    assert forked(work) == {"named": True, "pipe": False, "closed": True, "ended": True}
