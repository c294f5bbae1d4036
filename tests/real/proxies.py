"""SOCKS servers that we did not write, each on a free port of loopback for the time of a with-block."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .harness import PATIENCE, Address, end_program, free_port, run, wait_until

Program = Callable[..., str]

DANTED = """\
logoutput: {directory}/danted.log
internal: 127.0.0.1 port = {port}
external: lo
clientmethod: none
socksmethod: {method}
user.privileged: root
user.unprivileged: nobody
client pass {{
  from: 0/0 to: 0/0
}}
socks pass {{
  from: 0/0 to: 0/0
  command: bind connect udpassociate
}}
socks pass {{
  from: 0/0 to: 0/0
  command: bindreply udpreply
}}
"""

# A proxy that knows names that nobody else knows.
OWN_HOSTS = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'

# Its users are the system's: it gets a passwd and a shadow file of its own, which nobody else sees.
OWN_USERS = 'mount --bind "$1/passwd" /etc/passwd && mount --bind "$1/shadow" /etc/shadow && shift && exec "$@"'


@contextmanager
def danted(program: Program, directory: Path, user: tuple[str, str] | None = None) -> Iterator[Address]:
    """Dante, with CONNECT, BIND and UDP; with ``user`` only for that name and password."""
    binary = program("danted")
    port = free_port()
    method = "none" if user is None else "username"
    (directory / "danted.conf").write_text(DANTED.format(directory=directory, port=port, method=method))
    command = [binary, "-f", str(directory / "danted.conf"), "-p", str(directory / "danted.pid"), "-N", "1"]
    if user is not None:
        hashed = run([program("openssl"), "passwd", "-6", "-stdin"], data=user[1].encode()).stdout.decode().strip()
        _add_line("/etc/passwd", directory / "passwd", f"{user[0]}:x:54321:65534::/nonexistent:/bin/false")
        _add_line("/etc/shadow", directory / "shadow", f"{user[0]}:{hashed}:19000:0:99999:7:::")
        command = [program("unshare"), "--mount", "sh", "-c", OWN_USERS, "sh", str(directory), *command]
    with _running(command, port, directory / "danted.out") as address:
        yield address


def knowing(program: Program, directory: Path, hosts: dict[str, str]) -> list[str]:
    """What to put before a command whose process is to find these names at these addresses, and no others do."""
    file = directory / "hosts"
    file.write_text("127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in hosts.items()))
    return [program("unshare"), "--mount", "sh", "-c", OWN_HOSTS, "sh", str(file)]


@contextmanager
def microsocks(
    program: Program, directory: Path, user: tuple[str, str] | None = None, *, before: Sequence[str] = ()
) -> Iterator[Address]:
    """microsocks; with ``user`` only for that name and password; ``before`` stands before its command."""
    port = free_port()
    credentials = [] if user is None else ["-u", user[0], "-P", user[1]]
    command = [*before, program("microsocks"), "-i", "127.0.0.1", "-p", str(port), *credentials]
    with _running(command, port, directory / "microsocks.out") as address:
        yield address


@contextmanager
def ssh_dynamic(program: Program, directory: Path, sshd: Address) -> Iterator[Address]:
    """``ssh -D`` through an sshd of ours, whose keys are in the directory."""
    port = free_port()
    known_hosts = f"UserKnownHostsFile={directory / 'known_hosts'}"
    command = [
        *(program("ssh"), "-N", "-F", "none", "-D", f"127.0.0.1:{port}", "-p", str(sshd.port)),
        *("-i", str(directory / "user_key"), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", known_hosts),
        sshd.host,
    ]
    with _running(command, port, directory / "ssh.out") as address:
        yield address


@contextmanager
def tor(program: Program, directory: Path) -> Iterator[Address]:
    """tor without a network: the only relay that it may go to is a port of loopback that nobody has. What needs a way
    through the network fails after a second; what it knows by itself it answers."""
    port, nobody = free_port(), free_port()
    (directory / "torrc").write_text(
        f"SocksPort 127.0.0.1:{port} ExtendedErrors\nDataDirectory {directory / 'tor'}\nSocksTimeout 1\n"
        f"UseBridges 1\nBridge 127.0.0.1:{nobody}\nLog notice stdout\n"
    )
    command = [program("tor"), "--defaults-torrc", "/dev/null", "-f", str(directory / "torrc")]
    with _running(command, port, directory / "tor.out") as address:
        yield address


@contextmanager
def asyncio_socks_server(directory: Path) -> Iterator[Address]:
    """The Python package of that name, which has UDP."""
    port = free_port()
    command = [sys.executable, "-m", "asyncio_socks_server", "--host", "127.0.0.1", "--port", str(port)]
    with _running(command, port, directory / "asyncio_socks_server.out") as address:
        yield address


def needs_root() -> bool:
    """For files of the system that one process only sees: a mount namespace."""
    return os.geteuid() == 0 and shutil.which("unshare") is not None


@contextmanager
def _running(command: Sequence[str], port: int, output: Path) -> Iterator[Address]:
    with output.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until(lambda: process.poll() is not None or _answers(port), f"{command[0]} listens")
        assert process.poll() is None, output.read_text()
        yield Address("127.0.0.1", port)
    finally:
        end_program(process)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except OSError:
        return False
    return True


def _add_line(system: str, own: Path, line: str) -> None:
    own.write_text(Path(system).read_text().rstrip("\n") + f"\n{line}\n")
    own.chmod(0o600 if system.endswith("shadow") else 0o644)
