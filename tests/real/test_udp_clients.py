"""UDP through the SOCKS libraries of Python and JavaScript: PySocks, and npm's socks."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from ipaddress import ip_address

import pytest
import socks

from .harness import PATIENCE, Address, Hosier, has_ipv6, localhost, run

pytestmark = pytest.mark.real


class Echo:
    """A thread that answers in capitals; entered, it gives its port."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._host = host

    def __enter__(self) -> int:
        self._sock = socket.socket(self._family, socket.SOCK_DGRAM)
        self._sock.bind((self._host, 0))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        port: int = self._sock.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        with socket.socket(self._family, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._sock.getsockname())
        self._thread.join(PATIENCE)
        self._sock.close()

    def _run(self) -> None:
        while True:
            data, place = self._sock.recvfrom(1 << 16)
            if not data:
                return
            self._sock.sendto(data.upper(), place)


def pysocks(hosier: Hosier) -> socks.socksocket:
    client = socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM)
    client.set_proxy(socks.SOCKS5, hosier.host, hosier.port)
    client.settimeout(PATIENCE)
    return client


def test_pysocks(hosier: Hosier) -> None:
    """Several targets of one association, by address and by name; the answers say who sent them."""
    hosts = {"127.0.0.1": "127.0.0.1", "localhost": localhost()} | ({"::1": "::1"} if has_ipv6() else {})
    with pysocks(hosier) as client:
        for host, address in hosts.items():
            with Echo(address) as port:
                client.sendto(b"to " + host.encode(), (host, port))
                assert client.recvfrom(100) == (b"TO " + host.upper().encode(), (address, port))
    [session] = hosier.sessions_of("UDP_ASSOCIATE", 1)
    assert session["datagrams"] == {"sent": len(hosts), "received": len(hosts), "dropped": {}}


def test_pysocks_connected(hosier: Hosier) -> None:
    with pysocks(hosier) as client, Echo() as port:
        client.connect(("127.0.0.1", port))
        for size in (1, 1200, 65_497):
            client.send(b"a" * size)
            assert client.recv(1 << 16) == b"A" * size
    hosier.sessions_of("UDP_ASSOCIATE", 1)


def test_pysocks_a_bad_name_first(hosier: Hosier) -> None:
    with pysocks(hosier) as client, Echo() as port:
        client.sendto(b"nobody", ("no-such-name.invalid", 53))
        client.sendto(b"somebody", ("127.0.0.1", port))
        assert client.recv(100) == b"SOMEBODY"
    hosier.sessions_of("UDP_ASSOCIATE", 1)


# Sends what each destination is asked, one after the other, and prints the answers with their senders.
NODE = """
const { SocksClient } = require(process.env.SOCKS_MODULE);
const dgram = require("dgram");
const [host, port, ...questions] = process.argv.slice(1);
const socket = dgram.createSocket("udp4");
socket.bind(0, "127.0.0.1", () => {
  const client = new SocksClient({
    proxy: { host, port: Number(port), type: 5 },
    command: "associate",
    destination: { host: process.env.ANNOUNCE || "0.0.0.0", port: process.env.ANNOUNCE ? socket.address().port : 0 },
    timeout: 20000,
  });
  client.on("error", (error) => { console.log(JSON.stringify({ error: error.message })); process.exit(1); });
  client.on("established", (info) => {
    const relay = info.remoteHost;
    const next = () => {
      if (!questions.length) { info.socket.destroy(); socket.close(); return; }
      const [name, number] = questions.shift().split(" ");
      const frame = { remoteHost: { host: name, port: Number(number) }, data: Buffer.from("to " + name) };
      socket.send(SocksClient.createUDPFrame(frame), relay.port, relay.host);
    };
    socket.on("message", (message) => {
      const frame = SocksClient.parseUDPFrame(message);
      console.log(JSON.stringify({ ...frame.remoteHost, data: frame.data.toString() }));
      next();
    });
    info.socket.resume();
    next();
  });
  client.connect();
});
"""


@pytest.mark.parametrize("announce", ["", "127.0.0.1"])
def test_node_socks(program: Callable[..., str], hosier: Hosier, announce: str) -> None:
    """With zeros, and with the client's own address in the request."""
    node = program("node", "nodejs")
    found = run([node, "-p", "require.resolve('socks')"], env={"NODE_PATH": "/usr/share/nodejs"}, status=None)
    if found.returncode:
        program("the package node-socks")  # says that it is missing
    env = {"SOCKS_MODULE": found.stdout.decode().strip(), "NODE_PATH": "/usr/share/nodejs", "ANNOUNCE": announce}
    with Echo() as port, Echo(localhost()) as other:
        questions = [f"127.0.0.1 {port}", f"localhost {other}", f"127.0.0.1 {port}"]
        done = run([node, "-e", NODE, hosier.host, str(hosier.port), *questions], env=env)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["data"] for answer in answers] == ["TO 127.0.0.1", "TO LOCALHOST", "TO 127.0.0.1"]
    assert [answer["port"] for answer in answers] == [port, other, port]
    assert {answer["host"] for answer in answers[::2]} == {"127.0.0.1"}
    assert ip_address(answers[1]["host"]) == ip_address(localhost())  # it writes IPv6 addresses out in full
    [session] = hosier.sessions_of("UDP_ASSOCIATE", 1)
    assert session["target"] != str(Address("0.0.0.0", 0)) if announce else session["target"] == "0.0.0.0:0"
    assert session["datagrams"] == {"sent": 3, "received": 3, "dropped": {}}
