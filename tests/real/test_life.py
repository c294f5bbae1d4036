"""The life of a server under a supervisor of services: its words to systemd, its unit, its privileges, its log."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pwd
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import every_engine
from .harness import PATIENCE, ROOT, Hosier, clean_environment, command, run, wait_until
from .target import Target, digest
from .test_workers import workers
from .wire import echo_server, exactly, socks5

UNIT = ROOT / "deploy" / "hosier.service"
WORKERS = pytest.mark.parametrize("count", ["1", "2"])
BULK = 200 << 20
"""Octets."""


class Manager:
    """What systemd is to a service: it listens on a socket that the service's environment names."""

    def __init__(self, folder: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(folder / "notify"))
        self.sock.settimeout(PATIENCE)
        self.environment = {"NOTIFY_SOCKET": str(folder / "notify")}

    def hears(self) -> str:
        return self.sock.recv(4096).decode()

    def hears_for(self, seconds: float) -> list[str]:
        """All that comes within that time."""
        heard, end = [], time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.sock.settimeout(left)
            with contextlib.suppress(TimeoutError):
                heard.append(self.hears())
        self.sock.settimeout(PATIENCE)
        return heard


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path)
    yield manager
    manager.sock.close()


# --- systemd ---


@pytest.mark.real
@WORKERS
def test_ready_and_stopping(manager: Manager, count: str) -> None:
    """READY comes when clients are let in, not before; STOPPING when it is told to stop, while sessions still run."""
    with echo_server() as echo, Hosier("--workers", count, env=manager.environment) as hosier:
        assert manager.hears() == "READY=1"
        with socks5(hosier.address, echo) as client:
            hosier.process.send_signal(signal.SIGTERM)
            assert manager.hears() == "STOPPING=1"
            client.sendall(b"still here")
            assert exactly(client, 10) == b"still here"


@pytest.mark.real
@WORKERS
def test_reloading(manager: Manager, count: str, tmp_path: Path) -> None:
    """A good file and a bad one: systemd hears when it begins and that we serve again, whatever came of it."""
    path = tmp_path / "hosier.toml"
    path.write_text("[budgets.few]\nsessions = 1\n")
    arguments = ("--config", str(path), "--workers", count)
    with echo_server() as echo, Hosier(*arguments, env=manager.environment) as hosier:
        assert manager.hears() == "READY=1"
        for text, told in (("[budgets.few]\nsessions = 2\n", "reloaded: "), ("[budgets", "not reloaded: ")):
            path.write_text(text)
            hosier.process.send_signal(signal.SIGHUP)
            assert manager.hears().startswith("RELOADING=1\nMONOTONIC_USEC=")
            assert manager.hears() == "READY=1"
            wait_until(lambda: f"hosier: {told}" in hosier.messages, told)  # noqa: B023  # at once
        with socks5(hosier.address, echo), socks5(hosier.address, echo) as second:
            second.sendall(b"two of them")
            assert exactly(second, 11) == b"two of them"


@pytest.mark.real
@WORKERS
def test_the_watchdog(manager: Manager, count: str) -> None:
    environment = {**manager.environment, "WATCHDOG_USEC": "400000"}
    with Hosier("--workers", count, env=environment) as hosier:
        heard: list[str] = []
        while heard.count("WATCHDOG=1") < 3:
            heard.append(manager.hears())
        assert heard.count("READY=1") == 1
        os.kill(hosier.pid, signal.SIGSTOP)
        manager.hears_for(0.3)
        assert manager.hears_for(1.0) == []
        os.kill(hosier.pid, signal.SIGCONT)
        assert manager.hears() == "WATCHDOG=1"


