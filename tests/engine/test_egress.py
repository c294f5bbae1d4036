from __future__ import annotations

import asyncio
import socket
from collections.abc import Hashable, Sequence
from typing import Any

import pytest

from hosier.engine.association import Vetted
from hosier.engine.egress import DirectEgress
from hosier.engine.endpoint import Endpoint
from hosier.engine.resolve import Resolver
from hosier.engine.task import Task
from hosier.errors import PolicyDenied
from hosier.protocol.address import IPV4, IPV6, NAME, Address

from .harness import Lab, Run, exactly, receive

LOOPBACK = bytes((127, 0, 0, 1))
MAPPED = bytes(10) + b"\xff\xff" + LOOPBACK


class Names(Resolver):
    """Knows its answers by heart."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *hosts: tuple[int, bytes], error: OSError | None = None
    ) -> None:
        super().__init__(loop)
        self.hosts = hosts
        self.error = error
        self.asked: list[bytes] = []

    async def resolve(self, name: bytes, port: int, source: Hashable = None) -> tuple[Address, ...]:
        self.asked.append(name)
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return tuple(Address(kind, octets, port) for kind, octets in self.hosts)


class Vet:
    """Writes down what it sees, and lets pass what it is told."""

    def __init__(self, *allowed: Address) -> None:
        self.allowed = allowed
        self.seen: list[list[Address]] = []

    def __call__(self, addresses: Sequence[Address]) -> Sequence[Address]:
        self.seen.append(list(addresses))
        passed = [address for address in addresses if not self.allowed or address in self.allowed]
        if not passed:
            raise PolicyDenied("none of them")
        return passed


def target(lab: Lab, host: str = "127.0.0.1") -> tuple[socket.socket, int]:
    sock = lab.own(socket.create_server((host, 0)))
    return sock, sock.getsockname()[1]


async def connect(lab: Lab, names: Names, address: Address, vet: Vetted) -> Any:
    """What connecting comes to; a connection is used once and closed."""

    async def work(task: Task) -> tuple[Address, Any]:
        endpoint, dialled = await DirectEgress(lab.engine, names).connect(task, address, vet)
        try:
            assert isinstance(endpoint, Endpoint)
            assert endpoint.owner is task
            await endpoint.send_all(b"hello")
            return dialled, endpoint.sock.getpeername()
        finally:
            endpoint.close()

    story = lab.story(work)
    while not story.ended:
        await asyncio.sleep(0)
    if story.error is not None:
        raise story.error
    return story.result


async def arrived(sock: socket.socket) -> None:
    connection, _ = await asyncio.get_running_loop().sock_accept(sock)
    with connection:
        assert await exactly(connection, 5) == b"hello"
        assert await receive(connection) == b""


def test_literal_is_not_resolved(run: Run) -> None:
    async def main(lab: Lab) -> None:
        sock, port = target(lab)
        names, vet, address = Names(lab.loop), Vet(), Address(IPV4, LOOPBACK, port)
        assert await connect(lab, names, address, vet) == (address, ("127.0.0.1", port))
        await arrived(sock)
        assert names.asked == []
        assert vet.seen == [[address]]

    run(main)


def test_name_is_resolved(run: Run) -> None:
    async def main(lab: Lab) -> None:
        sock, port = target(lab)
        names, vet, address = Names(lab.loop, (IPV4, LOOPBACK)), Vet(), Address(IPV4, LOOPBACK, port)
        assert await connect(lab, names, Address(NAME, b"a.example", port), vet) == (address, ("127.0.0.1", port))
        await arrived(sock)
        assert names.asked == [b"a.example"]
        assert vet.seen == [[address]]

    run(main)


def test_vet_sees_all_that_a_name_stands_for_without_disguise(run: Run) -> None:
    """A name that stands for an IPv4-mapped address must not get past a rule about the IPv4 one."""

    async def main(lab: Lab) -> None:
        sock, port = target(lab)
        other = Address(IPV6, socket.inet_pton(socket.AF_INET6, "2001:db8::1"), port)
        names = Names(lab.loop, (IPV6, MAPPED), other[:2])
        plain = Address(IPV4, LOOPBACK, port)
        vet = Vet(plain)
        dialled, peer = await connect(lab, names, Address(NAME, b"a.example", port), vet)
        assert vet.seen == [[plain, other]]
        assert dialled == plain
        assert peer == ("127.0.0.1", port)
        await arrived(sock)

    run(main)


def test_only_what_was_vetted_is_dialled(run: Run) -> None:
    async def main(lab: Lab) -> None:
        forbidden, port = target(lab, "127.0.0.2")
        allowed = lab.own(socket.create_server(("127.0.0.3", port)))
        names = Names(lab.loop, (IPV4, bytes((127, 0, 0, 2))), (IPV4, bytes((127, 0, 0, 3))))
        address = Address(IPV4, bytes((127, 0, 0, 3)), port)
        dialled, _ = await connect(lab, names, Address(NAME, b"a.example", port), Vet(address))
        assert dialled == address
        await arrived(allowed)
        with pytest.raises(BlockingIOError):
            forbidden.accept()

    run(main)


@pytest.mark.parametrize("kind", [IPV4, NAME])
def test_refusal_passes_and_nothing_is_dialled(run: Run, kind: int) -> None:
    async def main(lab: Lab) -> None:
        sock, port = target(lab)
        names = Names(lab.loop, (IPV4, LOOPBACK))
        nowhere = Address(IPV4, bytes((192, 0, 2, 1)), 1)
        address = Address(kind, LOOPBACK if kind == IPV4 else b"a.example", port)

        async def work(task: Task) -> str:
            with pytest.raises(PolicyDenied) as caught:
                await DirectEgress(lab.engine, names).connect(task, address, Vet(nowhere))
            return caught.value.reason

        story = lab.story(work)
        while not story.ended:
            await asyncio.sleep(0)
        assert story.result == "none of them"
        with pytest.raises(BlockingIOError):
            sock.accept()

    run(main)


def test_name_that_does_not_resolve(run: Run) -> None:
    async def main(lab: Lab) -> None:
        names, vet = Names(lab.loop, error=socket.gaierror(socket.EAI_NONAME, "no such name")), Vet()
        with pytest.raises(socket.gaierror, match="no such name"):
            await connect(lab, names, Address(NAME, b"a.example", 80), vet)
        assert vet.seen == []

    run(main)


def test_target_that_refuses(run: Run) -> None:
    async def main(lab: Lab) -> None:
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))  # bound, not listening
            with pytest.raises(ConnectionRefusedError):
                await connect(lab, Names(lab.loop), Address(IPV4, LOOPBACK, reserved.getsockname()[1]), Vet())

    run(main)
