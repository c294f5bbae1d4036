"""The recipes of docs/trio.md, in trio and in anyio over both, beside a proxy that is awkward."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio

import hosier
from hosier.testing import ScriptedServer, send, stall

from .harness import PATIENCE, SUCCESS, opening, opening_with_password

PAGE = (Path(__file__).parents[2] / "docs" / "trio.md").read_text(encoding="utf-8")
Work = Callable[[Callable[..., Awaitable[Any]]], Awaitable[None]]


def recipe(number: int) -> Callable[..., Awaitable[Any]]:
    """The function of a page's program, without what stands for the user's proxy and target."""
    program = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[number]
    found: dict[str, Any] = {}
    exec(program.partition("async def main")[0], found)
    return found["open_through"]  # type: ignore[no-any-return]


def in_trio(work: Work) -> None:
    async def main() -> None:
        with trio.fail_after(PATIENCE):
            await work(recipe(0))

    trio.run(main)


def in_anyio(backend: str) -> Callable[[Work], None]:
    async def main(work: Work) -> None:
        with anyio.fail_after(PATIENCE):
            await work(recipe(1))

    return lambda work: anyio.run(main, work, backend=backend)


worlds = pytest.mark.parametrize(
    "run", [in_trio, in_anyio("asyncio"), in_anyio("trio")], ids=["trio", "anyio on asyncio", "anyio on trio"]
)
Run = Callable[[Work], None]


async def exactly(stream: Any, size: int) -> bytes:
    receive = getattr(stream, "receive_some", None) or stream.receive
    data = b""
    while len(data) < size:
        data += await receive(size - len(data))
    return data


@worlds
@pytest.mark.parametrize("octet_by_octet", [False, True], ids=["whole", "octets"])
def test_early_data_is_not_lost(run: Run, octet_by_octet: bool) -> None:
    async def work(open_through: Callable[..., Awaitable[Any]]) -> None:
        stream = await open_through(hosier.Proxy(server.url), "example.com", 80)
        assert await exactly(stream, 9) == b"220 hello"
        await stream.aclose()

    with ScriptedServer(opening(send(SUCCESS + b"220 hello", octet_by_octet=octet_by_octet), stall())) as server:
        run(work)
        assert server.received == b"\x05\x01\x00\x05\x01\x00\x03\x0bexample.com\x00\x50"


@worlds
def test_password(run: Run) -> None:
    async def work(open_through: Callable[..., Awaitable[Any]]) -> None:
        proxy = hosier.Proxy(server.url, username="ann", password="")
        await (await open_through(proxy, "example.com", 80)).aclose()

    with ScriptedServer(opening_with_password(b"\x01\x00", send(SUCCESS), stall())) as server:
        run(work)
        assert server.received.startswith(b"\x05\x02\x00\x02\x01\x03ann\x00")


@worlds
@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (opening(send(b"\x05\x05\x00"), stall()), ConnectionRefusedError),
        (opening(send(b"\x05\xf0\x00"), stall()), hosier.ReplyError),
        (opening(send(SUCCESS[:5])), hosier.RemoteProtocolError),
        (opening_with_password(b"\x01\x01", stall()), hosier.RemoteProtocolError),
    ],
    ids=["refused", "unknown code", "ends", "method that was not offered"],
)
def test_failures(run: Run, script: list[Any], kind: type[Exception]) -> None:
    async def work(open_through: Callable[..., Awaitable[Any]]) -> None:
        with pytest.raises(kind):
            await open_through(hosier.Proxy(server.url), "example.com", 80)

    with ScriptedServer(script) as server:
        run(work)


@worlds
def test_limit(run: Run) -> None:
    """A loop's own; the connection is closed."""

    async def work(open_through: Callable[..., Awaitable[Any]]) -> None:
        limit = trio.fail_after if run is in_trio else anyio.fail_after
        with pytest.raises((trio.TooSlowError, TimeoutError)), limit(0.2):
            await open_through(hosier.Proxy(server.url), "example.com", 80)

    with ScriptedServer([stall()]) as server:
        run(work)
