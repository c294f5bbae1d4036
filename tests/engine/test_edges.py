from __future__ import annotations

import asyncio
import errno
import selectors
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from hosier.engine import edges as module
from hosier.engine.edges import Edges, EdgeSocket
from hosier.engine.endpoint import ENDED
from hosier.engine.events import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP

from ..bare import BareLoop
from .harness import descriptors, exactly, receive, reset, send, until

BROKEN = EPOLLHUP | EPOLLERR
EDGES = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET


class Scene:
    """Edges, and what they told, polled whenever they ring."""

    def __init__(self, most: int = 64) -> None:
        self.edges = Edges(asyncio.get_running_loop(), self._ring)
        self.told: list[tuple[int, int]] = []
        self.polls: list[int] = []
        """How much each poll found."""
        self._most = most
        self._sockets: list[socket.socket] = []

    def _ring(self) -> None:
        found = self.edges.poll(0, self._most)
        self.polls.append(len(found))
        self.told += found

    def own(self, sock: socket.socket) -> socket.socket:
        sock.setblocking(False)
        self._sockets.append(sock)
        return sock

    def pair(self) -> tuple[socket.socket, socket.socket]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            outer = self.own(socket.create_connection(listener.getsockname()))
            return outer, self.own(listener.accept()[0])

    async def watched(self) -> tuple[socket.socket, EdgeSocket]:
        """The outer end of a connection and the watched inner one, whose first edge is over."""
        outer, inner = self.pair()
        sock = self.edges.register_socket(inner.fileno(), EDGES, inner)
        await until(lambda: (inner.fileno(), EPOLLOUT) in self.told)
        self.told.clear()
        return outer, sock

    async def told_of(self, sock: EdgeSocket | socket.socket, events: int) -> None:
        await until(lambda: self.told, f"an edge with {events}")
        assert self.told == [(sock.fileno(), events)]
        self.told.clear()

    async def silence(self) -> None:
        """Nothing is told, though everybody had their turns."""
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not self.told

    def close(self) -> None:
        for sock in self._sockets:
            if sock.fileno() >= 0:
                self.edges.unregister(sock.fileno())
                sock.close()
        self.edges.close()
        assert not self.edges._watched
        assert not self.edges._ready


Main = Callable[[Scene], Coroutine[Any, Any, None]]
Play = Callable[..., None]

_PLATFORMS: dict[str, tuple[type[selectors.BaseSelector], Any]] = {
    "nested": (selectors.EpollSelector, asyncio.new_event_loop),
    "poll": (selectors.PollSelector, BareLoop),
    "select": (selectors.SelectSelector, BareLoop),
}


