"""BIND (RFC 1928 §6; SOCKS4): listen for the one peer that the client expects, tell each of the other, join them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...engine.relay import Relay
from ...errors import PolicyDenied, ReplyCode, reply_code_for
from ...protocol.address import IPV4, Address, address_of_socket
from ...protocol.messages import Reply, Request
from ..ruling import Judge

if TYPE_CHECKING:
    from ...engine.egress import Binding
    from ...engine.endpoint import Endpoint
    from ..session import Session

__all__ = ("bind", "expected_peer", "speakable")

FIRST_FREE_PORT = 1024
"""Below are the ports of services, which nobody gets by wishing."""


async def bind(session: "Session", request: Request) -> bytes:
    """Two replies: where we listen, when we do (S5-REQ-61, 62), and who came, when it is the right one (S5-REQ-64).

    If the client ends its stream before, or nobody comes in time, nobody can connect any more (S4-REQ-37…40,
    S5-REQ-66, 67).
    """
    connection, client = session.connection, session.client
    assert connection is not None  # it lives until the command is done
    expected = expected_peer(session, request)
    judge = session.server.judging(session, expected)
    binding = await _listen(session, request, expected, judge)
    if binding is None:
        return b""
    try:
        speakable(request.version, (binding.bound,))
        session.verdict = judge.verdict_of(None)  # the rule that lets it wait
        session.server.draw(session)
        session.bound = binding.bound
        session.reply = 0
        await client.send_all(connection.send(Reply(0, binding.bound)))
        arrival = await _peer(session, binding)
    finally:
        binding.close()
    if arrival is None:
        return b""
    far, peer = arrival
    session.dialled = peer
    try:
        if not binding.expects(peer):  # S4-REQ-33, S5-REQ-58
            raise PolicyDenied(f"{peer} came, who was not expected")
        judge = session.server.judging(session, expected)  # by what is in force now: it may have been a long wait
        session.server.reviews.judge_peer(judge, peer)
        session.server.reviews.settle(session, judge)
        session.server.draw(session)
    except PolicyDenied as denied:
        far.close()
        await session.turn_away(denied, peer)
        return b""
    session.relay = Relay(session, client, far, session.server.settings.limits.idle, connection.layer)
    await client.send_all(connection.send(Reply(0, peer)))
    handoff = connection.detach()
    if handoff.wrapped:
        session.relay.take_wrapped(handoff.wrapped)
    return handoff.leftover


async def _listen(session: "Session", request: Request, expected: Address, judge: Judge) -> "Binding | None":
    """The place where the peer may connect; None if there is none and the client knows it."""
    server = session.server

    def vet(addresses: Sequence[Address]) -> Sequence[Address]:
        return judge.vet_peers(speakable(request.version, addresses))

    near = address_of_socket(session.client.sock.getsockname())
    session.set_limit("connect", server.settings.limits.connect)
    try:
        return await server.egress.bind(session, expected, near, vet, judge.sources)
    except OSError as error:
        await session.fail("bind", error)
        return None


def expected_peer(session: "Session", request: Request) -> Address:
    """Whom the client expects, with the port that it may wish for. Raises PolicyDenied."""
    settings = session.server.settings
    if not settings.bind.enabled:
        raise PolicyDenied("BIND is switched off", advice="allow it with --bind on")
    peer = request.address.canonical()
    anyone = not any(peer.octets)
    if anyone and not settings.bind.anyone:
        raise PolicyDenied("BIND without the peer's address would let anyone in", advice="allow it with --bind anyone")
    if not peer.is_name:
        speakable(request.version, (peer,))
    # where SOCKS4 names a peer, the port is that of the primary connection (S4-REQ-26).
    means_a_wish = request.version == 5 or anyone
    ports = settings.port_range
    allowed = anyone and peer.port >= FIRST_FREE_PORT if ports is None else peer.port in ports
    return peer if means_a_wish and allowed else peer._replace(port=0)


def speakable(version: int, addresses: Sequence[Address]) -> Sequence[Address]:
    """Those whose family the replies have room for. Raises PolicyDenied if there are none."""
    if version == 5:
        return addresses
    ipv4 = [address for address in addresses if address.kind == IPV4]
    if not ipv4:
        raise PolicyDenied(
            "SOCKS4 cannot tell an IPv6 address", advice="use SOCKS5", code=ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED
        )
    return ipv4


async def _peer(session: "Session", binding: "Binding") -> "tuple[Endpoint, Address] | None":
    """Who came; None if nobody did, and the client knows it or is gone."""
    session.set_limit("bind", session.server.settings.limits.bind)
    try:
        arrival = await binding.accept(session.client)
    except TimeoutError as error:
        session.end = "bind limit"
        session.server.explain(session, "nobody came within the bind limit")
        await session.refuse(reply_code_for(error))
        return None
    except OSError as error:
        await session.fail("bind", error)
        return None
    if arrival is None:
        session.end = "client left before the peer came"
    return arrival
