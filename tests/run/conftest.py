from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from hosier.engine.choice import make_engine
from hosier.engine.poller import Engine
from hosier.run.doors import Doors

from .inside import Inside, need_namespaces

Story = Callable[[Engine, Doors], object]


@pytest.fixture
def namespaces() -> None:
    need_namespaces()


@pytest.fixture
def play(namespaces: None) -> Iterator[Callable[..., Any]]:
    """Runs a gateway in an engine of this process while a program does its work inside; what the program returned."""
    opened: list[Doors] = []

    def run(gateway: Story, program: Callable[[], Any], *, held: bool = True) -> Any:
        inside = Inside(held=held)
        doors = inside.start(program)
        opened.append(doors)

        async def outside() -> None:
            engine = make_engine()
            done = asyncio.Event()
            loop = asyncio.get_running_loop()
            try:
                ended = gateway(engine, doors)
                if isinstance(ended, Awaitable):
                    await ended
                loop.add_reader(inside.reading, done.set)
                inside.go()
                await asyncio.wait_for(done.wait(), 30)
            finally:
                loop.remove_reader(inside.reading)
                engine.close()

        asyncio.run(outside())
        return inside.result()

    yield run
    for doors in opened:
        for side in doors.sides:
            for sock in vars(side).values():
                sock.close()
        if doors.gate is not None:
            doors.gate.close()
        for fd in (doors.network, doors.end):
            with suppress(OSError):
                os.close(fd)
