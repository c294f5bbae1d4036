"""How a target is reached: three verbs, whatever lies between. The server's commands use nothing else."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..protocol.address import Address
from .dial import dial
from .endpoint import Endpoint
from .resolve import Resolver

if TYPE_CHECKING:
    from .poller import Engine
    from .task import Task

__all__ = ("DirectEgress", "Egress", "Reached")

Vetted = Callable[[Sequence[Address]], Sequence[Address]]
"""Given what a target stands for, the addresses that may be dialled; raises if there are none."""


class Reached(NamedTuple):
    """A target that was reached, and the address that was dialled for it."""

    endpoint: Endpoint
    dialled: Address


class Egress(Protocol):
    """A way to targets: straight out, through a proxy, through a chain of them."""

    async def connect(self, task: "Task", target: Address, vet: Vetted) -> Reached:
        """Connects to the target. ``vet`` sees every address just before it is dialled, so that what was judged and
        what is dialled cannot differ (B-28). Raises OSError, or what ``vet`` raises."""


class DirectEgress:
    """Straight out of this machine."""

    def __init__(self, engine: "Engine", resolver: Resolver) -> None:
        self._engine = engine
        self._resolver = resolver

    async def connect(self, task: "Task", target: Address, vet: Vetted) -> Reached:
        if target.is_name:
            addresses = [found.canonical() for found in await self._resolver.resolve(target.octets, target.port)]
        else:
            addresses = [target]
        endpoint, dialled = await dial(task, self._engine, vet(addresses))
        return Reached(endpoint, dialled)
