"""Two ends of a connection within this machine."""

from __future__ import annotations

import socket

from hosier.client.pairs import tcp_pair


def test_pair() -> None:
    one, other = tcp_pair()
    with one, other:
        assert one.getpeername() == other.getsockname()
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert one.gettimeout() == other.gettimeout() == 0
        other.settimeout(20)
        one.sendall(b"hello")
        assert other.recv(5) == b"hello"
