"""A server of one process as its admin pages see it."""

from __future__ import annotations

from hosier.observe.counts import Counts, value_of
from hosier.observe.pages import Health
from hosier.server.overview import Overview

from .harness import run, stage, until


def test_from_start_to_stop() -> None:
    async def main() -> None:
        async with stage(counts=Counts()) as scene:
            overview = Overview(scene.server)
            assert overview.health() == Health(True, True)
            assert overview.gauges()["workers"][1] == 1
            client, target = await scene.joined()
            assert (await overview.snapshot())["sessions"] == 1
            assert value_of(overview.cells(), "sessions_started") == 1
            client.close()
            target.close()
            await until(lambda: scene.records, "the session ends")
            assert await scene.server.drain()
            assert overview.health() == Health(False, True, "lets nobody in")
            assert overview.gauges()["workers"][1] == 0

    run(main)
