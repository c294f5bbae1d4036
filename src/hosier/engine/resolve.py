"""Names to addresses: getaddrinfo in a few threads of its own, asked once for all who wait, remembered for a while."""

import asyncio
import contextlib
import queue
import socket
import threading
from collections import OrderedDict
from collections.abc import Hashable
from time import monotonic
from typing import TYPE_CHECKING, Final

from ..protocol.address import IPV4, IPV6, Address
from .fair_queue import FairQueue

if TYPE_CHECKING:
    from .task import Task

__all__ = ("Resolver",)

THREADS: Final = 16
THREADS_EACH: Final = 8  # at once for one source: what is slow for it leaves the others some
PENDING: Final = 2048  # questions that wait for a thread; beyond that the answer is "try again"
PENDING_EACH: Final = 256  # likewise, of one source
CACHED: Final = 1024  # names
SECONDS: Final = 30.0  # getaddrinfo does not tell how long its answers are good for

Addresses = tuple[tuple[int, bytes], ...]
"""Kind and octets of each address, in the order of getaddrinfo (RFC 6724)."""


class _Question:
    """A name that is being looked up, or waits for a thread."""

    __slots__ = ("askers", "begun")

    def __init__(self) -> None:
        self.askers: dict[asyncio.Future[Addresses], Hashable] = {}
        """Each has a future of its own, as whoever cancels one must not cancel the others'; with its source."""
        self.begun = False
        """Whether a thread has it: it cannot be withdrawn any more."""

    def tell(self, answer: Addresses | OSError) -> None:
        for asker in self.askers:
            if asker.done():
                continue  # it left just now
            if isinstance(answer, OSError):
                asker.set_exception(answer)
                asker.exception()  # whoever asked may leave before it hears of it; that is no reason to complain
            else:
                asker.set_result(answer)


class Resolver:
    """``await resolver.resolve(name, port)``. Bounded in threads, questions and memory.

    Whose a question is, its asker says with an opaque key. Sources take turns, so that one that asks for a lot of names
    waits for its own answers only; what nobody waits for any more is not asked.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, seconds: float = SECONDS) -> None:
        self._loop = loop
        self._seconds = seconds
        self._cache: OrderedDict[bytes, tuple[float, Addresses]] = OrderedDict()
        self._asked: dict[bytes, _Question] = {}
        self._waiting: FairQueue[bytes] = FairQueue(total=PENDING, share=PENDING_EACH, hands=THREADS_EACH)
        self._begun: queue.SimpleQueue[tuple[Hashable, bytes] | None] = queue.SimpleQueue()
        self._busy = 0
        self._threads = 0
        self._closed = False

    async def resolve(self, name: bytes, port: int, source: Hashable = None) -> tuple[Address, ...]:
        """The addresses of a name, each with the port. Raises socket.gaierror."""
        key = _key(name)
        found = self._remembered(key)
        if found is None:
            found = await self._answer(key, source)
        return tuple(Address(kind, octets, port) for kind, octets in found)

    async def look_up(self, task: "Task", name: Address) -> list[Address]:
        """The addresses of a name without disguise, for a task that has nothing else to do meanwhile.

        Raises socket.gaierror, and what ``task.may_wait()`` raises.
        """
        if self._remembered(_key(name.octets)) is None:
            task.may_wait()
        return [address.canonical() for address in await self.resolve(name.octets, name.port, task.source)]

    def close(self) -> None:
        """Lets the threads end; those that still wait for a name server are left behind."""
        self._closed = True
        for question in self._asked.values():
            if not question.begun:
                question.tell(socket.gaierror(socket.EAI_AGAIN, "no more names are looked up"))
        for _ in range(self._threads):
            self._begun.put(None)

    # --- private ---

    def _remembered(self, name: bytes) -> Addresses | None:
        cached = self._cache.get(name)
        return cached[1] if cached is not None and cached[0] > monotonic() else None

    async def _answer(self, name: bytes, source: Hashable) -> Addresses:
        question = self._asked.get(name)
        if question is None or not question.begun:
            # A place among those of its own source, too: not behind all that others ask for.
            if self._closed or not self._waiting.enter(source, name):
                raise socket.gaierror(socket.EAI_AGAIN, "too many names are being looked up")
            if question is None:
                question = self._asked[name] = _Question()
        answer: asyncio.Future[Addresses] = self._loop.create_future()
        question.askers[answer] = source
        self._begin()
        try:
            return await answer
        finally:
            del question.askers[answer]
            if not question.begun:
                self._left(question, name, source)

    def _left(self, question: _Question, name: bytes, source: Hashable) -> None:
        """An asker has left before it was asked for it."""
        if source not in question.askers.values():
            self._waiting.withdraw(source, name)
        if not question.askers:
            del self._asked[name]

    def _begin(self) -> None:
        """Gives threads that have nothing to do what waits."""
        while self._busy < THREADS and not self._closed and (next_one := self._waiting.take()) is not None:
            question = self._asked[next_one[1]]
            question.begun = True
            for source in question.askers.values():
                self._waiting.withdraw(source, next_one[1])
            self._busy += 1
            if self._busy > self._threads:
                self._threads += 1
                # Daemons: a name server that never answers must not keep the process from ending.
                threading.Thread(target=self._work, name=f"hosier-resolver-{self._threads}", daemon=True).start()
            self._begun.put(next_one)

    def _work(self) -> None:
        while (begun := self._begun.get()) is not None:
            source, name = begun
            answer = _look_up(name)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._answered, source, name, answer)

    def _answered(self, source: Hashable, name: bytes, answer: Addresses | OSError) -> None:
        self._busy -= 1
        self._waiting.done(source)
        if not isinstance(answer, OSError):
            self._cache[name] = (monotonic() + self._seconds, answer)
            self._cache.move_to_end(name)
            if len(self._cache) > CACHED:
                self._cache.popitem(last=False)
        self._asked.pop(name).tell(answer)
        self._begin()


def _key(name: bytes) -> bytes:
    """Under which a name is asked for and remembered."""
    return name.removesuffix(b".").lower() or name


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
