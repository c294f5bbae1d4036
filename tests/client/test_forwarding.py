"""A local port that leads to one target: what happens to those who use it, over the engine."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from hosier.client import forwarding
from hosier.client.forwarding import CORRESPONDENTS, HELD, DatagramForward, StreamForward
from hosier.engine.egress import DirectEgress, Egress
from hosier.engine.listener import listening_socket
from hosier.engine.resolve import Resolver
from hosier.engine.udp import datagram_socket
from hosier.errors import ProxyConnectionError
from hosier.protocol.address import Address, parse_address

from ..engine.conftest import pytest_generate_tests, run
from ..engine.harness import Lab, Run, assert_reset, exactly, receive, send, until

__all__ = ("pytest_generate_tests", "run")

LOOPBACK = parse_address("127.0.0.1", 0)


class Late(DirectEgress):
    """Straight out, once the test lets it."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab.engine, Resolver(lab.loop))
        self.ready = asyncio.Event()
        self.failure: OSError | None = None
        self.tasks: list[Any] = []

    async def associate(self, task: Any, correspondent: Any, *, buffer: int) -> Any:
        self.tasks.append(task)
        while not self.ready.is_set():
            await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        return await super().associate(task, correspondent, buffer=buffer)


class Streams:
    """A forward of streams to a listening socket of the test's."""

    def __init__(self, lab: Lab) -> None:
        self.target = lab.own(socket.create_server(("127.0.0.1", 0)))
        self.said: list[str] = []
        sock = listening_socket(("127.0.0.1", 0), socket.AF_INET, client_speaks_first=False)
        self.place = sock.getsockname()
        target = parse_address(*self.target.getsockname())
        egress: Egress = DirectEgress(lab.engine, Resolver(lab.loop))
        self.forward = StreamForward(lab.engine, egress, sock, target, self.said.append)


def test_streams(run: Run) -> None:
    async def main(lab: Lab) -> None:
        streams = Streams(lab)
        client = lab.own(socket.create_connection(streams.place))
        far = lab.own((await lab.loop.sock_accept(streams.target))[0])
        await send(far, b"220 hello")  # the target speaks first
        assert await exactly(client, 9) == b"220 hello"
        await send(client, b"x" * 100_000)
        client.shutdown(socket.SHUT_WR)
        assert await exactly(far, 100_000) == b"x" * 100_000
        assert await receive(far) == b""
        await send(far, b"the rest")
        far.close()
        assert await exactly(client, 8) == b"the rest"
        assert await receive(client) == b""
        await until(lambda: streams.forward.moved == (100_000, 17), "all is counted while it lives")
        client.close()
        await until(lambda: not lab.engine.tasks, "the connection is over")
        assert streams.forward.moved == (100_000, 17)
        streams.forward.close()
        assert streams.said == []

    run(main)


def test_target_that_is_not_there(run: Run) -> None:
    async def main(lab: Lab) -> None:
        streams = Streams(lab)
        streams.target.close()
        client = lab.own(socket.create_connection(streams.place))
        await assert_reset(client)
        assert len(streams.said) == 1
        streams.forward.close()

    run(main)


def test_streams_under_way_go_on_when_the_listener_closes(run: Run) -> None:
    async def main(lab: Lab) -> None:
        streams = Streams(lab)
        client = lab.own(socket.create_connection(streams.place))
        far = lab.own((await lab.loop.sock_accept(streams.target))[0])
        await until(lambda: lab.engine.sockets == 3, "the relay runs")
        streams.forward.close()
        await send(client, b"hello")
        assert await exactly(far, 5) == b"hello"

    run(main)


# --- datagrams ---


