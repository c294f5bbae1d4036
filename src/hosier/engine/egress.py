"""How a target is reached: three verbs, whatever lies between. The server's commands use nothing else."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from ..protocol.address import NAME, Address
from .dial import dial
from .endpoint import Endpoint
from .resolve import Resolver

if TYPE_CHECKING:
    from .poller import Engine
    from .task import Task

__all__ = ("DirectEgress", "Egress")

Vetted = Callable[[Sequence[Address]], Sequence[Address]]
"""Given what a target stands for, the addresses that may be dialled; raises if there are none."""


class Egress(Protocol):
    """A way to targets: straight out, through a proxy, through a chain of them."""

    def connect(self, task: "Task", target: Address, vet: Vetted) -> Awaitable[tuple[Endpoint, Address]]:
        """Connects to the target: the endpoint, and the address that was dialled.

        ``vet`` sees every address just before it is dialled, so that what was judged and what is dialled cannot
        differ (B-28). Raises OSError, or what ``vet`` raises, when called or when awaited.
        """


class DirectEgress:
    """Straight out of this machine."""

    def __init__(self, engine: "Engine", resolver: Resolver) -> None:
        self._engine = engine
        self._resolver = resolver

    def connect(self, task: "Task", target: Address, vet: Vetted) -> Awaitable[tuple[Endpoint, Address]]:
        if target.kind == NAME:
            return self._connect_by_name(task, target, vet)
        return dial(task, self._engine, vet((target,)))

    async def _connect_by_name(self, task: "Task", target: Address, vet: Vetted) -> tuple[Endpoint, Address]:
        found = await self._resolver.resolve(target.octets, target.port)
        return await dial(task, self._engine, vet([address.canonical() for address in found]))