@pytest.mark.real
@pytest.mark.slow
def test_the_watchdog_hears_nothing_when_a_worker_hangs(manager: Manager) -> None:
    environment = {**manager.environment, "WATCHDOG_USEC": "400000"}
    with Hosier("--workers", "2", env=environment) as hosier:
        victim = workers(hosier.pid)[0]
        manager.hears_for(1.5)
        os.kill(victim, signal.SIGSTOP)
        try:
            wait_until(lambda: manager.hears_for(1.0) == [], "nothing is heard any more")
        finally:
            os.kill(victim, signal.SIGCONT)
        wait_until(lambda: manager.hears() == "WATCHDOG=1", "it lives again")


@pytest.mark.real
def test_the_unit(program: Callable[..., str], tmp_path: Path) -> None:
    """systemd finds nothing wrong with it, and calls what a break-in could reach little."""
    analyze = program("systemd-analyze")
    unit = tmp_path / "hosier.service"
    unit.write_text(UNIT.read_text().replace("/usr/local/bin/hosier", command()[0]))
    done = run([analyze, "verify", str(unit)])
    assert done.stderr == b""
    assessed = run([analyze, "security", "--offline=yes", str(unit)], status=None).stdout.decode()
    found = re.search(r"Overall exposure level for hosier.service: ([\d.]+)", assessed)
    assert found, assessed
    assert float(found[1]) <= 2.0


@pytest.mark.real
def test_what_the_unit_starts(tmp_path: Path) -> None:
    """Its command line is one that the server takes."""
    (line,) = re.findall(r"^ExecStart=(.*)$", UNIT.read_text(), re.MULTILINE)
    (tmp_path / "hosier.toml").write_text("listen = ['127.0.0.1:0']\n")
    words = line.replace("/etc/hosier", str(tmp_path)).replace("/usr/local/bin/hosier", command()[0]).split()
    words[words.index("journald")] = "stdout"
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr
    assert process.stderr.readline().startswith("hosier: listening on 127.0.0.1:")
    process.terminate()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


# --- stopped and continued ---


@pytest.mark.real
@pytest.mark.timeout(180)
@every_engine
def test_bulk_goes_on_after_each_stop(program: Callable[..., str], hosier: Hosier, target: Target) -> None:
    """Signals come in the middle of its reads and writes, hundreds of times."""
    url = target.url("127.0.0.1", f"/stream/{BULK}")
    arguments = [program("curl"), "-q", "--silent", "--show-error", "--fail", "--socks5", str(hosier.address), url]
    arrived = hashlib.sha256()
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=clean_environment()) as curl:
        assert curl.stdout is not None
        while data := curl.stdout.read(1 << 18):
            arrived.update(data)
            for process in (hosier.pid, *workers(hosier.pid)):
                os.kill(process, signal.SIGSTOP)
                os.kill(process, signal.SIGCONT)
    assert curl.returncode == 0
    assert arrived.hexdigest() == digest(BULK)
    hosier.sessions(target.at("127.0.0.1"), 5)


# --- privileges ---


@pytest.mark.real
@pytest.mark.skipif(os.getuid() != 0, reason="only root has privileges to give up")
@WORKERS
def test_no_process_keeps_privileges_and_all_still_works(count: str, tmp_path: Path) -> None:
    """A port below 1024 is open, the log of root's folder is written, and nothing of root is left."""
    log, nobody = tmp_path / "log", pwd.getpwnam("nobody")
    arguments = ["--workers", count, "--run-as", "nobody"]
    if count == "1":  # workers open the file themselves, as who they are
        arguments += ["--log-file", str(log)]
    with echo_server() as echo, Hosier(*arguments, listen=["127.0.0.1:0", "127.0.0.77:996"]) as hosier:
        for pid in (hosier.pid, *(workers(hosier.pid) if count == "2" else ())):
            fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            assert fields["Uid"].split() == [str(nobody.pw_uid)] * 4
            assert fields["Gid"].split() == [str(nobody.pw_gid)] * 4
            assert set(fields["Groups"].split()) <= {str(nobody.pw_gid)}
            assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 0
        for address in hosier.addresses:
            with socks5(address, echo) as client:
                client.sendall(b"hello")
                assert exactly(client, 5) == b"hello"
        if count == "1":
            wait_until(lambda: log.read_text().count("\n") == 2, "both sessions are logged")
            warned = f"warning: log_file: nobody may not make it anew in {tmp_path} after SIGUSR1: "
            wait_until(lambda: warned in hosier.messages, "the operator is warned")


