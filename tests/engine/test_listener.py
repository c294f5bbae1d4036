from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket
from collections.abc import Callable
from typing import Any

import pytest

from hosier.engine import listener as module
from hosier.engine.listener import MOST_AT_ONCE, Listener, Sharing, listening_socket

from .harness import Lab, Run, descriptors, exactly, lowest_free_descriptor, receive, send, until

NEVER = 3600.0


class Counting(socket.socket):
    """Counts accept calls, and lets some of them fail."""

    calls = 0
    failures: list[int]

    def _accept(self) -> Any:
        self.calls += 1
        if self.failures:
            code = self.failures.pop(0)
            raise OSError(code, os.strerror(code))
        return super()._accept()  # type: ignore[misc]


class Hall:
    """A listener, who came in, and what it said."""

    def __init__(self, lab: Lab, *, client_speaks_first: bool = False) -> None:
        self.lab = lab
        plain = listening_socket(("127.0.0.1", 0), socket.AF_INET, client_speaks_first=client_speaks_first)
        self.sock = Counting(plain.family, plain.type, plain.proto, plain.detach())
        self.sock.failures = []
        self.address = self.sock.getsockname()
        self.came: list[tuple[socket.SocketType, Any]] = []
        self.complaints: list[OSError] = []
        self.then: Callable[[socket.SocketType], object] = lambda sock: None
        self.listener = Listener(lab.engine, self.sock, self.accepted, self.complaints.append)

    def accepted(self, sock: socket.SocketType, sockaddr: Any) -> None:
        self.then(sock)
        self.came.append((sock, sockaddr))

    def visit(self, count: int = 1) -> list[socket.socket]:
        """Connections that the kernel has established: they wait to be accepted."""
        return [self.lab.own(socket.create_connection(self.address)) for _ in range(count)]

    async def until_here(self, count: int) -> None:
        await until(lambda: len(self.came) >= count, f"{count} connections are accepted")
        assert len(self.came) == count

    def close(self) -> None:
        self.listener.close()
        self.leave()

    def leave(self) -> None:
        for sock, _ in self.came:
            sock.close()
        self.came.clear()


# --- the socket ---


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
@pytest.mark.parametrize("client_speaks_first", [True, False])
def test_options(family: int, host: str, client_speaks_first: bool) -> None:
    with listening_socket((host, 0), family, client_speaks_first=client_speaks_first) as sock:
        assert sock.family == family
        assert not sock.getblocking()
        assert not sock.get_inheritable()
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT)) == client_speaks_first
        if family == socket.AF_INET6:
            assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def test_both_families_on_one_port() -> None:
    with listening_socket(("0.0.0.0", 0), socket.AF_INET, client_speaks_first=True) as first:
        port = first.getsockname()[1]
        listening_socket(("::", port), socket.AF_INET6, client_speaks_first=True).close()


def test_what_it_sets_is_inherited(run: Run) -> None:
    async def main(lab: Lab) -> None:
        hall = Hall(lab)
        hall.visit()
        await hall.until_here(1)
        ((sock, _),) = hall.came
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        hall.close()

    run(main)


def test_no_socket_stays_behind_an_error() -> None:
    before = descriptors()
    with listening_socket(("127.0.0.1", 0), socket.AF_INET, client_speaks_first=True) as taken:
        during = descriptors()
        with pytest.raises(OSError) as caught:
            listening_socket(taken.getsockname(), socket.AF_INET, client_speaks_first=True)
        assert caught.value.errno == errno.EADDRINUSE
        with pytest.raises(OSError) as caught:
            listening_socket(("192.0.2.1", 0), socket.AF_INET, client_speaks_first=True)
        assert caught.value.errno == errno.EADDRNOTAVAIL
        assert descriptors() == during
    assert descriptors() == before


# --- accepting ---


