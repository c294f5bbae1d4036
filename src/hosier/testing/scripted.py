"""A server that says what a script tells it, right or wrong, for tests of whatever speaks SOCKS.

A script is a sequence of steps for one connection::

    with ScriptedServer([receive(3), send(b"\\x05\\x00"), receive_request(), stall()]) as server:
        ...  # connect to server.address and see what happens
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

from ..errors import RemoteProtocolError
from ..protocol import socks4, socks5
from ..protocol.auth.password import PasswordFraming

__all__ = (
    "Conversation",
    "ScriptedServer",
    "Step",
    "receive",
    "receive_credentials",
    "receive_greeting",
    "receive_request",
    "reset",
    "send",
    "stall",
)

PATIENCE: Final = 30.0
"""Seconds that a step waits for its client; then the connection is closed."""


class Conversation:
    """One client's connection: what it has sent so far is in ``received``."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = bytearray()
        self._taken = 0

    @property
    def pending(self) -> bytes:
        """What no step has taken yet."""
        return bytes(self.received[self._taken :])

    def take(self, size: int) -> None:
        """Marks octets as dealt with."""
        self._taken += size

    def more(self) -> None:
        """Waits for more. Raises EOFError when the client has ended."""
        data = self.sock.recv(65_536)
        if not data:
            raise EOFError
        self.received += data


Step = Callable[[Conversation], None]


def receive(size: int) -> Step:
    """Waits for so many octets."""

    def step(conversation: Conversation) -> None:
        while len(conversation.pending) < size:
            conversation.more()
        conversation.take(size)

    return step


def receive_greeting() -> Step:
    """Waits for a whole greeting (RFC 1928 §3)."""
    return _receive_message(socks5.decode_methods_offered)


def receive_credentials() -> Step:
    """Waits for a whole message of RFC 1929."""
    framing = PasswordFraming()
    return _receive_message(lambda data: framing.decode(data, from_client=True))


def receive_request() -> Step:
    """Waits for a whole request of SOCKS5 or SOCKS4."""

    def decode(data: bytes) -> tuple[object, int] | None:
        if data[:1] == b"\x04":
            return socks4.decode_request(data)
        return socks5.decode_request(data, commands=frozenset(range(256)))

    return _receive_message(decode)


def send(data: bytes, *, octet_by_octet: bool = False) -> Step:
    """Sends; with ``octet_by_octet`` each in a segment of its own."""

    def step(conversation: Conversation) -> None:
        if not octet_by_octet:
            conversation.sock.sendall(data)
            return
        conversation.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for value in data:
            conversation.sock.sendall(bytes((value,)))

    return step


def stall() -> Step:
    """Says nothing until the client ends or the server is closed."""

    def step(conversation: Conversation) -> None:
        with contextlib.suppress(EOFError):
            while True:
                conversation.more()

    return step


def reset() -> Step:
    """Breaks the connection off with a reset; without it a script ends with an orderly close."""

    def step(conversation: Conversation) -> None:
        conversation.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        conversation.sock.close()

    return step


def _receive_message(decode: Callable[[bytes], tuple[object, int] | None]) -> Step:
    def step(conversation: Conversation) -> None:
        while (found := decode(conversation.pending)) is None:
            conversation.more()
        conversation.take(found[1])

    return step


class ScriptedServer:
    """Listens on a free port of loopback and plays a script to each client: the first script to the first client, the
    last one to all that follow it. A with-block closes it and waits for what it began.

    A script ends early when the client does, breaks the protocol or is silent for too long.
    """

    def __init__(self, *scripts: Sequence[Step], host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._scripts = scripts
        self._listener = socket.create_server((host, 0), family=family)
        self.address: tuple[str, int] = (host, self._listener.getsockname()[1])
        self.conversations: list[Conversation] = []
        """One for each client, in the order in which they came."""
        self._threads = [threading.Thread(target=self._accept, name="scripted server", daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """For a client that takes a proxy's URL."""
        host, port = self.address
        return f"socks5h://{f'[{host}]' if ':' in host else host}:{port}"

    @property
    def received(self) -> bytes:
        """What the first client has sent."""
        return bytes(self.conversations[0].received)

    def close(self) -> None:
        """Closes everything and waits for the scripts to end."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accept
        self._threads[0].join(PATIENCE)
        self._listener.close()
        for conversation in self.conversations:
            with contextlib.suppress(OSError):
                conversation.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(PATIENCE)
            script = self._scripts[min(len(self.conversations), len(self._scripts) - 1)]
            conversation = Conversation(sock)
            self.conversations.append(conversation)
            thread = threading.Thread(target=_play, args=(script, conversation), daemon=True)
            self._threads.append(thread)
            thread.start()


def _play(script: Sequence[Step], conversation: Conversation) -> None:
    with conversation.sock, contextlib.suppress(EOFError, OSError, RemoteProtocolError):
        for step in script:
            step(conversation)
