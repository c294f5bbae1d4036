"""The supervisor with real workers: who dies is replaced, and nobody else notices."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from hosier.auth.scrypt import hash_password
from hosier.auth.users_file import change_user
from hosier.errors import ConfigError
from hosier.observe.counts import value_of
from hosier.observe.pages import Health
from hosier.policy.backoff import PER_SOURCE, PER_USER, FailureTally
from hosier.policy.limits import Caps
from hosier.policy.rules import Rule
from hosier.server.settings import Limits, ListenAddress, ServerSettings
from hosier.workers import process
from hosier.workers import supervisor as module
from hosier.workers.channel import ABANDON, SWITCH
from hosier.workers.process import WorkerProcess
from hosier.workers.supervisor import Outcome, Supervisor
from hosier.workers.tallies import Totals, read_totals, sessions_under_way

PATIENCE = 20.0
NO_AUTH = b"\x05\x01\x00"


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs the test's coroutine, bounded."""

    async def bounded() -> None:
        async with asyncio.timeout(50):
            await main()

    asyncio.run(bounded())


async def until(condition: Callable[[], object], what: str) -> None:
    """Looks again and again until the condition holds; fails, saying what was awaited, if it never does."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"waited in vain: {what}") from None


class Crew:
    """A supervisor under test, what it said, and clients."""

    def __init__(self, count: int, **fields: Any) -> None:
        self.said: list[str] = []
        self.addresses: list[ListenAddress] = []
        settings = ServerSettings(**{"listen": ["127.0.0.1:0"], **fields})
        self.supervisor = Supervisor(settings, count, say=self.said.append, log="off")
        self.target = socket.create_server(("127.0.0.1", 0), backlog=500)  # nobody need accept
        self.target.setblocking(False)
        self.clients: list[socket.socket] = [self.target]

    async def run(self) -> int:
        return await self.supervisor.run(self.addresses.extend)

    def pids(self) -> dict[int, int]:
        """By worker, those that accept."""
        return {number: worker.pid for number, worker in self.supervisor._workers.items() if worker._streams}

    def sessions(self) -> int:
        return sessions_under_way(self.supervisor._table)

    async def connect(self, greeting: bytes = NO_AUTH, source: str = "127.0.0.1") -> socket.socket:
        """A client that has sent its greeting."""
        client = socket.socket()
        self.clients.append(client)
        client.bind((source, 0))
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, self.addresses[0])
        client.send(greeting)
        return client

    async def enter(self) -> bool:
        """A whole session; whether it got in."""
        request = b"\x05\x01\x00\x01\x7f\x00\x00\x01" + self.target.getsockname()[1].to_bytes(2, "big")
        data = b""
        with suppress(ConnectionError):
            client = await self.connect()
            client.send(request)
            while len(data) < 12 and (piece := await self.answer(client)):
                data += piece
        return data[2:4] == b"\x05\x00"

    def everybody_has_left(self) -> bool:
        """Whether no session is left, the targets' ends closed."""
        with suppress(BlockingIOError):
            while True:
                self.target.accept()[0].close()
        return not self.sessions()

    async def answer(self, client: socket.socket) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.get_running_loop().sock_recv(client, 100)

    async def replaced(self, number: int, before: int) -> int:
        """Waits for another process in a worker's place."""
        await until(lambda: self.pids().get(number, before) != before, f"worker {number} is replaced")
        return self.pids()[number]


