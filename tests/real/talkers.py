"""Many sessions that say and hear something all the time, and both ends of which count every octet.

Clients and their target live in one event loop, in a thread of their own, so that a test's story can be told in a
straight line beside them.
"""

from __future__ import annotations

import asyncio
import random
import struct
import threading
from bisect import bisect_right
from collections.abc import Sequence
from time import monotonic
from types import TracebackType

from .harness import PATIENCE, Address, wait_until
from .wire import connect_request, credentials

MOST = 4000  # octets that one side says at a time
PAUSE = 0.4  # seconds between two turns, at most

_HEAD = struct.Struct("!IHH")  # whose turn it is, how much follows, how much is to come back

_PATTERN = bytes(range(251)) * (2 * MOST // 251 + 1)


class Talker:
    """One session. What its client has sent and received, and what has arrived at its target and was answered there."""

    def __init__(self, number: int, user: str, network: str) -> None:
        self.number = number
        self.user = user
        self.source = f"{network}.{number >> 8}.{number & 255}"  # an address of its own: so it is found in a log
        self.sent = self.received = 0
        self.arrived = self.answered = 0
        self.turns = 0
        self.has_ended = False
        self.was_cut = False
        """Whether the session was taken from it; else it has ended it by itself."""
        self.wrong = ""
        self._moments: list[float] = []
        self._certain: list[tuple[int, int]] = []

    def certain(self, moment: float) -> tuple[int, int]:
        """Octets up and down that had gone all the way by then."""
        place = bisect_right(self._moments, moment)
        return self._certain[place - 1] if place else (0, 0)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, enough: asyncio.Event) -> None:
        dice = random.Random(self.number)
        try:
            while not enough.is_set():
                up, down = dice.randrange(1, MOST), dice.randrange(1, MOST)
                writer.write(_HEAD.pack(self.number, up, down) + _text(self.turns, up))
                self.sent += _HEAD.size + up
                answer = await self._hear(reader, down)
                if answer != _text(self.turns + 1, down):
                    self.wrong = f"turn {self.turns}: not what was said"
                self.turns += 1
                self._moments.append(monotonic())
                self._certain.append((self.sent, self.received))
                await asyncio.sleep(dice.random() * PAUSE)
            writer.close()
            await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError):
            self.was_cut = True
            writer.close()
        self.has_ended = True

    async def _hear(self, reader: asyncio.StreamReader, size: int) -> bytes:
        try:
            heard = await reader.readexactly(size)
        except asyncio.IncompleteReadError as error:
            self.received += len(error.partial)
            raise
        self.received += size
        return heard


class Talkers(threading.Thread):
    """The loop. Leaving the with-block ends all that is left, one way or the other."""

    def __init__(self, server: Address, password: str) -> None:
        super().__init__(name="talkers", daemon=True)
        self.all: list[Talker] = []
        self.target: Address
        self._server = server
        self._listener: asyncio.Server
        self._password = password
        self._loop = asyncio.new_event_loop()
        self._enough = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._guests: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> Talkers:
        self.start()
        self.target = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end_now(), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.join(PATIENCE)
        self._loop.close()

    def run(self) -> None:
        self._loop.run_forever()

    def begin(self, user: str, network: str, count: int) -> list[Talker]:
        """So many more, from addresses of a network such as "127.1"; returns when all have had a turn."""
        new = [Talker(len(self.all) + number, user, network) for number in range(count)]
        self.all += new
        for talker in new:
            asyncio.run_coroutine_threadsafe(self._open(talker), self._loop).result(PATIENCE)
        self.go_on(new)
        return new

    @property
    def living(self) -> list[Talker]:
        return [talker for talker in self.all if not talker.has_ended]

    def go_on(self, talkers: Sequence[Talker] | None = None) -> None:
        """Waits until each of them, or of those who live, has had another turn, of which nothing was said before."""
        before = {talker: talker.turns for talker in (self.living if talkers is None else talkers)}
        wait_until(
            lambda: all(talker.turns > turns + 1 or talker.has_ended for talker, turns in before.items()),
            "everybody goes on",
        )

    def end(self) -> None:
        """All end what they have begun to say, then their session."""
        self._loop.call_soon_threadsafe(self._enough.set)
        wait_until(lambda: not self.living and not self._guests, "all sessions have ended")

    # --- private ---

    async def _listen(self) -> Address:
        self._listener = await asyncio.start_server(self._answer, "127.0.0.1", 0, backlog=1000)
        return Address(*self._listener.sockets[0].getsockname())

    async def _open(self, talker: Talker) -> None:
        reader, writer = await asyncio.open_connection(*self._server, local_addr=(talker.source, 0))
        login = credentials(talker.user, self._password)
        writer.write(b"\x05\x01\x02" + login + connect_request(self.target))
        reply = await reader.readexactly(14)
        assert reply[:6] == b"\x05\x02\x01\x00\x05\x00", (talker.user, reply)
        task = self._loop.create_task(talker.talk(reader, writer, self._enough))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The target's side of one session: it says what it is asked for, and checks what it is told."""
        self._guests.add(writer)
        talker = None
        turns = 0
        try:
            while True:
                number, up, down = _HEAD.unpack(await reader.readexactly(_HEAD.size))
                talker = self.all[number]
                talker.arrived += _HEAD.size
                if await reader.readexactly(up) != _text(turns, up):
                    talker.wrong = f"turn {turns}: not what was sent"
                talker.arrived += up
                turns += 1
                writer.write(_text(turns, down))
                talker.answered += down
        except asyncio.IncompleteReadError as error:
            if talker is not None:
                talker.arrived += len(error.partial)
        except OSError:
            pass  # it was reset: what it had not read yet nobody counts
        finally:
            self._guests.discard(writer)
            writer.close()

    async def _end_now(self) -> None:
        self._listener.close()
        for task in list(self._tasks):
            task.cancel()
        for writer in list(self._guests):
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._guests:
            await asyncio.sleep(0.01)


def _text(turn: int, size: int) -> bytes:
    """What is said in one turn; another in the next."""
    start = turn % MOST
    return _PATTERN[start : start + size]
