"""A small listener for those who run the server: pages to be read over HTTP, and nothing that changes anything.

It is not the proxy: another port or a unix socket, off unless asked for, and with a token wherever others than this
machine could reach it. One request per connection, bounded in size, time and number.
"""

import asyncio
import base64
import binascii
import contextlib
import errno
import hmac
import io
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping, Sequence
from email.message import Message
from http import HTTPStatus
from http.client import HTTPException, parse_headers
from ipaddress import ip_address
from typing import Any, Final, NamedTuple

from ..errors import ConfigError, cannot_listen

__all__ = ("AdminListener", "Answer", "Page", "json_answer", "text_answer")

MAX_REQUEST: Final = 8192
"""Octets of the request and its headers."""

PATIENCE: Final = 5.0
"""Seconds that a request and its answer may take each."""

MOST: Final = 32
"""Connections at the same time. Where there are as many, the oldest that has not asked for anything yet makes room."""

UNIX: Final = "unix:"

_LACKING: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
_VERSIONS: Final = ("HTTP/1.0", "HTTP/1.1")


class Answer(NamedTuple):
    status: int
    media_type: str
    body: bytes


class Page(NamedTuple):
    """``make()`` gives the answer. ``secret``: a token is asked for, if there is one."""

    make: Callable[[], Awaitable[Answer]]
    secret: bool = True


def text_answer(text: str, status: int = 200) -> Answer:
    return Answer(status, "text/plain; charset=utf-8", f"{text}\n".encode())


def json_answer(value: Any, status: int = 200) -> Answer:
    return Answer(status, "application/json", json.dumps(value, ensure_ascii=True).encode() + b"\n")


class AdminListener:
    """``async with AdminListener(...)``.

    Args:
        places: "HOST:PORT" as pairs, or "unix:PATH".
        pages: by path.
        token: what whoever reads a secret page must show, as a bearer token or as a password with any name; None:
            nobody must.
    """

    def __init__(
        self, places: Sequence[tuple[str, int] | str], pages: Mapping[str, Page], token: str | None = None
    ) -> None:
        self._places = places
        self._pages = pages
        self._token = None if token is None else token.encode()
        self._servers: list[asyncio.Server] = []
        self._connections = 0
        self._silent: dict[asyncio.StreamWriter, None] = {}  # who has not asked yet, in the order of their coming

    @property
    def addresses(self) -> list[str]:
        """Where it listens, with the ports that were taken for port 0."""
        return [_shown(sock.getsockname()) for server in self._servers for sock in server.sockets]

    async def __aenter__(self) -> "AdminListener":
        """Raises ConfigError if a place cannot be had."""
        try:
            for sock in _sockets(self._places):
                self._servers.append(await asyncio.start_server(self._serve, sock=sock, limit=MAX_REQUEST))
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    # --- private ---

    async def _close(self) -> None:
        for server in self._servers:
            names = [sock.getsockname() for sock in server.sockets if sock.family == getattr(socket, "AF_UNIX", None)]
            server.close()
            for name in names:
                with contextlib.suppress(OSError):
                    os.unlink(name)
        self._servers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections > MOST and not self._made_room():
                return
            self._silent[writer] = None
            try:
                answer, head = await self._answer(reader, writer)
            finally:
                self._silent.pop(writer, None)
            async with asyncio.timeout(PATIENCE):
                writer.write(_response(answer, head=head))
                await writer.drain()
        except (OSError, TimeoutError, EOFError):
            pass  # whoever asked is gone, or never said what for
        finally:
            self._connections -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _made_room(self) -> bool:
        """Whether there was somebody to make it: who wants to know something has asked at once."""
        oldest = next(iter(self._silent), None)
        if oldest is None:
            return False
        del self._silent[oldest]
        oldest.transport.abort()
        return True

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[Answer, bool]:
        """The answer, and whether only its head is wanted."""
        try:
            async with asyncio.timeout(PATIENCE):
                octets = await reader.readuntil(b"\r\n\r\n")
            self._silent.pop(writer, None)
            line, _, rest = octets.partition(b"\r\n")
            method, target, version = line.decode("ascii").split(" ")
            headers: Message = parse_headers(io.BytesIO(rest))
        except asyncio.LimitOverrunError:
            return text_answer("the request is too long", 431), False
        except (ValueError, HTTPException):
            return text_answer("this is not a request of HTTP", 400), False
        if version not in _VERSIONS:
            return text_answer("HTTP/1.0 and 1.1 are spoken here", 505), False
        page = self._pages.get(target.partition("?")[0])
        if method not in ("GET", "HEAD"):
            answer = text_answer("pages can be read and nothing else", 405)
        elif page is None:
            answer = text_answer(f"there are: {' '.join(self._pages)}", 404)
        elif page.secret and self._token is None and not _is_asked_by_address(headers, writer):
            answer = text_answer("ask by address, not by name, or set a token", 403)
        elif page.secret and self._token is not None and not _shows(self._token, headers):
            answer = text_answer("a token is needed", 401)
        else:
            answer = await page.make()
        return answer, method == "HEAD"