def with_crew(
    count: int, story: Callable[[Crew], Coroutine[Any, Any, None]], *, status: int = 0, **fields: Any
) -> list[str]:
    """Tells the story while the workers run, then stops them; returns what the supervisor said."""
    crew = Crew(count, **fields)

    async def main() -> None:
        running = asyncio.ensure_future(crew.run())
        try:
            await until(lambda: crew.addresses or running.done(), "all are ready")
            await story(crew)
        finally:
            for client in crew.clients:
                client.close()
            if not running.done():
                crew.supervisor.stop()
            assert await running == status

    run(main)
    return crew.said


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_they_serve_and_the_totals_are_the_sum() -> None:
    crews: list[Crew] = []

    async def story(crew: Crew) -> None:
        crews.append(crew)
        assert len(set(crew.pids().values())) == 2
        for _ in range(40):
            with await crew.connect() as client:
                assert await crew.answer(client) == b"\x05\x00"
        await until(lambda: not crew.sessions(), "all have ended")
        shares = [read_totals(crew.supervisor._table, number).served for number in range(2)]
        assert sum(shares) == 40
        assert all(shares)

    said = with_crew(2, story)
    assert said == []
    assert crews[0].supervisor.totals == Totals(40, 0)


async def log_in(crew: Crew, password: bytes, source: str = "127.0.0.1") -> bool:
    """As ann; whether that was right."""
    with await crew.connect(b"\x05\x01\x02", source) as client:
        assert await crew.answer(client) == b"\x05\x02"
        client.send(b"\x01\x03ann" + bytes((len(password),)) + password)
        return await crew.answer(client) == b"\x01\x00"


def users_file(folder: Path) -> Path:
    change_user(str(folder / "users"), b"ann", hash_password(b"open sesame", log_n=4, r=1))
    return folder / "users"


async def each_has_served(crew: Crew) -> None:
    await until(lambda: not crew.sessions(), "all have ended")
    assert all(read_totals(crew.supervisor._table, number).served for number in crew.pids())


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def test_a_password_that_one_has_hashed_another_need_not(tmp_path: Path) -> None:
    async def story(crew: Crew) -> None:
        assert all(threads(pid) == 1 for pid in crew.pids().values())
        for _ in range(24):
            assert await log_in(crew, b"open sesame")
        await each_has_served(crew)
        assert sorted(threads(pid) for pid in crew.pids().values()) == [1, 2]  # hashing takes a thread

    with_crew(2, story, users_file=users_file(tmp_path))


def test_failures_at_one_count_at_all(tmp_path: Path) -> None:
    async def story(crew: Crew) -> None:
        guesses = PER_USER.free + 1  # so many that not all of them come to one worker
        for number in range(guesses):
            assert not await log_in(crew, b"a guess", f"127.0.1.{number + 1}")
        users = crew.supervisor._memory._records.tables[1]
        counted = users.read(b"ann")
        assert counted is not None
        assert guesses - 2 < FailureTally(*counted).failures <= guesses  # some seconds have passed
        await each_has_served(crew)

    with_crew(2, story, users_file=users_file(tmp_path))


def test_who_must_wait_must_wait_at_all(tmp_path: Path) -> None:
    """Also at a worker that follows one which was killed."""

    async def story(crew: Crew) -> None:
        for _ in range(PER_SOURCE.free + 10):
            wait = crew.supervisor._memory.failures.failed("127.0.0.1", b"ann", monotonic())
        assert wait > 500
        for _ in range(24):
            assert not await log_in(crew, b"open sesame")
        await each_has_served(crew)
        victim = crew.pids()[0]
        os.kill(victim, signal.SIGKILL)
        await crew.replaced(0, victim)
        before = read_totals(crew.supervisor._table, 0).served
        for _ in range(24):
            assert not await log_in(crew, b"open sesame")
        await until(lambda: read_totals(crew.supervisor._table, 0).served > before, "the new one has served")

    with_crew(2, story, users_file=users_file(tmp_path))


def test_several_addresses() -> None:
    async def story(crew: Crew) -> None:
        assert [address.host for address in crew.addresses] == ["127.0.0.1", "127.0.0.2"]
        for address in list(crew.addresses):
            crew.addresses[0] = address
            assert await crew.answer(await crew.connect()) == b"\x05\x00"

    with_crew(2, story, listen=["127.0.0.1:0", "127.0.0.2:0"], limits=Limits(drain=0.1))


