from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from hosier.engine import unsent as module
from hosier.engine.unsent import UNSENT, bound_unsent, unsent


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far = listener.accept()[0]
    with near, far:
        yield near, far


_SIOCOUTQNSD = 0x894B  # of what is in the buffer, that which was never sent

Pair = tuple[socket.socket, socket.socket]


def test_what_waits_and_what_was_taken(pair: Pair) -> None:
    near, far = pair
    assert unsent(near) == 0
    near.setblocking(False)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    size = 0
    while True:
        try:
            size += near.send(bytes(65536))
        except BlockingIOError:
            break
    waiting = unsent(near)
    assert waiting is not None
    assert 0 < waiting <= size
    while size:
        size -= len(far.recv(size))
    assert unsent(near) == 0


def test_a_socket_without_a_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert unsent(listener) == 0


def test_where_there_is_no_ioctl(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    assert unsent(pair[0]) is None


def test_where_the_question_is_not_understood(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def ioctl(*_: Any) -> Any:
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    assert unsent(pair[0]) is None


def test_each_system_has_its_question(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def ioctl(fd: int, request: int, octets: bytes) -> bytes:
        asked.append(request)
        return (7).to_bytes(len(octets), sys.byteorder)

    class Mac:
        def getsockopt(self, level: int, option: int) -> int:
            asked.append(option)
            return 8

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    for platform, answer in (("linux", 7), ("freebsd14", 7), ("darwin", 8)):
        monkeypatch.setattr(sys, "platform", platform)
        sock: Any = Mac() if platform == "darwin" else pair[0]
        assert unsent(sock) == answer
    assert asked == [module._SIOCOUTQ, module._FIONWRITE, module._SO_NWRITE]


@pytest.mark.skipif(sys.platform != "linux", reason="nothing is bounded here")
def test_a_sink_takes_no_more_than_it_may(pair: Pair) -> None:
    near, _ = pair
    bound_unsent(near)
    assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT
    near.setblocking(False)
    size = 0
    piece = bytes(65536)
    while True:
        try:
            size += near.send(piece)
        except BlockingIOError:
            break
    not_sent = int.from_bytes(fcntl.ioctl(near, _SIOCOUTQNSD, bytes(4)), sys.byteorder)
    assert 0 < not_sent < UNSENT + 2 * len(piece)


def test_what_has_no_such_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another kind of socket, another system."""
    near, far = socket.socketpair()
    with near, far:
        bound_unsent(near)
        monkeypatch.setattr(module, "_NOTSENT_LOWAT", None)
        bound_unsent(near)
        near.send(b"x")
        assert far.recv(2) == b"x"
