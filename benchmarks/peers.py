"""The servers that are measured: how to build, start and name each of them."""

import importlib.metadata
import os
import pwd
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from generator import BUILD, HERE, build, pin

SERVER_CORE = 0
SOURCE = HERE.parent / "src"
OPEN_FILES = 131072
READY_SECONDS = 15

GO_SOCKS5 = """package main

import (
	"io"
	"log"
	"os"

	"github.com/armon/go-socks5"
)

func main() {
	server, err := socks5.New(&socks5.Config{Logger: log.New(io.Discard, "", 0)})
	if err == nil {
		err = server.ListenAndServe("tcp", "127.0.0.1:"+os.Args[1])
	}
	log.Fatal(err)
}
"""

DANTE = """logoutput: /dev/null
internal: 127.0.0.1 port = {port}
external: lo
clientmethod: none
socksmethod: none
client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
"""


class MissingPeer(Exception):
    """This machine lacks what the peer needs; the message says what."""


def output_of(*command: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd="/", timeout=60, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["failed"])[-1]
        raise MissingPeer(f"{Path(command[0]).name}: {reason}")
    return done.stdout.strip()


def need(program: str) -> str:
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise MissingPeer(f"{program} is not installed")
    return path


def package_version(package: str) -> str:
    try:
        return output_of("dpkg-query", "-W", "-f", "${Version}", package)
    except (MissingPeer, OSError):
        return "unknown"


class Peer:
    """One server. `name` is what the tables say; `prepare` runs once, before everything else."""

    name = ""
    udp = False
    """Whether it has UDP ASSOCIATE."""

    def prepare(self) -> None:
        """Builds what has to be built. Raises MissingPeer when the peer cannot run here."""

    def command(self, port: int) -> list[str]:
        raise NotImplementedError

    def version(self) -> str:
        return "unknown"

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def output(self) -> Path | None:
        """The file that standard output and error go to, if they are to be kept."""
        return None


class Hosier(Peer):
    """The project's server: of this checkout, or of another interpreter ("the previous commit")."""

    udp = True

    def __init__(
        self, name: str = "hosier", python: str | None = None, log: str = "off", options: tuple[str, ...] = ()
    ) -> None:
        self.name, self.log, self.options = name, log, options
        self.python, self.other = python or sys.executable, python is not None

    def environment(self) -> dict[str, str]:
        path = {} if self.other else {"PYTHONPATH": str(SOURCE)}
        return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | path

    def prepare(self) -> None:
        output_of(self.python, "-c", "import hosier.__main__", env=self.environment())

    def command(self, port: int) -> list[str]:
        serve = [self.python, "-m", "hosier", "serve", "--listen", f"127.0.0.1:{port}", "--log", self.log]
        return [*serve, *self.options]

    def version(self) -> str:
        code = (
            "import hosier, platform as p; print(getattr(hosier, '__version__', '?'), 'on Python', p.python_version())"
        )
        return output_of(self.python, "-c", code, env=self.environment())

    def output(self) -> Path | None:
        return None if self.log == "off" else BUILD / f"{self.name}.log"


class Limit(Peer):
    name = "limit"

    def prepare(self) -> None:
        build("limit.c")

    def command(self, port: int) -> list[str]:
        return [str(BUILD / "limit"), str(port)]

    def version(self) -> str:
        return "limit.c, " + output_of("cc", "--version").splitlines()[0]


class GatheringLimit(Limit):
    """The limit with what the engine does for bulk: octets gather at the source, and few of them wait at the sink."""

    name = "gathering-limit"

    def command(self, port: int) -> list[str]:
        return [*super().command(port), "gather"]


class CopyingLimit(Limit):
    """The limit as a proxy that never splices, for what stands before one."""

    name = "limit, copying"

    def command(self, port: int) -> list[str]:
        return [*super().command(port), "copy"]


class Microsocks(Peer):
    name = "microsocks"

    def prepare(self) -> None:
        need("microsocks")

    def command(self, port: int) -> list[str]:
        return [need("microsocks"), "-i", "127.0.0.1", "-p", str(port)]

    def version(self) -> str:
        return package_version("microsocks")


