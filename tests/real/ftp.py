"""A private vsftpd for one test. It takes an active transfer only to the address that its client comes from."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .harness import PATIENCE, Address, end_program, free_port, wait_until


@contextmanager
def ftp_server(program: Callable[..., str], folder: Path, host: str) -> Iterator[Address]:
    """Serves the folder to anyone, at a free port of the host; files may be put into it. It needs no privileges."""
    for _ in range(20):
        address = Address(host, free_port())
        with _running(program("vsftpd"), folder, address) as ready:
            if ready:
                yield address
                return
    raise AssertionError("no free port for vsftpd")


@contextmanager
def _running(binary: str, folder: Path, address: Address) -> Iterator[bool]:
    """vsftpd on this port; False when somebody else took the port in the meantime."""
    config = folder.with_name("vsftpd.conf")
    config.write_text(
        f"""\
listen=YES
listen_address={address.host}
listen_port={address.port}
background=NO
run_as_launching_user=YES
anonymous_enable=YES
no_anon_password=YES
anon_root={folder}
anon_upload_enable=YES
write_enable=YES
connect_from_port_20=NO
seccomp_sandbox=NO
xferlog_enable=NO
"""
    )
    if os.geteuid() == 0:
        os.makedirs("/var/run/vsftpd/empty", exist_ok=True)
    log = folder.with_name("vsftpd.log")
    with log.open("wb") as output:
        process = subprocess.Popen([binary, config], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        wait_until(lambda: process.poll() is not None or greets(address), "vsftpd is up")
        ready = process.poll() is None
        assert ready or b"could not bind" in log.read_bytes(), log.read_text()
        yield ready
    finally:
        end_program(process)


def greets(address: Address) -> bool:
    try:
        with socket.create_connection(address, timeout=PATIENCE) as connection:
            return connection.recv(3) == b"220"
    except ConnectionRefusedError:
        return False
