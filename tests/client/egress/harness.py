"""What the tests of the way through proxies share: names known by heart, a judge, and one way walked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import Any

from hosier.client.egress import ProxiedEgress
from hosier.client.proxy import ProxyChain
from hosier.engine.endpoint import Endpoint
from hosier.engine.resolve import Resolver
from hosier.engine.task import Task
from hosier.errors import PolicyDenied
from hosier.protocol.address import Address

from ...engine.harness import Lab, until


class Names(Resolver):
    """Knows what it is told and nothing else."""

    def __init__(self, loop: asyncio.AbstractEventLoop, **hosts: tuple[int, bytes]) -> None:
        super().__init__(loop)
        self.hosts = hosts
        self.asked: list[str] = []

    async def resolve(self, name: bytes, port: int, source: Hashable = None) -> tuple[Address, ...]:
        self.asked.append(name.decode())
        await asyncio.sleep(0)
        if name.decode() not in self.hosts:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return (Address(*self.hosts[name.decode()], port),)


class Vet:
    """Writes down what it sees, and refuses what it is told to."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.seen: list[str] = []

    def __call__(self, addresses: Sequence[Address]) -> Sequence[Address]:
        self.seen += map(str, addresses)
        if any(address.host in self.refused for address in addresses):
            raise PolicyDenied("not that one")
        return addresses


async def walked(lab: Lab, work: Callable[[Task], Coroutine[Any, Any, Any]]) -> Any:
    """What the work comes to, as a task of the engine."""
    refusals: list[PolicyDenied] = []

    async def careful(task: Task) -> Any:
        try:
            return await work(task)
        except PolicyDenied as denied:  # no crash of the task, but an answer
            refusals.append(denied)

    story = lab.story(careful)
    await until(lambda: story.ended, "the way ends")
    for error in (*refusals, story.error):
        if error is not None:
            raise error
    return story.result


async def connected(
    lab: Lab,
    chain: ProxyChain,
    target: Address,
    work: Callable[[Task, Endpoint], Coroutine[Any, Any, Any]],
    *,
    vet: Vet | None = None,
    names: Names | None = None,
    limit: float = 30.0,
) -> tuple[Any, Address | None]:
    """What is done with a connection through the chain comes to, and the address that was dialled; closed behind it."""

    async def way(task: Task) -> Any:
        task.set_limit("connect", limit)
        egress = ProxiedEgress(lab.engine, names or Names(lab.loop), chain)
        endpoint, dialled = await egress.connect(task, target, vet or Vet())
        try:
            return await work(task, endpoint), dialled
        finally:
            endpoint.close()

    result: tuple[Any, Address | None] = await walked(lab, way)
    return result
