"""What a process that only serves does around the server."""

from __future__ import annotations

import asyncio
import gc
import logging
import select
import sys
from typing import Any

import pytest

from hosier.engine.loop import EdgeLoop
from hosier.errors import ConfigError
from hosier.server.process import calm_collector, drain_unless, explain_on_stderr, loop_runner
from hosier.server.settings import Limits

from .harness import run, stage, until


def test_collector_is_calmed(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(gc, "freeze", lambda: told.append("freeze"))
    monkeypatch.setattr(gc, "set_threshold", lambda *numbers: told.append(numbers))
    calm_collector()
    assert told == ["freeze", (50_000, 20, 20)]


@pytest.mark.parametrize(("verbose", "level"), [(False, logging.WARNING), (True, logging.INFO)])
def test_explanations(verbose: bool, level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}
    monkeypatch.setattr(logging, "basicConfig", lambda **options: told.update(options))
    explain_on_stderr(verbose=verbose)
    assert told == {"format": "hosier: %(message)s", "level": level, "stream": sys.stderr}


def test_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert isinstance(loop_runner(uvloop=False)(loop()), EdgeLoop) == hasattr(select, "epoll")
    monkeypatch.delattr(select, "epoll", raising=False)
    assert loop_runner(uvloop=False) is asyncio.run
    uvloop = pytest.importorskip("uvloop")
    assert loop_runner(uvloop=True) is uvloop.run


def test_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(ConfigError, match="needs uvloop"):
        loop_runner(uvloop=True)


@pytest.mark.parametrize("impatient", [False, True])
def test_drain_unless(impatient: bool) -> None:
    """Sessions that end release it, and so does the event."""

    async def main() -> None:
        async with stage(limits=Limits(drain=1000)) as scene:
            client, far = await scene.joined()
            event = asyncio.Event()
            draining = asyncio.ensure_future(drain_unless(scene.server, event))
            await until(lambda: not scene.server.addresses, "it listens no more")
            assert not draining.done()
            if impatient:
                event.set()
            else:
                client.close()
                far.close()
            await draining
            assert bool(scene.server.sessions) == impatient

    run(main)
