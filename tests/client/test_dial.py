"""TCP connections to the nearest proxy."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from hosier.client import dial as module
from hosier.client.dial import begin_connect, dial, new_socket
from hosier.client.lookup import Place4or6
from hosier.errors import ProxyTimedOut


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def place(sock: socket.socket) -> Place4or6:
    return Place4or6(socket.AF_INET, sock.getsockname())


def closed_place() -> Place4or6:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return place(sock)


@pytest.fixture
def silent() -> Iterator[Place4or6]:
    """A place that neither answers nor refuses: its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as sock:
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(sock.getsockname())
            waiting.append(one)
        yield place(sock)
        for one in waiting:
            one.close()


def no_limit() -> None:
    return None


def long() -> float:
    return 20.0


def counted(answers: list[float]) -> Callable[[], float]:
    """What is left each time; then it is over."""
    waiting = iter(answers)

    def left() -> float:
        for answer in waiting:
            return answer
        raise ProxyTimedOut("late")

    return left


@pytest.mark.parametrize(("left", "blocks"), [(no_limit, True), (long, False)])
def test_one_place(listener: socket.socket, left: object, blocks: bool) -> None:
    assert callable(left)
    with dial([place(listener)], None, left) as sock:
        assert sock.getpeername() == listener.getsockname()
        assert sock.getblocking() is blocks


@pytest.mark.parametrize("left", [no_limit, long])
def test_refused(left: object) -> None:
    assert callable(left)
    with pytest.raises(ConnectionRefusedError):
        dial([closed_place()], None, left)
    with pytest.raises(ConnectionRefusedError):
        dial([closed_place(), closed_place()], None, left)


def test_silent_place(silent: Place4or6) -> None:
    with pytest.raises(ProxyTimedOut):
        dial([silent], None, counted([0.05, 0.01]))


def test_place_that_answers_late(silent: Place4or6) -> None:
    """Not at once, as anywhere but on one machine: the queue has room after a while."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        full = [socket.create_connection(listener.getsockname())]
        begun = socket.socket()
        begun.setblocking(False)
        while begin_connect(begun, place(listener)):
            full.append(begun)
            begun = socket.socket()
            begun.setblocking(False)
        full.append(begun)
        room = threading.Timer(0.05, lambda: full.extend(listener.accept()[0] for _ in range(2)))
        room.start()
        with dial([place(listener)], None, long) as sock:
            assert sock.getpeername() == listener.getsockname()
        room.join()
        for one in full:
            one.close()


def test_every_place_has_its_chance(listener: socket.socket) -> None:
    """RFC 8305 §5: one that fails at once, one that has another family, one that answers."""
    six = Place4or6(socket.AF_INET6, ("2001:db8::1", 9))
    with dial([closed_place(), six, place(listener)], None, long) as sock:
        assert sock.getpeername() == listener.getsockname()
        assert sock.getblocking()


def test_silent_place_does_not_hold_up_the_next(listener: socket.socket, silent: Place4or6) -> None:
    with dial([silent, place(listener)], None, no_limit) as sock:
        assert sock.getpeername() == listener.getsockname()


def test_race_has_a_limit(silent: Place4or6, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ATTEMPT_DELAY", 0.01)
    with pytest.raises(ProxyTimedOut):
        dial([silent, silent], None, counted([0.05, 0.02]))


def test_source(listener: socket.socket) -> None:
    with dial([place(listener)], ("127.0.0.3", 0), no_limit) as sock:
        assert sock.getsockname()[0] == "127.0.0.3"
    with pytest.raises(OSError, match="assign") as caught:
        new_socket(socket.AF_INET, ("192.0.2.1", 0))
    assert caught.value.errno == errno.EADDRNOTAVAIL
    with pytest.raises(OSError, match="assign"):
        dial([place(listener), place(listener)], ("192.0.2.1", 0), no_limit)


def test_connection_that_stands_at_once(listener: socket.socket, silent: Place4or6) -> None:
    with socket.socket() as sock, socket.socket() as waiting:
        sock.setblocking(False)
        waiting.setblocking(False)
        assert begin_connect(sock, place(listener))
        assert not begin_connect(waiting, silent)
