"""Names to addresses: getaddrinfo in a few threads of its own, asked once for all who wait, remembered for a while."""

import asyncio
import contextlib
import queue
import socket
import threading
from collections import OrderedDict
from time import monotonic
from typing import Final

from ..protocol.address import IPV4, IPV6, Address

__all__ = ("Resolver",)

THREADS: Final = 8
PENDING: Final = 512  # questions in flight; beyond that the answer is "try again"
CACHED: Final = 1024  # names
SECONDS: Final = 30.0  # getaddrinfo does not tell how long its answers are good for

Addresses = tuple[tuple[int, bytes], ...]
"""Kind and octets of each address, in the order of getaddrinfo (RFC 6724)."""


class Resolver:
    """``await resolver.resolve(name, port)``. Bounded in threads, questions and memory."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, seconds: float = SECONDS) -> None:
        self._loop = loop
        self._seconds = seconds
        self._cache: OrderedDict[bytes, tuple[float, Addresses]] = OrderedDict()
        self._asked: dict[bytes, asyncio.Future[Addresses]] = {}
        self._questions: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._threads = 0
        self._closed = False

    async def resolve(self, name: bytes, port: int) -> tuple[Address, ...]:
        """The addresses of a name, each with the port. Raises socket.gaierror."""
        key = name.removesuffix(b".").lower() or name
        cached = self._cache.get(key)
        if cached is not None and cached[0] > monotonic():
            return tuple(Address(kind, octets, port) for kind, octets in cached[1])
        future = self._asked.get(key)
        if future is None:
            future = self._ask(key)
        return tuple(Address(kind, octets, port) for kind, octets in await future)

    def close(self) -> None:
        """Lets the threads end; those that still wait for a name server are left behind."""
        self._closed = True
        for _ in range(self._threads):
            self._questions.put(None)

    # --- private ---

    def _ask(self, name: bytes) -> asyncio.Future[Addresses]:
        if len(self._asked) >= PENDING or self._closed:
            raise socket.gaierror(socket.EAI_AGAIN, "too many names are being looked up")
        future = self._asked[name] = self._loop.create_future()
        if self._threads < min(THREADS, len(self._asked)):
            self._threads += 1
            # Daemons: a name server that never answers must not keep the process from ending.
            threading.Thread(target=self._work, name=f"hosier-resolver-{self._threads}", daemon=True).start()
        self._questions.put(name)
        return future

    def _work(self) -> None:
        while (name := self._questions.get()) is not None:
            answer = _look_up(name)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._answered, name, answer)

    def _answered(self, name: bytes, answer: Addresses | OSError) -> None:
        future = self._asked.pop(name)
        if isinstance(answer, OSError):
            if not future.done():
                future.set_exception(answer)
                future.exception()  # whoever asked may have left; that is no reason to complain
            return
        self._cache[name] = (monotonic() + self._seconds, answer)
        self._cache.move_to_end(name)
        if len(self._cache) > CACHED:
            self._cache.popitem(last=False)
        if not future.done():
            future.set_result(answer)


def _look_up(name: bytes) -> Addresses | OSError:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError as error:
        return error
    except (UnicodeError, ValueError) as error:
        return socket.gaierror(socket.EAI_NONAME, f"no such name: {error}")
    kinds = {socket.AF_INET: IPV4, socket.AF_INET6: IPV6}
    addresses = tuple(
        dict.fromkeys(
            (kinds[family], socket.inet_pton(family, str(sockaddr[0]).partition("%")[0]))
            for family, _, _, _, sockaddr in found
            if family in kinds
        )
    )
    return addresses or socket.gaierror(socket.EAI_NONAME, "the name has no IPv4 or IPv6 address")