def _is_asked_by_address(headers: Message, writer: asyncio.StreamWriter) -> bool:
    """A page in a browser of this machine can make a name of its own lead here; it cannot choose the Host header."""
    if not isinstance(writer.get_extra_info("sockname"), tuple):
        return True  # no browser reaches a unix socket
    host = headers.get("Host", "127.0.0.1")
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if host.lower() == "localhost":
        return True
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _shows(token: bytes, headers: Message) -> bool:
    scheme, _, given = headers.get("Authorization", "").strip().partition(" ")
    shown = given.strip().encode("utf-8", "surrogateescape")
    if scheme.lower() == "basic":
        try:
            shown = base64.b64decode(shown, validate=True).partition(b":")[2]
        except binascii.Error:
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(shown, token)


def _response(answer: Answer, *, head: bool) -> bytes:
    status = HTTPStatus(answer.status)
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {answer.media_type}",
        f"Content-Length: {len(answer.body)}",
        "Connection: close",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
    ]
    if status == HTTPStatus.UNAUTHORIZED:
        lines.append('WWW-Authenticate: Basic realm="hosier"')
    return "\r\n".join((*lines, "", "")).encode() + (b"" if head else answer.body)


# --- places ---


def _sockets(places: Sequence[tuple[str, int] | str]) -> list[socket.socket]:
    """One for each; a family that the machine lacks is left out, unless it is the only one. Raises ConfigError."""
    found: list[socket.socket] = []
    for place in places:
        try:
            found.append(_socket(place))
        except OSError as error:
            if error.errno in _LACKING and (found or place is not places[-1]):
                continue
            for sock in found:
                sock.close()
            if isinstance(place, str):
                raise ConfigError(f"cannot listen on {place} for the admin pages: {_why_not(error)}") from None
            shown = f"{_shown(place)} for the admin pages"
            raise cannot_listen(shown, error, "choose --admin HOST:PORT") from None
    return found


def _socket(place: "tuple[str, int] | str") -> socket.socket:
    if isinstance(place, str):
        return _unix_socket(place.removeprefix(UNIX))
    family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
    return socket.create_server(place, family=family)


def _unix_socket(path: str) -> socket.socket:
    """A new one that its owner and group may use. One that a server left behind when it died makes room."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode) and not _is_alive(path):
            os.unlink(path)
    sock = socket.socket(socket.AF_UNIX)
    before = os.umask(0o117)
    try:
        sock.bind(path)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
    sock.listen()
    return sock


def _why_not(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "something is there already; stop the program that listens there or choose another path"
    return os.strerror(error.errno) if error.errno else str(error)  # a path may be too long


def _is_alive(path: str) -> bool:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
        return True


def _shown(name: Any) -> str:
    if isinstance(name, str):
        return f"{UNIX}{name}"
    host, port = name[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
