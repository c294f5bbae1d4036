"""Listening for one peer: where, for whom, for how long, and that nothing stays behind."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

from hosier.engine import bind
from hosier.engine.bind import PeerListener, listen_for_peer, local_address_towards
from hosier.engine.endpoint import ENDED, Endpoint
from hosier.engine.events import EPOLLIN
from hosier.engine.ports import PortRange
from hosier.engine.task import Task
from hosier.protocol.address import IPV4, IPV6, Address, parse_address

from ..own_ports import own_ports
from .harness import PATIENCE, Lab, Run, Story, reset, until

NEAR = parse_address("127.0.0.1", 1080)
PEER = parse_address("127.0.0.2", 0)
ANYONE = parse_address("0.0.0.0", 0)


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")


class Waiting:
    """A task that waits for a peer, and the control connection it listens for."""

    def __init__(self, lab: Lab, *peers: Address, near: Address = NEAR, **options: Any) -> None:
        self.client, inner = lab.pair()
        self.listener: PeerListener
        self._lab = lab

        async def work(task: Task) -> tuple[Endpoint, Address] | None:
            self.control = Endpoint(lab.engine, inner, task)
            try:
                self.listener = listen_for_peer(task, lab.engine, peers or (PEER,), near, **options)
                arrival = await self.listener.accept(self.control)
                assert self.control.owner is task
                if arrival is not None:
                    assert arrival[0].owner is task
                    arrival[0].close()
                return arrival
            finally:
                self.control.close()

        self.story: Story = lab.story(work)

    @property
    def place(self) -> tuple[str, int]:
        return self.listener.bound.sockaddr

    async def result(self) -> Any:
        await until(lambda: self.story.ended, "the wait ends")
        if self.story.error is not None:
            raise self.story.error
        return self.story.result


def connect(lab: Lab, place: tuple[str, int], source: str = "") -> socket.socket:
    """Connected when it returns, and not seen by the engine yet."""
    sock = socket.socket(socket.AF_INET6 if ":" in place[0] else socket.AF_INET)
    sock.settimeout(PATIENCE)
    if source:
        sock.bind((source, 0))
    sock.connect(place)
    return lab.own(sock)


def refuses(place: tuple[str, int]) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in place[0] else socket.AF_INET) as probe:
        return probe.connect_ex(place) == errno.ECONNREFUSED


def taken_port(lab: Lab, host: str = "127.0.0.1") -> int:
    port: int = lab.own(socket.create_server((host, 0))).getsockname()[1]
    return port


# --- who comes ---


def test_the_first_who_connects(run: Run) -> None:
    async def main(lab: Lab) -> None:
        waiting = Waiting(lab)
        sock = connect(lab, waiting.place, "127.0.0.2")
        endpoint, peer = await waiting.result()
        assert peer == parse_address(*sock.getsockname())
        assert endpoint.closed
        assert refuses(waiting.place)

    run(main)


def test_who_came_before_it_was_waited_for(run: Run) -> None:
    """Between the listening and the wait something else may be awaited, as a reply that goes out."""

    async def main(lab: Lab) -> None:
        client, inner = lab.pair()
        go_on = asyncio.Event()
        places: list[tuple[str, int]] = []

        async def work(task: Task) -> Address:
            control = Endpoint(lab.engine, inner, task)
            listener = listen_for_peer(task, lab.engine, (PEER,), NEAR)
            places.append(listener.bound.sockaddr)
            await asyncio.ensure_future(go_on.wait())
            arrival = await listener.accept(control)
            control.close()
            assert arrival is not None
            arrival[0].close()
            return arrival[1]

        story = lab.story(work)
        sock = connect(lab, places[0])
        await lab.settle()
        assert not story.ended
        go_on.set()
        await until(lambda: story.ended, "it goes on")
        assert story.result == parse_address(*sock.getsockname())
        client.close()

    run(main)


def test_only_one(run: Run) -> None:
    """Whoever queued up behind is reset."""

    async def main(lab: Lab) -> None:
        waiting = Waiting(lab)
        first, second = connect(lab, waiting.place), connect(lab, waiting.place)
        _, peer = await waiting.result()
        assert peer.sockaddr == first.getsockname()
        with pytest.raises(ConnectionResetError):
            second.recv(1)

    run(main)


def test_one_that_is_gone_already(run: Run) -> None:
    """A connection that was reset in the queue is handed out all the same, and found out by its reader."""

    async def main(lab: Lab) -> None:
        waiting = Waiting(lab)
        sock = connect(lab, waiting.place)
        place = sock.getsockname()
        reset(sock)
        _, peer = await waiting.result()
        assert peer.sockaddr == place

    run(main)


def test_expects(run: Run) -> None:
    """S4-REQ-34: by address, never by port."""

    async def main(lab: Lab) -> None:
        other = parse_address("127.0.0.3", 0)
        waiting = Waiting(lab, PEER, other)
        for host, port, expected in (
            ("127.0.0.2", 0, True),
            ("127.0.0.2", 4321, True),
            ("127.0.0.3", 1, True),
            ("127.0.0.1", 0, False),
            ("::1", 0, False),
        ):
            assert waiting.listener.expects(parse_address(host, port)) is expected
        waiting.client.close()
        assert await waiting.result() is None

    run(main)


def test_anyone(run: Run) -> None:
    """Listens everywhere, tells the address that was reached before."""

    async def main(lab: Lab) -> None:
        waiting = Waiting(lab, ANYONE)
        host, port = waiting.place
        assert host == NEAR.host
        assert port not in (0, NEAR.port)
        assert waiting.listener.expects(parse_address("203.0.113.9", 9))
        sock = connect(lab, ("127.0.0.7", port))
        _, peer = await waiting.result()
        assert peer.sockaddr == sock.getsockname()

    run(main)


# --- where ---


def test_where_the_way_to_the_peer_begins(run: Run) -> None:
    async def main(lab: Lab) -> None:
        assert local_address_towards(PEER) == parse_address("127.0.0.1", 0)
        assert local_address_towards(PEER._replace(port=53)) == parse_address("127.0.0.1", 0)
        waiting = Waiting(lab, near=parse_address("127.0.0.9", 1))
        assert waiting.place[0] == "127.0.0.1"
        assert refuses(("127.0.0.9", waiting.place[1]))
        waiting.client.close()
        await waiting.result()

    run(main)


def test_without_a_way() -> None:
    with pytest.raises(OSError) as caught:
        local_address_towards(parse_address("255.255.255.255", 9))
    assert caught.value.errno in (errno.EACCES, errno.ENETUNREACH)


@pytest.mark.parametrize(
    ("code", "expected"), [(errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT), (errno.ENETUNREACH, errno.ENETUNREACH)]
)
def test_a_family_that_is_switched_off(code: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catalogue 3.5: no address of the family is 08; no route is 03."""

    class Probe:
        def __init__(self, *_: int) -> None:
            pass

        def connect(self, _: Any) -> None:
            raise OSError(code, os.strerror(code))

        def close(self) -> None:
            pass

    monkeypatch.setattr(bind, "SocketType", Probe)
    with pytest.raises(OSError) as caught:
        local_address_towards(parse_address("2001:db8::1", 0))
    assert caught.value.errno == expected


