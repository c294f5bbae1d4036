"""Several workers as an operator meets them: all of them serve, they die and stop as they should, caps hold for all."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .census import census
from .harness import PATIENCE, READY, Address, Hosier, command, run, wait_until
from .wire import connect_request, echo_server, exactly, socks5

CURLS = 24


def workers(pid: int) -> list[int]:
    """The processes that a supervisor has started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_gone(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


@contextlib.contextmanager
def gate(count: int, look: Callable[[], None]) -> Iterator[Address]:
    """A web server that answers when all are there, and has looked round before."""

    def serve() -> None:
        guests = [listener.accept()[0] for _ in range(count)]
        look()
        for guest in guests:
            with guest:
                guest.recv(4096)
                guest.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")

    with socket.create_server(("127.0.0.1", 0), backlog=count) as listener:
        listener.settimeout(PATIENCE)
        thread = threading.Thread(target=serve)
        thread.start()
        yield Address("127.0.0.1", listener.getsockname()[1])
        thread.join(PATIENCE)


@pytest.mark.real
@pytest.mark.parametrize("uvloop", [False, True])
def test_curl_meets_both(program: Callable[..., str], uvloop: bool) -> None:
    """While two dozen downloads wait for their answer, each worker has some of them."""
    curl = program("curl")
    shares: list[int] = []
    with Hosier("--workers=2", *["--uvloop"] * uvloop) as hosier:
        pids = workers(hosier.pid)
        assert len(pids) == 2
        idle = [census(pid).sockets for pid in pids]

        def look() -> None:
            busy = [census(pid).sockets for pid in pids]
            shares.extend((now - before) // 2 for now, before in zip(busy, idle, strict=True))

        with gate(CURLS, look) as target:
            urls = [f"http://{target}/{number}" for number in range(CURLS)]
            proxy = f"socks5h://{hosier.address}"
            options = ["--parallel", "--parallel-immediate", "--parallel-max", str(CURLS), "--proxy", proxy]
            done = run([curl, "-q", "--silent", "--show-error", "--fail", *options, *urls])
        assert done.stdout == b"hi" * CURLS
        hosier.sessions(str(target), 5, CURLS)
        assert sum(shares) == CURLS
        assert all(shares)
    assert f"served {CURLS} sessions, " in hosier.messages


@pytest.mark.real
def test_curl_with_a_password(program: Callable[..., str]) -> None:
    """Every worker knows the users, though no command line tells them."""
    with Hosier("--workers=2", "--user=alice:open:sesame") as hosier, gate(CURLS, lambda: None) as target:
        for pid in workers(hosier.pid):
            assert b"sesame" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        urls = [f"http://{target}/{number}" for number in range(CURLS)]
        proxy = ["--proxy", f"socks5h://{hosier.address}", "--proxy-user", "alice:open:sesame"]
        together = ["--parallel", "--parallel-immediate", "--parallel-max", str(CURLS)]
        run([program("curl"), "-q", "--silent", "--fail", *together, *proxy, *urls])
        assert {session["user"] for session in hosier.sessions(str(target), 5, CURLS)} == {"alice"}
    assert "sesame" not in hosier.messages


def says_hello(client: socket.socket) -> bool:
    """Whether the session still carries octets both ways."""
    try:
        client.sendall(b"hello")
        return exactly(client, 5) == b"hello"
    except (ConnectionError, BrokenPipeError):
        return False


class Load(threading.Thread):
    """Short sessions, one after the other, until it is told to end."""

    def __init__(self, server: Address, target: Address) -> None:
        super().__init__()
        self._places = server, target
        self._ended = threading.Event()
        self.done = 0
        self.lost = 0
        self.refused = 0

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                with socks5(*self._places) as client:
                    self.done += says_hello(client)
            except ConnectionRefusedError:
                self.refused += 1
            except ConnectionError:
                self.lost += 1  # it was in the hands of the one who died

    def end(self) -> None:
        self._ended.set()
        self.join(PATIENCE)


def successor(hosier: Hosier, victim: int, other: int) -> int:
    """Waits for who takes a dead worker's place."""
    wait_until(lambda: set(workers(hosier.pid)) - {victim, other}, "another takes its place")
    (found,) = set(workers(hosier.pid)) - {victim, other}
    return found


def goes_on(loads: list[Load]) -> None:
    """Waits for more sessions to be done."""
    before = sum(load.done for load in loads)
    wait_until(lambda: sum(load.done for load in loads) > before + 20, "the load goes on")


@pytest.mark.slow
def test_killed_again_and_again_under_load() -> None:
    """One worker dies every half second. The sessions of the other live on, and nobody is turned away."""
    with Hosier("--workers=2") as hosier, echo_server() as target:
        victim, other = workers(hosier.pid)
        clients = [socks5(hosier.address, target) for _ in range(40)]
        loads = [Load(hosier.address, target) for _ in range(4)]
        for load in loads:
            load.start()
        try:
            alive = clients
            for number in range(6):
                os.kill(victim, signal.SIGKILL)
                victim = successor(hosier, victim, other)
                goes_on(loads)
                still = [client for client in alive if says_hello(client)]
                assert still if number else 0 < len(still) < len(clients)
                assert not number or still == alive  # those of the other notice nothing
                alive = still
                time.sleep(0.5)  # the pace of the killing; nothing depends on it
        finally:
            for load in loads:
                load.end()
            for client in clients:
                client.close()
        assert [load.refused for load in loads] == [0] * 4
        assert other in workers(hosier.pid)
    assert len(re.findall("was ended by SIGKILL", hosier.messages)) == 6
    lost = sum(load.lost for load in loads)
    assert lost <= 6 * len(loads)


def test_caps_hold_for_all_workers() -> None:
    with Hosier("--workers=2", "--cap=sessions=10") as hosier, echo_server() as target:
        pids = workers(hosier.pid)
        idle = [census(pid).sockets for pid in pids]
        for _ in range(3):
            inside = []
            for _ in range(40):
                with contextlib.suppress(ConnectionError):
                    inside.append(socks5(hosier.address, target))
            assert len(inside) == 10
            for client in inside:
                client.close()
            wait_until(lambda: [census(pid).sockets for pid in pids] == idle, "all have left")
    assert "closed; the cap sessions=10 is reached" in hosier.messages


def refuses(server: Address) -> bool:
    try:
        socket.create_connection(server).close()
    except ConnectionError:  # also one that came just before the end
        return True
    return False


class Group:
    """A server in a process group of its own, as a shell would start it."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            command("serve", "--listen=127.0.0.1:0", "--log=off", "--workers=2", *arguments),
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stderr is not None
        found = READY.match(self.process.stderr.readline())
        assert found is not None
        self.address = Address(found[2], int(found[3]))
        self.workers = workers(self.process.pid)

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in (self.process.pid, *self.workers):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate()


def test_ctrl_c_counts_once() -> None:
    """A terminal sends SIGINT to the whole group; open sessions get their time all the same."""
    with Group("--timeout=drain=1000") as group, echo_server() as target:
        with socks5(group.address, target) as client:
            os.killpg(group.process.pid, signal.SIGINT)
            assert group.process.stderr is not None
            for line in group.process.stderr:
                if "stopping: waiting up to 1000 s for 1 sessions" in line:
                    break
            assert says_hello(client)
            wait_until(lambda: refuses(group.address), "nobody new is let in")
            assert says_hello(client)
        assert group.process.wait(PATIENCE) == 0
    assert all(is_gone(pid) for pid in group.workers)


def test_a_second_ctrl_c_ends_it() -> None:
    with Group("--timeout=drain=1000") as group, echo_server() as target, socks5(group.address, target) as client:
        os.killpg(group.process.pid, signal.SIGINT)
        assert group.process.stderr is not None
        for line in group.process.stderr:
            if "stopping" in line:
                break
        os.killpg(group.process.pid, signal.SIGINT)
        assert group.process.wait(PATIENCE) == 0
        assert not says_hello(client)


def test_no_worker_outlives_its_supervisor() -> None:
    with Group("--timeout=drain=0.2") as group, echo_server() as target, socks5(group.address, target):
        group.process.kill()
        wait_until(lambda: all(is_gone(pid) for pid in group.workers), "the workers end, too")
        with Hosier(listen=[str(group.address)]) as again:  # and nothing holds the port
            socks5(again.address, target).close()


def test_a_port_that_is_taken_by_the_same_server() -> None:
    """Sharing is between workers: a second server on the port is told that it is taken."""
    with Hosier("--workers=2") as hosier:
        for count in (1, 2):
            done = run(command("serve", f"--listen={hosier.address}", f"--workers={count}"), status=2)
            assert b"the port is taken" in done.stderr
            assert done.stderr.count(b"\n") == 1


def test_an_error_costs_one_line_also_with_workers(tmp_path: Path) -> None:
    """Also where each of them would run into it."""
    (tmp_path / "budgets.toml").write_text('usage_file = "nowhere/usage.db"\n[budgets.month]\noctets = "1GB"\n')
    for arguments, complaint in (
        (["--method=nonsense"], "there is no method 'nonsense'"),
        ([f"--log-file={tmp_path}/nowhere/log"], f"cannot write the log to {tmp_path}/nowhere/log: No such file"),
        ([f"--config={tmp_path}/budgets.toml"], f"cannot keep usage in {tmp_path}/nowhere/usage.db: "),
    ):
        done = run(command("serve", "--listen=127.0.0.1:0", "--workers=2", *arguments), status=2)
        assert done.stderr.startswith(f"hosier: {complaint}".encode())
        assert done.stderr.count(b"\n") == 1


def test_cve_2015_3887_nothing_is_loaded_from_the_current_folder(tmp_path: Path) -> None:
    """Whoever can write to the folder where a server is started has no code of theirs run by it."""
    planted = f"open({str(tmp_path / 'was here')!r}, 'w')\n"
    for name in ("hosier.py", "socket.py", "asyncio.py", "pickle.py", "sqlite3.py", "tomllib.py", "sitecustomize.py"):
        (tmp_path / name).write_text(planted)
    hosier = Hosier("--workers=2")
    hosier.cwd = tmp_path
    with hosier, echo_server() as target:
        socks5(hosier.address, target).close()
    assert not (tmp_path / "was here").exists()


def test_requests_in_one_go() -> None:
    """The queue of a stopped worker, seen from outside: whole requests wait in it, and the next worker answers them."""
    with Hosier("--workers=2", "--timeout=drain=0.2") as hosier, echo_server() as target:
        victim = workers(hosier.pid)[0]
        os.kill(victim, signal.SIGSTOP)
        wait_until(lambda: " T " in Path(f"/proc/{victim}/stat").read_text(), "it stands still")
        clients = [socket.create_connection(hosier.address, PATIENCE) for _ in range(40)]
        for client in clients:
            client.sendall(b"\x05\x01\x00" + connect_request(target))
        os.kill(victim, signal.SIGKILL)
        for client in clients:
            assert exactly(client, 12)[:5] == b"\x05\x00\x05\x00\x00"
            assert says_hello(client)
            client.close()
