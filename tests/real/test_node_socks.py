"""The SOCKS library that most JavaScript programs use, as the client of a BIND."""

from __future__ import annotations

import ipaddress
import json
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from .harness import PATIENCE, Hosier, end_program, run

pytestmark = pytest.mark.real

# Prints what each reply told, then echoes what the peer sends.
PROGRAM = """
const { SocksClient } = require(process.env.SOCKS_MODULE);
const [host, port, version, destination] = process.argv.slice(1);
const tell = (event, place) => console.log(JSON.stringify({ event, ...place }));
const client = new SocksClient({
  proxy: { host, port: Number(port), type: Number(version) },
  command: "bind",
  destination: { host: destination, port: 0 },
  timeout: 20000,
});
client.on("bound", (info) => tell("bound", info.remoteHost));
client.on("established", (info) => {
  tell("established", info.remoteHost);
  info.socket.on("data", (data) => info.socket.write(data));
  info.socket.on("end", () => info.socket.end());
  info.socket.resume();
});
client.on("error", (error) => { tell("error", { message: error.message }); process.exitCode = 1; });
client.connect();
"""


@contextmanager
def waiting(
    program: Callable[..., str], hosier: Hosier, version: int, destination: str
) -> Iterator[Callable[[], Mapping[str, Any]]]:
    """A client that waits for its peer; gives what it tells next."""
    node = program("node", "nodejs")
    found = run([node, "-p", "require.resolve('socks')"], env={"NODE_PATH": "/usr/share/nodejs"}, status=None)
    if found.returncode:
        program("the package node-socks")  # says that it is missing
    process = subprocess.Popen(
        [node, "-e", PROGRAM, hosier.host, str(hosier.port), str(version), destination],
        env={"SOCKS_MODULE": found.stdout.decode().strip(), "NODE_PATH": "/usr/share/nodejs"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield lambda: json.loads(process.stdout.readline())  # type: ignore[union-attr]
    finally:
        end_program(process)
        process.stdout.close()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("version", "destination"),
    [(4, "127.0.0.1"), (5, "127.0.0.1"), (5, "::1"), (5, "localhost"), (4, "localhost")],
)
def test_bind(program: Callable[..., str], hosier: Hosier, ipv6: None, version: int, destination: str) -> None:
    with waiting(program, hosier, version, destination) as told:
        bound = told()
        assert bound["event"] == "bound", bound
        place = str(ipaddress.ip_address(bound["host"])), bound["port"]
        with socket.create_connection(place, timeout=PATIENCE) as peer:
            established = told()
            assert established["event"] == "established", established
            here = peer.getsockname()
            assert (str(ipaddress.ip_address(established["host"])), established["port"]) == here[:2]
            peer.sendall(b"and back")
            assert peer.recv(8) == b"and back"
            peer.shutdown(socket.SHUT_WR)
            assert peer.recv(1) == b""
        [session] = hosier.sessions_of("BIND", 1)
    assert (session["version"], session["reply"], session["sent"], session["received"]) == (version, 0, 8, 8)


def test_a_wrong_peer(program: Callable[..., str], hosier: Hosier) -> None:
    with waiting(program, hosier, 5, "127.0.0.2") as told:
        bound = told()
        with socket.create_connection((bound["host"], bound["port"]), PATIENCE, ("127.0.0.3", 0)) as peer:
            assert told()["event"] == "error"
            assert peer.recv(1) == b""
        [session] = hosier.sessions_of("BIND", 1)
    assert session["reply"] == 2
