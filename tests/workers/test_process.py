"""One worker from outside: what it is asked and answers, and how its end reads."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from time import monotonic

import pytest

from hosier.server.listening import listening_sockets
from hosier.server.settings import ServerSettings
from hosier.workers import process as module
from hosier.workers.channel import SWITCH, Assignment
from hosier.workers.counting import create_counts
from hosier.workers.memory import CommonMemory
from hosier.workers.process import WorkerProcess, obituary
from hosier.workers.tallies import create_table
from hosier.workers.vault import create_vault_table

SETTINGS = ServerSettings(listen=["127.0.0.1:0"])
OTHER = ServerSettings(listen=["127.0.0.1:0", "127.0.0.2:0"])
WRONG = ServerSettings(listen=["127.0.0.1:0"], users_file="/nonexistent")


@pytest.mark.parametrize(
    ("status", "text"),
    [(0, "ended with status 0"), (-9, "was ended by SIGKILL"), (-63, "was ended by signal 63")],
)
def test_obituaries(status: int, text: str) -> None:
    assert obituary(status) == text


def test_it_answers_until_its_end() -> None:
    async def main() -> None:
        (sock,) = listening_sockets(SETTINGS.listen_addresses)
        table, counts, purses = create_table(SETTINGS.caps, 1), create_counts(1), create_vault_table(1)
        memory = CommonMemory.create()
        plans = table.plan, counts.plan, purses.plan, memory.plan
        worker = WorkerProcess.start(
            Assignment(SETTINGS, (sock.fileno(),), *plans, 0, "off", uvloop=False, verbose=False)
        )
        assert not worker.serves
        assert await worker.is_ready()
        ending = asyncio.ensure_future(worker.end())
        os.kill(worker.pid, signal.SIGHUP)  # is the supervisor's
        found = await asyncio.gather(worker.snapshot(), worker.snapshot())
        assert found[0] == found[1]
        assert found[0] is not None
        (door,) = listening_sockets(OTHER.listen_addresses[1:])
        assert await worker.answer(worker.prepare(OTHER, [door]), 20.0) == ""
        assert await worker.answer(worker.post(SWITCH), 20.0) == 0
        place = door.getsockname()
        door.close()
        with socket.create_connection(place, 20.0):
            pass  # it accepts there
        os.kill(worker.pid, signal.SIGSTOP)
        late = worker.prepare(WRONG, [])
        assert await worker.answer(late, 0.05) is None
        os.kill(worker.pid, signal.SIGCONT)
        assert await worker.answer(worker.prepare(OTHER, []), 20.0) == ""
        assert (await late).startswith("cannot read"), "a late answer is nobody else's"
        os.kill(worker.pid, signal.SIGSTOP)
        unanswered = worker.prepare(OTHER, [])
        os.kill(worker.pid, signal.SIGKILL)
        assert await worker.answer(unanswered, 20.0) is None
        assert await ending == -signal.SIGKILL
        assert not worker.serves
        sock.close()
        for one in (table, counts, purses, memory):
            one.close()

    asyncio.run(main())


def test_it_hangs_only_without_a_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = object.__new__(WorkerProcess)
    worker.serves, worker._beats, worker._beat_at = True, -1, monotonic()
    assert not worker.hangs(1)
    monkeypatch.setattr(module, "HANGS", -1.0)
    assert worker.hangs(1)


def test_one_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    plan = create_counts(1)
    memory = CommonMemory.create()
    assignment = Assignment(
        SETTINGS, (), plan.plan, plan.plan, plan.plan, memory.plan, 0, "off", uvloop=False, verbose=False
    )
    with pytest.raises(OSError, match="No such file"):
        WorkerProcess.start(assignment)
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    plan.close()
    memory.close()


def test_one_that_dies_unnoticed_takes_no_reload_along() -> None:
    """It answers nothing, before its end is seen and after it."""

    async def main() -> None:
        (sock,) = listening_sockets(SETTINGS.listen_addresses)
        table, counts, purses = create_table(SETTINGS.caps, 1), create_counts(1), create_vault_table(1)
        memory = CommonMemory.create()
        plans = table.plan, counts.plan, purses.plan, memory.plan
        worker = WorkerProcess.start(
            Assignment(SETTINGS, (sock.fileno(),), *plans, 0, "off", uvloop=False, verbose=False)
        )
        assert await worker.is_ready()
        os.kill(worker.pid, signal.SIGKILL)
        os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
        unseen = worker.prepare(OTHER, [sock])
        assert await worker.end() == -signal.SIGKILL
        assert await worker.answer(unseen, 20.0) is None
        assert await worker.answer(worker.prepare(OTHER, [sock]), 20.0) is None
        sock.close()
        for one in (table, counts, purses, memory):
            one.close()

    asyncio.run(main())
