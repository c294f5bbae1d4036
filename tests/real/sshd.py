"""A private sshd for one test, and the client settings to reach it through the SOCKS server."""

from __future__ import annotations

import getpass
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .harness import Address, end_program, run, wait_until


@contextmanager
def sshd(program: Callable[..., str], directory: Path, host: str = "127.0.0.1") -> Iterator[Address]:
    """Run one on a free port of the host, with a host key and one user's key of its own."""
    keygen = program("ssh-keygen")
    for name in ("host_key", "user_key"):
        run([keygen, "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", directory / name])
    (directory / "authorized_keys").write_bytes((directory / "user_key.pub").read_bytes())
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # sshd wants its empty directory; a reboot removes it
    for _ in range(20):
        with socket.create_server((host, 0)) as free:
            address = Address(host, free.getsockname()[1])
        with _running(program("sshd"), directory, address) as ready:
            if ready:
                yield address
                return
    raise AssertionError("no free port for sshd")


@contextmanager
def _running(binary: str, directory: Path, address: Address) -> Iterator[bool]:
    """sshd on this port; False when somebody else took the port in the meantime."""
    (directory / "sshd_config").write_text(
        f"""\
ListenAddress {address}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/authorized_keys
PasswordAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM {"yes" if account_is_locked() else "no"}
PidFile none
PermitUserRC no
Subsystem sftp internal-sftp
AcceptEnv GIT_PROTOCOL
"""
    )
    host_key = (directory / "host_key.pub").read_text()
    (directory / "known_hosts").write_text(f"[{address.host}]:{address.port},[localhost]:{address.port} {host_key}")
    log = directory / "sshd_log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [binary, "-D", "-e", "-f", str(directory / "sshd_config")],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(lambda: b"listening on" in log.read_bytes() or process.poll() is not None, "sshd is up")
        ready = process.poll() is None
        assert ready or b"in use" in log.read_bytes()
        yield ready
    except BaseException:
        print(log.read_text())
        raise
    finally:
        end_program(process)


def account_is_locked() -> bool:
    """Whether root has a "!" for a password: sshd lets such a user in through PAM only."""
    try:
        shadow = Path("/etc/shadow").read_text()
    except OSError:
        return False
    return re.search(r"^root:!", shadow, re.MULTILINE) is not None


def client_config(directory: Path, server: Address, host: str, proxy_command: str) -> Path:
    """A file for `ssh -F` in which `target` is the private sshd, reached by the proxy command."""
    path = directory / "ssh_config"
    path.write_text(
        f"""\
Host target
    HostName {host}
    Port {server.port}
    User {getpass.getuser()}
    IdentityFile {directory}/user_key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {directory}/known_hosts
    GlobalKnownHostsFile none
    StrictHostKeyChecking yes
    UpdateHostKeys no
    BatchMode yes
    ProxyCommand {proxy_command}
"""
    )
    return path