def test_connections_that_wait_survive_their_worker() -> None:
    """Stopped, it accepts nobody; killed, it takes nobody along: who waits in its queue is served by the next one."""

    async def story(crew: Crew) -> None:
        victim = crew.pids()[0]
        os.kill(victim, signal.SIGSTOP)
        await until(lambda: stopped(victim), "it stands still")
        clients = [await crew.connect() for _ in range(60)]
        await until(lambda: crew.sessions() > 0, "the other one serves its share")
        os.kill(victim, signal.SIGKILL)
        for client in clients:
            assert await crew.answer(client) == b"\x05\x00"
        assert crew.pids()[0] != victim
        # Both had a share: those of the other were served before, those of the victim after it.
        sums = crew.supervisor._table
        shares = [sums.cells[sums.cell(0, 0, number)] for number in range(2)]
        assert sum(shares) == 60
        assert all(shares)

    (line,) = with_crew(2, story, limits=Limits(handshake=60, drain=0.1))[:1]
    assert re.fullmatch(
        r"worker 1 \(process \d+\) was ended by SIGKILL; its sessions are lost; another follows at once", line
    )


def test_the_dead_give_their_places_back() -> None:
    async def story(crew: Crew) -> None:
        assert [await crew.enter() for _ in range(11)] == [True] * 10 + [False]
        victims = crew.pids()
        assert crew.sessions() == 10
        for number, pid in victims.items():
            os.kill(pid, signal.SIGKILL)
            await crew.replaced(number, pid)
        assert crew.sessions() == 0
        assert [await crew.enter() for _ in range(11)] == [True] * 10 + [False]

    with_crew(2, story, caps=Caps(sessions=10), limits=Limits(drain=0.1))


def test_who_dies_again_and_again_waits_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.003)

    async def story(crew: Crew) -> None:
        pid = crew.pids()[1]
        for _ in range(4):
            os.kill(pid, signal.SIGKILL)
            pid = await crew.replaced(1, pid)
        monkeypatch.setattr(module, "SHORT_LIFE", 0.0)
        os.kill(pid, signal.SIGKILL)
        await crew.replaced(1, pid)

    said = with_crew(2, story)
    assert [line.rpartition("another follows ")[2] for line in said] == [
        "at once",
        "in 0.001 s, the death number 2 in a row",
        "in 0.002 s, the death number 3 in a row",
        "in 0.003 s, the death number 4 in a row",
        "at once",
    ]


def test_stopped_while_it_waits_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 1000.0)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 1000.0)

    async def story(crew: Crew) -> None:
        first = crew.pids()[0]
        os.kill(first, signal.SIGKILL)
        os.kill(await crew.replaced(0, first), signal.SIGKILL)
        await until(lambda: len(crew.said) == 2, "it waits")

    assert "in 1000 s" in with_crew(2, story)[1]


def test_it_stops_in_two_steps() -> None:
    async def story(crew: Crew) -> None:
        client = await crew.connect()
        assert await crew.answer(client) == b"\x05\x00"
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: crew.said, "it drains")
        with suppress(ConnectionError):
            while await crew.connect():
                pass
        assert crew.pids()
        os.kill(os.getpid(), signal.SIGINT)
        assert await crew.answer(client) == b""

    said = with_crew(2, story, limits=Limits(drain=1000))
    assert said[0] == "stopping: waiting up to 1000 s for 1 sessions; again to end them"


def test_a_worker_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")

    async def story(crew: Crew) -> None:
        await until(lambda: crew.said, "it gives up")

    said = with_crew(2, story, status=1)
    assert re.fullmatch(r"worker [12] \(process \d+\) ended with status 1 before it was ready; giving up", said[0])


def test_no_process_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/program")

    async def story(crew: Crew) -> None:
        assert not crew.addresses

    said = with_crew(2, story, status=1)
    assert said == ["worker 1 could not be started (No such file or directory) before it was ready; giving up"]