def test_connections_are_handed_on(run: Run) -> None:
    async def main(lab: Lab) -> None:
        hall = Hall(lab)
        clients = hall.visit(3)
        await hall.until_here(3)
        assert [sockaddr for _, sockaddr in hall.came] == [client.getsockname() for client in clients]
        for client, (sock, _) in zip(clients, hall.came, strict=True):
            assert sock.gettimeout() == 0
            assert sock.family == socket.AF_INET
            assert not os.get_inheritable(sock.fileno())
            await send(client, b"hello")
            await until(lambda sock=sock: readable(sock))  # type: ignore[misc]
            assert sock.recv(10) == b"hello"
        hall.close()

    run(main)


def readable(sock: socket.SocketType) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


def test_client_that_waits_for_the_greeting_gets_it(run: Run) -> None:
    async def main(lab: Lab) -> None:
        hall = Hall(lab)
        hall.then = lambda sock: sock.send(b"welcome")
        (client,) = hall.visit()
        assert await exactly(client, 7) == b"welcome"
        hall.close()

    run(main)


@pytest.mark.linux
def test_client_that_speaks_first_is_accepted_with_its_words(run: Run) -> None:
    async def main(lab: Lab) -> None:
        words: list[bytes] = []
        hall = Hall(lab, client_speaks_first=True)
        hall.then = lambda sock: words.append(sock.recv(10))
        (client,) = hall.visit()
        await lab.settle()
        assert not hall.came
        await send(client, b"hello")
        await hall.until_here(1)
        assert words == [b"hello"]
        hall.close()

    run(main)


def test_a_burst_is_accepted_without_looking_again_each_time(run: Run) -> None:
    """As many calls as connections and a few more, and the other way round no call in vain in a trickle."""

    async def main(lab: Lab) -> None:
        hall = Hall(lab)
        hall.visit(500)
        await hall.until_here(500)
        assert hall.sock.calls <= 502
        assert hall.listener._burst <= MOST_AT_ONCE
        hall.leave()

        await lab.settle()
        while hall.listener._burst > 1:
            hall.visit()
            await hall.until_here(1)
            hall.leave()
        hall.sock.calls = 0
        for _ in range(100):
            hall.visit()
            await hall.until_here(1)
            hall.leave()
        assert hall.sock.calls <= 150
        hall.close()

    run(main)


