"""A plain descriptor for what is under a layer."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from hosier.client.protected import ProtectedSocket
from hosier.client.tls_stream import TlsStream

from .harness import PATIENCE, exactly, until
from .protection import frame, toy_stream
from .tls import Certificate, ServersTls


def carriers() -> int:
    return sum(thread.name.startswith("hosier-layer") for thread in threading.enumerate())


def given(near: socket.socket) -> socket.socket:
    """The plain stream of a protected socket, as whoever detaches it gets it."""
    number = ProtectedSocket(near, toy_stream()).detach()
    sock = socket.socket(fileno=number)
    sock.settimeout(PATIENCE)
    return sock


def test_both_ways_and_ends() -> None:
    near, far = socket.socketpair()
    number = near.fileno()
    with far, given(near) as sock:
        assert sock.fileno() == number
        assert not os.get_inheritable(number)
        sock.sendall(b"words")
        assert exactly(far, len(frame(b"words"))) == frame(b"words")
        far.sendall(frame(b"answer"))
        assert exactly(sock, 6) == b"answer"
        sock.shutdown(socket.SHUT_WR)
        assert far.recv(1) == b""
        far.sendall(frame(b"goodbye"))
        assert exactly(sock, 7) == b"goodbye"
        far.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    until(lambda: not carriers(), "the threads have ended")


def test_a_frame_that_is_half_sent() -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    far.settimeout(PATIENCE)
    protected = ProtectedSocket(near, toy_stream())
    data = bytes(1 << 20)
    sent = 0
    try:
        while True:
            sent += protected.send(data)
    except BlockingIOError:
        pass
    with far, socket.socket(fileno=protected.detach()) as sock:
        sock.setblocking(True)
        sock.sendall(b"end")
        sock.shutdown(socket.SHUT_WR)
        reader = toy_stream()
        got = 0
        last = b""
        while not reader.ended:
            reader.receive(far.recv(1 << 20))
            piece = reader.take()
            got += len(piece)
            last = piece[-3:] or last
        assert got > sent + 3
        assert last == b"end"


def test_an_announcement_that_is_half_sent(certificate: Certificate) -> None:
    """Nothing can be sent behind it, and the other direction goes on."""
    near, far = socket.socketpair()
    far.settimeout(PATIENCE)
    stream, server = agreed(certificate)
    announcement = stream.wrap(b"last") + stream.end()
    near.setblocking(False)
    protected = ProtectedSocket(near, stream)
    protected._farewell = memoryview(announcement)[5:]
    with far, socket.socket(fileno=protected.detach()) as sock:
        sock.settimeout(PATIENCE)
        with pytest.raises(BrokenPipeError):
            sock.sendall(b"more")
        assert server.receive(announcement[:5] + received(far)) == b"last"
        assert server.ended
        far.sendall(server.say(b"goodbye"))
        assert exactly(sock, 7) == b"goodbye"
        far.sendall(server.end())
        far.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    until(lambda: not carriers(), "the threads have ended")


def test_an_end_that_was_announced(certificate: Certificate) -> None:
    near, far = socket.socketpair()
    far.settimeout(PATIENCE)
    stream, server = agreed(certificate)
    protected = ProtectedSocket(near, stream)
    protected.sendall(b"last")
    protected.shutdown(socket.SHUT_WR)
    with far, socket.socket(fileno=protected.detach()) as sock:
        sock.settimeout(PATIENCE)
        assert server.receive(received(far)) == b"last"
        assert server.ended
        far.sendall(server.say(b"goodbye") + server.end())
        far.shutdown(socket.SHUT_WR)
        assert exactly(sock, 7) == b"goodbye"
        assert sock.recv(1) == b""
    until(lambda: not carriers(), "the threads have ended")


def agreed(certificate: Certificate) -> tuple[TlsStream, ServersTls]:
    """Both sides of a handshake that is over."""
    stream, server = TlsStream(certificate.client, "localhost"), ServersTls(certificate.server)
    said = stream.shake()
    while not stream.established:
        server.receive(said)
        said = stream.shake(server.out())
    server.receive(said)
    stream.receive(server.out())
    return stream, server


def received(sock: socket.socket) -> bytes:
    """All until its end."""
    data = b""
    while piece := sock.recv(1 << 16):
        data += piece
    return data


def test_spoiled_frames_end_it() -> None:
    near, far = socket.socketpair()
    with far, given(near) as sock:
        far.sendall(frame(b"genuine") + b"\x05\x00")
        data = b""
        while piece := sock.recv(100):
            data += piece
        assert data == b"genuine"
        until(lambda: not carriers(), "the threads have ended")


def test_whoever_closes_ends_it() -> None:
    near, far = socket.socketpair()
    far.settimeout(PATIENCE)
    given(near).close()
    with far:
        assert far.recv(1) == b""
    until(lambda: not carriers(), "the threads have ended")
