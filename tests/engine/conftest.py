"""The loops that the engine runs in, and the engines."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from hosier.engine import linger
from hosier.engine.loop import EdgeLoop
from hosier.engine.portable import PortableEngine

from ..bare import BareLoop, bare
from ..platforms import platforms
from .harness import Platform, Run, run_lab


def _uvloop_loop() -> asyncio.AbstractEventLoop:
    import uvloop

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


@contextmanager
def _bare() -> Iterator[None]:
    """Where the kernel does not tell what is unsent, a reset waits; here, every reader reads at once."""
    with bare(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(linger, "_BLIND", 0.05)
        yield


_PLATFORMS = {"edges": Platform(loop=EdgeLoop)}
if importlib.util.find_spec("uvloop") is not None:
    _uvloop_loop().close()  # the first one opens descriptors that it keeps
    _PLATFORMS["uvloop"] = Platform(loop=_uvloop_loop)
_LINUX = [*_PLATFORMS, pytest.param("asyncio", marks=pytest.mark.slow)]
_PLATFORMS["asyncio"] = Platform()
_PLATFORMS["portable"] = Platform(PortableEngine)
_PLATFORMS["bare"] = Platform(PortableEngine, BareLoop, _bare)
_EVERYWHERE = [*_LINUX, *(pytest.param(name, marks=pytest.mark.slow) for name in ("portable", "bare"))]
"""The quick tests leave out what is nearly the same as another."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Once with each engine and over each kind of loop."""
    if "run" in metafunc.fixturenames:
        metafunc.parametrize("run", platforms(metafunc.definition, _EVERYWHERE, linux=len(_LINUX)), indirect=True)


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Run:
    """``run(main)``: see ``run_lab``."""
    return partial(run_lab, platform=_PLATFORMS[request.param])
