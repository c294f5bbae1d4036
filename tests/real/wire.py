"""The few octets of SOCKS that a test must speak by itself, where no program would do it."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .harness import PATIENCE, Address


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data)


class EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128


@contextmanager
def echo_server() -> Iterator[Address]:
    with EchoServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield Address("127.0.0.1", int(server.server_address[1]))
        server.shutdown()
        thread.join(PATIENCE)


def exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionError(f"closed after {data!r}")
        data += piece
    return data


def connect_request(target: Address) -> bytes:
    return b"\x05\x01\x00\x01" + socket.inet_aton(target.host) + target.port.to_bytes(2, "big")


def credentials(user: str, password: str) -> bytes:
    fields = user.encode(), password.encode()
    return b"\x01" + b"".join(len(field).to_bytes(1, "big") + field for field in fields)


def socks5(server: Address, target: Address, login: tuple[str, str] | None = None) -> socket.socket:
    """A SOCKS5 session to the target, without authentication or with a name and password."""
    connection = socket.create_connection(server, timeout=PATIENCE)
    try:
        if login is None:
            connection.sendall(b"\x05\x01\x00")
            assert exactly(connection, 2) == b"\x05\x00"
        else:
            connection.sendall(b"\x05\x01\x02")
            assert exactly(connection, 2) == b"\x05\x02"
            connection.sendall(credentials(*login))
            assert exactly(connection, 2) == b"\x01\x00"
        connection.sendall(connect_request(target))
        reply = exactly(connection, 10)
        assert reply[:4] == b"\x05\x00\x00\x01", reply
    except BaseException:
        connection.close()
        raise
    return connection
