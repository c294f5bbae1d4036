"""`hosier run` with programs that we did not write: as root and as an ordinary user, who sees nothing of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from .bed import ANYWHERE, USER_ID, as_user, bed, leaked
from .harness import Hosier, clean_environment, command, run, wait_until
from .target import Target

pytestmark = [pytest.mark.real, pytest.mark.linux]

Done = subprocess.CompletedProcess[bytes]


PATIENT = ("--happy-eyeballs-timeout-ms", "60000")
"""What keeps curl from a second connection, by the other family, where the first one is slow."""


class Runner:
    """Runs programs through the proxy, as somebody."""

    def __init__(self, prefix: Sequence[str], proxy: str, home: Path) -> None:
        self.prefix = list(prefix)
        self.proxy = proxy
        self.home = home

    def command(self, *arguments: str | Path, options: Sequence[str] = ()) -> list[str]:
        return [*self.prefix, *command("run", f"--proxy={self.proxy}", *options), "--", *map(str, arguments)]

    def __call__(
        self,
        *arguments: str | Path,
        options: Sequence[str] = (),
        status: int | None = 0,
        data: bytes = b"",
        env: Mapping[str, str] | None = None,
        patience: float = 60,
    ) -> Done:
        settings = {"HOME": str(self.home), **(env or {})}
        return run(self.command(*arguments, options=options), status=status, data=data, env=settings, patience=patience)


@pytest.fixture(scope="module", autouse=True)
def in_bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("bed")
    folder.chmod(0o755)
    with bed(folder):
        yield
        assert gateways() == []


@pytest.fixture(params=["user", "root"])
def prefix(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    if request.param == "root":
        return []
    os.chown(tmp_path, USER_ID, USER_ID)
    for above in (tmp_path, *tmp_path.parents[:3]):
        above.chmod(above.stat().st_mode | 0o055)  # he must get here
    return as_user()


@pytest.fixture
def target() -> Iterator[Target]:
    """Where a program cannot take it for its own loopback."""
    with Target(hosts=ANYWHERE) as server:
        yield server


@pytest.fixture
def through(prefix: list[str], hosier: Hosier, tmp_path: Path) -> Runner:
    return Runner(prefix, f"socks5h://{hosier.address}", tmp_path)


def gateways() -> list[int]:
    """The gateways that run on this machine for somebody in these tests."""
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text().strip() == "hosier-gateway" and os.readlink(
                path.with_name("ns") / "net"
            ) == os.readlink("/proc/thread-self/ns/net"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


# --- curl: names, literals, failures ---


@pytest.mark.parametrize("host", ["four.test", "six.test", "both.test"])
@pytest.mark.parametrize("family", ["-4", "-6", "--"])
def test_the_proxy_is_told_the_name(through: Runner, hosier: Hosier, target: Target, host: str, family: str) -> None:
    """B-25: A program of one family reaches a server of the other."""
    flag = PATIENT if family == "--" else [family]
    assert b'"peer"' in through("curl", "-sS", *flag, target.url(host)).stdout
    hosier.sessions(target.at(host), 5, target.connections)
    assert leaked() == 0


@pytest.mark.parametrize("host", ANYWHERE)
def test_literal_addresses(through: Runner, hosier: Hosier, target: Target, host: str) -> None:
    assert b'"peer"' in through("curl", "-sS", target.url(host)).stdout
    hosier.sessions(target.at(host), 5, target.connections)


def test_a_refused_connection_is_refused_and_not_reset(through: Runner, target: Target) -> None:
    """7.1 of what goes wrong elsewhere: connect() succeeds and lies."""
    done = through("curl", "-sS", "http://four.test:1/", status=7)
    assert b"Connection refused" in done.stderr or b"Couldn't connect" in done.stderr


def test_a_name_that_does_not_resolve(through: Runner) -> None:
    through("curl", "-sS", "http://nowhere.test/", status=7)


def test_happy_eyeballs_of_the_program_fall_back(through: Runner) -> None:
    """The first address refuses, the second one serves: a connect() that lies would end with the first."""
    with Target(hosts=(ANYWHERE[0],)) as target:
        resolve = f"twofold.example:{target.port}:[{ANYWHERE[1]}],{ANYWHERE[0]}"
        done = through("curl", "-sS", "--resolve", resolve, f"http://twofold.example:{target.port}/peer")
        assert b'"peer"' in done.stdout


def test_loopback_is_the_program_s_own(through: Runner) -> None:
    with Target() as target:
        through("curl", "-sS", target.url("127.0.0.1"), status=7)
        through("curl", "-sS", target.url("localhost"), status=7)
        assert not target.connections


def test_shared_loopback(through: Runner) -> None:
    with Target() as target:
        for host in ("127.0.0.1", "::1", "localhost"):
            assert b'"peer"' in through("curl", "-sS", target.url(host), options=["--loopback=shared"]).stdout
    through("curl", "-sS", "http://127.0.0.1:1/", options=["--loopback=shared"], status=7)


def test_bypass(through: Runner, hosier: Hosier, target: Target) -> None:
    options = [f"--bypass={ANYWHERE[0]}", "--bypass=2001:db8::/32"]
    for host in ANYWHERE:
        assert b'"peer"' in through("curl", "-sS", target.url(host), options=options).stdout
    through("curl", "-sS", *PATIENT, target.url("four.test"), options=options)
    hosier.sessions(target.at("four.test"), 5, 1)
    assert len(target.connections) == 3


# --- a good citizen ---


def test_who_and_where_the_program_is(through: Runner, tmp_path: Path) -> None:
    program = "import os; print(os.getuid(), os.geteuid(), os.getgid(), os.getcwd(), os.getppid())"
    process = subprocess.Popen(
        through.command("python3", "-c", program), stdout=subprocess.PIPE, cwd=tmp_path, env=clean_environment()
    )
    output, _ = process.communicate(timeout=30)
    uid = USER_ID if through.prefix else 0
    assert output.decode().split() == [*[str(uid)] * 3, str(tmp_path), str(os.getpid())]


@pytest.mark.parametrize("code", [0, 7, 255])
def test_exit_codes(through: Runner, code: int) -> None:
    through("sh", "-c", f"exit {code}", status=code)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGPIPE])
def test_deaths_by_signal(through: Runner, number: signal.Signals) -> None:
    through("sh", "-c", f"kill -{int(number)} $$", status=-number)


def test_programs_that_cannot_be_run(through: Runner) -> None:
    done = through("no-such-program", status=127, env={"PATH": "/usr/bin:/usr/sbin"})
    assert done.stderr == b"hosier: no-such-program: No such file or directory\n"
    assert through("/etc/hosts", status=126).stderr == b"hosier: /etc/hosts: Permission denied\n"


def test_it_ends_with_the_program(through: Runner) -> None:
    through("true")
    wait_until(lambda: gateways() == [], "the gateway ends")


def test_the_network_follows_the_namespace_and_not_the_first_process(through: Runner, target: Target) -> None:
    """A child that is left behind keeps its network as long as it needs it."""
    script = f"(sleep 0.3; curl -sS {target.url('four.test')} >result 2>&1) >&- 2>&- & true"
    through("sh", "-c", f"cd {through.home}; {script}")
    result = through.home / "result"
    wait_until(lambda: result.exists() and b'"peer"' in result.read_bytes(), "the child gets its answer")
    wait_until(lambda: gateways() == [], "the gateway ends")


# --- nothing leaks ---


def test_a_leak_would_be_counted() -> None:
    before = leaked()
    run([sys.executable, "-c", "import socket; socket.socket(2, 2).sendto(b'x', ('198.51.100.1', 9))"])
    assert leaked() == before + 1
    run(["nft", "reset", "counter", "inet", "bed", "leaks"])


def test_nothing_leaks_when_the_gateway_or_the_proxy_is_gone(prefix: list[str], target: Target, tmp_path: Path) -> None:
    with Hosier() as hosier:
        through = Runner(prefix, f"socks5h://{hosier.address}", tmp_path)
        messages = tmp_path / "messages"
        with messages.open("w") as stderr:
            shell = subprocess.Popen(
                through.command("sh"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
            )
        assert shell.stdin is not None
        assert shell.stdout is not None

        def ask(line: str) -> str:
            assert shell.stdin is not None
            assert shell.stdout is not None
            shell.stdin.write(f"{line} >/dev/null 2>&1; echo $?\n")
            shell.stdin.flush()
            return shell.stdout.readline().strip()

        assert ask(f"curl -sS --max-time 20 {target.url('four.test')}") == "0"
    # The proxy is gone.
    assert ask(f"curl -sS --max-time 20 {target.url('four.test')}") != "0"
    assert ask("curl -sS --max-time 20 http://198.51.100.1/") != "0"
    (gateway,) = gateways()
    os.kill(gateway, signal.SIGKILL)
    wait_until(lambda: gateways() == [], "the gateway is dead")
    assert ask("curl -sS --max-time 20 http://198.51.100.1/") == "7"
    assert ask(f"curl -sS --max-time 20 {target.url('four.test')}") == "6"
    assert ask('python3 -c \'import socket as s; s.socket(2, 2).sendto(b"x", ("198.51.100.1", 9))\'') == "0"
    shell.stdin.close()
    shell.stdout.close()
    assert shell.wait(30) == 0
    (line,) = messages.read_text().splitlines()
    assert line == f"hosier: cannot connect to the proxy: Connection refused [socks5h://{hosier.address}, connect]"
    assert leaked() == 0
