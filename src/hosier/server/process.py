"""What a process does around a server if it is there for nothing else."""

import asyncio
import gc
import logging
import select
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from ..engine.loop import EdgeLoop
from ..errors import ConfigError
from .server import Server

__all__ = ("calm_collector", "drain_unless", "explain_on_stderr", "loop_runner")


def explain_on_stderr(*, verbose: bool) -> None:
    """Sends what the server says about itself to standard error; ``verbose``: each refusal, too."""
    logging.basicConfig(
        format="hosier: %(message)s", level=logging.INFO if verbose else logging.WARNING, stream=sys.stderr
    )


def calm_collector() -> None:
    """Sessions leave no cycles behind: looking for some every few sessions would only cost."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def loop_runner(*, uvloop: bool) -> Callable[[Any], Any]:
    """``asyncio.run``, where there is epoll on a loop that lends its own to the engine; or uvloop's. Raises ConfigError
    if that is not installed."""
    if not uvloop:
        return _run if hasattr(select, "epoll") else asyncio.run
    try:
        import uvloop as package
    except ImportError:
        raise ConfigError("--uvloop needs uvloop: pip install 'hosier[uvloop]'") from None
    run: Callable[[Any], Any] = package.run
    return run


def _run(main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=EdgeLoop) as runner:
        return runner.run(main)


async def drain_unless(server: Server, impatient: asyncio.Event) -> None:
    """Lets the sessions end, until the limit for that or the event."""
    draining = [asyncio.ensure_future(server.drain()), asyncio.ensure_future(impatient.wait())]
    await asyncio.wait(draining, return_when=asyncio.FIRST_COMPLETED)
    for waiting in draining:
        waiting.cancel()