def test_no_more_at_once_than_the_others_can_bear(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two bursts the engine serves its other sockets."""
    largest = 0

    async def main(lab: Lab) -> None:
        hall = Hall(lab)
        on_edge = Listener.on_edge

        def watching(listener: Listener, asked: Any, events: int) -> None:
            nonlocal largest
            before = len(hall.came)
            on_edge(listener, asked, events)
            largest = max(largest, len(hall.came) - before)

        with monkeypatch.context() as patch:
            patch.setattr(Listener, "on_edge", watching)
            hall.visit(300)
            await hall.until_here(300)
        hall.close()

    run(main)
    assert largest == MOST_AT_ONCE


def test_peer_that_is_gone_already_does_not_stop_the_others(run: Run) -> None:
    async def main(lab: Lab) -> None:
        hall = Hall(lab)
        hall.sock.failures = [errno.ECONNABORTED, errno.EPROTO]
        hall.visit(2)
        await hall.until_here(2)
        assert not hall.complaints
        hall.close()

    run(main)


def test_a_crash_ends_one_connection_alone_and_is_reported(run: Run) -> None:
    async def main(lab: Lab) -> None:
        hall = Hall(lab)
        error = RuntimeError("a bug")

        def crash_once(sock: socket.SocketType) -> None:
            hall.then = lambda sock: None
            raise error

        hall.then = crash_once
        first, _ = hall.visit(2)
        await hall.until_here(1)
        assert await receive(first) == b""
        (crash,) = lab.crashes
        assert crash["exception"] is error
        assert "an accepted connection crashed" in crash["message"]
        lab.crashes.clear()
        hall.close()

    run(main)


def test_closed(run: Run) -> None:
    async def main(lab: Lab) -> None:
        hall = Hall(lab)
        hall.visit()
        hall.close()
        assert lab.engine.sockets == 0
        await lab.settle()
        assert not hall.came
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(hall.address)

    run(main)


def test_closed_by_whom_it_tells(run: Run) -> None:
    """The burst under way may go on to its end; then nobody comes in any more."""

    async def main(lab: Lab) -> None:
        hall = Hall(lab)

        def close_once(sock: socket.SocketType) -> None:
            hall.then = lambda sock: None
            hall.listener.close()

        hall.listener._burst = 2
        hall.then = close_once
        hall.visit(5)
        await until(lambda: hall.came, "the first")
        await lab.settle()
        assert len(hall.came) <= 2
        assert lab.engine.sockets == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(hall.address)
        hall.leave()

    run(main)


# --- out of descriptors ---


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_pauses_says_so_once_and_recovers(run: Run, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.001)

    async def main(lab: Lab) -> None:
        hall = Hall(lab)
        hall.sock.failures = [code] * 5
        hall.visit(3)
        await hall.until_here(3)
        assert [error.errno for error in hall.complaints] == [code]
        await lab.settle()
        # All had been accepted: the next shortage is another one.
        hall.sock.failures = [errno.EWOULDBLOCK]
        hall.visit()
        await hall.until_here(4)
        hall.sock.failures = [code] * 2
        hall.visit()
        await hall.until_here(5)
        assert len(hall.complaints) == 2
        hall.close()

    run(main)


def test_nothing_is_asked_in_the_pause(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The listener stays readable: without a pause that would be a busy loop."""
    monkeypatch.setattr(module, "PAUSE", NEVER)

    async def main(lab: Lab) -> None:
        hall = Hall(lab)
        hall.sock.failures = [errno.EMFILE]
        hall.visit()
        await until(lambda: hall.complaints, "the complaint")
        await lab.settle()
        assert hall.sock.calls == 1
        assert lab.engine.sockets == 0
        hall.listener._resume()
        await hall.until_here(1)
        hall.close()

    run(main)


def test_closed_in_the_pause(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.001)

    async def main(lab: Lab) -> None:
        hall = Hall(lab)
        hall.sock.failures = [errno.EMFILE]
        hall.visit()
        await until(lambda: hall.complaints, "the complaint")
        pause = hall.listener._paused
        hall.close()
        assert pause is None or pause.cancelled()
        passed = asyncio.Event()
        lab.loop.call_later(0.01, passed.set)
        await passed.wait()
        assert lab.engine.sockets == 0
        assert not hall.came

    run(main)


def test_really_out_of_descriptors(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.001)

    async def main(lab: Lab) -> None:
        hall = Hall(lab)
        hall.visit(3)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free_descriptor() + 1, hard))
            await until(lambda: hall.complaints, "the complaint")
            assert len(hall.came) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await hall.until_here(3)
        assert [error.errno for error in hall.complaints] == [errno.EMFILE]
        hall.close()

    run(main)


# --- several sockets on one address ---


def test_the_first_takes_the_address_as_if_alone() -> None:
    """Also who would share it is noticed."""
    for mine in (Sharing.ALONE, Sharing.FIRST):
        with listening_socket(("127.0.0.1", 0), socket.AF_INET, client_speaks_first=True, sharing=mine) as taken:
            for theirs in (Sharing.ALONE, Sharing.FIRST):
                with pytest.raises(OSError) as caught:
                    listening_socket(taken.getsockname(), socket.AF_INET, client_speaks_first=True, sharing=theirs)
                assert caught.value.errno == errno.EADDRINUSE


def test_those_who_share_have_a_queue_each() -> None:
    with listening_socket(("127.0.0.1", 0), socket.AF_INET, client_speaks_first=False, sharing=Sharing.FIRST) as first:
        place = first.getsockname()
        with listening_socket(place, socket.AF_INET, client_speaks_first=False, sharing=Sharing.NEXT) as second:
            clients = [socket.create_connection(place) for _ in range(64)]
            came = []
            for sock in (first, second):
                count = 0
                with contextlib.suppress(BlockingIOError):
                    while True:
                        sock.accept()[0].close()
                        count += 1
                came.append(count)
            for client in clients:
                client.close()
    assert sum(came) == 64
    assert all(came)
