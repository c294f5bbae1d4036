"""How a target is reached: three verbs, whatever lies between. The server's commands use nothing else."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from ..protocol.address import NAME, Address
from .association import Correspondent, DirectAssociation, Vetted
from .bind import Advertise, listen_for_peer
from .dial import Departures, dial, dial_one
from .endpoint import Endpoint
from .ports import PortRange
from .resolve import Resolver
from .segments import Lane

if TYPE_CHECKING:
    from .poller import Engine
    from .task import Task

__all__ = ("Association", "Binding", "DirectEgress", "Egress", "MakeEgress")


class Binding(Protocol):
    """A place where one peer may connect, until it has or ``close()`` is called."""

    @property
    def bound(self) -> Address:
        """Where the peer is to connect."""

    def expects(self, peer: Address) -> bool:
        """Whether this is who was waited for."""

    def accept(self, control: Endpoint) -> Awaitable[tuple[Endpoint, Address] | None]:
        """The first who connects, and where from; None if the peer of ``control`` ends its stream before. Raises
        OSError when awaited."""

    def close(self) -> None:
        """Nobody can connect any more; a second time is harmless."""


class Association(Protocol):
    """A way for datagrams to many targets."""

    def lane(self, target: Address, vet: Vetted, sources: Departures | None = None) -> Lane:
        """The way to one target, a name or an address; ``vet`` sees its address before anything is sent there.
        Raises OSError, or what ``vet`` raises."""

    def close(self) -> None:
        """Ends it at once; nothing more comes or goes."""


class Egress(Protocol):
    """A way to targets: straight out, through a proxy, through a chain of them."""

    def connect(
        self, task: "Task", target: Address, vet: Vetted, sources: Departures | None = None
    ) -> Awaitable[tuple[Endpoint, Address | None]]:
        """Connects to the target: the endpoint, and the address that was dialled; None if others looked it up.

        ``vet`` sees every address just before it is dialled, so that what was judged and what is dialled cannot differ
        (B-28), and whatever is passed on, even a name. ``sources`` tells where to leave from towards what it lets
        pass. Raises OSError, or what ``vet`` raises, when called or when awaited.
        """

    def bind(
        self, task: "Task", peer: Address, near: Address, vet: Vetted, sources: Departures | None = None
    ) -> Awaitable[Binding]:
        """Listens for a peer: an address, any address of a name, or, for an unspecified address, anyone of its
        family. The peer's port, if it is not 0, is the wished one to listen on.

        ``near``: the address at which the client reached us, told where nothing better is known. ``vet`` sees every
        address that is expected. Raises OSError, or what ``vet`` raises, when called or when awaited.
        """

    def associate(self, task: "Task", correspondent: Correspondent, *, buffer: int) -> Awaitable[Association]:
        """A way for datagrams; what comes back goes to ``correspondent``. ``buffer``: octets that the system may hold.

        Raises OSError.
        """


MakeEgress = Callable[["Engine", Resolver], Egress]
"""Makes a way to targets, once there is an engine."""


class DirectEgress:
    """Straight out of this machine.

    Args:
        advertise: what the outside calls an address of this machine.
        ports: where to listen for peers; None: any free port.
    """

    def __init__(
        self,
        engine: "Engine",
        resolver: Resolver,
        *,
        advertise: Advertise = lambda local: local,
        ports: PortRange | None = None,
    ) -> None:
        self._engine = engine
        self._resolver = resolver
        self._advertise = advertise
        self._ports = ports

    def connect(
        self, task: "Task", target: Address, vet: Vetted, sources: Departures | None = None
    ) -> Awaitable[tuple[Endpoint, Address]]:
        if target[0] == NAME:
            return self._connect_by_name(task, target, vet, sources)
        return dial_one(task, self._engine, vet((target,))[0], sources)

    async def _connect_by_name(
        self, task: "Task", target: Address, vet: Vetted, sources: Departures | None
    ) -> tuple[Endpoint, Address]:
        return await dial(task, self._engine, vet(await self._resolver.look_up(task, target)), sources)

    async def bind(
        self, task: "Task", peer: Address, near: Address, vet: Vetted, sources: Departures | None = None
    ) -> Binding:
        peers: Sequence[Address] = (peer,)
        if peer.kind == NAME:
            peers = vet(await self._resolver.look_up(task, peer))
        elif any(peer.octets):
            peers = vet(peers)
        return listen_for_peer(
            task, self._engine, peers, near, advertise=self._advertise, ports=self._ports, sources=sources
        )

    async def associate(self, task: "Task", correspondent: Correspondent, *, buffer: int) -> DirectAssociation:
        return DirectAssociation(self._engine, self._resolver, correspondent, buffer=buffer, source=task.source)
