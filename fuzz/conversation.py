"""A whole conversation with a server: any octets in any pieces, and a shell that decides anything.

The first octets of an input say how it is played; the rest is what the client sends.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from oracle import ALLOWED_FROM_DECODERS, require

from hosier.protocol.address import Buffer
from hosier.protocol.auth.base import AuthFraming, AuthStep, Outcome
from hosier.protocol.auth.password import PasswordFraming, Status
from hosier.protocol.connection import MAX_BUFFERED
from hosier.protocol.messages import (
    NEED_DATA,
    PAUSED,
    AuthMessage,
    Command,
    ConnectionClosed,
    Event,
    MethodSelected,
    MethodsOffered,
    Reply,
    Request,
)
from hosier.protocol.server_connection import ServerConnection
from hosier.protocol.states import FINAL, SERVER, State
from hosier.testing import ToyFraming, ToyKind, ToyLayer, ToyMessage

__all__ = ("PREFIX", "check_conversation")

PREFIX = 4
"""Octets in front of the client's: options, decisions, two sizes of pieces."""


class Endless(ToyFraming):
    """What a careless package might bring: a method whose messages never end."""

    def decode(self, data: Buffer, *, from_client: bool) -> None:
        return None


_FRAMINGS: dict[int, AuthFraming] = {0x01: ToyFraming(), 0x02: PasswordFraming(), 0x80: Endless()}
_FLOOD = (b"\x00" * 4096,) * 18  # more than a connection may hold
_STRANGER = "a stranger"


class Shell:
    """Decides from its number and how often it was asked, so that every cut of the same input is treated alike."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._asked = 0

    def choice(self, options: int) -> int:
        self._asked += 1
        return (self._number // self._asked + self._number * self._asked) % options

    def answer(self, connection: ServerConnection, event: Event) -> bytes:
        """Our step for the event; now and then a refusal."""
        if self.choice(11) == 7:
            return connection.refuse(1 + self.choice(8))
        if isinstance(event, MethodsOffered):
            usable = [method for method in (0x00, 0x01, 0x02, 0x80) if method in event.methods]
            return connection.send(MethodSelected(usable[self.choice(len(usable))] if usable else 0xFF))
        if isinstance(event, AuthMessage):
            return connection.send(self._step(event.body))
        assert isinstance(event, Request)
        sent = connection.send(Reply(self.choice(3)))
        if connection.state is State.ANSWER_BIND_PEER:
            sent += connection.send(Reply(self.choice(3)))
        return sent

    def _step(self, body: object) -> AuthStep:
        good = self.choice(5) > 0
        if not isinstance(body, ToyMessage):
            return AuthStep(Status(not good), Outcome("user" if good else None))
        if not good:
            return AuthStep(None, Outcome(None))
        if body.kind == ToyKind.TOKEN:
            return AuthStep(ToyMessage(ToyKind.TOKEN, b"go on"))
        return AuthStep(ToyMessage(ToyKind.LEVEL, b"\x57\x00\x02"), Outcome("user", ToyLayer()))


class Transcript(NamedTuple):
    """All that must not depend on how the octets were cut."""

    events: tuple[object, ...]
    sent: bytes
    state: State
    leftover: bytes
    wrapped: bytes


def check_conversation(data: bytes) -> None:
    """Plays the input three times: in its own pieces, whole and octet by octet."""
    if len(data) <= PREFIX:
        return
    options, decisions, one, two = data[:PREFIX]
    stream = data[PREFIX:]
    cuts = (_pieces(stream, one % 16 + 1, two % 64 + 1), [stream], [stream[i : i + 1] for i in range(len(stream))])
    transcripts = [_play(pieces, options, decisions) for pieces in cuts]
    require(transcripts[0] == transcripts[1], "any cut is like the whole")
    require(transcripts[1] == transcripts[2], "octet by octet is like the whole")
    if not transcripts[1].wrapped and transcripts[1].leftover:
        require(transcripts[1].leftover in stream + b"".join(_FLOOD), "what is handed over is what was sent")


def _pieces(stream: bytes, one: int, two: int) -> Iterator[bytes]:
    start = 0
    while start < len(stream):
        yield stream[start : start + one]
        start, one, two = start + one, two, one


def _play(pieces: Iterable[bytes], options: int, decisions: int) -> Transcript:
    connection = ServerConnection(_FRAMINGS, strict=bool(options & 1))
    shell = Shell(decisions)
    unread = [*pieces, *(_FLOOD if options & 2 else ()), *([b""] if options & 4 else [])]
    events: list[object] = []
    sent = b""
    while True:
        before = connection.state
        try:
            event = connection.next_event()
        except ALLOWED_FROM_DECODERS as error:
            _check_error(connection, error)
            # What a stranger seems to be depends on how much of it is there.
            stranger = connection.version == 0
            events.append(_STRANGER if stranger else (str(error), error.reply_hint))
            refusal = connection.refuse(error.reply_hint)
            sent += b"" if stranger else refusal
            break
        if event is NEED_DATA:
            held = len(connection._buffer) + len(connection._wrapped)
            require(held <= MAX_BUFFERED <= 66_000, "buffers are bounded")
            require(connection.state is before, "waiting moves nothing")
            if not unread:
                sent += connection.refuse() if options & 8 else b""
                break
            connection.receive_data(unread.pop(0))
        elif event is PAUSED:
            break
        else:
            require(connection.state in SERVER[before].values(), "an event is a step of the table")
            require(connection.state is not before, "an event moves the state")
            events.append(event)
            if not isinstance(event, ConnectionClosed):
                before = connection.state
                sent += shell.answer(connection, event)
                require(connection.state is not before, "our answer moves the state")
    return _finish(connection, events, sent, b"".join(unread))


def _check_error(connection: ServerConnection, error: Exception) -> None:
    require(connection.state is State.ERROR, "an error of the peer is the end")
    try:
        connection.next_event()
    except ALLOWED_FROM_DECODERS as again:
        require(again is error, "the same error again")
    else:
        require(False, "the same error again")


def _finish(connection: ServerConnection, events: list[object], sent: bytes, unread: bytes) -> Transcript:
    leftover = wrapped = b""
    if connection.state in (State.TUNNEL, State.ASSOCIATED):
        request = events[-1]
        require(
            isinstance(request, Request)
            and (connection.state is State.ASSOCIATED) == (request.command == Command.UDP_ASSOCIATE),
            "only a request leads to payload",
        )
        handoff = connection.detach()
        leftover, wrapped = handoff.leftover, handoff.wrapped
        if handoff.layer is None:
            require(not wrapped, "nothing is wrapped without a layer")
            leftover += unread
        else:
            wrapped += unread
    if connection.state in FINAL:
        require(connection.refuse() == b"", "the last word is spoken once")
    return Transcript(tuple(events), sent, connection.state, leftover, wrapped)
