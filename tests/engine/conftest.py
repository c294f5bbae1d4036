"""The loops that the engine runs in."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from .harness import Run, run_lab


def _asyncio_loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def _uvloop_loop() -> asyncio.AbstractEventLoop:
    import uvloop

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


_LOOPS: dict[str, Callable[[], Any]] = {"asyncio": _asyncio_loop}
if importlib.util.find_spec("uvloop") is not None:
    _uvloop_loop().close()  # the first one opens descriptors that it keeps
    _LOOPS["uvloop"] = _uvloop_loop


@pytest.fixture(params=list(_LOOPS))
def run(request: pytest.FixtureRequest) -> Run:
    """``run(main)``: see ``run_lab``; once over each kind of loop."""
    return partial(run_lab, loop_factory=_LOOPS[request.param])
