"""What the admin listener shows: metrics, health, readiness, and who is here."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from .admin import Answer, Page, json_answer, text_answer
from .counts import FAMILIES, place_of
from .prometheus import exposition

__all__ = ("Health", "Overseen", "pages_of")


class Health(NamedTuple):
    """``ready``: new clients are let in. ``alive``: all processes do their work. ``why``: what is amiss, in words."""

    ready: bool
    alive: bool
    why: str = ""


class Overseen(Protocol):
    """A server, of one process or several, as far as the pages ask."""

    started: float
    """Seconds since 1970."""

    def cells(self) -> Sequence[int]:
        """The counts of all its processes together."""

    def gauges(self) -> Mapping[str, tuple[str, float]]:
        """Further numbers, by name: what each means, and its value."""

    def health(self) -> Health:
        """How it is."""

    async def snapshot(self) -> dict[str, Any]:
        """Who is here, as ``server.snapshot`` tells."""


def pages_of(overseen: Overseen, version: str) -> dict[str, Page]:
    """By path. Whether the server is alive and ready may be asked without a token."""

    async def metrics() -> Answer:
        started = {"start_time_seconds": ("When it was started, in seconds since 1970.", overseen.started)}
        media_type, text = exposition(overseen.cells(), {**started, **overseen.gauges()}, version)
        return Answer(200, media_type, text)

    async def healthz() -> Answer:
        health = overseen.health()
        return text_answer("ok") if health.alive else text_answer(health.why, 503)

    async def readyz() -> Answer:
        health = overseen.health()
        return text_answer("ready") if health.ready and health.alive else text_answer(health.why or "not ready", 503)

    async def status() -> Answer:
        health = overseen.health()
        return json_answer(
            {
                "version": version,
                "started": overseen.started,
                "uptime": round(time.time() - overseen.started, 3),
                "ready": health.ready,
                "alive": health.alive,
                "why": health.why,
                "counts": _in_words(overseen.cells()),
                **{name: value for name, (_, value) in overseen.gauges().items()},
                **await overseen.snapshot(),
            }
        )

    return {
        "/metrics": Page(metrics),
        "/status": Page(status),
        "/healthz": Page(healthz, secret=False),
        "/readyz": Page(readyz, secret=False),
    }


_COUNTED: Final = tuple(family for family in FAMILIES if not family.bounds)


def _in_words(cells: Sequence[int]) -> dict[str, Any]:
    """The counts, without the histograms; a label's values as keys."""
    return {
        family.name: {value: cells[place_of(family.name, value)] for value in family.values}
        if family.label
        else cells[place_of(family.name)]
        for family in _COUNTED
    }
