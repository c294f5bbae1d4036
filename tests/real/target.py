"""A web server for clients to reach through the SOCKS server, which remembers every connection it had."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import json
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from .harness import PATIENCE, Address, has_ipv6

BLOCK = 1 << 20
_NOISE = random.Random(1928).randbytes(BLOCK)


def stream(size: int) -> Iterator[bytes]:
    """`size` bytes, in blocks of which no two are equal: a block that got lost, doubled or swapped shows."""
    noise = memoryview(_NOISE)
    for number, start in enumerate(range(0, size, BLOCK)):
        length = min(BLOCK, size - start)
        yield b"".join([number.to_bytes(8, "big"), noise[8:length]])[:length]


def digest(size: int) -> str:
    total = hashlib.sha256()
    for block in stream(size):
        total.update(block)
    return total.hexdigest()


class Target:
    """The server, at one port of 127.0.0.1 and, where there is one, of ::1; or of other hosts, an IPv4 one first."""

    def __init__(self, hosts: tuple[str, ...] = ()) -> None:
        self.connections: list[Address] = []  # the peer of each connection, in order
        self.uploads: dict[str, str] = {}  # path -> sha256 of what was uploaded there
        self.files: dict[str, tuple[str, bytes]] = {}  # path -> content type, content
        self.repositories: Path | None = None  # served under /git/ when set
        self.held: list[str] = []  # paths under /held/ whose answers have begun
        self.goes_on = threading.Event()  # what they wait for then
        self._servers: list[_Server] = []
        self._threads: list[threading.Thread] = []
        self._hosts = hosts or (("127.0.0.1", "::1") if has_ipv6() else ("127.0.0.1",))

    def __enter__(self) -> Target:
        for _ in range(50):
            self._servers = []
            try:
                for host in self._hosts:
                    kind = _Server6 if ":" in host else _Server
                    self._servers.append(kind((host, self._servers[0].server_address[1] if self._servers else 0), self))
                break
            except OSError:  # someone else's port over there
                for server in self._servers:
                    server.server_close()
        self.port = int(self._servers[0].server_address[1])
        for server in self._servers:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.close_connections()
            server.server_close()
        for thread in self._threads:
            thread.join(PATIENCE)

    def at(self, host: str) -> str:
        """host:port as the access log writes it."""
        return str(Address(host, self.port))

    def url(self, host: str, path: str = "/peer") -> str:
        return f"http://{self.at(host)}{path}"


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], target: Target) -> None:
        self.target = target
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.target.connections.append(Address(client_address[0], client_address[1]))
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        for connection in list(self._open):
            with suppress(OSError):  # gone by itself
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client may go away when it likes
            super().handle_error(request, client_address)


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/peer":
            self._answer(json.dumps({"peer": self.client_address[0], "host": self.headers["Host"]}).encode())
        elif path.startswith("/stream/"):
            self._stream(int(path.removeprefix("/stream/")))
        elif path.startswith("/held/"):
            self._stream(int(path.removeprefix("/held/")), held=True)
        elif path.startswith("/git/"):
            self._git()
        elif path in self.server.target.files:
            kind, content = self.server.target.files[path]
            self._answer(content, kind)
        else:
            self._answer(b"no such page\n", status=404)

    def do_PUT(self) -> None:
        total = hashlib.sha256()
        for block in self._body():
            total.update(block)
        self.server.target.uploads[self.path] = total.hexdigest()
        self._answer(total.hexdigest().encode() + b"\n")

    def do_POST(self) -> None:
        if self.path.startswith("/git/"):
            self._git()
        else:
            self._answer(b"".join(self._body()), "application/octet-stream")

    def _answer(self, content: bytes, kind: str = "text/plain; charset=utf-8", status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, size: int, *, held: bool = False) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(size))
        self.end_headers()
        for block in stream(size):
            self.wfile.write(block)
            if held:
                self.server.target.held.append(self.path)
                self.server.target.goes_on.wait(PATIENCE)
                held = False

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield from self._exactly(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            yield from self._exactly(int(self.headers.get("Content-Length", "0")))

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            block = self.rfile.read(min(size, BLOCK))
            if not block:
                raise ConnectionError("the client stopped in the middle of a body")
            size -= len(block)
            yield block

    def _git(self) -> None:
        """Hand the request to `git http-backend`, which speaks CGI."""
        if self.server.target.repositories is None:
            self._answer(b"no repositories here\n", status=404)
            return
        body = b"".join(self._body())
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        url = urlsplit(self.path)
        answer = subprocess.run(
            ["git", "http-backend"],
            input=body,
            stdout=subprocess.PIPE,
            check=True,
            env={
                **os.environ,
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": os.devnull,
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROJECT_ROOT": str(self.server.target.repositories),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REMOTE_USER": "tester",
                "REMOTE_ADDR": self.client_address[0],
                "REQUEST_METHOD": self.command,
                "PATH_INFO": url.path.removeprefix("/git"),
                "QUERY_STRING": url.query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
            },
        ).stdout
        head, _, content = answer.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n"))
        self.send_response(int(fields.pop("Status", "200 OK").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
