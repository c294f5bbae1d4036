"""CONNECT (RFC 1928 §6; SOCKS4): reach the target, tell the truth about it, join the two."""

from typing import TYPE_CHECKING

from ...engine.relay import Relay
from ...protocol.messages import Request

if TYPE_CHECKING:
    from ..session import Session

__all__ = ("connect",)


async def connect(session: "Session", request: Request) -> bytes:
    """Success is reported only after the connection stands (S4-REQ-13, S5-REQ-56)."""
    server, connection = session.server, session.connection
    assert connection is not None  # it lives until the command is done
    target = request.address.canonical()
    session.set_limit("connect", server.settings.limits.connect)
    judge = server.judging(session, target)
    try:
        far, session.dialled = await server.egress.connect(session, target, judge.vet, judge.sources)
    except OSError as error:
        await session.fail("connect", error)
        return b""
    if by_rules := judge is not server.policy:
        server.reviews.settle(session, judge, far)
    session.relay = Relay(session, session.client, far, server.settings.limits.idle, connection.layer)
    if by_rules and session.verdict.budgets:  # type: ignore[union-attr]  # it is settled
        server.draw(session)
    session.reply = 0
    reply, handoff = connection.grant(far.bound)  # S5-REQ-53
    if rest := session.client.send_some(reply):
        await session.client.send_all(rest)
    if handoff.wrapped:
        session.relay.take_wrapped(handoff.wrapped)
    return handoff.leftover
