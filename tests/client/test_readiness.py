"""Waiting for a socket, with poll and without."""

from __future__ import annotations

import contextlib
import socket

import pytest

from hosier.client import readiness
from hosier.client.readiness import when_readable, when_writable

from .harness import PATIENCE


@pytest.fixture(params=[True, False], ids=["poll", "select"], autouse=True)
def with_or_without(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_HAS_POLL", request.param)


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
