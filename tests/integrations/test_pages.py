"""What the pages of docs/integrations tell to copy is run as it stands, but for where things are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosier.testing.threaded import ThreadedServer

from .ssh_server import SshServer, ssh_server
from .web import NAME, Web

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "integrations"
PROGRAMS = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

PATIENCE = 60


def programs() -> list[tuple[str, int, str]]:
    found = []
    for page in sorted(FOLDER.glob("*.md")):
        found += [(page.stem, number, body) for number, body in enumerate(PROGRAMS.findall(page.read_text("utf-8")), 1)]
    return found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    """Somebody's home has a key and knows the host."""
    with ssh_server(tmp_path) as running:
        home = tmp_path / ".ssh"
        home.mkdir()
        running.key.rename(home / "id_rsa")
        (home / "known_hosts").write_text(f"[{NAME}]:{running.port} {running.host_key}\n")
        yield running


def run(program: str, home: Path, *, proxy: ThreadedServer, port: int) -> str:
    """With the proxy that is there, and the target that it alone can find."""
    for pattern, place in {
        r"127\.0\.0\.1:1080": f"127.0.0.1:{proxy.address[1]}",
        r'"127\.0\.0\.1", 1080': f'"127.0.0.1", {proxy.address[1]}',
        r'"(?:intranet|shell)\.example"(?:, 80)?': f'"{NAME}", {port}',
        r"://intranet\.example": f"://{NAME}:{port}",
    }.items():
        program = re.sub(pattern, place, program)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("page", "number", "snippet"), [one for one in programs() if one[0] != "redis"])
def test_programs(
    page: str,
    number: int,
    snippet: str,
    proxy: ThreadedServer,
    web: Web,
    server: SshServer,
    tmp_path: Path,
) -> None:
    port = server.port if "shell.example" in snippet else web.port
    assert "hello" in run(snippet, tmp_path, proxy=proxy, port=port)


@pytest.mark.slow
@pytest.mark.parametrize("snippet", [program for page, _, program in programs() if page == "redis"])
def test_programs_for_redis(snippet: str, proxy: ThreadedServer, redis_server: tuple[str, int], tmp_path: Path) -> None:
    assert "True" in run(snippet, tmp_path, proxy=proxy, port=redis_server[1])


@pytest.mark.parametrize("page", sorted(FOLDER.glob("*.md")), ids=lambda page: page.stem)
def test_pages_begin_with_the_lines_to_copy(page: Path) -> None:
    """About five; some more are what asyncio takes."""
    head = re.match(r"# [^\n]+\n\n(?:[^\n]+:\n\n)?```python\n(.*?)```\n", page.read_text("utf-8"), re.DOTALL)
    assert head is not None
    assert len([line for line in head[1].splitlines() if line]) <= 9


def test_releases_are_those_that_are_tested() -> None:
    """The table of the first page, and the list that the old ones are installed from."""
    rows = (FOLDER / "README.md").read_text("utf-8").splitlines()
    hosts = tomllib.loads((ROOT / "tests" / "integrations" / "oldest.toml").read_text("utf-8"))
    for package in (package for host in hosts.values() for package in host["packages"]):
        name, version = re.split(r"(?:\[\w+\])?==", package)
        assert any(re.match(rf"\| .*\b{name}\b.*\| .*\b{re.escape(version)}\b", row) for row in rows), package
