"""A worker's half of a reload: made, then changed to, or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hosier.errors import ConfigError
from hosier.policy.rules import Rule
from hosier.server.server import Server
from hosier.server.settings import ServerSettings
from hosier.workers.changing import Changing
from hosier.workers.channel import PREPARE, SWITCH, packed_settings, receive_value

BEFORE = ServerSettings(listen=["127.0.0.1:0"])
AFTER = ServerSettings(listen=["127.0.0.1:0"], rules=[Rule(action="deny")])
WRONG = ServerSettings(listen=["127.0.0.1:0"], users_file="/nonexistent")


class Answers:
    """What the worker says."""

    def __init__(self) -> None:
        self.stream = asyncio.StreamReader()

    def write(self, data: bytes) -> None:
        self.stream.feed_data(data)

    async def next(self) -> tuple[bytes, Any]:
        return await self.stream.readexactly(1), await receive_value(self.stream)


async def prepare(changing: Changing, settings: ServerSettings) -> None:
    orders = asyncio.StreamReader()
    orders.feed_data(packed_settings(settings, 0))
    await changing.prepare(orders)


def test_made_then_changed_to() -> None:
    async def main() -> None:
        async with Server(BEFORE) as server:
            answers = Answers()
            changing = Changing(server, answers)  # type: ignore[arg-type]
            nothing = asyncio.StreamReader()
            await prepare(changing, AFTER)
            assert await answers.next() == (PREPARE, "")
            assert server.rulebook is None
            await changing.switch(nothing)
            assert await answers.next() == (SWITCH, 0)
            assert server.rulebook is not None
            await changing.switch(nothing)
            assert await answers.next() == (SWITCH, "it has not been prepared")

    asyncio.run(main())


def test_what_is_wrong_or_abandoned_changes_nothing() -> None:
    async def main() -> None:
        async with Server(BEFORE) as server:
            answers = Answers()
            changing = Changing(server, answers)  # type: ignore[arg-type]
            nothing = asyncio.StreamReader()
            await prepare(changing, AFTER)
            await prepare(changing, WRONG)
            assert await answers.next() == (PREPARE, "")
            word, complaint = await answers.next()
            assert (word, complaint[:31]) == (PREPARE, "cannot read the users file /non")
            await changing.switch(nothing)
            assert await answers.next() == (SWITCH, "it has not been prepared")
            await prepare(changing, AFTER)
            await changing.abandon(nothing)
            await changing.switch(nothing)
            assert server.settings == BEFORE

    asyncio.run(main())


def test_a_fault_while_it_is_made_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without another thread, say; the worker hears the next order."""

    async def main() -> None:
        async with Server(BEFORE) as server:
            answers = Answers()
            changing = Changing(server, answers)  # type: ignore[arg-type]

            def fails(*_: object) -> None:
                raise RuntimeError("can't start new thread")

            with monkeypatch.context() as patched:
                patched.setattr(server, "prepare", fails)
                await prepare(changing, AFTER)
            assert await answers.next() == (PREPARE, "RuntimeError: can't start new thread")
            await prepare(changing, AFTER)
            assert await answers.next() == (PREPARE, "")
            await changing.abandon(asyncio.StreamReader())

    asyncio.run(main())


def test_what_goes_wrong_when_it_changes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the worker hears the next order."""

    async def main() -> None:
        async with Server(BEFORE) as server:
            answers = Answers()
            changing = Changing(server, answers)  # type: ignore[arg-type]
            for error, told in (
                (OSError("no more descriptors"), "OSError: no more descriptors"),
                (ConfigError("cannot wait"), "cannot wait"),
            ):

                def fails(_: object, error: Exception = error) -> int:
                    raise error

                await prepare(changing, AFTER)
                assert await answers.next() == (PREPARE, "")
                with monkeypatch.context() as patched:
                    patched.setattr(server, "switch", fails)
                    await changing.switch(asyncio.StreamReader())
                assert await answers.next() == (SWITCH, told)

    asyncio.run(main())
