"""A program's socket becomes another connection, and stays the program's socket."""

from __future__ import annotations

import os
import socket
import tempfile

import pytest

from hosier.client.socksify.adoption import adopt, options_of


def test_options_are_kept() -> None:
    """Those that are not as every new socket has them."""
    with socket.socket() as sock:
        assert options_of(sock) == []
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        kept = options_of(sock)
        assert sorted(option for _, option, _ in kept) == sorted((socket.SO_KEEPALIVE, socket.TCP_NODELAY))
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as sock:
        made = socket.create_connection(server.getsockname())
        here = made.getsockname()
        adopt(sock, made, kept)
        assert made.fileno() == -1
        assert sock.getsockname() == here
        assert options_of(sock) == kept


@pytest.mark.parametrize("limit", [None, 0, 5.0])
@pytest.mark.parametrize("inheritable", [False, True])
def test_number_limit_and_inheritance_stay(limit: float | None, inheritable: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as sock:
        sock.settimeout(limit)
        sock.set_inheritable(inheritable)
        number = sock.fileno()
        adopt(sock, socket.create_connection(server.getsockname(), 9), [])
        assert (sock.fileno(), sock.gettimeout(), sock.get_inheritable()) == (number, limit, inheritable)
        assert os.get_blocking(number) is (limit is None)


def test_another_family() -> None:
    """A proxy on a unix socket; options of TCP have no place there."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX) as server,
        socket.socket() as sock,
        socket.socket(socket.AF_UNIX) as made,
    ):
        server.bind(f"{folder}/s")
        server.listen()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.connect(f"{folder}/s")
        adopt(sock, made, options_of(sock))
        sock.sendall(b"hello")
        with server.accept()[0] as peer:
            assert peer.recv(5) == b"hello"


def test_closed_meanwhile() -> None:
    """What was made does not stay behind."""
    sock, (made, other) = socket.socket(), socket.socketpair()
    sock.close()
    with other:
        with pytest.raises(OSError):
            adopt(sock, made, [])
        assert made.fileno() == -1
