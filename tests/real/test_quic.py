"""HTTP/3 through UDP ASSOCIATE: a hundred megabytes by aioquic, on a good path and on one that loses datagrams."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .harness import Hosier, run
from .quic import there_and_back

pytestmark = [pytest.mark.real, pytest.mark.slow]

MEGABYTE = 1_000_000


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("host", "size"), [("127.0.0.1", 100 * MEGABYTE), ("localhost", 10 * MEGABYTE)])
def test_download(hosier: Hosier, tmp_path: Path, host: str, size: int) -> None:
    asyncio.run(there_and_back(hosier, tmp_path, host, size))
    [session] = hosier.sessions_of("UDP_ASSOCIATE", 1)
    assert session["received"] > size
    assert session["datagrams"]["dropped"].keys() <= {"icmp error"}


@pytest.mark.timeout(400)
def test_download_with_losses(program: Callable[..., str]) -> None:
    """In a network namespace of its own, where two of a hundred full datagrams are lost on each leg of the way."""
    program("nft")
    namespace = [program("unshare"), "--map-root-user", "--net"]
    done = run(
        [*namespace, sys.executable, "-m", "tests.real.quic", str(20 * MEGABYTE), "20"],
        cwd=Path(__file__).parents[2],
        patience=380,
    )
    assert json.loads(done.stdout)["lost"] > 100
