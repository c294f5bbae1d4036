"""CONNECT (RFC 1928 §6; SOCKS4): reach the target, tell the truth about it, join the two."""

from socket import AF_INET6, inet_aton, inet_pton
from typing import TYPE_CHECKING, Final

from ...engine.relay import Relay
from ...errors import reply_code_for
from ...protocol.address import IPV4, IPV6, Address
from ...protocol.messages import Reply, Request

if TYPE_CHECKING:
    from ...engine.endpoint import Endpoint
    from ..session import Session

__all__ = ("connect",)

_new: Final = tuple.__new__  # without the named tuples' Python-level constructors


async def connect(session: "Session", request: Request) -> bytes:
    """Success is reported only after the connection stands (S4-REQ-13, S5-REQ-56)."""
    server, connection = session.server, session.connection
    assert connection is not None  # it lives until the command is done
    target = request.address.canonical()
    session.set_limit("connect", server.settings.limits.connect)
    try:
        far, session.dialled = await server.egress.connect(session, target, server.policy.vet)
    except OSError as error:
        session.end = f"connect failed: {error.strerror or error}"
        server.explain(session, session.end)
        await session.refuse(reply_code_for(error))
        return b""
    session.relay = Relay(session, session.client, far, server.settings.limits.idle)
    session.reply = 0
    if rest := session.client.send_some(connection.send(_new(Reply, (0, _bound(far))))):
        await session.client.send_all(rest)
    handoff = connection.detach()
    if handoff.layer is not None:
        session.relay.protect_near(handoff.layer, handoff.wrapped)
    return handoff.leftover


def _bound(far: "Endpoint") -> Address:
    """Where the connection to the target comes from (S5-REQ-53)."""
    name = far.sock.getsockname()
    if len(name) == 2:
        return _new(Address, (IPV4, inet_aton(name[0]), name[1]))
    return Address(IPV6, inet_pton(AF_INET6, name[0].partition("%")[0]), name[1])
