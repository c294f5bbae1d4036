"""The access log at real daemons: Debian's rsyslog, and systemd's journal in a namespace of the test's own."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hosier.observe.destinations import SyslogWriter

from .harness import PATIENCE, Hosier, end_program, run, wait_until
from .namespaces import need_namespaces
from .wire import echo_server, exactly, socks5

pytestmark = pytest.mark.real

JOURNALD = Path("/lib/systemd/systemd-journald")

JOURNAL = """
mount -t tmpfs run /run
mkdir -p /run/systemd/journal /run/log/journal
[ -s /etc/machine-id ] || { echo 0123456789abcdef0123456789abcdef > /run/id; mount --bind /run/id /etc/machine-id; }
exec "$0"
"""
"""Nothing of it is seen outside: where the journal keeps its sockets and files is new here."""

RSYSLOG = """
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{folder}/socket" CreatePath="off" RateLimit.Interval="0")
template(name="all" type="string" string="%syslogfacility-text%.%syslogseverity-text% %programname%%msg%\\n")
action(type="omfile" file="{folder}/syslog" template="all")
"""


# --- rsyslog ---


@pytest.fixture
def rsyslog(program: Callable[..., str], tmp_path: Path) -> Callable[[], subprocess.Popen[bytes]]:
    """Starts one that listens on ``socket`` and writes to ``syslog``, in the test's folder."""
    daemon = program("rsyslogd")
    config = tmp_path / "rsyslog.conf"
    config.write_text(RSYSLOG.format(folder=tmp_path))

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen([daemon, "-n", "-f", str(config), "-i", str(tmp_path / "pid")])
        wait_until((tmp_path / "socket").exists, "rsyslog listens")
        return process

    return start


def test_rsyslog_and_another_one_after_it(
    rsyslog: Callable[[], subprocess.Popen[bytes]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """More lines at once than its queue holds, in their order; while it is gone they are counted, and a line tells."""
    place, syslog = str(tmp_path / "socket"), tmp_path / "syslog"
    lost: list[int] = []
    daemon = rsyslog()
    log = SyslogWriter(place, dropped=lost.append)
    log._socket.settimeout(PATIENCE)  # the machine may be slow, and nothing is lost for that here
    try:
        for number in range(1000):
            log.write(f"line {number} ä\n")
        wait_until(lambda: syslog.exists() and syslog.read_bytes().count(b"\n") == 1000, "all lines")
        assert syslog.read_text().splitlines() == [f"daemon.info hosier line {number} ä" for number in range(1000)]
        end_program(daemon)
        (tmp_path / "socket").unlink(missing_ok=True)
        log.write("nobody hears this\n")
        wait_until(lambda: lost and "cannot write the log to" in caplog.text, "it is counted and told")
        assert caplog.text.count("cannot write the log to") == 1
        daemon = rsyslog()
        log.write("back again\n")
        wait_until(lambda: syslog.read_text().endswith("daemon.info hosier back again\n"), "it goes on")
        assert lost == [1]
    finally:
        log.close()
        end_program(daemon)


# --- the journal ---


class Journal:
    """One that runs in its own mount namespace."""

    def __init__(self, pid: int) -> None:
        self.enter = ["nsenter", "--mount", "--target", str(pid), "--"]

    def listens(self) -> bool:
        return not run([*self.enter, "test", "-S", "/run/systemd/journal/socket"], status=None).returncode

    def entries(self) -> list[dict[str, str]]:
        """What it has of us."""
        read = [*self.enter, "journalctl", "--directory=/run/log/journal", "--identifier=hosier", "--output=json"]
        return [json.loads(line) for line in run(read, status=None).stdout.splitlines()]


@contextmanager
def journal() -> Iterator[Journal]:
    process = subprocess.Popen(["unshare", "--mount", "sh", "-e", "-c", JOURNAL, str(JOURNALD)])
    try:
        found = Journal(process.pid)
        wait_until(found.listens, "the journal listens")
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


@pytest.mark.parametrize("count", ["1", "2"])
def test_the_journal(program: Callable[..., str], count: str) -> None:
    """A line for each session, with the fields by which an operator asks for it; its end stops nobody."""
    need_namespaces()
    program("journalctl")
    with echo_server() as echo, journal() as found:
        arguments = ("--log=text", "--log-to=journald", "--workers", count)
        with Hosier(*arguments, before=found.enter) as hosier:
            for _ in range(3):
                with socks5(hosier.address, echo) as client:
                    client.sendall(b"hello")
                    assert exactly(client, 5) == b"hello"
            wait_until(lambda: len(found.entries()) == 3, "three lines")
            for entry in found.entries():
                assert (entry["PRIORITY"], entry["SYSLOG_FACILITY"], entry["_TRANSPORT"]) == ("6", "3", "journal")
                assert f"CONNECT {echo}" in entry["MESSAGE"]
