"""The admin listener: who gets which answer, and what strangers cannot do to it."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import stat
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from hosier.errors import ConfigError
from hosier.observe import admin as module
from hosier.observe.admin import MAX_REQUEST, MOST, AdminListener, Answer, Page, json_answer, text_answer

LOOPBACK = ("127.0.0.1", 0)
Ask = Callable[[bytes], Coroutine[Any, Any, bytes]]


async def secret() -> Answer:
    return json_answer({"who": "ann"})


async def open_to_all() -> Answer:
    return text_answer("ok")


PAGES = {"/secret": Page(secret), "/open": Page(open_to_all, secret=False)}


def with_listener(
    story: Callable[[Ask], Coroutine[Any, Any, None]], token: str | None = None, place: Any = LOOPBACK
) -> None:
    """``ask(octets)`` sends them as a client that then ends, and gives all that comes back."""

    async def main() -> None:
        async with asyncio.timeout(20), AdminListener([place], PAGES, token) as listener:
            (name,) = listener.addresses

            async def ask(octets: bytes) -> bytes:
                if name.startswith("unix:"):
                    reader, writer = await asyncio.open_unix_connection(name.removeprefix("unix:"))
                else:
                    reader, writer = await asyncio.open_connection("127.0.0.1", int(name.rpartition(":")[2]))
                writer.write(octets)
                try:
                    return await reader.read()
                finally:
                    writer.close()

            await story(ask)

    asyncio.run(main())


def request(path: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", "")).encode()


def status(answer: bytes) -> int:
    version, number, _ = answer.split(b" ", 2)
    assert version == b"HTTP/1.1"
    return int(number)


def test_pages() -> None:
    async def story(ask: Ask) -> None:
        answer = await ask(request("/secret?x=1"))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert status(answer) == 200
        assert body == b'{"who": "ann"}\n'
        assert b"Content-Type: application/json\r\n" in head
        assert f"Content-Length: {len(body)}\r\n".encode() in head
        assert await ask(request("/secret", method="HEAD")) == head + b"\r\n\r\n"
        assert (await ask(request("/open"))).endswith(b"\r\n\r\nok\n")

    with_listener(story)


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (request("/nowhere"), 404),
        (request("/../etc/passwd"), 404),
        (request("/secret", method="POST"), 405),
        (request("/secret", method="DELETE"), 405),
        (b"GET /secret HTTP/2.0\r\n\r\n", 505),
        (b"GET /secret\r\n\r\n", 400),
        (b"\x05\x01\x00\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
        (request("/secret", *(f"X-{number}: y" for number in range(200))), 400),
        (request("/secret", "X: " + "y" * 2 * MAX_REQUEST), 431),
    ],
)
def test_mistakes(octets: bytes, expected: int) -> None:
    async def story(ask: Ask) -> None:
        assert status(await ask(octets)) == expected

    with_listener(story)


def test_the_token() -> None:
    def basic(text: str) -> str:
        return "Authorization: Basic " + base64.b64encode(text.encode()).decode()

    async def story(ask: Ask) -> None:
        for header in (
            "Authorization: Bearer open-sesame",
            "authorization:  bearer  open-sesame ",
            basic("x:open-sesame"),
        ):
            assert status(await ask(request("/secret", header))) == 200
        for header in (
            "X: y",
            "Authorization: Bearer",
            "Authorization: Bearer close-sesame",
            "Authorization: Bearer open-sesam",
            "Authorization: Digest open-sesame",
            "Authorization: Basic !!!",
            "Authorization: Basic open-sesame",
            basic("open-sesame"),
            basic("open-sesame:"),
        ):
            answer = await ask(request("/secret", header))
            assert status(answer) == 401
            assert b"WWW-Authenticate: Basic" in answer
            assert b"ann" not in answer
        assert status(await ask(request("/open"))) == 200

    with_listener(story, "open-sesame")


def test_a_page_in_a_browser_cannot_make_a_name_lead_here() -> None:
    """DNS rebinding: the name is the attacker's, the address ours; so without a token names are not answered."""

    async def story(ask: Ask) -> None:
        for host in ("127.0.0.1", "127.0.0.1:9180", "localhost:9180", "[::1]:9180", "LOCALHOST"):
            assert status(await ask(f"GET /secret HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())) == 200
        for host in ("evil.example", "evil.example:9180", "127.0.0.1.evil.example", ""):
            assert status(await ask(f"GET /secret HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())) == 403

    with_listener(story)


def test_a_client_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)

    async def story(ask: Ask) -> None:
        assert await ask(b"GET /secret HTT") == b""

    with_listener(story)


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says nothing may stay, also on a machine that is slow to open connections."""
    monkeypatch.setattr(module, "PATIENCE", 60.0)


@pytest.mark.usefixtures("unhurried")
def test_the_oldest_that_says_nothing_makes_room() -> None:
    """Whoever holds all places keeps nobody from a scrape."""

    async def main() -> None:
        async with asyncio.timeout(20), AdminListener([LOOPBACK], PAGES) as listener:
            port = int(listener.addresses[0].rpartition(":")[2])
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MOST)]
            while len(listener._silent) < MOST:
                await asyncio.sleep(0.001)
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(request("/open"))
                assert status(await reader.read()) == 200
                writer.close()
            ended = [reader for reader, _ in idle if reader.at_eof() or reader.exception()]
            assert 1 <= len(ended) <= 3
            assert ended == [reader for reader, _ in idle][: len(ended)], "the oldest first"
            for _, writer in idle:
                writer.close()
            while listener._connections:
                await asyncio.sleep(0.001)
            assert not listener._silent

    asyncio.run(main())


@pytest.mark.usefixtures("unhurried")
def test_more_than_so_many_that_ask_are_turned_away() -> None:
    async def main() -> None:
        go_on = asyncio.Event()

        async def slow() -> Answer:
            await go_on.wait()
            return text_answer("ok")

        pages = {"/slow": Page(slow, secret=False)}
        async with asyncio.timeout(20), AdminListener([LOOPBACK], pages) as listener:
            port = int(listener.addresses[0].rpartition(":")[2])
            asking = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MOST)]
            for _, writer in asking:
                writer.write(request("/slow"))
            while listener._connections < MOST or listener._silent:
                await asyncio.sleep(0.001)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await reader.read() == b""
            writer.close()
            go_on.set()
            for reader, writer in asking:
                assert status(await reader.read()) == 200
                writer.close()

    asyncio.run(main())


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"

    async def story(ask: Ask) -> None:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
        assert status(await ask(b"GET /secret HTTP/1.0\r\nHost: anything\r\n\r\n")) == 200

    for _ in range(2):
        with_listener(story, place=f"unix:{path}")
        assert not path.exists()


def test_a_unix_socket_of_a_server_that_died(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async def story(ask: Ask) -> None:
        assert status(await ask(request("/open"))) == 200

    with_listener(story, place=f"unix:{path}")


def entered(place: Any) -> str:
    """The complaint about it."""

    async def main() -> None:
        async with AdminListener([LOOPBACK, place], PAGES):
            pass

    with pytest.raises(ConfigError) as caught:
        asyncio.run(main())
    return str(caught.value)


def test_a_unix_socket_that_somebody_serves_or_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        assert entered(f"unix:{path}") == (
            f"cannot listen on unix:{path} for the admin pages: something is there already; "
            "stop the program that listens there or choose another path"
        )
    (tmp_path / "file").write_text("precious")
    entered(f"unix:{tmp_path / 'file'}")
    assert (tmp_path / "file").read_text() == "precious"


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        place = ("127.0.0.1", port)
        assert entered(place) == (
            f"cannot listen on http://127.0.0.1:{port} for the admin pages: the port is taken; "
            "stop the other program or choose --admin HOST:PORT"
        )


def test_a_family_that_the_machine_lacks_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = socket.create_server

    def create_server(place: tuple[str, int], **keywords: Any) -> socket.socket:
        if ":" in place[0]:
            raise OSError(97, "Address family not supported by protocol")
        return genuine(place, **keywords)

    monkeypatch.setattr(socket, "create_server", create_server)

    async def main() -> None:
        async with AdminListener([LOOPBACK, ("::1", 0)], PAGES) as listener:
            assert len(listener.addresses) == 1

    asyncio.run(main())
