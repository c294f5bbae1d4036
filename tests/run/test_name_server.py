"""The name server at its doors, asked from inside."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import dns.message
import dns.query
import pytest

from hosier.client.names import FakeNames
from hosier.engine.poller import Engine
from hosier.run import name_server
from hosier.run.dns import Answers
from hosier.run.doors import Doors
from hosier.run.name_server import NameServer

pytestmark = [pytest.mark.linux]

SERVERS = ["192.0.0.8", "127.0.0.1", "127.0.0.53", "::1", "9.9.9.9", "2001:db8::53"]

Play = Callable[..., Any]


def gateway(engine: Engine, doors: Doors) -> None:
    NameServer(engine, doors, Answers(FakeNames()))


@pytest.mark.parametrize("way", ["udp", "tcp"])
def test_whatever_server_is_asked_answers(play: Play, way: str) -> None:
    """dnspython takes an answer only from the address that it asked."""

    def program() -> list[str]:
        query = dns.message.make_query("web.example", "A")
        ask = getattr(dns.query, way)
        return [ask(query, server, timeout=10).answer[0][0].address for server in SERVERS]

    assert play(gateway, program) == ["198.18.0.1"] * len(SERVERS)


def test_several_questions_on_one_connection(play: Play) -> None:
    def program() -> list[bool]:
        queries = [dns.message.make_query(f"{name}.example", "AAAA") for name in "abc"]
        with socket.create_connection(("9.9.9.9", 53), timeout=10) as sock:
            octets = b"".join(len(wire).to_bytes(2, "big") + wire for wire in (query.to_wire() for query in queries))
            sock.sendall(octets[:5])
            sock.sendall(octets[5:])
            answers = [dns.query.receive_tcp(sock)[0] for _ in queries]
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""
        return [query.is_response(answer) for query, answer in zip(queries, answers, strict=True)]

    assert play(gateway, program) == [True, True, True]


def test_what_is_no_question_ends_the_connection(play: Play) -> None:
    def program() -> str:
        with socket.create_connection(("9.9.9.9", 53), timeout=10) as sock:
            sock.sendall(b"\0\1x")
            return sock.recv(1).decode()

    assert play(gateway, program) == ""


def test_connections_are_bounded(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_server, "MOST_STREAMS", 1)

    def program() -> str:
        with socket.create_connection(("9.9.9.9", 53), timeout=10) as first:
            query = dns.message.make_query("web.example", "A")
            dns.query.send_tcp(first, query)
            dns.query.receive_tcp(first)
            with socket.create_connection(("9.9.9.9", 53), timeout=10) as second:
                refused = second.recv(1)
            dns.query.send_tcp(first, query)
            return f"{refused!r} {dns.query.receive_tcp(first)[0].answer[0][0].address}"

    assert play(gateway, program) == "b'' 198.18.0.1"
