"""The steps of a way through proxies, on non-blocking sockets: look up, dial, talk."""

import asyncio
import errno
import socket
from typing import Final, NoReturn

from ...protocol.address import Address
from ..dial import ATTEMPT_DELAY, begin_connect, new_socket
from ..journey import AnyHandshake, Journey
from ..lookup import Place4or6, addresses, literal, pick, refuse_onion

__all__ = ("Exchange", "arrive", "look_up", "look_up_here", "raise_from", "secure", "talk")

_AT_ONCE: Final = 1 << 16


async def arrive(loop: asyncio.AbstractEventLoop, journey: Journey) -> socket.socket:
    """A non-blocking connection to the nearest proxy."""
    proxy = journey.proxy
    if proxy.path is not None:
        journey.step = "connect"
        sock = socket.socket(socket.AF_UNIX)
        return await _connected_unix(loop, sock, proxy.path)
    places = await _found(loop, journey, proxy.host, proxy.port)
    journey.step = "connect"
    if len(places) == 1:
        return await _dial(loop, places[0], proxy.source_address, journey)
    async with asyncio.timeout(journey.left()):
        return await _race(loop, places, proxy.source_address)


async def secure(loop: asyncio.AbstractEventLoop, sock: socket.socket, journey: Journey) -> None:
    """TLS with this proxy: all that follows on the journey goes within it."""
    from ..tls_stream import TlsStream, usual_context  # who has no proxy with TLS needs none of it

    journey.step = "TLS"
    proxy = journey.proxy
    stream = TlsStream(proxy.ssl_context or usual_context(), proxy.host, journey.below)
    async with asyncio.timeout(journey.left()):
        out = stream.shake()
        while True:
            if out:
                await loop.sock_sendall(sock, out)
            if stream.established:
                break
            data = await loop.sock_recv(sock, _AT_ONCE)
            if not data:
                raise OSError(errno.ECONNRESET, "the proxy closed the connection")
            out = stream.shake(data)
    journey.lead_through(stream)


async def talk(loop: asyncio.AbstractEventLoop, sock: socket.socket, journey: Journey, target: Address) -> AnyHandshake:
    """The conversation with one proxy, up to its answer, reading nothing that comes behind it."""
    handshake = journey.begin(target)
    await Exchange(loop, sock, handshake).run(handshake.start(), journey.left())
    return handshake


async def look_up_here(loop: asyncio.AbstractEventLoop, journey: Journey) -> Address:
    """What to ask this proxy for: a name, or its address where names are looked up on this side."""
    target, proxy = journey.target, journey.proxy
    if proxy.remote_dns or not target.is_name:
        return target
    journey.step = "lookup target"
    places = await _found(loop, journey, target.host, target.port)
    return pick(places, target.port, only_ipv4=proxy.protocol == "socks4")


def raise_from(journey: Journey, error: OSError) -> NoReturn:
    """Raises the error as one of ours, with its place."""
    explained = journey.explain(error)
    if explained is error:
        raise explained
    raise explained from error


async def look_up(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[Place4or6]:
    """All places of a host, at least one, in the order to try. Raises gaierror."""
    known = literal(host, port)
    if known is not None:
        return [known]
    refuse_onion(host)
    return addresses(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))


