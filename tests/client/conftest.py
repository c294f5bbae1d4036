"""Fixtures that the client's tests share, for all worlds of I/O."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import hosier
from hosier.server.gssapi import GssapiSettings
from hosier.testing.fixtures import hosier_server, scripted_server

from .protection import play_with_toys
from .tls import Certificate

__all__ = ("certificate", "greeter", "hosier_server", "protecting", "scripted_server", "silent_socket")


@pytest.fixture(scope="session")
def certificate(program: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(program("openssl"), tmp_path_factory.mktemp("tls"))


@pytest.fixture
def protecting(hosier_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[[], hosier.Proxy]:
    """``protecting()`` starts a server that protects what follows the login, with the toy in Kerberos' place."""
    play_with_toys(monkeypatch)

    def start() -> hosier.Proxy:
        server = hosier_server(gssapi=GssapiSettings(enabled=True))
        return hosier.Proxy(f"socks5h+gssapi://localhost:{server.address[1]}")

    return start


@pytest.fixture
def greeter() -> Iterator[tuple[str, int]]:
    """A server that speaks first, then echoes, to one client after the other."""

    def serve() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock, contextlib.suppress(ConnectionError):
                sock.settimeout(20)
                sock.sendall(b"220 hello\r\n")
                while data := sock.recv(65_536):
                    sock.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(20)


@pytest.fixture
def silent_socket() -> Iterator[socket.socket]:
    """A UDP socket on loopback: the relay of a scripted proxy."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(20)
        yield sock
