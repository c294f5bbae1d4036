"""The engines that a server runs on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hosier.engine import linger

from ..bare import BareLoop, bare
from ..platforms import platforms
from .harness import PLATFORM, stage

ENGINES = ("epoll", pytest.param("portable", marks=pytest.mark.slow), "bare")
"""Linux's own; the portable one in the same loop; the portable one where there is nothing but what Windows has."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What stages a server is run once with each engine."""
    if "engine" in metafunc.fixturenames and vars(metafunc.module).get("stage") is stage:
        metafunc.parametrize("engine", platforms(metafunc.definition, ENGINES, linux=1), indirect=True)


@pytest.fixture(autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    name: str = getattr(request, "param", "epoll")
    if name != "bare":
        monkeypatch.setattr(PLATFORM, "engine", name)
        yield
        return
    monkeypatch.setattr(PLATFORM, "loop", BareLoop)
    monkeypatch.setattr(linger, "_BLIND", 0.05)  # every reader reads at once
    with bare():
        yield
