"""Two machines that a test makes: network namespaces with a cable between them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from .harness import end_program, run, wait_until

CLIENT = "10.99.0.1"
SERVER = "10.99.0.2"
OTHER = "10.99.0.3"
"""Another address of the server's."""


class Machine:
    """A namespace; what runs in it."""

    def __init__(self, name: str, addresses: Sequence[str]) -> None:
        self.name = name
        self.addresses = addresses

    def command(self, *arguments: str | Path) -> list[str]:
        """The program in this machine; its process has the id of the one that is started."""
        return ["ip", "netns", "exec", self.name, *map(str, arguments)]

    @contextmanager
    def daemon(self, *arguments: str | Path, port: int, over: str = "tcp") -> Iterator[subprocess.Popen[str]]:
        """A program that listens on the port, ``over`` tcp or udp."""
        with subprocess.Popen(self.command(*arguments), stdout=subprocess.PIPE, text=True) as process:
            try:
                wait_until(
                    lambda: process.poll() is not None or _listens(process.pid, port, over), f"{arguments[0]} listens"
                )
                assert process.poll() is None, f"{arguments} ended with {process.returncode}"
                yield process
            finally:
                end_program(process)


LISTENING = {"tcp": "0A", "udp": "07"}
"""The states in which sockets wait for everybody (proc(5); a datagram socket's is that of a closed connection)."""


def _listens(pid: int, port: int, over: str) -> bool:
    """Whether anybody in the process's namespace listens on the port."""
    tables = [Path(f"/proc/{pid}/net/{name}") for name in (over, f"{over}6")]
    lines = [line for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
    return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == LISTENING[over] for line in lines)


def need_namespaces() -> None:
    """Skips the test, or fails it, where there can be none."""
    if sys.platform != "linux" or os.geteuid():
        message = "network namespaces need Linux and root"
        if os.environ.get("HOSIER_REQUIRE_PEERS") == "1":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)


@contextmanager
def machines() -> Iterator[tuple[Machine, Machine]]:
    """The client and the server."""
    need_namespaces()
    client = Machine(f"hosier-client-{os.getpid()}", [CLIENT])
    server = Machine(f"hosier-server-{os.getpid()}", [SERVER, OTHER])
    made: list[str] = []
    try:
        for machine in (client, server):
            run(["ip", "netns", "add", machine.name])
            made.append(machine.name)
        cable = f"link add cable netns {client.name} type veth peer name cable netns {server.name}"
        run(["ip", *cable.split()])
        for machine in (client, server):
            for address in machine.addresses:
                run(machine.command("ip", "address", "add", f"{address}/24", "dev", "cable"))
            for link in ("lo", "cable"):
                run(machine.command("ip", "link", "set", link, "up"))
        yield client, server
    finally:
        for name in made:
            run(["ip", "netns", "delete", name])
