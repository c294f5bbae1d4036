"""Waiting for a socket, with poll and without."""

from __future__ import annotations

import ast
import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from struct import pack

import pytest

from hosier.client import readiness
from hosier.client.pairs import tcp_pair
from hosier.client.readiness import is_readable, readable_of, wait_for_either, when_readable, when_writable

from .harness import PATIENCE

SOURCE = Path(readiness.__file__).parents[1]


@pytest.fixture(autouse=True)
def with_or_without(poll_or_select: None) -> None:
    """All of it twice."""


def test_readable() -> None:
    one, other = socket.socketpair()
    with one, other:
        wait = when_readable(one)
        assert not wait(1)
        other.send(b"x")
        assert wait(PATIENCE * 1000)
        one.recv(1)
        assert not wait(0)
        other.close()
        assert wait(PATIENCE * 1000)


def test_writable() -> None:
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        wait = when_writable(one)
        assert wait(PATIENCE * 1000)
        with contextlib.suppress(BlockingIOError):
            while one.send(bytes(65_536)):
                pass
        assert not wait(1)


def test_the_outcome_of_a_connect() -> None:
    """Also a failed one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = server.getsockname()
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex(place)
        assert when_writable(sock)(PATIENCE * 1000)


def test_one_of_several() -> None:
    (one, other), (third, fourth) = socket.socketpair(), socket.socketpair()
    with one, other, third, fourth:
        assert readable_of((one, third), 0.001) == []
        fourth.send(b"x")
        assert readable_of((one, third), PATIENCE) == [third]
        other.close()
        assert readable_of((one, third), None) == [one, third]
        assert is_readable(one)
        assert not is_readable(fourth)


def test_reading_here_or_writing_there() -> None:
    (one, other), (third, fourth) = socket.socketpair(), socket.socketpair()
    with one, other, third, fourth, ThreadPoolExecutor(1) as pool:
        wait_for_either((one,), (third,))
        waiting = pool.submit(wait_for_either, (one, third), ())
        other.send(b"x")
        waiting.result(PATIENCE)


@pytest.mark.parametrize("is_read", [False, True])
def test_what_breaks_meanwhile(is_read: bool) -> None:
    """Also of a socket that is waited for in no other way."""
    here, there = tcp_pair()
    (one, other) = socket.socketpair()
    with here, one, other, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait_for_either, (one, here) if is_read else (one,), (), whole=here)
        there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
        there.close()  # with a reset
        with pytest.raises(ConnectionAbortedError):
            waiting.result(PATIENCE)


def test_an_end_is_nothing_broken() -> None:
    here, there = tcp_pair()
    with here, there:
        there.shutdown(socket.SHUT_WR)
        wait_for_either((here,), (), whole=here)
        assert here.recv(1) == b""
        wait_for_either((), (here,), whole=here)


def test_it_is_the_one_place() -> None:
    """The engine has its own for systems that have poll; the rest of Hosier asks here."""
    found = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "poll" and ast.unparse(node.value) == "select"
    }
    assert {path for path in found if not path.startswith("engine/")} == {"client/readiness.py"}
