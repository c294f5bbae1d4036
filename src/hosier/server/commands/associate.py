"""UDP ASSOCIATE (RFC 1928 §6, §7): a socket for the client's datagrams, and a way to its targets."""

from typing import TYPE_CHECKING

from ...engine.udp import datagram_socket
from ...errors import PolicyDenied
from ...protocol.address import IPV6, Address, address_of_socket
from ...protocol.auth.base import SecurityLayer
from ...protocol.messages import Reply, Request
from ..protected_udp_relay import ProtectedUdpRelay
from ..ruling import Judge
from ..udp_relay import UdpRelay

if TYPE_CHECKING:
    from ..session import Session

__all__ = ("associate", "judge_association")


async def associate(session: "Session", request: Request) -> bytes:
    """Leaves the association as the session's relay. What the client announces is believed only if it is its own
    address (A-13)."""
    connection = session.connection
    assert connection is not None  # it lives until the command is done
    judge = judge_association(session)
    try:
        bound = await _open(session, judge, request.address.canonical(), connection.layer)
    except OSError as error:
        await session.fail("associate", error)
        return b""
    session.reply = 0
    if rest := session.client.send_some(connection.send(Reply(0, bound))):
        await session.client.send_all(rest)
    connection.detach()  # what came early is discarded like all that comes later
    return b""


def judge_association(session: "Session") -> Judge:
    """Who says that there may be an association, before any of its targets is known. Raises PolicyDenied."""
    if not session.server.settings.udp.enabled:
        raise PolicyDenied("UDP ASSOCIATE is switched off")
    return session.server.judging(session, None)


async def _open(session: "Session", judge: Judge, announced: Address, layer: SecurityLayer | None) -> Address:
    """Makes the relay, under the layer of the control connection if it has one (S5-REQ-82); where the client is to
    send to: at our address of its control connection, or what the outside calls that (S5-REQ-77, A-11), so never at
    zeros (A-10)."""
    server = session.server
    udp, ports = server.settings.udp, server.settings.port_range
    client = address_of_socket(session.peer).canonical()
    near = address_of_socket(session.client.sock.getsockname()).canonical()
    scope = session.peer[3:] if client.kind == IPV6 else ()
    owner = session.user or client.host
    session.verdict = judge.verdict_of(None)
    server.draw(session)
    try:
        server.associations.enter(owner)
    except PolicyDenied:
        server.meter.limited("associations")
        raise
    sock = None
    try:
        sock = datagram_socket(near, scope=scope[0] if scope else 0, buffer=udp.buffer, ports=ports)
        relay = (
            UdpRelay(session, sock, client.host, scope, owner)
            if layer is None
            else ProtectedUdpRelay(session, sock, client.host, scope, owner, layer)
        )
    except BaseException:
        server.associations.leave(owner)
        if sock is not None:
            sock.close()
        raise
    try:
        bound = server.advertised.of(address_of_socket(sock.getsockname()))
        if announced.port and announced.octets in (client.octets, bytes(len(client.octets)), bytes(4)):
            relay.announced(announced.port)
        session.set_limit("connect", server.settings.limits.connect)
        relay.far = await server.egress.associate(session, relay, buffer=udp.buffer)
    except BaseException:
        relay.dissolve()
        raise
    session.relay = relay
    session.bound = bound
    return bound
