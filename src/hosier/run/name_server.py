"""The name server inside: whatever server the program asks, over UDP or TCP, it asks this one."""

from contextlib import suppress
from socket import IPPROTO_IP, IPPROTO_IPV6, SocketType
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from ..engine.endpoint import Endpoint
from ..engine.events import EPOLLIN
from ..engine.listener import Listener
from ..engine.task import Task

if TYPE_CHECKING:
    from ..engine.poller import Engine
    from .dns import Answers
    from .doors import Doors

__all__ = ("NameServer",)

IDLE: Final = 30.0
"""Seconds for the next question on a connection (RFC 7766 §6.2.3)."""

MOST_STREAMS: Final = 256

_AT_ONCE: Final = 64
_OCTETS: Final = 4096
_ANCILLARY: Final = 128
_IP_PKTINFO: Final = 8
_IPV6_PKTINFO: Final = 50
_IPV4_INFO: Final = Struct("=i4s4s")
_IPV6_INFO: Final = Struct("=16sI")

Ancillary = list[tuple[int, int, bytes]]


class NameServer:
    """Answers on all sockets for questions."""

    def __init__(self, engine: "Engine", doors: "Doors", answers: "Answers") -> None:
        self._engine = engine
        self._answers = answers
        self._streams = 0
        for side in doors.sides:
            _Datagrams(engine, side.questions, answers)
            Listener(engine, side.long_questions, self._accepted, lambda _: None)

    def _accepted(self, sock: SocketType, _: Any) -> None:
        if self._streams >= MOST_STREAMS:
            sock.close()
            return
        self._streams += 1
        _Stream(self, self._engine, sock, self._answers).start()

    def ended(self) -> None:
        """One of its connections has."""
        self._streams -= 1


class _Datagrams:
    def __init__(self, engine: "Engine", sock: SocketType, answers: "Answers") -> None:
        self.sock = sock
        self.owner = self
        self._answers = answers
        engine.watch(sock.fileno(), self, EPOLLIN)

    def on_edge(self, _: Any, events: int) -> None:
        with suppress(OSError):  # it is dry, or has heard of an answer that nobody took
            for _ in range(_AT_ONCE):
                query, ancillary, _, client = self.sock.recvmsg(_OCTETS, _ANCILLARY)
                answer = self._answers.to(query)
                if answer is not None:
                    self.sock.sendmsg((answer,), _from_there(ancillary), 0, client)


class _Stream(Task):
    """One connection: questions and answers in their order, each behind its length (RFC 1035 §4.2.2)."""

    def __init__(self, server: NameServer, engine: "Engine", sock: SocketType, answers: "Answers") -> None:
        super().__init__(engine)
        self._server = server
        self._client = Endpoint(engine, sock, self)
        self._client.seen = EPOLLIN
        self._answers = answers

    async def run(self) -> None:
        try:
            data = b""
            while True:
                self.set_limit("idle", IDLE)
                while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
                    more = await self._client.recv(_OCTETS)
                    if not more:
                        return
                    data += more
                end = 2 + int.from_bytes(data[:2], "big")
                answer = self._answers.to(data[2:end])
                data = data[end:]
                if answer is None:
                    return
                await self._client.send_all(len(answer).to_bytes(2, "big") + answer)
        except OSError:
            pass  # its client went, or asked no more
        finally:
            self._client.close()
            self._server.ended()


def _from_there(ancillary: Ancillary) -> Ancillary:
    """What lets an answer come from the address that was asked."""
    for level, kind, data in ancillary:
        if (level, kind) == (IPPROTO_IP, _IP_PKTINFO):
            address = _IPV4_INFO.unpack(data)[2]
            return [(level, kind, _IPV4_INFO.pack(0, address, bytes(4)))]
        if (level, kind) == (IPPROTO_IPV6, _IPV6_PKTINFO):
            address = _IPV6_INFO.unpack(data)[0]
            return [(level, kind, _IPV6_INFO.pack(address, 0))]
    return []
