from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..kerberos_realm import Realm
from .harness import Address, Hosier, has_ipv6
from .proxies import asyncio_socks_server, danted, microsocks, needs_root, ssh_dynamic
from .sshd import sshd
from .target import Target
from .wire import echo_server

USER = "alice"
PASSWORD = "open:sesame"

ANYONE = ("hosier-test", "open:sesame")
"""A user whom a system can have, too."""


every_engine = pytest.mark.parametrize(
    "engine",
    ["auto", *(pytest.param(name, marks=pytest.mark.slow) for name in ("portable", "bare", "workers"))],
    indirect=True,
)
"""Once with each engine: Linux's own, the portable one, and that on a system which has nothing but what Windows has;
and once with two workers. The quick tests have the first alone."""


@pytest.fixture(autouse=True)
def engine(request: pytest.FixtureRequest) -> str:
    """What the servers run on."""
    name: str = getattr(request, "param", "auto")
    return name


@pytest.fixture
def hosier(engine: str) -> Iterator[Hosier]:
    """A server without authentication."""
    with Hosier(engine=engine) as server:
        yield server


@pytest.fixture
def guarded(engine: str) -> Iterator[Hosier]:
    """A server that lets alice in, with her password, and nobody else."""
    with Hosier(f"--user={USER}:{PASSWORD}", engine=engine) as server:
        yield server


@pytest.fixture
def target() -> Iterator[Target]:
    """The web server that clients are to reach."""
    with Target() as server:
        yield server


@pytest.fixture
def ipv6() -> None:
    if not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback address")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes file systems of a size such as "64k", that can be filled up."""
    made: list[Path] = []

    def mount(size: str) -> Path:
        place = tmp_path / f"disk{len(made)}"
        place.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)], check=False)
        if done.returncode:
            pytest.skip("nothing can be mounted here")
        made.append(place)
        return place

    yield mount
    for place in made:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def echo() -> Iterator[Address]:
    with echo_server() as address:
        yield address


@pytest.fixture
def home(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> Realm:
    """The tests and all that they start are ann of the realm; servers have the service's keys."""
    for name, value in realm.environment.items():
        monkeypatch.setenv(name, value)
    return realm


# --- servers, ours among others ---


@pytest.fixture(params=["dante", "microsocks", "ssh", "asyncio-socks-server", "hosier"])
def proxy(request: pytest.FixtureRequest, program: Callable[..., str], tmp_path: Path) -> Iterator[str]:
    """Without authentication."""
    with contextlib.ExitStack() as running:
        if request.param == "dante":
            address = running.enter_context(danted(program, tmp_path))
        elif request.param == "microsocks":
            address = running.enter_context(microsocks(program, tmp_path))
        elif request.param == "asyncio-socks-server":
            address = running.enter_context(asyncio_socks_server(tmp_path))
        elif request.param == "ssh":
            address = running.enter_context(
                ssh_dynamic(program, tmp_path, running.enter_context(sshd(program, tmp_path)))
            )
        else:
            address = running.enter_context(Hosier()).address
        yield f"socks5h://{address}"


@pytest.fixture(params=["dante", "microsocks", "hosier"])
def guarded_proxy(request: pytest.FixtureRequest, program: Callable[..., str], tmp_path: Path) -> Iterator[str]:
    """For one user only."""
    with contextlib.ExitStack() as running:
        if request.param == "dante":
            if not needs_root():
                pytest.skip("dante's own users need root")
            yield f"socks5h://{running.enter_context(danted(program, tmp_path, ANYONE))}"
        elif request.param == "microsocks":
            yield f"socks5h://{running.enter_context(microsocks(program, tmp_path, ANYONE))}"
        else:
            yield f"socks5h://{running.enter_context(Hosier(f'--user={ANYONE[0]}:{ANYONE[1]}')).address}"
