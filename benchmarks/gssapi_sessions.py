"""Many short sessions at a time from one process, for gssapi.py: so many that the server hardly waits for its client.

What a client does before its first octet (the ticket, the first token) is done before the clock runs; and nobody opens
what the server seals at the end, beyond counting its octets.
"""

import os
import selectors
import socket
import time
from collections.abc import Callable, Generator
from typing import Final

from hosier.client.gssapi import Gssapi, initiator_method
from hosier.protocol.address import parse_address
from hosier.protocol.auth.base import AuthStep
from hosier.protocol.client_connection import NO_AUTH_ONLY, ClientExchange, ClientHandshake, ClientMethod
from hosier.protocol.messages import Command, Request

__all__ = ("AT_ONCE", "FEW", "prepared", "run_sessions", "without_authentication")

AT_ONCE: Final = 128
"""Under GSSAPI a client works as hard as the server. With fewer sessions it leaves the server idle again and again, and
what is measured is sleeping and waking."""

FEW: Final = 32
"""For comparison: with so many the server waits for a tenth of the time."""

PAYLOAD: Final = 100

Methods = tuple[ClientMethod, ...]


class _Prepared:
    """An exchange whose first token is there already."""

    def __init__(self, exchange: ClientExchange) -> None:
        self._exchange = exchange
        self._first = exchange.step(None)

    def step(self, message: object) -> AuthStep:
        return self._first if message is None else self._exchange.step(message)


def prepared(level: int, count: int) -> list[Methods]:
    """What each of so many sessions offers: GSSAPI, with its first token made."""
    method = initiator_method(Gssapi(level=level), "localhost", datagrams=False)
    assert method.exchange is not None
    made = []
    for _ in range(count):
        exchange = _Prepared(method.exchange())
        made.append((ClientMethod(method.framing, lambda exchange=exchange: exchange),))  # type: ignore[misc]
    return made


def without_authentication(count: int) -> list[Methods]:
    return [NO_AUTH_ONLY] * count


def run_sessions(
    proxy: tuple[str, int], target: tuple[str, int], all_methods: list[Methods], at_once: int = AT_ONCE
) -> None:
    """A session for each, ``at_once`` at a time: connect, authenticate, CONNECT, 100 octets there and back, close."""
    request = Request(5, Command.CONNECT, parse_address(*target))
    waiting = list(all_methods)
    with selectors.EpollSelector() as selector:
        running = 0
        while waiting or running:
            while waiting and running < at_once:
                sock = socket.create_connection(proxy)
                sock.setblocking(False)
                story = _session(sock, ClientHandshake(request, waiting.pop()))
                next(story)
                selector.register(sock, selectors.EVENT_READ, (sock, story))
                running += 1
            for key, _ in _ready(selector):
                sock, story = key.data
                try:
                    story.send(None)
                except StopIteration:
                    selector.unregister(sock)
                    sock.close()
                    running -= 1


def _ready(selector: selectors.BaseSelector) -> list[tuple[selectors.SelectorKey, int]]:
    """Yields where it would sleep, as load.c does at first: to wake a sleeping process costs its waker."""
    patience = time.monotonic() + 10
    while not (found := selector.select(0)):
        if time.monotonic() > patience:
            raise OSError("no session has gone on for 10 s")
        os.sched_yield()
    return found


def _session(sock: socket.socket, handshake: ClientHandshake) -> Generator[None]:
    sock.send(handshake.start())
    while not handshake.done:
        yield
        data = sock.recv(4096)
        if out := handshake.feed(data):
            sock.send(out)
    layer = handshake.detach().layer
    wrap: Callable[[bytes], bytes] = bytes if layer is None else layer.wrap
    payload = wrap(bytes(PAYLOAD))
    sock.send(payload)
    got = 0
    while got < len(payload):  # the echo is as long
        yield
        data = sock.recv(4096)
        if not data:
            raise OSError("a session ended too early")
        got += len(data)