@pytest.fixture(params=list(_PLATFORMS))
def play(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Plays ``main(scene)`` over each kind of selector; every descriptor must be given back."""
    selector, loop = _PLATFORMS[request.param]
    monkeypatch.setattr(selectors, "DefaultSelector", selector)
    monkeypatch.setattr(module, "LOOK", 0.01)

    def play(main: Main, **settings: int) -> None:
        async def bounded() -> None:
            scene = Scene(**settings)
            try:
                async with asyncio.timeout(30):
                    await main(scene)
            finally:
                scene.close()

        before = descriptors()
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(bounded())
        assert descriptors() == before

    return play


# --- reading ---


def test_told_once_until_it_is_read(play: Play) -> None:
    async def main(scene: Scene) -> None:
        outer, sock = await scene.watched()
        outer.send(b"one")
        await scene.told_of(sock, EPOLLIN)
        outer.send(b"two")
        await scene.silence()
        assert sock.recv(100) == b"onetwo"
        outer.send(b"three")
        await scene.told_of(sock, EPOLLIN)

    play(main)


READS = pytest.mark.parametrize(
    "call", ["recv", "recv_into", *(["recvmsg_into"] if hasattr(socket.socket, "recvmsg_into") else [])]
)


def read_by(call: str, sock: EdgeSocket, size: int) -> bytes:
    if call == "recv":
        return sock.recv(size)
    buffer = bytearray(size)
    if call == "recv_into":
        return bytes(buffer[: sock.recv_into(buffer)])
    first, rest = bytearray(1), bytearray(size - 1)
    have = sock.recvmsg_into((first, rest))[0]
    return bytes(first + rest)[:have]


@READS
def test_a_read_that_fills_its_buffer_shows_nothing(play: Play, call: str) -> None:
    async def main(scene: Scene) -> None:
        def read(size: int) -> bytes:
            return read_by(call, sock, size)

        outer, sock = await scene.watched()
        outer.send(b"abcd")
        await scene.told_of(sock, EPOLLIN)
        assert read(2) == b"ab"
        await scene.silence()
        assert read(2) == b"cd"
        await scene.silence()
        with pytest.raises(BlockingIOError):
            read(2)
        outer.send(b"e")
        await scene.told_of(sock, EPOLLIN)
        assert read(2) == b"e"
        outer.send(b"f")
        await scene.told_of(sock, EPOLLIN)

    play(main)


def test_a_limited_read_into_a_larger_buffer(play: Play) -> None:
    async def main(scene: Scene) -> None:
        outer, sock = await scene.watched()
        outer.send(b"abcd")
        await scene.told_of(sock, EPOLLIN)
        buffer = memoryview(bytearray(100))
        assert sock.recv_into(buffer, 3, socket.MSG_PEEK) == 3
        assert sock.recv_into(buffer, 3) == 3
        await scene.silence()
        assert sock.recv_into(buffer, 3) == 1
        outer.send(b"e")
        await scene.told_of(sock, EPOLLIN)

    play(main)


def test_what_is_left_after_a_short_read_is_told_again(play: Play) -> None:
    """It came after the read, or the read was told less than there is: a level forgets nothing."""

    async def main(scene: Scene) -> None:
        outer, sock = await scene.watched()
        for number in range(50):
            outer.send(b"x")
            await until(lambda: scene.told)
            scene.told.clear()
            assert sock.recv(10) == b"x", number

    play(main)


# --- writing ---


def test_room_is_told_once_after_a_write_came_back_short(play: Play) -> None:
    async def main(scene: Scene) -> None:
        outer, sock = await scene.watched()
        assert sock.send(b"small") == 5
        await scene.silence()
        size = 0
        with suppress(BlockingIOError):
            while True:
                size += sock.send(bytes(100_000))
        await scene.silence()
        await exactly(outer, 5 + size)
        await scene.told_of(sock, EPOLLOUT)
        await scene.silence()

    play(main)


# --- ends ---


def test_the_end_is_told_with_the_edge_that_finds_it(play: Play) -> None:
    async def main(scene: Scene) -> None:
        outer, sock = await scene.watched()
        outer.shutdown(socket.SHUT_WR)
        await scene.told_of(sock, EPOLLIN | EPOLLRDHUP)
        await scene.silence()
        assert sock.recv(10) == b""

        outer, sock = await scene.watched()
        outer.send(b"last")
        outer.shutdown(socket.SHUT_WR)
        await scene.told_of(sock, EPOLLIN)
        assert sock.recv(10) == b"last"
        await scene.told_of(sock, EPOLLIN | EPOLLRDHUP)

    play(main)


def test_a_reset_is_told_and_its_error_left_for_the_reader(play: Play) -> None:
    async def main(scene: Scene) -> None:
        outer, sock = await scene.watched()
        reset(outer)
        await scene.told_of(sock, BROKEN)
        await scene.silence()
        with pytest.raises(ConnectionResetError):
            sock.recv(10)

    play(main)


@READS
def test_a_reset_that_the_look_at_the_stream_meets_is_left_for_the_reader(call: str) -> None:
    """The connection stood when it was asked for, and broke before the stream was looked at."""

    class Breaking:
        type = socket.SOCK_STREAM

        def getpeername(self) -> Any:
            return "127.0.0.1", 1

        def recv(self, *_: int) -> bytes:
            raise ConnectionResetError(errno.ECONNRESET, "connection lost")

    plain: Any = Breaking()
    sock = EdgeSocket(None, 7, EDGES, plain)  # type: ignore[arg-type]
    assert sock.edge(selectors.EVENT_READ) & ENDED
    plain.recv = plain.recv_into = plain.recvmsg_into = lambda *_: b""  # as the kernel does: it has told
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            read_by(call, sock, 10)


def test_a_reset_of_what_nobody_reads_is_found(play: Play) -> None:
    """After the end of the stream, and where octets wait that nobody wants to read now."""

    async def main(scene: Scene) -> None:
        outer, sock = await scene.watched()
        outer.shutdown(socket.SHUT_WR)
        await scene.told_of(sock, EPOLLIN | EPOLLRDHUP)
        sock.send(b"unread")
        reset(outer)
        await scene.told_of(sock, BROKEN)
        await scene.silence()

        outer, sock = await scene.watched()
        outer.send(b"waits")
        await scene.told_of(sock, EPOLLIN)
        reset(outer)
        await scene.told_of(sock, BROKEN)
        assert sock.recv(100) == b"waits"
        await scene.told_of(sock, BROKEN)
        with pytest.raises(ConnectionResetError):
            sock.recv(100)

    play(main)


def test_nothing_is_looked_at_in_vain(play: Play) -> None:
    """A timer runs only while some connection is not read."""

    async def main(scene: Scene) -> None:
        outer, sock = await scene.watched()
        outer.send(b"x")
        await scene.told_of(sock, EPOLLIN)
        assert scene.edges._looking is not None
        sock.recv(10)
        await until(lambda: scene.edges._looking is None)
        await scene.silence()

    play(main)


# --- connecting and accepting ---


def test_connecting(play: Play) -> None:
    async def main(scene: Scene) -> None:
        listener = scene.own(socket.create_server(("127.0.0.1", 0)))
        sock = scene.own(socket.socket())
        assert sock.connect_ex(listener.getsockname()) == errno.EINPROGRESS
        scene.edges.register_socket(sock.fileno(), EDGES, sock)
        await scene.told_of(sock, EPOLLOUT)

    play(main)


def test_a_refused_connection_keeps_its_error(play: Play) -> None:
    async def main(scene: Scene) -> None:
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            sock = scene.own(socket.socket())
            sock.connect_ex(reserved.getsockname())
            scene.edges.register_socket(sock.fileno(), EDGES, sock)
            await scene.told_of(sock, BROKEN)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED

    play(main)


def test_a_listening_socket_is_told_once_until_nobody_waits(play: Play) -> None:
    async def main(scene: Scene) -> None:
        listener = scene.own(socket.create_server(("127.0.0.1", 0)))
        sock: Any = scene.edges.register_socket(listener.fileno(), EDGES, listener)
        for _ in range(2):
            scene.own(socket.create_connection(listener.getsockname()))
        await scene.told_of(sock, EPOLLIN)
        for _ in range(2):
            fd, _ = sock._accept()
            socket.close(fd)
        await scene.silence()
        with pytest.raises(BlockingIOError):
            sock._accept()
        scene.own(socket.create_connection(listener.getsockname()))
        await scene.told_of(sock, EPOLLIN)

    play(main)


def test_a_level_is_told_as_long_as_it_holds(play: Play) -> None:
    async def main(scene: Scene) -> None:
        outer, inner = scene.pair()
        scene.edges.register(inner.fileno(), EPOLLIN)
        await scene.silence()
        outer.send(b"x")
        await until(lambda: scene.told.count((inner.fileno(), EPOLLIN | EPOLLERR)) > 3)  # errors have a queue here
        inner.recv(10)
        await asyncio.sleep(0.01)
        scene.told.clear()
        await scene.silence()

    play(main)


# --- books ---


def test_all_are_told_however_few_at_once(play: Play) -> None:
    """None of those that are always ready keeps the others waiting."""

    async def main(scene: Scene) -> None:
        pairs = [scene.pair() for _ in range(20)]
        for _, inner in pairs:
            scene.edges.register(inner.fileno(), EPOLLIN)
        for outer, _ in pairs:
            outer.send(b"x")
        await until(lambda: len({fd for fd, _ in scene.told}) == 20)
        assert max(scene.polls) <= 3
        scene.told.clear()
        await until(lambda: len(scene.told) > 200)
        counts = [sum(fd == inner.fileno() for fd, _ in scene.told) for _, inner in pairs]
        assert max(counts) <= 2 * min(counts)

    play(main, most=3)


def test_what_is_forgotten_is_told_no_more(play: Play) -> None:
    """Not even what was found before: its number may be a stranger's by then."""

    async def main(scene: Scene) -> None:
        pairs = [await scene.watched() for _ in range(4)]
        for outer, _ in pairs:
            outer.send(b"x")
        ((told, _),) = scene.edges.poll(0, 1)
        assert len(scene.edges._ready) == 3
        left = {sock.fd for _, sock in pairs} - {told}
        for fd in left:
            scene.edges.unregister(fd)
            scene.edges.unregister(fd)
        await scene.silence()
        for _, sock in pairs:
            if sock.fd in left:
                assert sock.recv(10) == b"x"  # it asks for nothing any more
        await scene.silence()

    play(main)


def test_twice_is_once_too_often(play: Play) -> None:
    async def main(scene: Scene) -> None:
        outer, sock = await scene.watched()
        with pytest.raises(FileExistsError):
            scene.edges.register(sock.fd, EPOLLIN)
        outer.send(b"x")
        await scene.told_of(sock, EPOLLIN)

    play(main)


def test_select_has_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clear error for the one too many, instead of a select() that fails for all."""
    monkeypatch.setattr(selectors, "DefaultSelector", selectors.SelectSelector)
    monkeypatch.setattr(module, "SELECT_LIMIT", 2)

    async def main() -> None:
        scene = Scene()
        first = await scene.watched()
        await scene.watched()
        third = scene.pair()[1]
        with pytest.raises(OSError, match="Too many open files") as caught:
            scene.edges.register_socket(third.fileno(), EDGES, third)
        assert caught.value.errno == errno.EMFILE
        scene.edges.unregister(first[1].fd)
        scene.edges.register_socket(third.fileno(), EDGES, third)
        scene.close()

    asyncio.run(main())


def test_closed_with_everything_under_way(play: Play) -> None:
    async def main(scene: Scene) -> None:
        outer, sock = await scene.watched()
        outer.send(b"x")
        scene.edges.close()
        scene.edges.close = lambda: None  # type: ignore[method-assign]
        assert sock.recv(10) == b"x"
        await scene.silence()

    play(main)


def test_the_rest_of_a_socket_is_the_plain_ones(play: Play) -> None:
    async def main(scene: Scene) -> None:
        outer, sock = await scene.watched()
        assert sock.getpeername() == outer.getsockname()
        assert sock.family == socket.AF_INET
        sock.shutdown(socket.SHUT_WR)
        assert await receive(outer) == b""
        await send(outer, b"x")
        await scene.told_of(sock, EPOLLIN)

    play(main)
