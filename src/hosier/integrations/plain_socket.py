"""A plain socket for what takes nothing else with asyncio, also where TLS or GSSAPI protects the way to a proxy."""

import asyncio
import socket
from typing import cast

from ..client.aio.streams import connect, create_connection
from ..client.pairs import tcp_pair
from ..client.proxy import ProxyChain, chain_of

__all__ = ("connect_plain",)


async def connect_plain(proxy: ProxyChain, host: str, port: int, *, timeout: float | None = None) -> socket.socket:
    """As :func:`hosier.aio.connect`; where that has no plain socket, it is one end of a pair, and the loop carries.

    Such a socket's peer is this machine, and to be cut off looks like an end: protocols that tell one from the other,
    as SSH, TLS and WebSocket do, lose nothing by that.
    """
    chain = chain_of(proxy)
    if not any(one.tls or one.gssapi is not None for one in chain):
        return await connect(chain, host, port, timeout=timeout)
    _, far = await create_connection(_End, host, port, proxy=chain, timeout=timeout)
    try:
        theirs, ours = tcp_pair()
        try:
            _, near = await asyncio.get_running_loop().create_connection(_End, sock=ours)
        except BaseException:
            theirs.close()
            ours.close()
            raise
    except BaseException:
        far.transport.abort()
        raise
    near.join(far)
    far.join(near)
    near.keeper = asyncio.create_task(_keep(near, far), name=f"carry to {host}")
    return theirs


async def _keep(*ends: "_End") -> None:
    """Until both have ended; a program that is at its end cancels it, and nothing is left open."""
    try:
        for end in ends:
            await end.lost.wait()
    finally:
        for end in ends:
            if not end.lost.is_set():
                end.transport.abort()


class _End(asyncio.Protocol):
    """One of two connections; what comes from it goes to the other one."""

    transport: asyncio.Transport
    keeper: asyncio.Task[None]

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self._other: asyncio.Transport | None = None
        self._early = b""
        self._ended = False

    def join(self, other: "_End") -> None:
        """From now on; what came before, too."""
        self._other = other.transport
        if self._early:
            self._other.write(self._early)
        if self._ended:
            self._pass_the_end_on()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are of no class of asyncio's

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._early += data
        else:
            self._other.write(data)

    def eof_received(self) -> bool:
        self._ended = True
        self._pass_the_end_on()
        return self.transport.can_write_eof()  # half of it goes on, unless it is TLS

    def connection_lost(self, error: Exception | None) -> None:
        self._ended = True
        self.lost.set()
        if self._other is not None:
            self._other.close()

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other.resume_reading()

    def _pass_the_end_on(self) -> None:
        if self._other is None or self._other.is_closing():
            return
        if self._other.can_write_eof():
            self._other.write_eof()
        else:
            self._other.close()
