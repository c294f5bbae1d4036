"""A plain socket where there is one with TLS."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from ssl import SSLSocket
from struct import pack
from unittest.mock import Mock

import pytest

import hosier
from hosier.client.layered import LayeredStream
from hosier.client.pairs import tcp_pair
from hosier.client.plain_end import plain_end
from hosier.client.protected import ProtectedSocket
from hosier.client.readiness import wait_for_either
from hosier.testing import ScriptedServer, receive, reset, send, stall
from hosier.testing.threaded import ThreadedServer

from .protection import frame, toy_stream
from .tls import Certificate, door

pytestmark = pytest.mark.usefixtures("poll_or_select")

SIZE = 10_000_000
SMALL = 200_000
"""Octets that the buffers of a connection hold, but not those that were made small."""


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
        with plain_end(hosier.connect(outer, *target.address, timeout=20)) as sock:
            sock.settimeout(20)
            assert sock.makefile("rb").read() == b"bye"
        with plain_end(hosier.connect(outer, *target.address, timeout=20)) as sock:
            sock.settimeout(20)
            sock.sendall(b"!")
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        with plain_end(hosier.connect(outer, *target.address, timeout=20)) as sock:
            sock.settimeout(20)
            sock.sendall(b"bye")
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""


def test_each_direction_ends_alone(certificate: Certificate) -> None:
    """A peer answers what it has heard to the end; another one goes on hearing after its own end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answers in (True, False):
                with certificate.server.wrap_socket(listener.accept()[0], server_side=True) as sock:
                    if answers:
                        while sock.recv(1 << 16):
                            pass
                        for piece in (b"x" * SIZE, b"the", b"end"):
                            sock.sendall(piece)
                    else:
                        socket.socket.shutdown(sock, socket.SHUT_WR)
                        assert sock.recv(100) == b"late"

        with ThreadPoolExecutor(1) as pool:
            served = pool.submit(serve)
            for asks in (True, False):
                raw = socket.create_connection(listener.getsockname(), 20)
                with plain_end(certificate.client.wrap_socket(raw, server_hostname="localhost")) as sock:
                    if asks:
                        sock.sendall(b"y" * SIZE)
                        sock.shutdown(socket.SHUT_WR)
                        assert sock.makefile("rb").read() == b"x" * SIZE + b"theend"
                    else:
                        assert sock.recv(1) == b""
                        sock.sendall(b"late")
            served.result(20)


def test_an_end_is_announced_when_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without that it would look cut."""
    is_due = threading.Event()

    def end(_: LayeredStream) -> bytes:
        is_due.set()
        return b"goodbye"

    monkeypatch.setattr(LayeredStream, "end", end)
    near, far = socket.socketpair()
    near.setblocking(False)
    filled = 0
    for size in (4096, 1):
        with suppress(BlockingIOError):
            while True:
                filled += near.send(b"x" * size)
    with plain_end(ProtectedSocket(near, toy_stream())) as sock, far, far.makefile("rb") as file:
        sock.shutdown(socket.SHUT_WR)
        assert is_due.wait(20)
        far.settimeout(20)
        assert file.read() == b"x" * filled + b"goodbye"
        far.sendall(frame(b"answer"))
        far.shutdown(socket.SHUT_WR)
        sock.settimeout(20)
        assert sock.makefile("rb").read() == b"answer"


@contextmanager
def connected(certificate: Certificate) -> Iterator[tuple[socket.socket, SSLSocket]]:
    """A plain end, and the peer of the TLS behind it."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(lambda: certificate.server.wrap_socket(listener.accept()[0], server_side=True))
        raw = socket.create_connection(listener.getsockname(), 20)
        with (
            plain_end(certificate.client.wrap_socket(raw, server_hostname="localhost")) as sock,
            accepted.result(20) as peer,
        ):
            yield sock, peer


def carriers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "hosier-tls"]


@pytest.mark.parametrize("has_more_to_say", [False, True])
def test_who_is_gone_is_not_waited_for(certificate: Certificate, has_more_to_say: bool) -> None:
    """Although the peer neither speaks nor ends: no thread and no descriptor is left."""
    before = carriers()  # of another test's: it may be about to end
    with connected(certificate) as (sock, peer):
        (carrier,) = (thread for thread in carriers() if thread not in before)
        if has_more_to_say:
            sock.sendall(b"x")
        sock.shutdown(socket.SHUT_WR)
        assert peer.recv(2) == b"x" * has_more_to_say
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))  # a reset, at once
        sock.close()
        carrier.join(20)
        assert not carrier.is_alive()


def test_waiting_is_asked_of_the_system(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether somebody who has ended one direction is still there; and a wait is a wait."""
    made = tcp_pair()
    for sock in made:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    monkeypatch.setattr("hosier.client.plain_end.tcp_pair", lambda: made)
    waits = Mock(side_effect=wait_for_either)
    monkeypatch.setattr("hosier.client.plain_end.wait_for_either", waits)
    with connected(certificate) as (sock, peer):
        assert made[1].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        sock.shutdown(socket.SHUT_WR)
        assert peer.recv(1) == b""
        peer.sendall(b"x" * SMALL)
        peer.close()  # both directions have ended, and nobody reads yet
        before = waits.call_count
        assert not threading.Event().wait(0.3)
        assert waits.call_count - before < 20
        assert sock.makefile("rb").read() == b"x" * SMALL


# --- under a layer ---


@contextmanager
def under_a_layer() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A plain end, and the wire at the other side of the layer."""
    near, far = tcp_pair()
    near.settimeout(20)
    far.settimeout(20)
    with plain_end(ProtectedSocket(near, toy_stream())) as sock, far:
        yield sock, far


def test_octets_under_a_layer() -> None:
    with under_a_layer() as (sock, far):
        far.sendall(frame(b"hel") + frame(b"lo")[:4])
        assert sock.recv(3) == b"hel"
        far.sendall(frame(b"lo")[4:])
        assert sock.recv(3) == b"lo"
        sock.sendall(b"words")
        assert far.makefile("rb").read(len(frame(b"words"))) == frame(b"words")
        sock.shutdown(socket.SHUT_WR)
        assert far.recv(1) == b""
        far.sendall(frame(b"the rest"))
        far.close()
        assert sock.makefile("rb").read() == b"the rest"


def test_more_than_fits_under_a_layer() -> None:
    """Frames that are half sent are sent on, and nothing is sent twice."""
    stream, got = toy_stream(), bytearray()
    data = bytes(range(256)) * (SIZE // 256)
    with under_a_layer() as (sock, far), ThreadPoolExecutor(1) as pool:
        sending = pool.submit(sock.sendall, data)
        while len(got) < len(data):
            stream.receive(far.recv(1 << 18))
            got += stream.take()
        sending.result(20)
    assert got == data


@pytest.mark.parametrize("how", ["forged", "reset"])
def test_what_is_broken_is_no_end(how: str) -> None:
    """Who reads to the end must not take a part for the whole."""
    with under_a_layer() as (sock, far):
        far.sendall(frame(b"part"))
        assert sock.recv(4) == b"part"
        if how == "forged":
            far.sendall(b"\x01\x09\x00\x04oops")
        else:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
            far.close()
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