def test_stopped_before_all_are_ready() -> None:
    crew = Crew(2)
    crew.target.close()

    async def main() -> None:
        running = asyncio.ensure_future(crew.run())
        await until(lambda: crew.supervisor._workers, "the first has been started")
        crew.supervisor.stop()
        assert await running == 0

    run(main)
    assert crew.addresses == []


def test_a_taken_port_is_noticed() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
            place = "{}:{}".format(*taken.getsockname())
            with pytest.raises(ConfigError, match="the port is taken"):
                await Supervisor(ServerSettings(listen=[place]), 2, say=print).run(print)

    run(main)


def test_caps_hold_for_all_together() -> None:
    """Ten places, and a hundred who want in at the same moment, over two workers: ten get in."""

    async def story(crew: Crew) -> None:
        for _ in range(5):
            admitted = await asyncio.gather(*(crew.enter() for _ in range(100)))
            assert sum(admitted) == 10 == crew.sessions()
            for client in crew.clients[1:]:
                client.close()
            await until(crew.everybody_has_left, "all sessions end")

    with_crew(2, story, caps=Caps(sessions=10))


# --- what its admin pages ask ---


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is slow to answer is not left out: the machine may be."""
    monkeypatch.setattr(process, "ANSWER", PATIENCE)


@pytest.mark.usefixtures("unhurried")
def test_counts_of_all_workers_and_who_is_here() -> None:
    async def story(crew: Crew) -> None:
        supervisor = crew.supervisor
        for _ in range(40):
            assert await crew.enter()
        await until(lambda: value_of(supervisor.cells(), "replies", "0") == 40, "all answers are counted")
        assert value_of(supervisor.cells(), "sessions_started") == 40
        told = await supervisor.snapshot()
        assert told["sessions"] == len(told["busiest"]) == 40
        assert set(told["users"]) == {"-"}
        assert supervisor.health() == Health(True, True)
        assert {name: value for name, (_, value) in supervisor.gauges().items()} == {"workers": 2, "worker_deaths": 0}

    with_crew(2, story)


@pytest.mark.usefixtures("unhurried")
def test_counts_of_a_worker_that_died_stay_and_its_sessions_are_lost() -> None:
    async def story(crew: Crew) -> None:
        supervisor = crew.supervisor
        for _ in range(40):
            assert await crew.enter()
        victim = crew.pids()[0]
        os.kill(victim, signal.SIGKILL)
        await crew.replaced(0, victim)
        cells = supervisor.cells()
        assert value_of(cells, "sessions_started") == value_of(cells, "handshakes", "ok") == 40
        lost = value_of(cells, "sessions_ended", "lost")
        assert 0 < lost < 40
        assert (await supervisor.snapshot())["sessions"] == 40 - lost
        assert supervisor.gauges()["worker_deaths"][1] == 1

    with_crew(2, story)


def test_a_worker_that_hangs_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "ANSWER", 0.2)

    async def story(crew: Crew) -> None:
        victim = crew.pids()[0]
        os.kill(victim, signal.SIGSTOP)
        await until(lambda: stopped(victim), "it has stopped")
        assert await crew.supervisor.snapshot() == {"sessions": 0, "busiest": [], "users": {}}
        os.kill(victim, signal.SIGCONT)

    with_crew(2, story)


def test_health_while_it_starts_and_stops() -> None:
    supervisor = Supervisor(ServerSettings(listen=["127.0.0.1:0"]), 2, say=print)
    assert supervisor.health() == Health(False, True, "no worker lets clients in")

    async def story(crew: Crew) -> None:
        crew.supervisor.stop()
        assert crew.supervisor.health() == Health(False, True, "stopping")

    with_crew(1, story)


# --- other settings ---

ALLOW, DENY = Rule(action="allow"), Rule(action="deny")


async def reload(crew: Crew, **fields: Any) -> Outcome:
    return await crew.supervisor.reload(replace(crew.supervisor._given, **fields))


def test_all_workers_change_and_those_that_come_later() -> None:
    async def story(crew: Crew) -> None:
        async def all_enter() -> set[bool]:
            return {await crew.enter() for _ in range(20)}

        assert await all_enter() == {True}
        assert await reload(crew, rules=[DENY]) == Outcome([], 20)
        await until(crew.everybody_has_left, "those that are forbidden have ended")
        assert await all_enter() == {False}
        before = crew.pids()
        os.kill(before[0], signal.SIGKILL)
        await crew.replaced(0, before[0])
        await until(lambda: crew.supervisor.health().why == "", "it serves")
        assert await all_enter() == {False}
        assert await reload(crew, rules=[ALLOW], caps=Caps(sessions=9), engine="portable") == Outcome(
            ["caps", "engine"], 0
        )
        assert await all_enter() == {True}

    with_crew(2, story)


def test_what_is_wrong_changes_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what the supervisor finds, nor what one worker alone does, nor one that says nothing."""

    async def story(crew: Crew) -> None:
        with pytest.raises(ConfigError, match="cannot read the users file"):
            await reload(crew, users_file=tmp_path / "nothing")
        path = users_file(tmp_path)

        class GoneNextTime:
            def __init__(self, *_: Any) -> None:
                path.unlink()

            def close(self) -> None:
                pass

        with monkeypatch.context() as patch:
            patch.setattr(module, "Terms", GoneNextTime)
            with pytest.raises(ConfigError, match="cannot read the users file"):
                await reload(crew, users_file=path)
        os.kill(crew.pids()[1], signal.SIGSTOP)
        try:
            with monkeypatch.context() as patch:
                patch.setattr(module, "PREPARING", 1.0)
                with pytest.raises(ConfigError, match="a worker does not answer"):
                    await reload(crew, rules=[DENY])
        finally:
            os.kill(crew.pids()[1], signal.SIGCONT)
        assert {await crew.enter() for _ in range(20)} == {True}
        assert (await reload(crew, rules=[DENY])).kept == []
        assert {await crew.enter() for _ in range(20)} == {False}

    with_crew(2, story)


