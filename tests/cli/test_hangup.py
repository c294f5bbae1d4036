"""SIGHUP: what is read again, what is said about it, and that what is wrong changes nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Sequence
from typing import Any

import pytest

import hosier
from hosier.cli import hangup
from hosier.cli.hangup import change_server, change_workers, hear_hangup, ignore_hangup, reload_at_hangup
from hosier.config.settings import ServeSettings
from hosier.errors import ConfigError
from hosier.policy.rules import Rule
from hosier.workers.supervisor import Outcome

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no such signal here")

PATIENCE = 20.0


class Said:
    """Lines, and waiting for them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._more = asyncio.Event()

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        self._more.set()

    async def until(self, line: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while line not in self.lines:
                self._more.clear()
                await self._more.wait()


def test_each_signal_is_a_reload_and_mistakes_change_nothing() -> None:
    async def main() -> None:
        said, changed = Said(), []
        written: list[ConfigError | tuple[ServeSettings, Sequence[str]]] = [
            (ServeSettings(strict=True), ["careful"]),
            ConfigError("h.toml:1: one\nh.toml:2: two"),
            (ServeSettings(verbose=True), []),
        ]

        def read() -> tuple[ServeSettings, Sequence[str]]:
            found = written.pop(0)
            if isinstance(found, ConfigError):
                raise found
            return found

        async def change(settings: ServeSettings) -> str:
            if settings.verbose:
                raise ConfigError("the port is taken")
            changed.append(settings)
            return "well done"

        ignore_hangup()
        task = asyncio.ensure_future(reload_at_hangup(hear_hangup(), read, change, said))
        for last in ("reloaded: well done", "not reloaded: h.toml:2: two", "not reloaded: the port is taken"):
            os.kill(os.getpid(), signal.SIGHUP)
            await said.until(last)
        task.cancel()
        assert changed == [ServeSettings(strict=True)]
        assert said.lines == [
            "warning: careful",
            "reloaded: well done",
            "not reloaded: h.toml:1: one",
            "not reloaded: h.toml:2: two",
            "not reloaded: the port is taken",
        ]

    asyncio.run(main())


def test_before_anybody_listens_it_does_nothing() -> None:
    assert ignore_hangup()
    os.kill(os.getpid(), signal.SIGHUP)


def test_where_there_is_no_such_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGHUP")
    assert not ignore_hangup()


def test_a_server() -> None:
    async def main() -> None:
        before = ServeSettings(listen=["127.0.0.1:0"], log="off")
        async with hosier.Server(before) as server:
            after = ServeSettings(
                listen=["127.0.0.1:0"], log="json", workers=2, strict=True, verbose=True, rules=[Rule(action="deny")]
            )
            assert await change_server(server, after) == (
                "no session had to end; log, workers: as before, until the next start"
            )
            assert server.settings.strict
            assert server.rulebook is not None
            assert logging.getLogger().level == logging.INFO
            assert await change_server(server, before) == "no session had to end"
            assert logging.getLogger().level == logging.WARNING

    level = logging.getLogger().level
    try:
        asyncio.run(main())
    finally:
        logging.getLogger().setLevel(level)


@pytest.mark.parametrize("works", [True, False])
def test_who_stops_meanwhile_leaves_nothing_open(works: bool) -> None:
    """What a thread makes for a server that is told to stop is given back when it is made."""
    given_back = threading.Event()
    begun, go_on = threading.Event(), threading.Event()

    class Made:
        def abandon(self) -> None:
            given_back.set()

    class Making:
        def prepare(self, *_: object) -> Made:
            begun.set()
            assert go_on.wait(PATIENCE)
            if not works:
                raise ConfigError("it would not have worked")
            return Made()

    async def main() -> None:
        changing = asyncio.ensure_future(change_server(Making(), ServeSettings()))  # type: ignore[arg-type]
        assert await asyncio.to_thread(begun.wait, PATIENCE)
        changing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await changing
        go_on.set()
        if works:
            assert await asyncio.to_thread(given_back.wait, PATIENCE)

    asyncio.run(main())
    assert given_back.is_set() == works


@pytest.mark.parametrize(
    ("ended", "told"), [(0, "no session had to end"), (1, "1 session ended"), (7, "7 sessions ended")]
)
def test_workers(ended: int, told: str) -> None:
    asked = []

    class Supervisor:
        async def reload(self, settings: ServeSettings, keep: Any) -> Outcome:
            asked.append((settings, keep))
            return Outcome([], ended)

    settings = ServeSettings()
    assert asyncio.run(change_workers(Supervisor(), settings)) == told  # type: ignore[arg-type]
    assert asked == [(settings, hangup.KEPT | {"verbose"})]


def test_a_fault_is_not_the_last_reload(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        said = Said()
        faults = [RuntimeError("who knows")]

        def read() -> tuple[ServeSettings, Sequence[str]]:
            if faults:
                raise faults.pop()
            return ServeSettings(), []

        async def change(_: ServeSettings) -> str:
            return "well done"

        ignore_hangup()
        task = asyncio.ensure_future(reload_at_hangup(hear_hangup(), read, change, said))
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(PATIENCE):
            while not caplog.records:
                await asyncio.sleep(0.001)
        os.kill(os.getpid(), signal.SIGHUP)
        await said.until("reloaded: well done")
        task.cancel()

    asyncio.run(main())
    (record,) = caplog.records
    assert "not reloaded" in record.getMessage()