class Exchange:
    """A handshake over a non-blocking socket: what can be done at once is done at once, and what is left to wait for
    costs one reader in the loop."""

    __slots__ = ("_descriptor", "_done", "_handshake", "_loop", "_reading", "_sock", "_unsent", "_writing")

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, handshake: AnyHandshake) -> None:
        self._loop = loop
        self._sock = sock
        self._handshake = handshake
        self._unsent = b""
        self._descriptor = sock.fileno()  # a number: asyncio describes a socket in words that nobody reads
        self._reading = self._writing = False
        self._done: asyncio.Future[None]

    async def run(self, out: bytes, limit: float | None = None) -> None:
        """Until the last answer is there; for BIND the first one too. Raises TimeoutError after ``limit`` seconds."""
        loop, handshake = self._loop, self._handshake
        had_first = handshake.first_reply is not None
        # A timer of our own: asyncio.timeout costs as much as the rest of this.
        timer = None if limit is None else loop.call_later(limit, self._late)
        try:
            self._send(out)
            while not (handshake.done or (handshake.first_reply is not None and not had_first)):
                self._done = loop.create_future()
                self._watch()
                await self._done
        finally:
            if timer is not None:
                timer.cancel()
            self._ignore()

    def _watch(self) -> None:
        if self._unsent:
            self._writing = True
            self._loop.add_writer(self._descriptor, self._writable)
        else:
            self._reading = True
            self._loop.add_reader(self._descriptor, self._readable)

    def _ignore(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._descriptor)
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._descriptor)

    def _end(self, error: Exception | None = None) -> None:
        # Not a moment later: what comes behind the last answer belongs to whoever gets the socket.
        self._ignore()
        if not self._done.done():
            if error is None:
                self._done.set_result(None)
            else:
                self._done.set_exception(error)

    def _late(self) -> None:
        self._end(TimeoutError())

    def _writable(self) -> None:
        try:
            self._send(self._unsent)
        except OSError as error:
            self._end(error)
        else:
            if not self._unsent:
                self._end()

    def _readable(self) -> None:
        handshake = self._handshake
        first = handshake.first_reply
        try:
            while True:
                data = self._sock.recv(handshake.owed)
                if handshake.blocks:
                    self._think(data)
                    return
                out = handshake.feed(data)
                if out:
                    self._send(out)
                    if not self._unsent:
                        return
                if out or handshake.done or handshake.first_reply is not first:
                    break
        except (BlockingIOError, InterruptedError):
            return
        except Exception as error:  # noqa: BLE001 - who waits has to know
            self._end(error)
        else:
            self._end()

    def _think(self, data: bytes) -> None:
        """A step that may have to ask others, in a thread."""
        self._ignore()
        self._loop.run_in_executor(None, self._handshake.feed, data).add_done_callback(self._thought)

    def _thought(self, future: "asyncio.Future[bytes]") -> None:
        error = None if future.cancelled() else future.exception()
        if future.cancelled() or self._done.done():
            return  # who waited has given up
        try:
            if error is not None:
                raise error
            self._send(future.result())
        except Exception as failure:  # noqa: BLE001 - who waits has to know
            self._end(failure)
        else:
            self._end()

    def _send(self, out: bytes) -> None:
        self._unsent = out
        if out:
            try:
                self._unsent = out[self._sock.send(out) :]
            except (BlockingIOError, InterruptedError):
                return  # when it can be written to


# --- private ---


async def _found(loop: asyncio.AbstractEventLoop, journey: Journey, host: str, port: int) -> list[Place4or6]:
    known = literal(host, port)
    if known is not None:
        return [known]
    async with asyncio.timeout(journey.left()):
        return await look_up(loop, host, port)


async def _dial(
    loop: asyncio.AbstractEventLoop, place: Place4or6, source: tuple[str, int] | None, journey: Journey | None = None
) -> socket.socket:
    sock = new_socket(place.family, source)
    try:
        sock.setblocking(False)
        if not begin_connect(sock, place):
            async with asyncio.timeout(None if journey is None else journey.left()):
                await loop.sock_connect(sock, place.sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


async def _connected_unix(loop: asyncio.AbstractEventLoop, sock: socket.socket, place: str) -> socket.socket:
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, place)
    except BaseException:
        sock.close()
        raise
    return sock


async def _race(
    loop: asyncio.AbstractEventLoop, places: list[Place4or6], source: tuple[str, int] | None
) -> socket.socket:
    """Attempts side by side (RFC 8305 §5); one begins when the one before it has failed or had its delay."""
    waiting = places[::-1]
    running: set[asyncio.Task[socket.socket]] = set()
    failure: BaseException | None = None
    try:
        while waiting or running:
            if waiting:
                running.add(loop.create_task(_dial(loop, waiting.pop(), source)))
            patience = ATTEMPT_DELAY if waiting else None
            done, running = await asyncio.wait(running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                failure = task.exception()
                if failure is None:
                    running |= done - {task}
                    return task.result()
        assert failure is not None
        raise failure
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_close_late_winner)


def _close_late_winner(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
