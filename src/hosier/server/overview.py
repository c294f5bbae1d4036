"""A server of one process, as its admin pages see it."""

from collections.abc import Mapping, Sequence
from time import time
from typing import TYPE_CHECKING, Any

from ..observe.pages import Health
from .snapshot import snapshot

if TYPE_CHECKING:
    from .server import Server

__all__ = ("Overview",)


class Overview:
    """Of a server that has counts."""

    def __init__(self, server: "Server") -> None:
        self.started = time()
        self._server = server

    def cells(self) -> Sequence[int]:
        return self._server.meter.counts.cells

    def gauges(self) -> Mapping[str, tuple[str, float]]:
        return {"workers": ("Processes that let clients in.", float(self._server.listens))}

    def health(self) -> Health:
        """It is alive, or nobody could ask."""
        return Health(True, True) if self._server.listens else Health(False, True, "lets nobody in")

    async def snapshot(self) -> dict[str, Any]:
        return snapshot(self._server)