def test_a_worker_that_cannot_change_is_told_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it can, or is replaced."""

    async def story(crew: Crew) -> None:
        post, pid = WorkerProcess.post, crew.pids()[1]

        def refused(self: WorkerProcess, word: bytes, more: bytes = b"") -> asyncio.Future[Any]:
            if word != SWITCH or self.pid != pid:
                return post(self, word, more)
            self.tell(ABANDON)
            answer = asyncio.get_running_loop().create_future()
            answer.set_result("OSError: no more descriptors")
            return answer

        behind = Health(False, True, "worker 2 keeps the settings of before a reload")
        with monkeypatch.context() as patch:
            patch.setattr(WorkerProcess, "post", refused)
            await reload(crew, rules=[DENY])
        assert crew.said == [
            f"worker 2 keeps the settings of before: OSError: no more descriptors; kill -KILL {pid} replaces it"
        ]
        assert crew.supervisor.health() == behind
        await reload(crew, rules=[DENY])
        assert crew.supervisor.health() == Health(True, True)
        with monkeypatch.context() as patch:
            patch.setattr(WorkerProcess, "post", refused)
            await reload(crew, rules=[ALLOW])
        assert crew.supervisor.health() == behind
        os.kill(pid, signal.SIGKILL)
        await crew.replaced(1, pid)
        await until(lambda: crew.supervisor.health() == Health(True, True), "another one serves")
        assert {await crew.enter() for _ in range(20)} == {True}

    with_crew(2, story)


def test_a_worker_that_changes_late_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(crew: Crew) -> None:
        post, pid = WorkerProcess.post, crew.pids()[0]

        def stopped(self: WorkerProcess, word: bytes, more: bytes = b"") -> asyncio.Future[Any]:
            if word == SWITCH and self.pid == pid:
                os.kill(pid, signal.SIGSTOP)
                monkeypatch.setattr(module, "PREPARING", 2.0)  # the other one may be slow
            return post(self, word, more)

        try:
            with monkeypatch.context() as patch:
                patch.setattr(WorkerProcess, "post", stopped)
                await reload(crew, rules=[DENY])
            assert crew.said == [
                f"worker 1 keeps the settings of before: it does not answer; kill -KILL {pid} replaces it"
            ]
            assert not crew.supervisor.health().ready
        finally:
            os.kill(pid, signal.SIGCONT)
        await until(lambda: crew.supervisor.health() == Health(True, True), "it has changed")
        assert {await crew.enter() for _ in range(20)} == {False}

    with_crew(2, story)


def test_a_worker_that_is_being_born_changes_too() -> None:
    async def story(crew: Crew) -> None:
        os.kill(crew.pids()[0], signal.SIGKILL)
        await until(lambda: len(crew.supervisor._serving()) == 1 and len(crew.supervisor._workers) == 2, "it is born")
        await reload(crew, rules=[DENY])
        await until(lambda: len(crew.supervisor._serving()) == 2, "it serves")
        await until_steady(crew)
        assert {await crew.enter() for _ in range(20)} == {False}

    async def until_steady(crew: Crew) -> None:
        """Its orders were in the channel before this question."""
        assert await crew.supervisor.snapshot() is not None

    with_crew(2, story)


def is_refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_who_drains_changes_nothing_more(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No port is opened for clients that nobody would wait for."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    answer = WorkerProcess.answer

    async def story(crew: Crew) -> None:
        async def stopped_meanwhile(awaited: asyncio.Future[Any], patience: float) -> Any:
            found = await answer(awaited, patience)
            if not crew.supervisor._stopping.is_set():
                crew.supervisor.stop()
            return found

        client = await crew.connect(b"\x05")  # it is waited for
        await until(lambda: crew.sessions() == 1, "it is here")
        if when == "before":
            crew.supervisor.stop()
        else:
            monkeypatch.setattr(WorkerProcess, "answer", staticmethod(stopped_meanwhile))
        with pytest.raises(ConfigError, match="it is stopping"):
            await reload(crew, listen=["127.0.0.1:0", f"127.0.0.1:{port}"])
        await until(lambda: is_refused(port), "the workers have given up the socket, too")
        client.close()

    with_crew(2, story)


def test_listeners_come_and_go_for_all_workers() -> None:
    """Also for one that follows another."""

    async def story(crew: Crew) -> None:
        def place(index: int) -> tuple[str, int]:
            host, port = crew.supervisor._sockets[0][index].getsockname()
            return host, port

        first = place(0)
        assert (await reload(crew, listen=["127.0.0.1:0", "127.0.0.2:0"])).kept == []
        crew.addresses[0] = ListenAddress(*place(1))
        assert {await crew.enter() for _ in range(20)} == {True}
        before = crew.pids()
        os.kill(before[1], signal.SIGKILL)
        await crew.replaced(1, before[1])
        await until(lambda: crew.supervisor.health().why == "", "it serves")
        assert {await crew.enter() for _ in range(20)} == {True}
        assert (await reload(crew, listen=["127.0.0.2:0"])).kept == []
        assert place(0)[0] == "127.0.0.2"
        assert {await crew.enter() for _ in range(20)} == {True}
        with socket.socket() as probe:
            assert probe.connect_ex(first) != 0
        with pytest.raises(ConfigError, match="cannot listen on 192"):
            await reload(crew, listen=["127.0.0.2:0", "192.0.2.1:0"], open=True)
        assert {await crew.enter() for _ in range(20)} == {True}

    with_crew(2, story)
