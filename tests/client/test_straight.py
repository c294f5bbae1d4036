"""The straight line: whom it is for, what it says, and that everything unusual is the full handshake's.

That each misbehaviour ends as it should, in this line too, is in ``test_misbehaviour.py``.
"""

from __future__ import annotations

import errno
import socket

import pytest

import hosier
from hosier.client.proxy import chain_of
from hosier.client.straight import connect_straight
from hosier.testing import ScriptedServer, every_cut, receive, receive_greeting, receive_request, send, stall

from .harness import PATIENCE, SUCCESS, exactly, opening

LIMITS = [None, PATIENCE]
OCTETS = b"\x05\x01\x00\x05\x01\x00\x03\x0bexample.com\x00\x50"


def straight(proxy: hosier.ProxyChain, host: str = "example.com", timeout: float | None = PATIENCE) -> socket.socket:
    sock = connect_straight(chain_of(proxy), host, 80, timeout)
    assert sock is not None
    return sock


@pytest.mark.parametrize("timeout", LIMITS)
def test_what_it_says(timeout: float | None) -> None:
    with ScriptedServer(opening(send(SUCCESS + b"early"), stall())) as server:
        with straight(server.url, timeout=timeout) as sock:
            assert exactly(sock, 5) == b"early"
        assert server.received == OCTETS


@pytest.mark.parametrize(
    ("proxy", "host"),
    [
        (hosier.Proxy("socks5h://ann:x@127.0.0.1"), "example.com"),
        ("socks4a://127.0.0.1", "example.com"),
        ("http://127.0.0.1", "example.com"),
        ("socks5h+tls://127.0.0.1", "example.com"),
        ("socks5h://localhost/run/socket", "example.com"),
        ("socks5h://proxy.invalid", "example.com"),
        ("socks5://127.0.0.1", "example.com"),
        (hosier.Proxy("socks5h://127.0.0.1", source_address="127.0.0.1"), "example.com"),
        (["127.0.0.1", "127.0.0.1:1081"], "example.com"),
    ],
)
def test_whom_it_is_not_for(proxy: hosier.ProxyChain, host: str) -> None:
    """Nobody is asked anything."""
    assert connect_straight(chain_of(proxy), host, 80, PATIENCE) is None


def test_addresses_are_for_everybody() -> None:
    """Where names are looked up here, a target that is an address needs none."""
    with ScriptedServer(opening(send(SUCCESS), stall())) as server:
        straight(server.url.replace("5h", "5"), "192.0.2.1").close()
        assert server.received == b"\x05\x01\x00\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50"


@pytest.mark.parametrize("timeout", LIMITS)
@pytest.mark.parametrize(
    "reply",
    [
        SUCCESS,
        b"\x05\x00\x00\x03\x01x\x00\x50",
        bytes.fromhex("05000004") + bytes(16) + b"\x00\x50",
        b"\x05\x00\x77\x01" + SUCCESS[4:],
    ],
)
def test_however_it_is_cut(reply: bytes, timeout: float | None) -> None:
    """The request goes out once, and what comes behind the reply stays, in whatever pieces it arrives."""
    for pieces in every_cut(reply):
        script = [receive_greeting(), send(b"\x05"), send(b"\x00"), receive_request(), *map(send, pieces), send(b"!")]
        with ScriptedServer([*script, stall()]) as server, straight(server.url, timeout=timeout) as sock:
            assert exactly(sock, 1) == b"!"
            assert server.received == OCTETS


def test_everything_at_once() -> None:
    """A proxy that waits for nothing."""
    with ScriptedServer([send(b"\x05\x00" + SUCCESS + b"early"), stall()]) as server, straight(server.url) as sock:
        assert exactly(sock, 5) == b"early"


@pytest.mark.parametrize("timeout", LIMITS)
def test_nobody_there(timeout: float | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(hosier.ProxyConnectionError) as caught:
        straight(f"127.0.0.1:{port}", timeout=timeout)
    assert caught.value.errno == errno.ECONNREFUSED
    assert caught.value.place is not None
    assert caught.value.place.step == "connect"


def test_another_family() -> None:
    with ScriptedServer(
        [receive(3), send(b"\x05\x00"), receive_request(), send(SUCCESS), stall()], host="::1"
    ) as server:
        straight(server.url).close()


def test_no_wire_form() -> None:
    with ScriptedServer([stall()]) as server:
        with pytest.raises(hosier.LocalProtocolError):
            straight(server.url, "n" * 256)
        assert not server.conversations
