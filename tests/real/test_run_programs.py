"""Every program of the list through `hosier run`, as root and as an ordinary user; and through other tools."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from .bed import NOBODY, USER_ID, as_user, bed, leaked
from .harness import ROOT, Address, Hosier, clean_environment, command
from .other_tools import FAILS, OUTCOMES, PAST, TOOLS, beside_tor, outcome, prefix_of
from .proxies import danted, ssh_dynamic
from .run_programs import Site, site

pytestmark = [pytest.mark.real, pytest.mark.linux, pytest.mark.timeout(240)]

NAMES = list(OUTCOMES)
NO_UDP = ("HTTP/3", "UDP")

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
    before = leaked()
    said = fetch(place, name, who, command("run", f"--proxy=socks5h://{hosier.address}", "--"), tmp_path)
    assert place.rows[name].expected in said
    assert leaked() == before


@pytest.mark.parametrize("upstream", ["danted", "ssh -D"])
@pytest.mark.parametrize("name", NAMES)
def test_through_others(place: Site, program: Program, upstream: str, name: str, tmp_path: Path) -> None:
    """ssh -D has no UDP, and closes where others say why it failed."""
    opened: dict[str, Callable[[], AbstractContextManager[Address]]] = {
        "danted": lambda: danted(program, tmp_path),
        "ssh -D": lambda: ssh_dynamic(program, place.folder, place.ssh),
    }
    before = leaked()
    with opened[upstream]() as proxy:
        said = fetch(place, name, "root", command("run", f"--proxy=socks5h://{proxy}", "--"), tmp_path)
    if upstream == "ssh -D" and name in NO_UDP:
        assert "hosier: no UDP: " in said
    elif upstream == "ssh -D" and name == "a refusal":
        assert "Network is unreachable" in said
    else:
        assert place.rows[name].expected in said, said
    assert leaked() == before


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("name", NAMES)
def test_the_same_through_other_tools(place: Site, program: Program, tool: str, name: str, tmp_path: Path) -> None:
    """So that the table in the documentation is true. A leak is a packet on the cable, or success without the proxy."""
    # Only the proxy knows the names, as it is for hosier run. Who asks the name server asks past the proxy.
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n")
    (tmp_path / "resolv.conf").write_text(f"nameserver {NOBODY}\noptions timeout:1 attempts:1\n")
    mounts = [f"mount --bind {tmp_path}/{file} /etc/{file}" for file in ("hosts", "resolv.conf")]
    alone = ["unshare", "-m", "sh", "-c", " && ".join([*mounts, 'exec "$@"']), "sh"]
    before = leaked()
    with Hosier() as hosier, ExitStack() as stack:
        proxy = stack.enter_context(beside_tor(hosier.address)) if tool == "torsocks" else hosier.address
        try:
            said = fetch(
                place, name, "root", [*alone, *prefix_of(tool, program, proxy, tmp_path)], tmp_path, patience=20
            )
        except subprocess.TimeoutExpired:
            said = "no end"
    works = place.rows[name].expected in said
    went_past = leaked() > before
    through = works and hosier.logged > 0  # the log is complete
    found, told = outcome(works, through, went_past), OUTCOMES[name][TOOLS.index(tool)]
    # A browser that breaks has sometimes asked a name server before.
    assert found == told or (name, found, told) == ("Chromium", PAST, FAILS), said
