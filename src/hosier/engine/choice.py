"""Which engine runs: the one place that asks."""

import asyncio
import contextlib
import select
from typing import Final

from .poller import HELD_LIMIT, Engine

__all__ = ("ENGINES", "make_engine")

ENGINES: Final = ("auto", "epoll", "portable") if hasattr(select, "epoll") else ("auto", "portable")
"""Names: the best engine that can be had; Linux's own; the one for everywhere."""


def make_engine(
    name: str = "auto", loop: asyncio.AbstractEventLoop | None = None, *, held_limit: int = HELD_LIMIT
) -> Engine:
    """An engine in the given loop, or in the running one. "epoll" raises NotImplementedError in a loop that cannot
    watch a descriptor for others."""
    if name == "epoll":
        return Engine(loop, held_limit=held_limit)
    if name == "auto" and hasattr(select, "epoll"):
        with contextlib.suppress(NotImplementedError):
            return Engine(loop, held_limit=held_limit)
    from .portable import PortableEngine  # nobody else needs it loaded

    return PortableEngine(loop, held_limit=held_limit)
