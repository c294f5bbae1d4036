"""`hosier run` on a terminal, among many, and under signals: what the shell sees is the program, and nothing stays."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from .bed import ANYWHERE, leaked
from .harness import Hosier, clean_environment, wait_until
from .target import Target
from .test_run import PATIENT, Runner, gateways, in_bed, prefix, target, through

__all__ = ("in_bed", "prefix", "target", "through")

pytestmark = [pytest.mark.real, pytest.mark.linux, pytest.mark.timeout(120)]

PROMPT = "ready> "


class Terminal:
    """An interactive bash on a terminal of its own, which `hosier run` is started from."""

    def __init__(self, home: Path) -> None:
        self._seen = ""
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            environment = {**clean_environment(), "PS1": PROMPT, "TERM": "dumb", "HOME": str(home)}
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"], environment)
        self.until(PROMPT)

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def until(self, pattern: str) -> str:
        """Reads until the pattern is there; what came up to its end."""
        deadline = time.monotonic() + 30
        while not (found := re.search(pattern, self._seen)):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._fd], [], [], left)[0]:
                raise AssertionError(f"{pattern!r} did not come; this did:\n{self._seen}")
            self._seen += os.read(self._fd, 4096).decode("utf-8", "replace").replace("\r", "")
        said, self._seen = self._seen[: found.end()], self._seen[found.end() :]
        return said

    def do(self, line: str) -> str:
        self.type(f"{line}\n")
        return self.until(PROMPT)

    def until_in_front(self, name: str) -> None:
        """Waits until the program has the terminal: what is typed as a signal goes to it."""

        def has_it() -> bool:
            with suppress(OSError):
                return Path(f"/proc/{os.tcgetpgrp(self._fd)}/comm").read_text().strip() == name
            return False

        wait_until(has_it, f"{name} is in front")

    def close(self) -> None:
        with suppress(OSError):
            self.type("exit\nexit\n")
        with suppress(OSError):
            while select.select([self._fd], [], [], 10)[0] and os.read(self._fd, 4096):
                pass
        os.close(self._fd)  # whoever is still there hears that the terminal is gone
        os.waitpid(self.pid, 0)


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """A test before, or who runs the tests, may ignore some; children would, too."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGTERM)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def terminal(tmp_path: Path, usual_signals: None) -> Iterator[Terminal]:
    opened = Terminal(tmp_path)
    yield opened
    opened.close()


def nothing_stays() -> None:
    wait_until(lambda: gateways() == [], "the gateways end")


# --- a terminal ---


def test_stop_continue_and_interrupt(through: Runner, terminal: Terminal) -> None:
    """SIGTSTP, `bg`, `fg`, SIGINT: the shell's own words about the program."""
    # `exec`: some shells wait for a child that has not yet become its program, and cannot be stopped meanwhile.
    line = " ".join(through.command("sh", "-c", "'echo begun; exec sleep 100'"))
    terminal.type(f"{line}\n")
    terminal.until("\nbegun\n")
    terminal.until_in_front("sleep")
    terminal.type("\x1a")
    assert "Stopped" in terminal.until(PROMPT)
    terminal.do("bg")
    assert "Running" in terminal.do("jobs")
    terminal.type("fg\n")
    terminal.until("hosier run")
    terminal.until_in_front("sleep")
    terminal.type("\x03")
    terminal.until(PROMPT)
    assert "\n130\n" in terminal.do("echo $?")
    nothing_stays()


def test_a_shell_inside_has_jobs_and_pipes_of_its_own(through: Runner, terminal: Terminal, target: Target) -> None:
    bash = through.command("bash", "--norc", "--noprofile", "--noediting", "-i")
    terminal.do(f"{' '.join(bash)}; echo it was $?")
    assert "\n42\n" in terminal.do("echo 42 | cat | head -1")
    assert '"peer"' in terminal.do(f"curl -sS {target.url('both.test')} | cat")
    terminal.type("sleep 100\n")
    terminal.until_in_front("sleep")
    terminal.type("\x1a")
    assert "Stopped" in terminal.until(PROMPT)
    terminal.do("kill %1")
    terminal.do("wait")
    assert "100 24" in terminal.do("stty rows 100 cols 24; stty size")
    terminal.type("exit 5\n")
    assert "it was 5" in terminal.until("it was [0-9]+")
    terminal.until(PROMPT)
    nothing_stays()


# --- signals ---


