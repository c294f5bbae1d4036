"""A worker by itself: what it is told, and what it does when nobody tells it anything any more."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from hosier.client.egress import Upstreams
from hosier.client.proxy import chain_of
from hosier.engine.egress import MakeEgress
from hosier.observe.counts import value_of
from hosier.server.listening import listening_sockets
from hosier.server.settings import Limits, ServerSettings
from hosier.workers.channel import DRAIN, END, READY, SNAPSHOT, Assignment, packed
from hosier.workers.counting import create_counts, read_counts
from hosier.workers.memory import CommonMemory
from hosier.workers.tallies import SharedTallyBook, create_table, read_totals, sessions_under_way
from hosier.workers.vault import create_vault_table

PATIENCE = 30.0


class Lone:
    """A worker, and a supervisor's end of its channel."""

    def __init__(self, log: str = "json", egress: MakeEgress | None = None, **fields: Any) -> None:
        settings = ServerSettings(listen=["127.0.0.1:0"], **fields)
        (self.sock,) = listening_sockets(settings.listen_addresses)
        self.table = create_table(settings.caps, 2)
        self.counts = create_counts(2)
        self.purses = create_vault_table(2)
        self.memory = CommonMemory.create()
        plans = self.table.plan, self.counts.plan, self.purses.plan, self.memory.plan
        sockets = (self.sock.fileno(),)
        assignment = Assignment(settings, sockets, *plans, 1, log, uvloop=False, verbose=True, egress=egress)
        self.order = packed(assignment)
        self.channel, theirs = socket.socketpair()
        self.channel.settimeout(PATIENCE)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hosier.workers.worker", str(theirs.fileno())],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(), *assignment.descriptors),
                text=True,
            )

    def begin(self) -> None:
        self.channel.sendall(self.order)
        assert self.channel.recv(1) == READY

    def client(self) -> socket.socket:
        """In the middle of its handshake."""
        client = socket.create_connection(self.sock.getsockname(), PATIENCE)
        client.sendall(b"\x05\x01\x00")
        assert client.recv(2) == b"\x05\x00"
        return client

    def ended(self) -> tuple[int, str, str]:
        output, messages = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, output, messages


@contextmanager
def lone(log: str = "json", egress: MakeEgress | None = None, **fields: Any) -> Iterator[Lone]:
    worker = Lone(log, egress, **fields)
    try:
        yield worker
    finally:
        worker.process.kill()
        worker.process.communicate()
        worker.channel.close()
        worker.sock.close()
        worker.counts.close()
        worker.purses.close()
        with suppress(BufferError):  # a test has tallies of its own
            worker.table.close()


def test_it_serves_counts_and_drains() -> None:
    with lone() as worker:
        worker.begin()
        client = worker.client()
        assert sessions_under_way(worker.table) == 1
        worker.sock.close()
        worker.channel.sendall(DRAIN)
        client.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x00")  # port 0 is no target: refused, and logged
        assert client.recv(10)[:2] == b"\x05\x02"
        client.close()
        status, output, messages = worker.ended()
        assert status == 0
        assert output.count("\n") == 1
        assert '"reply": 2' in output
        assert "port 0 is no target" in messages  # it is verbose
        assert read_totals(worker.table, 1).served == 1
        assert sessions_under_way(worker.table) == 0


def test_its_way_to_targets_travels_with_its_orders() -> None:
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        upstream.settimeout(PATIENCE)
        egress = Upstreams(chain_of("socks5h://ann:sesame@127.0.0.1:{1}".format(*upstream.getsockname())))
        with lone(egress=egress) as worker:
            worker.begin()
            with worker.client() as client:
                client.sendall(b"\x05\x01\x00\x03\x04name\x00\x50")
                with upstream.accept()[0] as asked:
                    assert asked.recv(4) == b"\x05\x02\x00\x02"


def test_impatience() -> None:
    with lone("off", limits=Limits(drain=1000)) as worker:
        worker.begin()
        with worker.client() as client:
            worker.sock.close()
            worker.channel.sendall(DRAIN + END)
            assert worker.ended() == (0, "", "")
            assert client.recv(1) == b""


def test_orders_that_come_before_it_is_ready() -> None:
    with lone("off", limits=Limits(drain=1000)) as worker:
        worker.channel.sendall(worker.order + DRAIN + END)
        assert worker.ended()[0] == 0


def test_the_supervisor_is_gone() -> None:
    """It drains, as if told so."""
    with lone("off", limits=Limits(drain=0.1)) as worker:
        worker.begin()
        with worker.client() as client:
            worker.sock.close()
            worker.channel.close()
            assert worker.ended() == (0, "", "")
            assert client.recv(1) == b""


@pytest.mark.parametrize("share", [0, 2, 100])
def test_the_supervisor_is_gone_early(share: int) -> None:
    with lone() as worker:
        worker.channel.sendall(worker.order[:share])
        worker.channel.close()
        assert worker.ended() == (0, "", "")


def test_caps_are_those_of_all_workers() -> None:
    from hosier.policy.limits import Caps

    with lone("off", caps=Caps(sessions=3)) as worker:
        other = SharedTallyBook(worker.table, 0)
        assert other.all.enter(3, 3) == other.all.enter(3, 3) == ""
        worker.begin()
        with worker.client() as client, worker.client():  # the second gets the place of the first
            assert client.recv(1) == b""
            assert other.all.enter(3, 3) == "sessions"
            other.all.greeted()
            other.all.leave()
            assert other.all.enter(3, 3) == ""


def test_a_mistake_that_only_it_finds() -> None:
    """One line, as the command itself would say it."""
    with lone(users_file="/nonexistent") as worker:
        worker.channel.sendall(worker.order)
        message = "hosier: cannot read the users file /nonexistent: No such file or directory\n"
        assert worker.ended() == (1, "", message)


def test_no_secret_on_the_command_line_or_in_the_environment() -> None:
    """Everybody on the machine can read the one, and the user's programs the other."""
    with lone(users={"ann": "open sesame"}) as worker:
        worker.begin()
        for name in ("cmdline", "environ"):
            assert b"sesame" not in Path(f"/proc/{worker.process.pid}/{name}").read_bytes()


def test_it_has_nothing_of_its_parent() -> None:
    """Its descriptors are those that it was given or has opened: none of ours came along."""
    with lone() as worker, socket.create_server(("127.0.0.1", 0)) as ours:
        ours.set_inheritable(False)
        worker.begin()
        links = [os.readlink(path) for path in Path(f"/proc/{worker.process.pid}/fd").iterdir()]
        inode = f"socket:[{os.fstat(ours.fileno()).st_ino}]"
        assert inode not in links
        assert f"socket:[{os.fstat(worker.sock.fileno()).st_ino}]" in links
        worker.process.send_signal(signal.SIGKILL)
        assert worker.ended()[0] == -signal.SIGKILL


def test_it_says_who_is_with_it_and_counts_for_all_to_see() -> None:
    with lone() as worker:
        worker.begin()
        client = worker.client()
        worker.channel.sendall(SNAPSHOT)
        assert worker.channel.recv(1) == SNAPSHOT
        size = int.from_bytes(worker.channel.recv(4), "big")
        told = json.loads(worker.channel.recv(size, socket.MSG_WAITALL))
        assert told["sessions"] == 1
        assert [each["client"] for each in told["busiest"]] == ["{} {}".format(*client.getsockname())]
        cells = read_counts(worker.counts)
        assert (value_of(cells, "sessions_started"), value_of(cells, "sessions_ended")) == (1, 0)
        client.close()