class Dante(Peer):
    name = "dante"
    udp = True

    def prepare(self) -> None:
        need("danted")

    def command(self, port: int) -> list[str]:
        BUILD.mkdir(exist_ok=True)
        (BUILD / "danted.conf").write_text(DANTE.format(port=port))
        return [need("danted"), "-f", str(BUILD / "danted.conf"), "-p", str(BUILD / "danted.pid")]

    def version(self) -> str:
        return package_version("dante-server")


class GoSocks5(Peer):
    name = "go-socks5"
    program = BUILD / "go-socks5" / "go-socks5"

    def prepare(self) -> None:
        go = need("go")
        source = self.program.with_name("main.go")
        if self.program.exists() and source.exists() and source.read_text() == GO_SOCKS5:
            return
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(GO_SOCKS5)
        env = dict(
            os.environ, GO111MODULE="off", GOPATH="/usr/share/gocode", GOFLAGS="", GOCACHE=str(BUILD / "go-cache")
        )
        output_of(go, "build", "-o", str(self.program), str(source), env=env)

    def command(self, port: int) -> list[str]:
        return [str(self.program), str(port)]

    def version(self) -> str:
        go = output_of(need("go"), "version").split()[2]
        return f"{package_version('golang-github-armon-go-socks5-dev')}, {go}"


class PythonPackage(Peer):
    """A peer from the package index, installed beside the runner."""

    package = ""

    def prepare(self) -> None:
        self.version()

    def version(self) -> str:
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            raise MissingPeer(f"{self.package} is not installed (see requirements.txt)") from None


class Pproxy(PythonPackage):
    name = package = "pproxy"

    def command(self, port: int) -> list[str]:
        return [sys.executable, "-m", "pproxy", "-l", f"socks5://127.0.0.1:{port}"]


class AsyncioSocksServer(PythonPackage):
    udp = True
    name = package = "asyncio-socks-server"

    def command(self, port: int) -> list[str]:
        return [sys.executable, "-m", "asyncio_socks_server", "--host", "127.0.0.1", "--port", str(port)]


class Streams(Peer):
    name = "streams"

    def command(self, port: int) -> list[str]:
        return [sys.executable, str(HERE / "streams_server.py"), str(port)]

    def version(self) -> str:
        return "streams_server.py on Python " + ".".join(map(str, sys.version_info[:3]))


class Command(Peer):
    """Any other server: a command line in which {port} stands for the port."""

    udp = True

    def __init__(self, name: str, line: str) -> None:
        self.name, self.line = name, line

    def command(self, port: int) -> list[str]:
        return [word.replace("{port}", str(port)) for word in shlex.split(self.line)]


PEERS: tuple[type[Peer], ...] = (
    Hosier,
    Limit,
    GatheringLimit,
    Microsocks,
    Dante,
    GoSocks5,
    Streams,
    Pproxy,
    AsyncioSocksServer,
)


def all_peers() -> dict[str, Peer]:
    return {peer.name: peer for peer in (kind() for kind in PEERS)}


class Server:
    """A peer that runs."""

    def __init__(self, peer: Peer, process: subprocess.Popen[bytes], port: int) -> None:
        self.peer, self.process, self.port = peer, process, port
        self.pid = process.pid
        self.proxy = f"127.0.0.1:{port}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def enter(core: int, user: str | None) -> None:
    """In the child, before the server: one core, many files, and an ordinary user if wanted."""
    pin(core)()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, max(OPEN_FILES, hard)))
    except (OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if user is not None:
        entry = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)


def wait_ready(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise MissingPeer(f"exit code {process.returncode} at the start")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise MissingPeer(f"no answer after {READY_SECONDS} s")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the server and what it has started: they are in a process group of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


@contextmanager
def running(peer: Peer, user: str | None = None) -> Iterator[Server]:
    """Starts the peer on the server's core and waits until its port answers."""
    port = free_port()
    path = peer.output()
    output: IO[bytes] | int = subprocess.DEVNULL if path is None else path.open("wb")
    process = subprocess.Popen(
        peer.command(port),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=peer.environment(),
        cwd="/",
        start_new_session=True,
        preexec_fn=lambda: enter(SERVER_CORE, user),
    )
    if not isinstance(output, int):
        output.close()
    try:
        wait_ready(process, port)
        yield Server(peer, process, port)
    finally:
        stop(process)