@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_ends_the_program_and_nothing_stays(through: Runner, number: signal.Signals) -> None:
    process = subprocess.Popen(through.command("sh", "-c", "echo begun; exec sleep 100"), stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    process.send_signal(number)
    assert process.wait(30) == -number
    process.stdout.close()
    nothing_stays()


def test_a_killed_gateway_takes_connections_along_and_nothing_else(through: Runner) -> None:
    program = (
        "import socket, sys\n"
        "s = socket.create_connection(('four.test', int(sys.argv[1])))\n"
        "print('begun', flush=True)\n"
        "try: s.recv(1); print('end')\nexcept ConnectionResetError: print('reset')"
    )
    with Target(hosts=ANYWHERE) as silent:
        process = subprocess.Popen(
            through.command("python3", "-c", program, str(silent.port)), stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        (gateway,) = gateways()
        os.kill(gateway, signal.SIGKILL)
        assert process.communicate(timeout=30)[0] in ("reset\n", "end\n")
        assert process.returncode == 0
    nothing_stays()


def test_a_reader_is_not_kept_waiting(through: Runner, tmp_path: Path) -> None:
    """Pipes end with the program, though it leaves a child behind that keeps the gateway."""
    os.mkfifo(tmp_path / "end")
    process = subprocess.Popen(
        through.command("sh", "-c", f"cat {tmp_path}/end >/dev/null 2>&1 & echo done"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.communicate(timeout=30) == (b"done\n", b"")
    assert len(gateways()) == 1
    (tmp_path / "end").write_bytes(b"")  # the child reads to the end, and goes
    nothing_stays()


def test_no_files_or_mounts_stay(through: Runner) -> None:
    def seen() -> tuple[list[str], str]:
        mounts = Path("/proc/self/mountinfo").read_text()
        return sorted(os.listdir(through.home)), mounts

    before = seen()
    through("true")
    nothing_stays()
    assert seen() == before


# --- many ---


def test_200_children(through: Runner, hosier: Hosier, target: Target) -> None:
    program = (
        "import os, sys, urllib.request\n"
        "children = []\n"
        "for number in range(200):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        os._exit(b'peer' not in urllib.request.urlopen(sys.argv[1], timeout=60).read())\n"
        "    children.append(child)\n"
        "print(sum(os.waitpid(child, 0)[1] == 0 for child in children))\n"
        "try: os.wait()\n"
        "except ChildProcessError: print('and no other child')\n"
    )
    done = through("python3", "-c", program, target.url("both.test"), patience=100)
    assert done.stdout == b"200\nand no other child\n", done.stderr
    assert leaked() == 0
    nothing_stays()


def test_500_connections_at_once(through: Runner, hosier: Hosier) -> None:
    """All stand at the same time, and each has its own answer."""
    program = (
        "import asyncio, sys\n"
        "async def one(number, opened, everybody):\n"
        "    reader, writer = await asyncio.open_connection('four.test', int(sys.argv[1]))\n"
        "    opened.append(number)\n"
        "    if len(opened) == 500: everybody.set()\n"
        "    await everybody.wait()\n"
        "    writer.write(b'GET /stream/%d HTTP/1.0\\r\\n\\r\\n' % number)\n"
        "    answer = await reader.read(-1)\n"
        "    writer.close()\n"
        "    return len(answer.partition(b'\\r\\n\\r\\n')[2]) == number\n"
        "async def main():\n"
        "    opened, everybody = [], asyncio.Event()\n"
        "    print(sum(await asyncio.gather(*(one(number, opened, everybody) for number in range(500)))))\n"
        "asyncio.run(main())\n"
    )
    with Target(hosts=ANYWHERE[:1]) as target:
        done = through("python3", "-c", program, str(target.port), patience=100)
        assert done.stdout == b"500\n", done.stderr
        hosier.sessions(target.at("four.test"), 5, 500)
        assert hosier.logged == 500
    nothing_stays()


def test_several_at_once(through: Runner, target: Target) -> None:
    """NG-REQ-03: each has a network of its own: all listen on the same port."""
    program = (
        "import socket, sys, urllib.request\n"
        "with socket.create_server(('', 8080)):\n"
        "    print(urllib.request.urlopen(sys.argv[1]).status, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    running = [
        subprocess.Popen(
            through.command("python3", "-c", program, target.url("both.test")),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(8)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == b"200\n"
    assert len(gateways()) == 8
    for process in running:
        process.communicate(timeout=30)
        assert process.returncode == 0
    nothing_stays()


def test_one_within_another(through: Runner, hosier: Hosier, target: Target) -> None:
    """The inner one's proxy is reached through the outer one."""
    inner = [sys.executable, "-m", "hosier", "run", f"--proxy=socks5h://four.test:{hosier.port}", "--"]
    allowed = [f"--allow={host}" for host in ANYWHERE]
    with Hosier("--open", *allowed, listen=[f"{ANYWHERE[0]}:0"]) as far:
        inner[4] = f"--proxy=socks5h://four.test:{far.port}"
        done = through(*inner, "curl", "-sS", *PATIENT, target.url("six.test"))
        assert b'"peer"' in done.stdout
        hosier.sessions(f"four.test:{far.port}", 5, 1)
        far.sessions(target.at("six.test"), 5, 1)
