"""Every program of the list through `hosier run`, as root and as an ordinary user; and through proxychains4."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from .bed import USER_ID, as_user, bed, leaked
from .harness import ROOT, Address, Hosier, clean_environment, command
from .proxies import danted, ssh_dynamic
from .run_programs import Site, site

pytestmark = [pytest.mark.real, pytest.mark.linux, pytest.mark.timeout(240)]

NAMES = [
    *("curl", "git (http)", "git (ssh)", "ssh", "Go, static", "Python", "Node", "apt-get", "pip", "dig", "Chromium"),
    *("HTTP/3", "UDP"),
]
NO_UDP = ("HTTP/3", "UDP")

# What proxychains4 does with the same list; docs/run.md shows it.
PROXYCHAINS_FAILS = {"Go, static", "dig", "Chromium", "HTTP/3"}
PROXYCHAINS_LEAKS = {"UDP"}

Program = Callable[..., str]


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory, program: Program) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    for path in (folder, *folder.parents[:2]):
        path.chmod(path.stat().st_mode | 0o055)
    with bed(folder), site(folder, program) as found:
        yield found


@pytest.fixture(params=["user", "root"])
def who(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(path.stat().st_mode | 0o055)
    if request.param == "user":
        os.chown(tmp_path, USER_ID, USER_ID)
    return str(request.param)


def fetch(site: Site, name: str, who: str, prefix: list[str], home: Path, patience: float = 120) -> str:
    """What the program says, and what it complains of."""
    row = site.rows[name]
    words = row.as_root if who == "root" and row.as_root is not None else row.command
    key = site.folder / "user_key"  # ssh wants it to be its user's
    os.chown(key, USER_ID if who == "user" else 0, -1)
    done = subprocess.run(
        [*(as_user() if who == "user" else []), *prefix, *words],
        env={**clean_environment(), **row.env, "HOME": str(home)},
        cwd=ROOT,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=patience,
        check=False,
    )
    return (done.stdout + done.stderr).decode("utf-8", "replace")


@pytest.mark.parametrize("name", NAMES)
def test_through_hosier(place: Site, hosier: Hosier, who: str, name: str, tmp_path: Path) -> None:
    said = fetch(place, name, who, command("run", f"--proxy=socks5h://{hosier.address}", "--"), tmp_path)
    assert place.rows[name].expected in said
    assert leaked() == 0


@pytest.mark.parametrize("upstream", ["danted", "ssh -D"])
@pytest.mark.parametrize("name", ["curl", "git (ssh)", "Go, static", "apt-get", "HTTP/3"])
def test_through_others(place: Site, program: Program, upstream: str, name: str, tmp_path: Path) -> None:
    """ssh -D has no UDP."""
    opened: dict[str, Callable[[], AbstractContextManager[Address]]] = {
        "danted": lambda: danted(program, tmp_path),
        "ssh -D": lambda: ssh_dynamic(program, place.folder, place.ssh),
    }
    with opened[upstream]() as proxy:
        said = fetch(place, name, "root", command("run", f"--proxy=socks5h://{proxy}", "--"), tmp_path)
    if upstream == "ssh -D" and name in NO_UDP:
        assert "hosier: no UDP: " in said
    else:
        assert place.rows[name].expected in said, said
    assert leaked() == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_same_through_proxychains4(
    place: Site, program: Program, hosier: Hosier, name: str, tmp_path: Path
) -> None:
    """So that the table in the documentation is true. A leak is seen at the proxy, which was not asked."""
    config = tmp_path / "proxychains.conf"
    config.write_text(f"strict_chain\nproxy_dns\nquiet_mode\n[ProxyList]\nsocks5 {hosier.host} {hosier.port}\n")
    # A name that only the proxy knows, as it is for hosier run; an answer without the proxy is a leak.
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    alone = ["unshare", "-m", "sh", "-c", f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh"]
    prefix = [*alone, program("proxychains4"), "-f", str(config)]
    try:
        said = fetch(place, name, "root", prefix, tmp_path, patience=15)
    except subprocess.TimeoutExpired:
        said = "no end"
    works = place.rows[name].expected in said
    if name in PROXYCHAINS_LEAKS:
        assert works
        assert hosier.logged == 0
    else:
        assert works is (name not in PROXYCHAINS_FAILS), said
