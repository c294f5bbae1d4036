"""What a user's program may look like, with every public name of the client: mypy --strict reads it, nobody runs it."""

from __future__ import annotations

import asyncio
import socket
import ssl

import hosier
from hosier import aio


def blocking(chain: hosier.ProxyChain) -> bytes:
    proxy = hosier.Proxy("socks5h://ann:x@h", ssl_context=ssl.create_default_context(), source_address=("::1", 0))
    other: hosier.Proxy = proxy.with_credentials(b"bob")
    try:
        sock: socket.socket = hosier.connect([proxy, other, "h"], "example.com", 80, timeout=1.5, early=b"x")
    except hosier.ReplyError as error:
        code: int = error.code
        place: hosier.Place | None = error.place
        return f"{code} {place}".encode()
    except (hosier.AuthError, hosier.ProxyConnectionError, hosier.ProxyTimedOut, hosier.RemoteProtocolError):
        raise
    with hosier.bind(chain, "192.0.2.1", timeout=None) as listener:
        host, port = listener.address
        peer, (peer_host, peer_port) = listener.accept(1.0)
        names: tuple[str, int, str, int] = (host, port, peer_host, peer_port)
    with hosier.associate(chain, announce=True, fragment_size=1000) as datagrams:
        sent: int = datagrams.sendto(b"x", names[:2])
        data, (source, source_port) = datagrams.recvfrom()
        sent += datagrams.send_many([b"x", b"y"], (source, source_port))
        for payload, (sender, sender_port) in datagrams.recv_many():
            data += payload + f"{sender}:{sender_port}".encode()
        room: int = datagrams.max_payload("::1") + datagrams.max_payload() + sent + source_port
    address: str = hosier.resolve(chain, "example.com") + hosier.resolve_ptr(chain, source, timeout=1)
    chosen: hosier.Proxy | None = hosier.proxy_from_environment("example.com", 80, "https", environ={})
    choice: hosier.ProxyChoice = hosier.explain_environment("example.com", 80)
    return data + sock.recv(1) + peer.recv(room) + f"{address} {chosen} {choice.reason}".encode()


@hosier.socksify("h", bypass=["localhost"])
def unaware() -> bytes:
    with hosier.socksify(None), socket.create_connection(("example.com", 80)) as sock:
        return sock.recv(1)


def failures(error: hosier.SocksError) -> str:
    if isinstance(error, hosier.TunnelRefused):
        return f"HTTP {error.code}"
    if isinstance(error, hosier.TargetRefused | hosier.TargetTimedOut | hosier.TargetUnreachable):
        return str(error.errno)
    if isinstance(error, hosier.ReplyError):
        known = hosier.ReplyCode if error.code < hosier.OnionReplyCode.DESCRIPTOR_NOT_FOUND else hosier.OnionReplyCode
        return known(error.code).name
    if isinstance(error, hosier.PolicyDenied):
        return error.advice
    mistakes: tuple[type[hosier.SocksError], ...] = (hosier.ConfigError, hosier.LocalProtocolError)
    return "ours" if isinstance(error, mistakes) else str(isinstance(error, hosier.ProtocolError))


def kept(
    listener: hosier.BindListener,
    datagrams: hosier.ProxiedDatagramSocket,
    awaited: tuple[aio.BindListener, aio.DatagramEndpoint, aio.ProxiedDatagramTransport],
) -> tuple[int, int, int]:
    first, endpoint, transport = awaited
    first.close()
    return listener.fileno(), datagrams.fileno(), endpoint.max_payload() + transport.max_payload("::1")


async def served() -> str:
    async with hosier.Server(listen=["127.0.0.1:0"]) as server:
        return str(server.addresses[0])


class Echo(asyncio.DatagramProtocol):
    pass


async def awaited(chain: hosier.ProxyChain) -> bytes:
    sock: socket.socket = await aio.connect(chain, "example.com", 80, timeout=1)
    reader, writer = await aio.open_connection("example.com", 443, proxy=chain, ssl=True, limit=1000)
    transport, protocol = await aio.create_connection(asyncio.Protocol, "example.com", 80, proxy=chain)
    protocol.connection_made(transport)
    writer.write(b"x")
    async with await aio.bind(chain, "192.0.2.1") as listener:
        peer, address = await listener.accept()
    async with await aio.associate(chain) as datagrams:
        await datagrams.sendto(b"x", address)
        data, _ = await datagrams.recvfrom()
        await datagrams.send_many([data], address)
        data += b"".join(payload for payload, _ in await datagrams.recv_many())
    endpoint, echo = await aio.create_datagram_endpoint(Echo, proxy=chain)
    endpoint.sendto(b"x", address)
    endpoint.send_many([b"x"], address)
    echo.connection_made(endpoint)
    name: str = await aio.resolve(chain, "example.com") + await aio.resolve_ptr(chain, "192.0.2.1")
    return data + name.encode() + await reader.read() + sock.recv(1) + peer.recv(1)


async def protected() -> bytes:
    told = hosier.Gssapi(service="socks", host="proxy.example.org", level=1, accepted=[1, 2], delegate=False, nec=False)
    proxy = hosier.Proxy("h", gssapi=told, methods=["gssapi", "none"])
    sock = hosier.connect(proxy, "example.com", 80)
    if isinstance(sock, hosier.ProtectedSocket):
        sock = ssl.create_default_context().wrap_socket(sock, server_hostname="example.com")
    async with await aio.bind([proxy], "192.0.2.1") as listener:
        reader, writer, (host, port) = await listener.accept_streams(1.0, limit=1000)
    writer.write(f"{host} {port}".encode())
    return await reader.read() + sock.recv(1)
