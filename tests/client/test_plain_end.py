"""A plain socket where there is one with TLS."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

import hosier
from hosier.client.plain_end import plain_end
from hosier.testing import ScriptedServer, receive, reset, send, stall
from hosier.testing.threaded import ThreadedServer

from .tls import Certificate, door

SIZE = 10_000_000


@pytest.fixture
def outer(hosier_server: Callable[..., ThreadedServer], certificate: Certificate) -> Iterator[hosier.Proxy]:
    """A proxy with TLS."""
    with door(certificate, hosier_server().address) as (host, port):
        yield hosier.Proxy(f"socks5h+tls://{host}:{port}", ssl_context=certificate.client)


def test_plain_sockets_stay_what_they_are() -> None:
    with socket.socket() as sock:
        assert plain_end(sock) is sock


def test_more_than_fits(outer: hosier.Proxy) -> None:
    """Nobody reads for a while, on either side; then all of it is there."""
    with ScriptedServer([send(b"y" * SIZE), receive(SIZE), send(b"done")]) as target:
        sock = plain_end(hosier.connect(outer, *target.address, timeout=20))
        sock.settimeout(20)
        with sock, sock.makefile("rb") as file:
            writer = threading.Thread(target=sock.sendall, args=(b"x" * SIZE,))
            writer.start()
            assert file.read(SIZE) == b"y" * SIZE
            assert file.read(4) == b"done"
            writer.join(20)
        assert target.received == b"x" * SIZE


def test_ends(outer: hosier.Proxy) -> None:
    with ScriptedServer([send(b"bye")], [receive(1), reset()], [receive(3), stall()]) as target:
        for said, heard in ((b"", b"bye"), (b"!", b"")):
            with plain_end(hosier.connect(outer, *target.address, timeout=20)) as sock:
                sock.settimeout(20)
                sock.sendall(said)
                assert sock.makefile("rb").read() == heard
        with plain_end(hosier.connect(outer, *target.address, timeout=20)) as sock:
            sock.settimeout(20)
            sock.sendall(b"bye")
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""
