"""A reload in a worker: first all that other settings need is made, then, when all workers have it, it changes."""

import asyncio
import pickle
import socket

from ..errors import ConfigError
from ..server.reload import Reload
from ..server.server import Server
from .channel import PREPARE, SWITCH, receive_octets, value

__all__ = ("Changing",)


class Changing:
    """Of one worker: what the supervisor has said it shall change to, and has not yet."""

    def __init__(self, server: Server, answer: asyncio.StreamWriter, doors: socket.socket | None = None) -> None:
        """``doors``: on which listening sockets come, before the word that tells of them."""
        self._server = server
        self._doors = doors
        self._answer = answer
        self._next: Reload | None = None

    async def prepare(self, orders: asyncio.StreamReader) -> None:
        """Reads the settings; the answer is what is wrong with them, empty if nothing is."""
        # From the process that started us, and from nobody else.
        settings, count = pickle.loads(await receive_octets(orders))  # noqa: S301
        sockets = self._received(count)
        await self.abandon(orders)
        wrong = ""
        try:
            self._next = await asyncio.to_thread(self._server.prepare, settings, (), sockets)
        except ConfigError as error:
            wrong = str(error)
        except Exception as error:  # noqa: BLE001  # whatever it was: the supervisor must know, and orders go on
            wrong = f"{type(error).__name__}: {error}"
        self._answer.write(PREPARE + value(wrong))

    async def switch(self, _: asyncio.StreamReader) -> None:
        """It changes; the answer is how many sessions were ended by that, or in words why it could not."""
        reload, self._next = self._next, None
        answer: int | str
        try:
            answer = "it has not been prepared" if reload is None else self._server.switch(reload)
        except ConfigError as error:
            answer = str(error)
        except Exception as error:  # noqa: BLE001  # whatever it was: the supervisor must know, and orders go on
            answer = f"{type(error).__name__}: {error}"
        self._answer.write(SWITCH + value(answer))

    async def abandon(self, _: asyncio.StreamReader) -> None:
        """It does not."""
        if self._next is not None:
            self._next.abandon()
            self._next = None

    def _received(self, count: int) -> list[socket.socket]:
        if not count or self._doors is None:
            return []
        return [socket.socket(fileno=fd) for fd in socket.recv_fds(self._doors, 1, count)[1]]
