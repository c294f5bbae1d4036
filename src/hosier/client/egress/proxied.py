"""How a target is reached through proxies: the three verbs of ``engine.egress``, spoken to a chain of gateways.

Names are passed on as they are, so that only the last gateway looks them up (RFC 3089 §4, NG-REQ-26). What is judged
here is therefore what can be seen here: an address that was asked for, or one that had to be looked up on this side.
What a name stands for, the last gateway sees and judges.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from errno import EAFNOSUPPORT
from socket import EAI_NONAME, gaierror
from typing import TYPE_CHECKING

from ...engine.egress import Sources, Vetted
from ...engine.endpoint import Endpoint, Tunnel
from ...engine.resolve import Resolver
from ...protocol.address import IPV4, IPV6, NAME, UNSPECIFIED, Address
from ...protocol.connection import Handoff
from ...protocol.messages import Command
from ..journey import AnyHandshake, Journey
from ..proxy import Proxy, ProxyChain, chain_of
from .steps import converse, explained, reach_proxy

if TYPE_CHECKING:
    from ...engine.poller import Engine
    from ...engine.task import Task

__all__ = ("ProxiedEgress", "Upstreams")


@dataclass(frozen=True)
class Upstreams:
    """A chain of proxies, before there is an engine: calling it makes the way through them."""

    chain: tuple[Proxy, ...]

    def __call__(self, engine: "Engine", resolver: Resolver) -> "ProxiedEgress":
        return ProxiedEgress(engine, resolver, self.chain)


class ProxiedEgress:
    """Through a proxy, or through several, the nearest first; each with its own version, method and credentials.

    Raises ConfigError for a chain that cannot be.
    """

    def __init__(self, engine: "Engine", resolver: Resolver, chain: ProxyChain) -> None:
        self.chain = chain_of(chain)
        self._engine = engine
        self._resolver = resolver
        self._last = self.chain[-1]

    def connect(
        self, task: "Task", target: Address, vet: Vetted, sources: Sources | None = None
    ) -> Awaitable[tuple[Endpoint, Address | None]]:
        """As :meth:`Egress.connect`; the address that was dialled is not known of a name. Where we leave from is the
        nearest proxy's business."""
        if target.kind != NAME or self._last.remote_dns:
            vet((target,))
        return self._connect(task, target, vet)

    # --- private ---

    async def _connect(self, task: "Task", target: Address, vet: Vetted) -> tuple[Endpoint, Address | None]:
        asked = await self._expressible(target, vet)
        endpoint, handshake, handoff = await self._travel(task, Command.CONNECT, asked)
        reply = handshake.reply
        assert reply is not None  # or it would have raised
        bound = reply.bound if reply.bound.kind != NAME else UNSPECIFIED
        endpoint.tunnel = Tunnel(bound, handoff.leftover)
        return endpoint, None if asked.kind == NAME else asked

    async def _expressible(self, target: Address, vet: Vetted) -> Address:
        """The target in a form that the last proxy understands. Raises OSError."""
        last = self._last
        only_ipv4 = last.protocol == "socks4"
        if target.kind == NAME and not last.remote_dns:
            return await self._looked_up(target, vet, only_ipv4=only_ipv4)
        if target.kind == IPV6 and only_ipv4:
            raise OSError(EAFNOSUPPORT, f"{last} speaks SOCKS4, which has no IPv6 addresses")
        return target

    async def _looked_up(self, name: Address, vet: Vetted, *, only_ipv4: bool) -> Address:
        found: Sequence[Address] = [
            address.canonical() for address in await self._resolver.resolve(name.octets, name.port)
        ]
        if only_ipv4:
            found = [address for address in found if address.kind == IPV4]
            if not found:
                raise OSError(EAFNOSUPPORT, f"{name.host} has no IPv4 address, and {self._last} speaks SOCKS4")
        return vet(found)[0]

    async def _travel(self, task: "Task", command: int, target: Address) -> tuple[Endpoint, AnyHandshake, Handoff]:
        """Through all proxies, up to the last one's answer; for BIND, its first answer."""
        journey = Journey(self.chain, command, target, None)
        try:
            endpoint = await reach_proxy(task, self._engine, self._resolver, journey)
            said = b""
            try:
                while True:
                    handshake, handoff = await converse(endpoint, journey, await self._next(journey), said)
                    if not journey.passed():
                        return endpoint, handshake, handoff
                    said = handoff.leftover
            except BaseException:
                endpoint.close()
                raise
        except OSError as error:
            cause = explained(journey, error)
            if cause is error:
                raise
            raise cause from error

    async def _next(self, journey: Journey) -> Address:
        """Where this proxy is to lead: an address of the next one, where it does not look names up itself."""
        target, proxy = journey.target, journey.proxy
        if proxy.remote_dns or not target.is_name:
            return target
        journey.step = "lookup target"
        for address in await self._resolver.resolve(target.octets, target.port):
            if address.kind == IPV4 or proxy.protocol != "socks4":
                return address.canonical()
        raise gaierror(EAI_NONAME, "the name has no IPv4 address, and SOCKS4 no other")
