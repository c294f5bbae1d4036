"""DNS over UDP ASSOCIATE: drill and kdig under Dante's socksify, against a real name server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .harness import Address, Hosier, run
from .name_server import name_server

pytestmark = pytest.mark.real

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


@pytest.fixture
def ns(program: Callable[..., str], tmp_path: Path) -> Iterator[Address]:
    with name_server(program, tmp_path) as address:
        yield address


@pytest.mark.parametrize(("kind", "answer"), [("A", b"192.0.2.7"), ("AAAA", b"2001:db8::7")])
@pytest.mark.parametrize("client", ["drill", "kdig"])
def test_a_question(
    program: Callable[..., str],
    tmp_path: Path,
    hosier: Hosier,
    ns: Address,
    client: str,
    kind: str,
    answer: bytes,
) -> None:
    settings = tmp_path / "socks.conf"
    settings.write_text(SOCKSIFY.format(log=tmp_path / "socksify.log", host=hosier.host, port=hosier.port))
    # Without the second setting, Dante's client goes straight to every address of this machine.
    env = {"SOCKS_CONF": str(settings), "SOCKS_AUTOADD_LANROUTES": "no"}
    done = run(
        [program("socksify"), program(client), "-p", str(ns.port), "@127.0.0.1", "www.example.test", kind],
        env=env,
    )
    assert answer in done.stdout
    [session] = hosier.sessions_of("UDP_ASSOCIATE", 1)
    counts = session["datagrams"]
    assert counts["sent"] >= 1
    assert counts["received"] >= 1
    assert session["received"] > session["sent"] > 0