@needs_ipv6
@pytest.mark.parametrize("first", [IPV4, IPV6])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_both_families_on_one_port(run: Run, first: int, host: str) -> None:
    async def main(lab: Lab) -> None:
        peers = sorted((PEER, parse_address("::1", 0)), key=lambda peer: peer.kind != first)
        waiting = Waiting(lab, *peers)
        told, port = waiting.place
        assert told == ("127.0.0.1" if first == IPV4 else "::1")
        sock = connect(lab, (host, port))
        _, peer = await waiting.result()
        assert peer.sockaddr == sock.getsockname()[:2]
        assert refuses(("127.0.0.1", port))
        assert refuses(("::1", port))

    run(main)


@needs_ipv6
def test_another_port_when_the_other_family_has_it_taken(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(lab: Lab) -> None:
        port = lab.own(socket.create_server(("::1", 0), family=socket.AF_INET6)).getsockname()[1]
        waiting = Waiting(lab, PEER._replace(port=port), parse_address("::1", port))
        assert waiting.place[1] != port
        waiting.client.close()
        await waiting.result()

    run(main)


def towards_nowhere(monkeypatch: pytest.MonkeyPatch, code: int, *hosts: str) -> None:
    real = bind.local_address_towards

    def towards(peer: Address) -> Address:
        if peer.host in hosts:
            raise OSError(code, os.strerror(code))
        return real(peer)

    monkeypatch.setattr(bind, "local_address_towards", towards)


def test_a_family_that_the_machine_lacks_is_left_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    towards_nowhere(monkeypatch, errno.ENETUNREACH, "2001:db8::7", "127.0.0.5")

    async def main(lab: Lab) -> None:
        waiting = Waiting(lab, parse_address("2001:db8::7", 0), parse_address("127.0.0.5", 0), PEER)
        assert waiting.place[0] == "127.0.0.1"
        waiting.client.close()
        await waiting.result()

    run(main)


def test_no_family_at_all(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    towards_nowhere(monkeypatch, errno.ENETUNREACH, "2001:db8::7", "192.0.2.1")

    async def main(lab: Lab) -> None:
        for peers in (
            [parse_address("2001:db8::7", 0)],
            [parse_address("2001:db8::7", 0), parse_address("192.0.2.1", 0)],
        ):
            with pytest.raises(OSError) as caught:
                await Waiting(lab, *peers).result()
            assert caught.value.errno == errno.ENETUNREACH

    run(main)


def test_anyone_of_the_other_family(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the client reached does not fit: the address on the way to anywhere is told, and without one nothing is."""
    asked: list[Address] = []

    def towards(peer: Address) -> Address:
        asked.append(peer)
        if len(asked) > 1:
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
        return parse_address("127.0.0.1", 0)

    monkeypatch.setattr(bind, "local_address_towards", towards)

    async def main(lab: Lab) -> None:
        six = parse_address("::1", 1080)
        waiting = Waiting(lab, ANYONE, near=six)
        assert waiting.place[0] == "127.0.0.1"
        waiting.client.close()
        await waiting.result()
        with pytest.raises(OSError) as caught:
            await Waiting(lab, ANYONE, near=six).result()
        assert caught.value.errno == errno.ENETUNREACH
        assert asked == [bind.SOMEWHERE[IPV4]] * 2

    run(main)


def test_what_the_outside_calls_it(run: Run) -> None:
    async def main(lab: Lab) -> None:
        seen: list[Address] = []

        def advertise(local: Address) -> Address:
            seen.append(local)
            return Address(IPV4, bytes((192, 0, 2, 7)), local.port)

        waiting = Waiting(lab, advertise=advertise)
        (local,) = seen
        assert (local.host, local.port) == ("127.0.0.1", waiting.place[1])
        assert waiting.place[0] == "192.0.2.7"
        connect(lab, local.sockaddr)
        assert await waiting.result() is not None

    run(main)


# --- ports ---


def free_ports(count: int) -> int:
    """The first of some neighbouring ports that nobody has, outside the range from which the kernel picks."""
    for low in own_ports():
        try:
            for port in range(low, low + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return low
    raise AssertionError("no free ports")


def test_ports_of_a_range(run: Run) -> None:
    """All of them, and then a clear error."""

    async def main(lab: Lab) -> None:
        low = free_ports(3)
        ports = PortRange(low, low + 2)
        held = [Waiting(lab, ports=ports) for _ in range(3)]
        assert {waiting.place[1] for waiting in held} == set(range(low, low + 3))
        with pytest.raises(OSError, match=f"no free port in {low}-{low + 2}") as caught:
            await Waiting(lab, ports=ports).result()
        assert caught.value.errno == errno.EADDRINUSE
        held[1].client.close()
        assert await held[1].result() is None
        again = Waiting(lab, ports=ports)
        assert again.place == held[1].place
        for waiting in (held[0], held[2], again):
            waiting.client.close()
            await waiting.result()

    run(main)


def test_a_port_is_free_though_connections_remain_there(run: Run) -> None:
    """Those that were accepted on it, and the kernel's memory of them."""

    async def main(lab: Lab) -> None:
        low = free_ports(1)
        for _ in range(3):
            waiting = Waiting(lab, ports=PortRange(low, low))
            sock = connect(lab, waiting.place)
            await waiting.result()  # closed by us first: it stays in TIME_WAIT
            assert sock.recv(1) == b""
            sock.close()

    run(main)


@pytest.mark.parametrize("ports", [None, "range"])
def test_the_wished_port_first(run: Run, ports: str | None) -> None:
    async def main(lab: Lab) -> None:
        low = free_ports(5)
        for _ in range(10):
            waiting = Waiting(lab, PEER._replace(port=low + 3), ports=ports and PortRange(low, low + 4))
            assert waiting.place[1] == low + 3
            waiting.client.close()
            await waiting.result()

    run(main)


def test_another_than_the_wished_port(run: Run) -> None:
    async def main(lab: Lab) -> None:
        wished = taken_port(lab)
        waiting = Waiting(lab, PEER._replace(port=wished))
        assert waiting.place[1] not in (0, wished)
        waiting.client.close()
        await waiting.result()

    run(main)


def test_the_kernel_has_no_port(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives up after a few attempts."""
    attempts: list[int] = []

    def fail(_: Any, port: int) -> Any:
        attempts.append(port)
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))

    monkeypatch.setattr(bind, "_listening_sockets", fail)

    async def main(lab: Lab) -> None:
        with pytest.raises(OSError, match="Address already in use"):
            await Waiting(lab).result()

    run(main)
    assert attempts == [0] * bind.ATTEMPTS


def test_other_errors_are_not_tried_away(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[int] = []

    def fail(_: Any, port: int) -> Any:
        attempts.append(port)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(bind, "_listening_sockets", fail)

    async def main(lab: Lab) -> None:
        with pytest.raises(OSError, match="Too many open files"):
            await Waiting(lab, ports=PortRange(1, 65_535)).result()

    run(main)
    assert len(attempts) == 1


# --- for how long ---


HOWS = pytest.mark.parametrize("how", ["close", "reset", "half-close"])


@HOWS
def test_the_control_connection_ends(run: Run, how: str) -> None:
    control_connection_ends(run, how, b"")


@pytest.mark.linux
@HOWS
def test_the_control_connection_ends_behind_early_octets(run: Run, how: str) -> None:
    """No other system tells of an end before all that came before it was read."""
    control_connection_ends(run, how, b"early")


def control_connection_ends(run: Run, how: str, data: bytes) -> None:
    async def main(lab: Lab) -> None:
        waiting = Waiting(lab)
        waiting.client.send(data)
        await lab.settle()
        assert not waiting.story.ended
        if how == "close":
            waiting.client.close()
        elif how == "reset":
            reset(waiting.client)
        else:
            waiting.client.shutdown(socket.SHUT_WR)
        assert await waiting.result() is None
        assert refuses(waiting.place)

    run(main)


def test_the_end_wins_over_a_peer_that_comes_with_it(run: Run) -> None:
    """Nobody is there to be told of it."""

    async def main(lab: Lab) -> None:
        waiting = Waiting(lab)
        sock = connect(lab, waiting.place)
        waiting.client.close()
        await waiting.result()
        if waiting.story.result is None:
            with pytest.raises(ConnectionResetError):
                sock.recv(1)

    run(main)


def test_an_end_that_was_seen_before(run: Run) -> None:
    async def main(lab: Lab) -> None:
        client, inner = lab.pair()

        async def work(task: Task) -> Any:
            control = Endpoint(lab.engine, inner, task)
            client.close()
            assert await control.recv(10) == b""
            if not control.heard:
                control.register()
            while not control.seen & ENDED:
                await asyncio.sleep(0)
            listener = listen_for_peer(task, lab.engine, (PEER,), NEAR)
            arrival = await listener.accept(control)
            control.close()
            return arrival

        story = lab.story(work)
        await until(lambda: story.ended, "it ends")
        assert (story.result, story.error) == (None, None)

    run(main)


def test_payload_stays_with_the_kernel(run: Run) -> None:
    async def main(lab: Lab) -> None:
        waiting = Waiting(lab)
        resumed: list[None] = []
        resume = Task.resume

        def count(task: Task) -> None:
            resumed.append(None)
            resume(task)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Task, "resume", count)
            waiting.client.send(b"x" * 100)
            await until(lambda: waiting.control.seen & EPOLLIN, "the edge is seen")
            assert not resumed
        assert waiting.control.sock.recv(200) == b"x" * 100
        waiting.client.close()
        await waiting.result()

    run(main)


@pytest.mark.parametrize("error", [TimeoutError("bind limit"), OSError(errno.EIO, "anything")])
def test_interrupted(run: Run, error: OSError) -> None:
    async def main(lab: Lab) -> None:
        waiting = Waiting(lab)
        waiting.story.interrupt(error)
        with pytest.raises(type(error)):
            await waiting.result()
        assert refuses(waiting.place)

    run(main)


def test_closed_without_waiting(run: Run) -> None:
    async def main(lab: Lab) -> None:
        async def work(task: Task) -> None:
            listener = listen_for_peer(task, lab.engine, (PEER,), NEAR)
            place = listener.bound.sockaddr
            assert not refuses(place)
            listener.close()
            listener.close()
            assert refuses(place)

        story = lab.story(work)
        await until(lambda: story.ended, "it ends")
        assert story.error is None

    run(main)


# --- faults of the machine ---


class Scripted:
    """A listening socket whose ``_accept`` does what it is told."""

    def __init__(self, sock: Any, errors: list[int]) -> None:
        self._sock = sock
        self._errors = errors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def _accept(self) -> Any:
        if self._errors:
            code = self._errors.pop(0)
            raise OSError(code, os.strerror(code))
        return self._sock._accept()


def script(waiting: Waiting, *errors: int) -> None:
    (endpoint,) = waiting.listener._listening
    endpoint.sock = Scripted(endpoint.sock, list(errors))  # type: ignore[assignment]


@pytest.mark.parametrize("code", sorted(bind._BROKEN))
def test_a_connection_that_broke_in_the_queue(run: Run, code: int) -> None:
    """The next one may be whole."""

    async def main(lab: Lab) -> None:
        waiting = Waiting(lab)
        script(waiting, code)
        sock = connect(lab, waiting.place)
        _, peer = await waiting.result()
        assert peer.sockaddr == sock.getsockname()

    run(main)


@pytest.mark.linux
def test_nobody_is_there_after_all(run: Run) -> None:
    async def main(lab: Lab) -> None:
        waiting = Waiting(lab)
        script(waiting, errno.EAGAIN)
        connect(lab, waiting.place)
        await lab.settle()
        assert not waiting.story.ended
        connect(lab, waiting.place)
        assert await waiting.result() is not None

    run(main)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EINVAL])
def test_accept_fails(run: Run, code: int) -> None:
    """Once: it does not spin."""

    async def main(lab: Lab) -> None:
        waiting = Waiting(lab)
        script(waiting, code, code)
        connect(lab, waiting.place)
        with pytest.raises(OSError) as caught:
            await waiting.result()
        assert caught.value.errno == code
        assert refuses(waiting.place)

    run(main)


def test_it_cannot_be_watched(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel bounds what may be watched, too (max_user_watches): nothing stays open."""

    def fail(_: Endpoint) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def main(lab: Lab) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Endpoint, "register", fail)
            with pytest.raises(OSError, match="No space left"):
                await Waiting(lab).result()

    run(main)


@needs_ipv6
def test_the_second_family_fails(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither stays open."""
    made: list[int] = []
    real: Callable[[int], int] = bind._family

    def family(kind: int) -> int:
        made.append(kind)
        if made.count(IPV6) > 1:  # the first one is the look at the way there
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(kind)

    monkeypatch.setattr(bind, "_family", family)

    async def main(lab: Lab) -> None:
        with pytest.raises(OSError, match="Too many open files"):
            await Waiting(lab, PEER, parse_address("::1", 0)).result()

    run(main)
