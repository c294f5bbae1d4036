"""The steps of a way through proxies, on the engine's endpoints: arrive at the nearest one, talk to each."""

import os
from collections.abc import Sequence
from errno import ECONNRESET
from socket import AF_UNIX, SOCK_STREAM, SocketType
from typing import TYPE_CHECKING, Final

from ...engine.dial import dial, dial_from
from ...engine.endpoint import Endpoint
from ...engine.resolve import Resolver
from ...protocol.address import NAME, Address, address_of_socket, parse_address
from ...protocol.client_connection import ClientHandshake
from ...protocol.connection import Handoff
from ..http_connect import HttpConnect
from ..journey import AnyHandshake, Journey
from ..layered import LayeredHandshake
from ..lookup import refuse_onion
from ..proxy import Proxy

if TYPE_CHECKING:
    from ...engine.poller import Engine
    from ...engine.task import Task

__all__ = ("READ", "converse", "explained", "host_address", "places_of", "reach_proxy", "secure")

READ: Final = 4096
"""Octets at once; what comes behind the last answer is handed on."""

_NOTHING: Final = Handoff(b"", b"", None)


def places_of(proxy: Proxy) -> tuple[Address] | None:
    """Where a proxy is that needs no looking up and no address of ours to come from; None: that must be seen to."""
    if proxy.path is not None or proxy.source_address is not None:
        return None
    place = parse_address(proxy.host, proxy.port)
    return None if place.kind == NAME else (place,)


async def reach_proxy(task: "Task", engine: "Engine", resolver: Resolver, journey: Journey) -> Endpoint:
    """An endpoint connected to the nearest proxy. Raises OSError."""
    proxy = journey.proxy
    if proxy.path is not None:
        journey.step = "connect"
        return _connected_unix(task, engine, proxy.path)
    place = parse_address(proxy.host, proxy.port)
    found: Sequence[Address] = (place,)
    if place.kind == NAME:
        refuse_onion(proxy.host)
        found = await resolver.look_up(task, place)
    journey.step = "connect"
    if proxy.source_address is None:
        return (await dial(task, engine, found))[0]
    return await _dial_from(task, engine, proxy.source_address, found)


async def secure(endpoint: Endpoint, journey: Journey, said: bytes = b"") -> None:
    """TLS to the proxy, within whatever protects the way to it. ``said``: as below. Raises OSError."""
    from ..tls_stream import TlsStream, usual_context  # who has no proxy with TLS needs none of it

    journey.step = "TLS"
    proxy = journey.proxy
    stream = TlsStream(proxy.ssl_context or usual_context(), proxy.host, journey.below)
    out = stream.shake()
    while True:
        if out and (rest := endpoint.send_some(out)):
            await endpoint.send_all(rest)
        if stream.established:
            journey.lead_through(stream)
            return
        data = said or await endpoint.recv(READ)
        said = b""
        if not data:
            raise OSError(ECONNRESET, "the proxy closed the connection")
        out = stream.shake(data)


async def converse(
    endpoint: Endpoint, journey: Journey, target: Address, said: bytes = b""
) -> tuple[AnyHandshake, Handoff]:
    """The conversation with one proxy, up to its answer (of BIND, the first one), and what came behind that.

    ``said``: what came behind the answer of the proxy before. Raises OSError, SocksErrors among them.
    """
    handshake = journey.begin(target)
    counted = isinstance(handshake, HttpConnect)
    out = handshake.start()
    while True:
        if out and (rest := endpoint.send_some(out)):
            await endpoint.send_all(rest)
        if handshake.done or handshake.first_reply is not None:
            break
        data = said or await endpoint.recv(handshake.owed if counted else READ)
        said = b""
        if handshake.blocks:  # Kerberos may have to ask others: in a thread
            out = await endpoint.engine.loop.run_in_executor(None, handshake.feed, data)
        else:
            out = handshake.feed(data)
    if isinstance(handshake, HttpConnect | LayeredHandshake) or handshake.first_reply is not None:
        return handshake, _NOTHING  # what comes behind BIND's first answer, the handshake must see
    if isinstance(handshake, ClientHandshake) and handshake.layer is not None:
        return handshake, _NOTHING  # the journey takes over what is under a layer
    return handshake, handshake.detach()


def explained(journey: Journey, error: OSError) -> OSError:
    """The error to raise, with its place. A limit that strikes while the proxy is at work says nothing about the
    proxy: it is the target's (reply 6)."""
    return error if isinstance(error, TimeoutError) and journey.asked else journey.explain(error)


def host_address(endpoint: Endpoint, chain: Sequence[Proxy], bound: Address) -> Address:
    """An address in a reply; zeros stand for the proxy's own (S5-REQ-64, 76)."""
    if any(bound.octets):
        return bound
    if len(chain) == 1 and chain[0].path is None:
        return address_of_socket(endpoint.sock.getpeername())._replace(port=bound.port)
    return parse_address(chain[-1].host, bound.port)


# --- private ---


def _connected_unix(task: "Task", engine: "Engine", path: str) -> Endpoint:
    sock = SocketType(AF_UNIX, SOCK_STREAM)
    endpoint = Endpoint(engine, sock, task)
    try:
        sock.setblocking(False)
        if code := sock.connect_ex(path):
            raise OSError(code, os.strerror(code))
    except BaseException:
        endpoint.close()
        raise
    return endpoint


async def _dial_from(task: "Task", engine: "Engine", source: tuple[str, int], found: Sequence[Address]) -> Endpoint:
    """The first of the addresses that can be reached from there."""
    *others, last = [address for address in found if (":" in source[0]) == (":" in address.host)] or found
    for address in others:
        try:
            return await dial_from(task, engine, source, address.sockaddr)
        except OSError:
            continue
    return await dial_from(task, engine, source, last.sockaddr)
