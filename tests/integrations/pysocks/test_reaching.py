"""The way from a PySocks socket to its proxy."""

from __future__ import annotations

import socket

import pytest

from hosier.client.proxy import Proxy
from hosier.integrations.pysocks.errors import GeneralProxyError
from hosier.integrations.pysocks.reaching import SystemSocket, destination_of, new_journey, reach
from hosier.protocol.address import parse_address
from hosier.protocol.messages import Command


@pytest.mark.parametrize(
    ("pair", "text"),
    [
        (("h.test", 80), "h.test:80"),
        ((b"h.test", 80), "h.test:80"),
        (("192.0.2.1", 0), "192.0.2.1:0"),
        (("[2001:db8::1]", 80), "[2001:db8::1]:80"),
        (("fe80::1%eth0", 80, 0, 2), "[fe80::1]:80"),
    ],
)
def test_destinations(pair: tuple[object, ...], text: str) -> None:
    assert str(destination_of(pair)) == text


@pytest.mark.parametrize("pair", [None, (), ("h",), ("", 80), ("h", None), (1, 80), ("h", 70_000), ("h" * 256, 80)])
def test_what_is_no_destination(pair: object) -> None:
    with pytest.raises(GeneralProxyError, match="Invalid destination"):
        destination_of(pair)


def test_limits() -> None:
    """A socket that must not block does, but not for ever."""
    target = parse_address("192.0.2.1", 80)
    assert new_journey(Proxy("h"), Command.CONNECT, target, None).timeout is None
    assert new_journey(Proxy("h"), Command.CONNECT, target, 3).timeout == 3
    assert (new_journey(Proxy("h"), Command.CONNECT, target, 0).timeout or 0) > 0


def test_every_address_has_its_chance() -> None:
    """The proxy's name has its addresses here, and it listens at one of them only."""
    infos = socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)
    family, host = infos[-1][0], infos[-1][4][0]
    tried: list[socket.socket] = []

    def open_as(family: int) -> socket.socket:
        tried.append(SystemSocket(family, socket.SOCK_STREAM))
        return tried[-1]

    with socket.create_server((host, 0), family=family) as listener:
        port = listener.getsockname()[1]
        journey = new_journey(Proxy(f"localhost:{port}"), Command.CONNECT, parse_address("192.0.2.1", 80), 20)
        assert reach(journey, open_as).getpeername()[1] == port
    with pytest.raises(ConnectionRefusedError):
        reach(journey, open_as)
    assert len(tried) >= 2
    for sock in tried:
        sock.close()