@pytest.mark.real
def test_a_user_that_there_is_not() -> None:
    done = run(command("serve", "--listen", "127.0.0.1:0", "--run-as", "nobody-of-that-name"), status=2)
    assert done.stderr == b"hosier: there is no user 'nobody-of-that-name' on this machine\n"


# --- the log ---


@pytest.mark.real
@WORKERS
def test_the_log_is_rotated_and_no_session_is_missing(count: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    rounds, each = 5, 20
    with echo_server() as echo, Hosier("--workers", count, "--log-file", str(log)) as hosier:
        for number in range(rounds):
            for _ in range(each):
                socks5(hosier.address, echo).close()
            log.rename(tmp_path / f"log.{number}")
            hosier.process.send_signal(signal.SIGUSR1)
            for _ in range(2 * int(count)):  # each worker opens it with its next line
                socks5(hosier.address, echo).close()
            wait_until(log.exists, "there is a new file")
    lines = [line for path in tmp_path.glob("log*") for line in path.read_text().splitlines()]
    assert len(lines) == rounds * (each + 2 * int(count))
    assert {json.loads(line)["end"] for line in lines} <= {"client closed", "client reset"}


@pytest.mark.real
@WORKERS
def test_a_full_disk_stops_nobody(count: str, small_disk: Callable[[str], Path]) -> None:
    """The log and the usage file on a file system that fills up: sessions go on, and what is missing comes later."""
    disk = small_disk("64k")
    log = disk / "log"
    with echo_server() as echo, Hosier("--workers", count, "--log-file", str(log)) as hosier:
        ballast = disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb") as file:
            file.write(b"x" * (1 << 20))
        for _ in range(100):
            with socks5(hosier.address, echo) as client:
                client.sendall(b"hello")
                assert exactly(client, 5) == b"hello"
        wait_until(lambda: "cannot write the log to" in hosier.messages, "it says so")
        ballast.unlink()
        wait_until(lambda: log.read_text().count("\n") == 100, "what was missing is there")
    assert len([json.loads(line) for line in log.read_text().splitlines()]) == 100


@pytest.mark.real
@WORKERS
def test_syslog_s_own_daemon_reads_it(count: str, tmp_path: Path) -> None:
    """Every worker sends its lines to the socket that the machine's daemon listens on, where it does."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            probe.connect("/dev/log")
    except OSError:
        done = run(command("serve", "--listen", "127.0.0.1:0", "--workers", count, "--log-to", "syslog"), status=None)
        assert b"cannot write the log to /dev/log" in done.stderr
        assert done.returncode in (1, 2)
    else:
        with echo_server() as echo, Hosier("--workers", count, "--log-to", "syslog") as hosier:
            socks5(hosier.address, echo).close()


# --- top ---


@pytest.mark.real
@WORKERS
def test_top(count: str, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with echo_server() as echo, Hosier("--workers", count, "--admin", f"unix:{path}") as hosier:
        with socks5(hosier.address, echo) as client:
            client.sendall(b"x" * 5000)
            exactly(client, 5000)

            def page() -> str:
                return run(command("top", "--once", f"unix:{path}")).stdout.decode()

            wait_until(lambda: "5.0kB up, 5.0kB down" in page(), "it was looked at")
            shown = page()
            assert "  ready  " in shown
            assert "  1 sessions  " in shown
            assert re.search(rf"^127\.0\.0\.1 \d+ +- +{re.escape(str(echo))} ", shown, re.MULTILINE)
        wait_until(lambda: "  0 sessions  " in page(), "it has ended")
