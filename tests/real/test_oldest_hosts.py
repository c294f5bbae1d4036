"""The integrations once more, with the oldest releases of their hosts that are still common."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from .harness import ROOT

pytestmark = [pytest.mark.real, pytest.mark.slow]

HOSTS: dict[str, Any] = tomllib.loads((ROOT / "tests" / "integrations" / "oldest.toml").read_text(encoding="utf-8"))

# Whatever warns there was mended since; what runs there must run, though.
OPTIONS = ["-q", "-p", "no:cacheprovider", "-W", "default", "--strict-markers"]

VERSION = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"


def folder(name: str) -> Path:
    place = ROOT / "tests" / "build" / "hosts" / name
    if not place.exists():
        message = f"{place} is missing; scripts/install-hosts makes it"
        if os.environ.get("HOSIER_REQUIRE_PEERS") == "1":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return place


def python(place: Path, *arguments: str) -> str:
    """Runs it with the libraries of the folder before all others; what it says."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(place)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.timeout(360)
@pytest.mark.parametrize("name", HOSTS)
def test_oldest_release(name: str) -> None:
    place = folder(name)
    for package in HOSTS[name]["packages"]:
        distribution, _, version = package.partition("==")
        assert python(place, "-c", VERSION, distribution.partition("[")[0]).strip() == version
    files = [f"tests/integrations/test_{test}.py" for test in HOSTS[name]["tests"]]
    said = python(place, "-m", "pytest", *OPTIONS, *files)
    assert " passed" in said
