"""BIND over the command's own socket, where no program of others speaks it: IPv6, and a thousand at once."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .harness import PATIENCE, Address, Hosier, wait_until
from .wire import exactly

pytestmark = pytest.mark.real

BIND = b"\x05\x02\x00"


def place_of(octets: bytes) -> Address:
    """The address and port of a reply, from its type on."""
    host = ipaddress.ip_address(octets[1:-2])
    return Address(str(host), int.from_bytes(octets[-2:], "big"))


def reply(client: socket.socket) -> Address:
    head = exactly(client, 4)
    assert head[:3] == b"\x05\x00\x00", head
    return place_of(head[3:] + exactly(client, {1: 6, 4: 18}[head[3]]))


def ask(server: Address, peer: str) -> socket.socket:
    """A client that has asked for the peer, from whichever family the server has."""
    packed = ipaddress.ip_address(peer).packed
    client = socket.create_connection(server, timeout=PATIENCE)
    client.sendall(b"\x05\x01\x00" + BIND + (b"\x01" if len(packed) == 4 else b"\x04") + packed + b"\0\0")
    assert exactly(client, 2) == b"\x05\x00"
    return client


@pytest.fixture
def both(ipv6: None) -> Iterator[Hosier]:
    with Hosier(listen=("127.0.0.1:0", "[::1]:0")) as server:
        yield server


@pytest.mark.parametrize("control", [0, 1], ids=["over IPv4", "over IPv6"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1"])
def test_both_families(both: Hosier, control: int, peer: str) -> None:
    """The family of the peer counts, not that of the control connection; a megabyte each way."""
    up, down = os.urandom(1 << 20), os.urandom(1 << 20)
    with ask(both.addresses[control], peer) as client:
        place = reply(client)
        assert place.host == peer
        with socket.create_connection(place, timeout=PATIENCE) as far:
            assert reply(client) == far.getsockname()[:2]
            client.sendall(up)
            client.shutdown(socket.SHUT_WR)
            assert exactly(far, len(up)) == up
            assert far.recv(1) == b""
            far.sendall(down)
            far.shutdown(socket.SHUT_WR)
            assert exactly(client, len(down)) == down
            assert client.recv(1) == b""
    [session] = both.sessions_of("BIND", 1)
    assert (session["sent"], session["received"], session["end"]) == (len(up), len(down), "client closed")
    assert session["bound"] == str(place)


@pytest.mark.slow
def test_a_thousand_waiting_for_ever(hosier: Hosier) -> None:
    """Two descriptors each, given back at once when the clients go; the stop does not wait for them."""
    table = Path(f"/proc/{hosier.pid}/fd")

    def descriptors() -> int:
        return len(os.listdir(table))

    before = descriptors()
    with ExitStack() as stack:
        clients = [stack.enter_context(ask(hosier.address, "127.0.0.1")) for _ in range(1000)]
        places = {reply(client) for client in clients}
        assert len(places) == 1000
        assert descriptors() == before + 2000
    wait_until(lambda: descriptors() == before, "every descriptor is given back")
    ends = {session["end"] for session in hosier.sessions_of("BIND", 1000)}
    assert ends == {"client left before the peer came"}
    for place in list(places)[::100]:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(place, timeout=PATIENCE)


def test_a_stop_while_one_waits() -> None:
    with Hosier("--timeout=drain=0.1") as hosier, ask(hosier.address, "127.0.0.1") as client:
        place = reply(client)
        hosier.process.send_signal(signal.SIGTERM)
        assert hosier.process.wait(PATIENCE) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(place, timeout=PATIENCE)
        [session] = hosier.sessions_of("BIND", 1)
        assert session["end"] == "server stopped"
