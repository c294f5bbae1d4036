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

from ...engine.association import Correspondent, Vetted
from ...engine.dial import Departures, dial
from ...engine.endpoint import Endpoint
from ...engine.resolve import Resolver
from ...errors import ReplyCode, reply_error
from ...protocol.address import IPV4, IPV6, NAME, UNSPECIFIED, Address
from ...protocol.auth.base import SecurityLayer
from ...protocol.connection import Handoff
from ...protocol.messages import Command
from ..journey import AnyHandshake, Journey
from ..proxy import Proxy, ProxyChain, chain_of
from .association import ProxiedAssociation
from .binding import ProxiedBinding
from .loops import LoopGuard
from .steps import converse, explained, host_address, places_of, reach_proxy, secure
from .tunnel import tunnel_of

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

    Args:
        may_lead_back: whether this process takes requests from others, so that a chain may lead back to it.

    Raises ConfigError for a chain that cannot be.
    """

    def __init__(self, engine: "Engine", resolver: Resolver, chain: ProxyChain, *, may_lead_back: bool = True) -> None:
        self.chain = chain_of(chain)
        self._engine = engine
        self._resolver = resolver
        self._last = self.chain[-1]
        self._guard = LoopGuard() if may_lead_back else None
        self._takes_everything = self._last.remote_dns and self._last.protocol != "socks4"
        self._nearest = places_of(self.chain[0])

    def connect(
        self, task: "Task", target: Address, vet: Vetted, sources: Departures | None = None
    ) -> Awaitable[tuple[Endpoint, Address | None]]:
        """As :meth:`Egress.connect`; the address that was dialled is not known of a name. Where we leave from is the
        nearest proxy's business."""
        if target.kind == NAME and self._guard is not None:
            self._guard.refuse_question(target)
        if target.kind != NAME or self._last.remote_dns:
            vet((target,))
        return self._connect(task, target, vet)

    async def bind(
        self, task: "Task", peer: Address, near: Address, vet: Vetted, sources: Departures | None = None
    ) -> ProxiedBinding:
        """As :meth:`Egress.bind`: the last proxy listens, and decides what address it tells."""
        if self._last.protocol == "http":
            raise reply_error(ReplyCode.COMMAND_NOT_SUPPORTED, f"{self._last} has no BIND")
        if any(peer.octets) and (peer.kind != NAME or self._last.remote_dns):
            vet((peer,))
        journey = Journey(self.chain, Command.BIND, await self._expressible(task, peer, vet), None)
        endpoint, handshake, _ = await self._travel(task, journey)
        return ProxiedBinding(task, journey, endpoint, handshake)

    async def associate(self, task: "Task", correspondent: Correspondent, *, buffer: int) -> ProxiedAssociation:
        """As :meth:`Egress.associate`: an association with each proxy, each reached through those before it, so that
        datagrams go through all of them. Interrupts the task with an OSError when one of them ends it."""
        for proxy in self.chain:
            if reason := _why_no_datagrams(proxy, len(self.chain)):
                raise reply_error(ReplyCode.COMMAND_NOT_SUPPORTED, f"no datagrams through {proxy}: {reason}")
        layer: SecurityLayer | None = None
        controls: list[Endpoint] = []
        relays: list[Address] = []
        try:
            for hops in range(1, len(self.chain) + 1):
                journey = Journey(self.chain[:hops], Command.UDP_ASSOCIATE, UNSPECIFIED, None)
                endpoint, handshake, _ = await self._travel(task, journey)
                controls.append(endpoint)
                assert handshake.reply is not None  # or it would have raised
                stream = journey.take_stream()
                layer = None if stream is None else stream.layer
                relays.append(host_address(endpoint, journey.chain, handshake.reply.bound))
            if relays[0].kind == NAME:  # a proxy may well tell one
                (relays[0], *_) = await self._resolver.look_up(task, relays[0])
            return ProxiedAssociation(
                *(task, self._resolver, correspondent, controls, relays),
                buffer=buffer,
                names=self._last.remote_dns,
                layer=layer,
            )
        except BaseException:
            for endpoint in controls:
                endpoint.close()
            raise

    # --- private ---

    async def _connect(self, task: "Task", target: Address, vet: Vetted) -> tuple[Endpoint, Address | None]:
        asked = target if self._takes_everything else await self._expressible(task, target, vet)
        journey = Journey(self.chain, Command.CONNECT, asked, None)
        endpoint, handshake, handoff = await self._travel(task, journey)
        reply = handshake.reply
        assert reply is not None  # or it would have raised
        bound = reply.bound if reply.bound.kind != NAME else UNSPECIFIED
        endpoint.tunnel = tunnel_of(journey, endpoint, bound, handoff.leftover)
        return endpoint, None if asked.kind == NAME else asked

    async def _expressible(self, task: "Task", target: Address, vet: Vetted) -> Address:
        """The target in a form that the last proxy understands. Raises OSError."""
        last = self._last
        only_ipv4 = last.protocol == "socks4"
        if target.kind == NAME and not last.remote_dns:
            return await self._looked_up(task, target, vet, only_ipv4=only_ipv4)
        if target.kind == IPV6 and only_ipv4:
            raise OSError(EAFNOSUPPORT, f"{last} speaks SOCKS4, which has no IPv6 addresses")
        return target

    async def _looked_up(self, task: "Task", name: Address, vet: Vetted, *, only_ipv4: bool) -> Address:
        found: Sequence[Address] = await self._resolver.look_up(task, name)
        if only_ipv4:
            found = [address for address in found if address.kind == IPV4]
            if not found:
                raise OSError(EAFNOSUPPORT, f"{name.host} has no IPv4 address, and {self._last} speaks SOCKS4")
        return vet(found)[0]

    async def _travel(self, task: "Task", journey: Journey) -> tuple[Endpoint, AnyHandshake, Handoff]:
        """Through all proxies, up to the last one's answer; for BIND, its first answer. Raises OSError."""
        guard, target = self._guard, journey.destination
        if guard is None:
            return await self._walk(task, journey)
        question = guard.enter(target)
        try:
            if question is not None:
                await self._ask(task, guard, question)
            return await self._walk(task, journey)
        finally:
            guard.leave(target)

    async def _ask(self, task: "Task", guard: LoopGuard, question: Address) -> None:
        """Whether the chain leads back: raises OSError if it does."""
        try:
            (await self._walk(task, Journey(self.chain, Command.CONNECT, question, None)))[0].close()
        except OSError:
            pass  # as it should be: there is no such name
        finally:
            guard.answered()

    async def _walk(self, task: "Task", journey: Journey) -> tuple[Endpoint, AnyHandshake, Handoff]:
        try:
            if self._nearest is None:
                endpoint = await reach_proxy(task, self._engine, self._resolver, journey)
            else:
                journey.step = "connect"
                endpoint, _ = await dial(task, self._engine, self._nearest)
            said = b""
            try:
                while True:
                    if journey.proxy.tls:
                        await secure(endpoint, journey, said)
                        said = b""
                    is_last = journey.hop + 1 == len(journey.chain)
                    target = journey.destination if is_last else await self._next(task, journey)
                    handshake, handoff = await converse(endpoint, journey, target, said)
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

    async def _next(self, task: "Task", journey: Journey) -> Address:
        """Where this proxy is to lead: an address of the next one, where it does not look names up itself."""
        target, proxy = journey.target, journey.proxy
        if proxy.remote_dns or not target.is_name:
            return target
        journey.step = "lookup target"
        for address in await self._resolver.look_up(task, target):
            if address.kind == IPV4 or proxy.protocol != "socks4":
                return address
        raise gaierror(EAI_NONAME, "the name has no IPv4 address, and SOCKS4 no other")


def _why_no_datagrams(proxy: Proxy, hops: int) -> str:
    """Empty: they can go that way. What was to be protected must not go in the clear instead."""
    if proxy.protocol != "socks5":
        return "only SOCKS5 has them"
    if proxy.path is not None:
        return "nothing but a stream leads through a unix socket"
    if proxy.tls:
        return "they would go beside TLS, in the clear"
    if proxy.gssapi is not None and hops > 1:
        return "Kerberos protects them towards a single upstream, not in a chain"
    return ""
