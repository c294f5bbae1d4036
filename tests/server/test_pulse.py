"""What happens once a second."""

from __future__ import annotations

import asyncio
import time

import pytest

from hosier.server import pulse as module
from hosier.server.pulse import Pulse

from .harness import run, until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.02)


def test_it_beats_until_it_is_stopped() -> None:
    async def main() -> None:
        beats: list[tuple[float, float]] = []
        pulse = Pulse(asyncio.get_running_loop(), lambda *beat: beats.append(beat))
        await until(lambda: len(beats) > 2, "it beats")
        pulse.stop()
        pulse.stop()
        count = len(beats)
        await asyncio.sleep(0.1)
        assert len(beats) == count
        assert all(seconds > 0.015 and 0 <= lag < seconds for seconds, lag in beats)

    run(main)


def test_a_loop_that_was_busy_is_late_once() -> None:
    async def main() -> None:
        beats: list[tuple[float, float]] = []
        pulse = Pulse(asyncio.get_running_loop(), lambda *beat: beats.append(beat))
        time.sleep(0.3)  # the whole loop, as a fault would
        await until(lambda: len(beats) > 1, "it beats, and goes on")
        pulse.stop()
        assert beats[0][0] >= 0.3
        assert beats[0][1] >= 0.28
        assert all(seconds > 0.015 for seconds, _ in beats[1:]), "what was missed is not made up for"

    run(main)


def test_a_beat_may_stop_it() -> None:
    async def main() -> None:
        beats: list[float] = []

        def beat(seconds: float, _: float) -> None:
            beats.append(seconds)
            pulse.stop()

        pulse = Pulse(asyncio.get_running_loop(), beat)
        await until(lambda: beats, "it beats")
        await asyncio.sleep(0.1)
        assert len(beats) == 1

    run(main)
