"""Connects of non-blocking sockets: as selectors, and programs with selectors, expect them."""

from __future__ import annotations

import errno
import gc
import select
import selectors
import socket
from collections.abc import Callable

import pytest

import hosier
from hosier.client.socksify.pending import pending_of
from hosier.testing import ScriptedServer, send, stall

from ..harness import PATIENCE, SUCCESS, opening, until
from .conftest import Site, Witness

ADDRESS = ("web.invalid", 80)


def non_blocking() -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    return sock


def by_connect(sock: socket.socket) -> int | None:
    with pytest.raises(BlockingIOError) as caught:
        sock.connect(ADDRESS)
    return caught.value.errno


def by_connect_ex(sock: socket.socket) -> int | None:
    return sock.connect_ex(ADDRESS)


@pytest.mark.parametrize("begin", [by_connect, by_connect_ex])
@pytest.mark.parametrize("wait", ["select", "poll", "epoll"])
def test_connect(site: Site, begin: Callable[[socket.socket], int | None], wait: str) -> None:
    """In progress at once; writable when the whole way is gone; then SO_ERROR says that it is good."""
    with hosier.socksify(site.url), non_blocking() as sock:
        number = sock.fileno()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert begin(sock) == errno.EINPROGRESS
        kinds = {"select": "SelectSelector", "poll": "PollSelector", "epoll": "EpollSelector"}
        with getattr(selectors, kinds[wait])() as selector:
            selector.register(sock, selectors.EVENT_WRITE)
            assert selector.select(PATIENCE)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            assert (sock.fileno(), sock.gettimeout()) == (number, 0)
            selector.unregister(sock)
            selector.register(sock, selectors.EVENT_READ)
            assert sock.getpeername() == site.address
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            assert not selector.select(0)
            sock.sendall(b"GET / HTTP/1.1\r\nHost: site\r\n\r\n")
            assert selector.select(PATIENCE)
            assert sock.recv(8) == b"HTTP/1.1"
        assert pending_of(sock) is None
    assert site.asked == ["web.invalid:80"]


def test_not_writable_before(witness: Witness) -> None:
    """While the proxy is silent: no selector says anything, another connect is on its way already, no peer."""
    with ScriptedServer([stall()]) as proxy, witness(proxy.address), hosier.socksify(proxy.url), non_blocking() as sock:
        assert sock.connect_ex(ADDRESS) == errno.EINPROGRESS
        until(lambda: proxy.conversations, "the proxy is asked")
        assert select.select([sock], [sock], [], 0) == ([], [], [])
        assert sock.connect_ex(ADDRESS) == errno.EALREADY
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        with pytest.raises(OSError) as caught:
            sock.getpeername()
        assert caught.value.errno == errno.ENOTCONN


def refusing() -> ScriptedServer:
    return ScriptedServer(opening(send(b"\x05\x05\x00")))


def test_refused(witness: Witness) -> None:
    """The number is what SO_ERROR tells, once, or what the next connect raises."""
    with refusing() as proxy, witness(proxy.address), hosier.socksify(proxy.url):
        with non_blocking() as sock:
            sock.connect_ex(ADDRESS)
            assert select.select([], [sock], [], PATIENCE)[1] == [sock]
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        with non_blocking() as sock:
            sock.connect_ex(ADDRESS)
            assert select.select([], [sock], [], PATIENCE)[1] == [sock]
            with pytest.raises(ConnectionRefusedError):
                sock.connect(ADDRESS)


def test_mistakes_are_numbers(witness: Witness) -> None:
    with (
        ScriptedServer([stall()]) as proxy,
        witness(proxy.address),
        hosier.socksify(proxy.url.replace("5h", "4a")),
        socket.socket(socket.AF_INET6) as sock,
    ):
        sock.setblocking(False)
        assert sock.connect_ex(("2001:db8::1", 80)) == errno.EINPROGRESS
        assert select.select([], [sock], [], PATIENCE)[1] == [sock]
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.EINVAL


def test_asking_by_connecting(site: Site) -> None:
    """Some ask by connecting once more: 0 when it stands, as in Linux, and then that it is connected."""
    with hosier.socksify(site.url), non_blocking() as sock:
        sock.connect_ex(ADDRESS)
        assert select.select([], [sock], [], PATIENCE)[1] == [sock]
        assert sock.connect_ex(ADDRESS) == 0
        assert sock.connect_ex(ADDRESS) == errno.EISCONN


def test_writing_without_a_look_is_no_loss(site: Site) -> None:
    """Who does not ask how it went has an error, and nothing goes anywhere."""
    with hosier.socksify(site.url), non_blocking() as sock:
        sock.connect_ex(ADDRESS)
        assert select.select([], [sock], [], PATIENCE)[1] == [sock]
        with pytest.raises(BrokenPipeError):
            sock.send(b"lost?")


def test_given_up(witness: Witness) -> None:
    """A program that closes while it waits leaves nothing behind, whenever the proxy answers."""
    answer = opening(send(SUCCESS), stall())
    with ScriptedServer(answer) as proxy, witness(proxy.address), hosier.socksify(proxy.url):
        sock = non_blocking()
        sock.connect_ex(ADDRESS)
        sock.close()
        pending = pending_of(sock)
        assert pending is not None
        until(lambda: pending.done, "the way has ended")
        del sock
        gc.collect()
        assert pending._gate.fileno() == -1
        assert pending._made is not None
        assert pending._made.fileno() == -1


def test_given_up_early(witness: Witness) -> None:
    with ScriptedServer([stall()]) as proxy, witness(proxy.address), hosier.socksify(proxy.url):
        sock = non_blocking()
        sock.connect_ex(ADDRESS)
        pending = pending_of(sock)
        assert pending is not None
        until(lambda: proxy.conversations, "the proxy is asked")
        sock.close()
        del sock
        gc.collect()
    until(lambda: pending.done, "the way has ended")
    assert pending._gate.fileno() == -1


def test_many_at_once(site: Site) -> None:
    """Each is told of its own."""
    with hosier.socksify(site.url):
        waiting = {sock.fileno(): sock for sock in (non_blocking() for _ in range(100))}
        poll = select.poll()
        for number, sock in waiting.items():
            assert sock.connect_ex((f"web{number}.invalid", 80)) == errno.EINPROGRESS
            poll.register(sock, select.POLLOUT)
        names = sorted(f"web{number}.invalid:80" for number in waiting)
        while waiting:
            ready = poll.poll(PATIENCE * 1000)
            assert ready
            for number, _ in ready:
                assert waiting[number].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
                poll.unregister(number)
                waiting.pop(number).close()
    assert sorted(site.asked) == names