class Datagrams:
    def __init__(self, lab: Lab) -> None:
        self.target = lab.own(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.target.bind(("127.0.0.1", 0))
        self.said: list[str] = []
        self.egress = Late(lab)
        sock = datagram_socket(LOOPBACK, buffer=1 << 20)
        self.place: tuple[str, int] = sock.getsockname()
        target: Address = parse_address(*self.target.getsockname())
        self.forward = DatagramForward(lab.engine, self.egress, sock, target, self.said.append)

    async def heard(self) -> tuple[bytes, Any]:
        found: list[tuple[bytes, Any]] = []

        def arrived() -> bool:
            with suppress(BlockingIOError):
                found.append(self.target.recvfrom(1 << 16))
            return bool(found)

        await until(arrived, "a datagram at the target")
        return found[0]


def client_of(lab: Lab, host: str = "127.0.0.1") -> socket.socket:
    sock = lab.own(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind((host, 0))
    return sock


def test_datagrams_of_each_sender_have_their_own_way(run: Run) -> None:
    async def main(lab: Lab) -> None:
        datagrams = Datagrams(lab)
        datagrams.egress.ready.set()
        clients = [client_of(lab) for _ in range(3)]
        ways = set()
        for number, client in enumerate(clients):
            client.sendto(b"%d" % number, datagrams.place)
            data, way = await datagrams.heard()
            assert data == b"%d" % number
            ways.add(way)
            datagrams.target.sendto(b"answer", way)
            assert await receive(client) == b"answer"
        assert len(ways) == 3
        await until(lambda: datagrams.forward.moved == (3, 18), "all is counted while it lives")
        datagrams.forward.close()
        await until(lambda: not lab.engine.tasks, "the associations end")
        assert datagrams.forward.moved == (3, 18)
        assert datagrams.said == []

    run(main)


def test_the_first_ones_wait_for_the_way(run: Run) -> None:
    async def main(lab: Lab) -> None:
        datagrams = Datagrams(lab)
        client = client_of(lab)
        for number in range(HELD + 2):
            client.sendto(b"%d" % number, datagrams.place)
        await until(lambda: datagrams.egress.tasks, "an association is asked for")
        (flow,) = datagrams.egress.tasks
        await until(lambda: flow.sent.dropped.get("too many waiting") == 2, "those beyond the bound are dropped")
        datagrams.egress.ready.set()
        assert [(await datagrams.heard())[0] for _ in range(HELD)] == [b"%d" % number for number in range(HELD)]
        datagrams.forward.close()

    run(main)


def test_many_in_a_row_come_back_in_order(run: Run) -> None:
    async def main(lab: Lab) -> None:
        datagrams = Datagrams(lab)
        datagrams.egress.ready.set()
        client = client_of(lab)
        client.sendto(b"x", datagrams.place)
        _, way = await datagrams.heard()
        for start in range(0, 200, 20):
            batch = [bytes((index,)) * 1200 for index in range(start, start + 20)]
            for data in batch:
                datagrams.target.sendto(data, way)
            assert [await receive(client) for _ in batch] == batch
        datagrams.forward.close()

    run(main)


def test_no_way(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, and for a while nobody is asked again, however much is sent."""

    async def main(lab: Lab) -> None:
        datagrams = Datagrams(lab)
        datagrams.egress.failure = ProxyConnectionError("the proxy is gone")
        datagrams.egress.ready.set()
        client = client_of(lab)
        monkeypatch.setattr(forwarding, "ASK_AGAIN", 1000)
        for asked, dropped in ((1, 0), (1, 1), (1, 2)):
            client.sendto(b"x", datagrams.place)
            await until(lambda count=asked: len(datagrams.said) == count, "it is said")  # type: ignore[misc]
            await until(
                lambda count=dropped: datagrams.forward.dropped.dropped.get("no way", 0) == count,  # type: ignore[misc]
                "what comes meanwhile is dropped",
            )
        monkeypatch.setattr(forwarding, "ASK_AGAIN", 0)
        datagrams.forward._ask_after = 0.0  # the time is over
        await until(lambda: client.sendto(b"x", datagrams.place) and len(datagrams.said) >= 3, "others are asked again")
        assert set(datagrams.said) == {"the proxy is gone"}
        datagrams.forward.close()

    run(main)


@contextmanager
def patience(monkeypatch: pytest.MonkeyPatch, seconds: float) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(forwarding, "DATAGRAM_IDLE", seconds)
        yield


def test_who_is_silent_is_forgotten(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(lab: Lab) -> None:
        datagrams = Datagrams(lab)
        datagrams.egress.ready.set()
        with patience(monkeypatch, 0.1):
            client_of(lab).sendto(b"x", datagrams.place)
            await datagrams.heard()
            await until(lambda: not lab.engine.tasks, "the association ends")
        assert datagrams.said == []
        datagrams.forward.close()

    run(main)


def test_too_many_senders(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "CORRESPONDENTS", 2)
    assert CORRESPONDENTS > 2

    async def main(lab: Lab) -> None:
        datagrams = Datagrams(lab)
        datagrams.egress.ready.set()
        clients = [client_of(lab) for _ in range(3)]
        for client in clients[:2]:
            client.sendto(b"x", datagrams.place)
            await datagrams.heard()
        clients[2].sendto(b"x", datagrams.place)
        await until(lambda: datagrams.forward.dropped.dropped.get("too many senders"), "it is dropped")
        datagrams.forward.close()

    run(main)
