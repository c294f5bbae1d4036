"""The steps of a way, on blocking sockets that somebody else has made."""

from __future__ import annotations

import socket

import pytest

import hosier
from hosier.client.journey import Journey
from hosier.client.proxy import chain_of
from hosier.client.steps import arrive, look_up_here, raise_from, talk
from hosier.protocol.address import parse_address
from hosier.protocol.messages import Command
from hosier.testing import ScriptedServer, receive_greeting, receive_request, send, stall

from .harness import PATIENCE, SUCCESS, exactly


class TheirSocket(socket.socket):
    """Of a class that we do not know."""


def journey(proxy: str, host: str = "192.0.2.1", timeout: float | None = PATIENCE) -> Journey:
    return Journey(chain_of(proxy), Command.CONNECT, parse_address(host, 80), timeout)


@pytest.mark.parametrize("timeout", [None, PATIENCE])
@pytest.mark.parametrize("kind", [socket.socket, TheirSocket])
def test_talk_over_a_socket_that_is_there(kind: type[socket.socket], timeout: float | None) -> None:
    """What the target says stays in it."""
    script = [receive_greeting(), send(b"\x05\x00"), receive_request(), send(SUCCESS + b"220 hello")]
    with ScriptedServer(script) as proxy, kind() as sock:
        sock.connect(proxy.address)
        handshake = talk(sock, journey(proxy.url, timeout=timeout), parse_address("192.0.2.1", 80))
        assert handshake.done
        sock.settimeout(PATIENCE)
        assert exactly(sock, 9) == b"220 hello"


@pytest.mark.parametrize("kind", [socket.socket, TheirSocket])
def test_talk_ends_in_time(kind: type[socket.socket]) -> None:
    with ScriptedServer([receive_greeting(), stall()]) as proxy, kind() as sock:
        sock.connect(proxy.address)
        way = journey(proxy.url, timeout=0.2)
        with pytest.raises(TimeoutError):
            talk(sock, way, way.target)


def test_arrive_and_errors_with_their_place() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # so that nobody else listens there
        way = journey("socks5h://{}:{}".format(*closed.getsockname()))
        with pytest.raises(ConnectionRefusedError) as refused:
            arrive(way)
    with pytest.raises(hosier.ProxyConnectionError) as raised:
        raise_from(way, refused.value)
    assert raised.value.__cause__ is refused.value
    assert raised.value.place is not None
    assert raised.value.place.step == "connect"
    with pytest.raises(hosier.ProxyConnectionError) as again:
        raise_from(way, raised.value)
    assert again.value is raised.value


def test_who_looks_up() -> None:
    assert str(look_up_here(journey("socks5h://proxy.test", "name.invalid"))) == "name.invalid:80"
    assert look_up_here(journey("socks4://proxy.test", "localhost")).host == "127.0.0.1"
