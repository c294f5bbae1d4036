"""The socket-like object for datagrams, and where its relay is."""

from __future__ import annotations

import errno
import socket

import pytest

import hosier
from hosier.client.datagrams import relay_address
from hosier.protocol.address import UNSPECIFIED, parse_address
from hosier.testing import ScriptedServer, reset, send, stall

from .harness import PATIENCE, opening

ONE = ("192.0.2.1", 53)
HEADER = b"\x00\x00\x00\x01\xc0\x00\x02\x01\x00\x35"


@pytest.mark.parametrize(
    ("bound", "proxy_host", "expected"),
    [
        (parse_address("192.0.2.1", 5), "198.51.100.1", ("192.0.2.1", 5)),
        (UNSPECIFIED._replace(port=5), "198.51.100.1", ("198.51.100.1", 5)),
        (parse_address("10.0.0.1", 5), "8.8.8.8", ("8.8.8.8", 5)),
        (parse_address("10.0.0.1", 5), "10.0.0.2", ("10.0.0.1", 5)),
        (parse_address("relay.example", 5), "8.8.8.8", ("relay.example", 5)),
    ],
)
def test_where_the_relay_is(bound: object, proxy_host: str, expected: tuple[str, int]) -> None:
    """S5-REQ-76, and the proxies that tell an address of their inner network."""
    from hosier.protocol.address import Address

    assert isinstance(bound, Address)
    assert relay_address(bound, proxy_host) == expected
    with pytest.raises(hosier.RemoteProtocolError, match="no port"):
        relay_address(bound._replace(port=0), proxy_host)


# --- the object ---


def granted(relay: socket.socket) -> bytes:
    port: int = relay.getsockname()[1]
    return b"\x05\x00\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big")


def test_datagrams(silent_socket: socket.socket) -> None:
    """S5-REQ-72, S5-REQ-75."""
    relay = silent_socket
    with (
        ScriptedServer(opening(send(granted(relay)), stall())) as server,
        hosier.associate(server.url, timeout=PATIENCE) as datagrams,
    ):
        assert server.received[3:] == b"\x05\x03\x00\x01" + bytes(6)  # S5-REQ-71
        assert datagrams.relay == relay.getsockname()
        datagrams.settimeout(PATIENCE)
        assert datagrams.gettimeout() == PATIENCE
        assert datagrams.sendto(b"hello", ONE) == 5
        packet, peer = relay.recvfrom(100)
        assert packet == HEADER + b"hello"
        assert peer == datagrams.getsockname()
        relay.sendto(b"garbage", peer)
        relay.sendto(HEADER + b"answer", peer)
        assert datagrams.recvfrom() == (b"answer", ONE)
        relay.sendto(HEADER + b"answer", peer)
        assert datagrams.recvfrom(3) == (b"ans", ONE)
        assert datagrams.sendto(b"by name", ("example.com", 53)) == 7
        assert relay.recv(100) == b"\x00\x00\x00\x03\x0bexample.com\x00\x35by name"
        assert datagrams.max_payload("192.0.2.1") == 65_497
        with pytest.raises(OSError, match="too long"):
            datagrams.sendto(bytes(65_498), ONE)
        assert datagrams.fileno() >= 0
    assert datagrams.fileno() == -1


def test_announced_port(silent_socket: socket.socket) -> None:
    """S5-REQ-70."""
    with (
        ScriptedServer(opening(send(granted(silent_socket)), stall())) as server,
        hosier.associate(server.url, announce=True) as datagrams,
    ):
        port = datagrams.getsockname()[1].to_bytes(2, "big")
        assert server.received[3:] == b"\x05\x03\x00\x01\x7f\x00\x00\x01" + port


def test_fragments_on_the_wire(silent_socket: socket.socket) -> None:
    with (
        ScriptedServer(opening(send(granted(silent_socket)), stall())) as server,
        hosier.associate(server.url, fragment_size=300) as datagrams,
    ):
        datagrams.sendto(bytes(400), ONE)
        pieces = [silent_socket.recvfrom(1000) for _ in range(2)]
        assert [(piece[2], len(piece)) for piece, _ in pieces] == [(1, 300), (0x82, 120)]
        datagrams.settimeout(PATIENCE)
        for piece, peer in pieces:
            silent_socket.sendto(piece, peer)
        assert datagrams.recvfrom() == (bytes(400), ONE)


@pytest.mark.parametrize("timeout", [0.05, 0.6])
def test_limit(silent_socket: socket.socket, timeout: float) -> None:
    with (
        ScriptedServer(opening(send(granted(silent_socket)), stall())) as server,
        hosier.associate(server.url) as datagrams,
    ):
        datagrams.settimeout(timeout)
        with pytest.raises(TimeoutError):
            datagrams.recvfrom()
        datagrams.settimeout(0)
        with pytest.raises(BlockingIOError):
            datagrams.recvfrom()
        with pytest.raises(ValueError, match="negative"):
            datagrams.settimeout(-1)


@pytest.mark.parametrize("end", [[], [reset()]], ids=["close", "reset"])
def test_end_of_the_control_connection(silent_socket: socket.socket, end: list[object]) -> None:
    """S5-REQ-78; what else comes there is discarded (S5-REQ-79)."""
    script = opening(send(granted(silent_socket) + b"noise"), *end)  # type: ignore[arg-type]
    with ScriptedServer(script) as server, hosier.associate(server.url, timeout=PATIENCE) as datagrams:
        with pytest.raises(hosier.ProxyConnectionError, match="ended the association") as caught:
            datagrams.recvfrom()
        assert caught.value.errno == errno.ECONNABORTED


def test_relay_that_is_not_there(silent_socket: socket.socket) -> None:
    """A port that nobody has: the error belongs to an earlier datagram, so it is nobody's."""
    port = granted(silent_socket)
    silent_socket.close()
    with ScriptedServer(opening(send(port), stall())) as server, hosier.associate(server.url) as datagrams:
        for _ in range(3):
            assert datagrams.sendto(b"x", ONE) == 1
        datagrams.settimeout(0.05)
        with pytest.raises(TimeoutError):
            datagrams.recvfrom()


def test_names_looked_up_here(silent_socket: socket.socket) -> None:
    with (
        ScriptedServer(opening(send(granted(silent_socket)), stall())) as server,
        hosier.associate(server.url.replace("5h", "5")) as datagrams,
    ):
        datagrams.sendto(b"x", ("localhost", 53))
        assert silent_socket.recv(100)[3] in (1, 4)
        with pytest.raises(socket.gaierror):
            datagrams.sendto(b"x", ("name.invalid", 53))


def test_what_cannot_be() -> None:
    with pytest.raises(hosier.ConfigError, match="not through a chain"):
        hosier.associate(["one", "two"])
    for url in ("socks4://one", "http://one", "socks5+tls://one", "socks5h://localhost/x"):
        with pytest.raises(hosier.ConfigError, match="SOCKS5 proxy over TCP"):
            hosier.associate(url)
    with ScriptedServer(opening(send(b"\x05\x07\x00"), stall())) as server, pytest.raises(hosier.ReplyError) as caught:
        hosier.associate(server.url, announce=True, timeout=PATIENCE)
    assert caught.value.place is not None
    portless = opening(send(b"\x05\x00\x00\x01" + bytes(6)), stall())
    with ScriptedServer(portless) as server, pytest.raises(hosier.RemoteProtocolError, match="no port"):
        hosier.associate(server.url, timeout=PATIENCE)
