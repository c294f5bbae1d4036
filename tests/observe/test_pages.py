"""What the admin pages say, by how the server is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from hosier.observe.admin import Answer
from hosier.observe.counts import Counts
from hosier.observe.pages import Health, pages_of


class Overseen:
    started = 1000.0

    def __init__(self, health: Health) -> None:
        self._health = health
        self.counts = Counts()

    def cells(self) -> Sequence[int]:
        return self.counts.cells

    def gauges(self) -> Mapping[str, tuple[str, float]]:
        return {"workers": ("How many.", 2)}

    def health(self) -> Health:
        return self._health

    async def snapshot(self) -> dict[str, Any]:
        return {"sessions": 1, "busiest": [], "users": {}}


def asked(path: str, overseen: Overseen) -> tuple[int, str]:
    async def main() -> Answer:
        return await pages_of(overseen, "1.2.3")[path].make()

    answer = asyncio.run(main())
    return answer.status, answer.body.decode()


@pytest.mark.parametrize(
    ("health", "healthz", "readyz"),
    [
        (Health(True, True), (200, "ok\n"), (200, "ready\n")),
        (Health(False, True, "stopping"), (200, "ok\n"), (503, "stopping\n")),
        (Health(False, True), (200, "ok\n"), (503, "not ready\n")),
        (Health(True, False, "hangs"), (503, "hangs\n"), (503, "hangs\n")),
    ],
)
def test_health(health: Health, healthz: tuple[int, str], readyz: tuple[int, str]) -> None:
    assert asked("/healthz", Overseen(health)) == healthz
    assert asked("/readyz", Overseen(health)) == readyz


def test_only_health_is_for_everybody() -> None:
    pages = pages_of(Overseen(Health(True, True)), "1.2.3")
    assert {path for path, page in pages.items() if not page.secret} == {"/healthz", "/readyz"}
    assert {path for path, page in pages.items() if page.secret} == {"/metrics", "/status"}


def test_metrics() -> None:
    status, text = asked("/metrics", Overseen(Health(True, True)))
    assert status == 200
    assert "\nhosier_start_time_seconds 1000.0\n" in text
    assert "\nhosier_workers 2.0\n" in text


def test_status() -> None:
    overseen = Overseen(Health(True, True))
    overseen.counts.count("octets", "up", 5)
    status, text = asked("/status", overseen)
    told = json.loads(text)
    assert status == 200
    assert told["counts"]["octets"] == {"up": 5, "down": 0}
    assert told["counts"]["sessions_started"] == 0
    assert (told["version"], told["ready"], told["workers"], told["sessions"]) == ("1.2.3", True, 2, 1)
