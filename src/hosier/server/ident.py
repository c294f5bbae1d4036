"""Who a SOCKS4 client is: it says a name and cannot prove it, unless its machine's ident daemon does (RFC 1413)."""

from typing import TYPE_CHECKING

from ..engine.dial import dial_from
from ..engine.task import foreign
from ..errors import PolicyDenied, RemoteProtocolError, ReplyCode
from ..protocol.ident import IdentAnswer, decode_answer, encode_query
from ..protocol.messages import Request
from .doorkeeper import Claim

if TYPE_CHECKING:
    from .session import Session

__all__ = ("identify",)

_READ = 1024
_NO_LOGIN_NAME = b"OTHER"  # the operating system that stands for "this is no login name" (ID-REQ-08)


async def identify(session: "Session", request: Request) -> None:
    """Establishes the session's user from the USERID, as far as the server demands.

    Raises PolicyDenied: 91 for a name that is no user's or where nothing could prove it, 92 where the client's ident
    daemon gives no identity (ID-REQ-16, 18), 93 where it gives another one (ID-REQ-17).
    """
    server, settings = session.server, session.server.settings
    if not server.admits_socks4:
        raise PolicyDenied("SOCKS4 cannot authenticate, and authentication is required", advice="use SOCKS5")
    claim = Claim(session.peer[0], request.user_id, "ident" if settings.ident else "userid", 4)
    server.doorkeeper.admit(claim)
    if settings.ident:
        await _prove(session, claim)
    if server.users is not None and not await foreign(session.engine.loop, server.users.knows(request.user_id)):
        server.doorkeeper.failed(claim, "unknown-user")
        raise PolicyDenied("the SOCKS4 user id is no user's")
    session.user = request.user_id.decode("utf-8", "backslashreplace")


async def _prove(session: "Session", claim: Claim) -> None:
    """Lets the ident daemon decide; that has a limit of its own, outside the handshake's."""
    limits = session.server.settings.limits
    session.set_limit("ident", limits.ident)
    try:
        answer = await _ask(session)
    except OSError as error:  # our limit and an answer that makes no sense are such, too
        session.server.doorkeeper.failed(claim, "ident-unreachable", counts=False)
        raise PolicyDenied(
            f"no identity from the client's ident daemon: {error.strerror or error}",
            code=ReplyCode.SOCKS4_IDENT_UNREACHABLE,
        ) from None
    session.set_limit("handshake", limits.handshake)
    if answer.system == _NO_LOGIN_NAME or not answer.names(claim.user or b""):
        session.server.doorkeeper.failed(claim, "ident-mismatch")
        raise PolicyDenied(
            "the client's ident daemon names another user than the request", code=ReplyCode.SOCKS4_IDENT_MISMATCH
        )


async def _ask(session: "Session") -> IdentAnswer:
    """The daemon's answer, which is an identity. Raises OSError if there is none."""
    # Daemons know connections by the addresses of both ends, so we ask from where the client reached us (ID-REQ-02).
    local = session.client.sock.getsockname()
    remote = (session.peer[0], session.server.settings.ident_port, *session.peer[2:])
    query = encode_query(session.peer[1], local[1])
    data = b""
    daemon = await dial_from(session, session.engine, local, remote)
    try:
        await daemon.send_all(query)
        while (found := decode_answer(data)) is None:
            piece = await daemon.recv(_READ)
            if not piece:
                raise RemoteProtocolError("ident daemon closed before the end of its answer")  # ID-REQ-13
            data += piece
    finally:
        daemon.close()
    answer = found[0]
    if (answer.client_port, answer.server_port) != (session.peer[1], local[1]):
        raise RemoteProtocolError("ident daemon answered for other ports")  # ID-REQ-07
    if answer.user_id is None:
        raise RemoteProtocolError(f"ident daemon answered {answer.error.decode('ascii', 'backslashreplace')}")
    return answer
