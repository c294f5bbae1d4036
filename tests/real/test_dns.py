"""DNS over UDP ASSOCIATE: drill and kdig under Dante's socksify, against a real name server."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .harness import Address, Hosier, free_port, run, stop, wait_until

pytestmark = pytest.mark.real

ZONE = """\
$TTL 60
@    SOA  ns.example.test. root.example.test. 1 60 60 60 60
@    NS   ns
ns   A    127.0.0.1
www  A    192.0.2.7
www  AAAA 2001:db8::7
"""

SOCKSIFY = """\
logoutput: {log}
resolveprotocol: fake
route {{
  from: 0.0.0.0/0 to: 0.0.0.0/0 via: {host} port = {port}
  protocol: tcp udp
  proxyprotocol: socks_v5
  method: none
  command: bind connect udpassociate bindreply udpreply
}}
"""


@contextmanager
def running(binary: str, folder: Path, address: Address) -> Iterator[bool]:
    """nsd on this port; False when somebody else took the port in the meantime."""
    (folder / "example.test").write_text(ZONE)
    config = folder / "nsd.conf"
    config.write_text(
        f"""\
server:
  ip-address: {address.host}@{address.port}
  username: ""
  chroot: ""
  zonesdir: "{folder}"
  pidfile: ""
  xfrdfile: ""
  zonelistfile: "{folder}/zones"
  server-count: 1
remote-control:
  control-enable: no
zone:
  name: example.test
  zonefile: example.test
"""
    )
    log = folder / "nsd.log"
    with log.open("wb") as output:
        process = subprocess.Popen([binary, "-d", "-c", config], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        wait_until(lambda: process.poll() is not None or b"nsd started" in log.read_bytes(), "nsd is up")
        ready = process.poll() is None
        assert ready or b"in use" in log.read_bytes(), log.read_text()
        yield ready
    finally:
        stop(process)


@pytest.fixture
def name_server(program: Callable[..., str], tmp_path: Path) -> Iterator[Address]:
    for _ in range(20):
        address = Address("127.0.0.1", free_port())
        with running(program("nsd"), tmp_path, address) as ready:
            if ready:
                yield address
                return
    raise AssertionError("no free port for nsd")


@pytest.mark.parametrize(("kind", "answer"), [("A", b"192.0.2.7"), ("AAAA", b"2001:db8::7")])
@pytest.mark.parametrize("client", ["drill", "kdig"])
def test_a_question(
    program: Callable[..., str],
    tmp_path: Path,
    hosier: Hosier,
    name_server: Address,
    client: str,
    kind: str,
    answer: bytes,
) -> None:
    settings = tmp_path / "socks.conf"
    settings.write_text(SOCKSIFY.format(log=tmp_path / "socksify.log", host=hosier.host, port=hosier.port))
    # Without the second setting, Dante's client goes straight to every address of this machine.
    env = {"SOCKS_CONF": str(settings), "SOCKS_AUTOADD_LANROUTES": "no"}
    done = run(
        [program("socksify"), program(client), "-p", str(name_server.port), "@127.0.0.1", "www.example.test", kind],
        env=env,
    )
    assert answer in done.stdout
    [session] = hosier.sessions_of("UDP_ASSOCIATE", 1)
    counts = session["datagrams"]
    assert counts["sent"] >= 1
    assert counts["received"] >= 1
    assert session["received"] > session["sent"] > 0
