"""A web server that we did not write (hypercorn), in a thread: HTTP/1.1, HTTP/2 and WebSockets, plain or with TLS."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config

from ..client.tls import Certificate

NAME = "target.hosier.test"

_BLOCK = hashlib.sha512(b"hosier").digest() * 1024


def octets(size: int) -> Iterator[bytes]:
    """What ``/octets`` answers with, in pieces: no block of it is like another one."""
    for number, start in enumerate(range(0, size, len(_BLOCK))):
        yield (number.to_bytes(8, "big") + _BLOCK[8:])[: min(len(_BLOCK), size - start)]


def digest(size: int) -> str:
    """The checksum of that."""
    total = hashlib.sha256()
    for block in octets(size):
        total.update(block)
    return total.hexdigest()


class Web:
    """``/hello``; ``/octets?SIZE``; ``/digest``, the checksum of what is uploaded; ``/together?NUMBER``, which answers
    when so many have asked; ``/echo`` for WebSockets; whatever ``files`` has.

    ``clients`` has the address of each request's connection, ``versions`` what it spoke.
    """

    def __init__(self, certificate: Certificate | None = None) -> None:
        self._certificate = certificate
        self.clients: list[Any] = []
        self.files: dict[str, tuple[str, bytes]] = {}
        """Content type and content by path."""
        self._together: dict[bytes, asyncio.Barrier] = {}
        self.versions: list[str] = []
        self._ready = threading.Event()
        self._stop: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="web", daemon=True)

    def forget(self) -> None:
        """As if nobody had been here."""
        self.clients.clear()
        self.versions.clear()

    @property
    def connections(self) -> int:
        """How many the requests came over."""
        return len({tuple(one) for one in self.clients})

    @property
    def url(self) -> str:
        """By the name that only the proxy knows."""
        return f"http{'s' if self._certificate else ''}://{NAME}:{self.port}"

    def __enter__(self) -> Web:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = listener.getsockname()[1]
        config = Config()
        config.bind = [f"fd://{listener.detach()}"]  # which hypercorn will close
        config.accesslog = config.errorlog = None
        config.graceful_timeout = 0.1
        config.keep_alive_timeout = 2  # so long it takes to notice that a client has left
        if self._certificate is not None:
            config.certfile, config.keyfile = str(self._certificate.file), str(self._certificate.key)
        self._ready.set()
        await serve(self._answer, config, shutdown_trigger=self._stop.wait)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await self._echo(receive, send)
        elif scope["type"] == "http":
            self.clients.append(scope["client"])
            self.versions.append(scope["http_version"])
            await self._respond(scope, receive, send)

    async def _respond(self, scope: Any, receive: Any, send: Any) -> None:
        total, more = hashlib.sha256(), True
        while more:
            message = await receive()
            total.update(message.get("body", b""))
            more = message.get("more_body", False)
        if scope["path"] == "/together":
            number: bytes = scope["query_string"]
            async with asyncio.timeout(60):
                await self._together.setdefault(number, asyncio.Barrier(int(number))).wait()
        pieces: Iterator[bytes] = iter(())
        if scope["path"] in self.files:
            kind, body = self.files[scope["path"]]
            headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        elif scope["path"] == "/octets":
            size = int(scope["query_string"])
            body, pieces = b"", octets(size)
            headers = [(b"content-length", str(size).encode())]
        else:
            body = total.hexdigest().encode() if scope["path"] == "/digest" else b"hello"
            headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": body})

    async def _echo(self, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            if message["type"] == "websocket.connect":
                await send({"type": "websocket.accept"})
            elif message["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})
            else:
                return
