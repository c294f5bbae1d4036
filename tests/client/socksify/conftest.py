"""A proxy that serves what it is asked for, and a witness of everything that goes past it."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from hosier.protocol.socks5 import decode_request
from hosier.testing import Conversation, ScriptedServer, receive_greeting, send

from ..harness import SUCCESS


class Witness:
    """What the interpreter tells of sockets (PEP 578): names that were asked for, and where sockets went."""

    def __init__(self) -> None:
        self.watching = False
        self.allowed: set[tuple[Any, ...]] = set()
        """Where sockets may go: the proxies."""
        self.leaks: list[str] = []

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.watching or not event.startswith("socket."):
            return
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            sock, address = args
            internet = sock.family in (socket.AF_INET, socket.AF_INET6)
            if internet and address is not None and tuple(address[:2]) not in self.allowed:
                self.leaks.append(f"{event} to {address}")
        elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr") and not number(args[0]):
            self.leaks.append(f"{event} of {args[0]}")

    @contextlib.contextmanager
    def __call__(self, *allowed: tuple[str, int]) -> Iterator[None]:
        """Watches; at the end nothing has leaked."""
        self.leaks.clear()
        self.allowed = set(allowed)
        self.watching = True
        try:
            yield
        finally:
            self.watching = False
        assert self.leaks == []


def number(host: object) -> bool:
    if not host:
        return True
    text = host.decode() if isinstance(host, bytes) else str(host)
    try:
        if ":" in text:
            ipaddress.IPv6Address(text)
        else:
            socket.inet_aton(text)
    except (ValueError, OSError):
        return text == "<broadcast>"
    return True


WITNESS = Witness()


@pytest.fixture(scope="session")
def install_witness() -> None:
    sys.addaudithook(WITNESS.hook)


@pytest.fixture
def witness(install_witness: None) -> Witness:
    return WITNESS


class Site(ScriptedServer):
    """A proxy without authentication and all targets behind it: each answers to HTTP with its own name."""

    def __init__(self, greeting: bytes = b"") -> None:
        self.asked: list[str] = []
        """Targets in the order in which they were asked for."""
        super().__init__([receive_greeting(), send(b"\x05\x00"), self._request, send(greeting), self._answer])

    def _request(self, conversation: Conversation) -> None:
        while (found := decode_request(conversation.pending)) is None:
            conversation.more()
        conversation.take(found[1])
        self.asked.append(str(found[0].address))
        conversation.sock.sendall(SUCCESS)

    def _answer(self, conversation: Conversation) -> None:
        while True:
            while b"\r\n\r\n" not in conversation.pending:
                conversation.more()
            end = conversation.pending.index(b"\r\n\r\n") + 4
            host = re.findall(rb"(?i)host: *([^\r]*)", conversation.pending[:end])
            conversation.take(end)
            body = host[0] if host else b"nobody"
            conversation.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


@pytest.fixture
def site(witness: Witness) -> Iterator[Site]:
    """The proxy, watched: whatever goes past it fails the test."""
    with Site() as running, witness(running.address):
        yield running
