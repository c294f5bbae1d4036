"""A network and a file system for the time of some tests, in which the tests themselves then live.

What they start there reaches its own loopback, two addresses of documentation networks that every machine lacks, and a
cable on which nobody answers but everything is counted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from hosier.run import kernel

from .harness import ROOT, run

USER = "hosier-test"
USER_ID = 47110

ANYWHERE = ("203.0.113.10", "2001:db8::10")
"""Addresses of the bed; its names have one of them or both."""

NOBODY = "192.0.2.2"
"""A host on the cable that never answers."""

HOSTS = f"""\
127.0.0.1 localhost
::1 localhost
{ANYWHERE[0]} four.test both.test
{ANYWHERE[1]} six.test both.test
"""

_CLONE_FS = 0x200

LEAKS = """\
table inet bed {
  counter leaks { }
  chain out {
    type filter hook output priority 0;
    oifname != "lo" ip6 daddr ff00::/8 accept
    oifname != "lo" counter name leaks
  }
}
"""


def as_user() -> list[str]:
    """The beginning of a command that an ordinary user is to run."""
    return ["setpriv", f"--reuid={USER_ID}", f"--regid={USER_ID}", "--clear-groups", "--inh-caps=-all"]


def leaked() -> int:
    """Packets that went out on the cable so far."""
    listed = run(["nft", "list", "counter", "inet", "bed", "leaks"]).stdout.decode().split()
    return int(listed[listed.index("packets") + 1])


@contextmanager
def bed(folder: Path) -> Iterator[None]:
    """Puts this thread, and all that it starts, into namespaces of its own until the end."""
    if sys.platform != "linux" or os.geteuid():
        message = "namespaces for tests need Linux and root"
        if os.environ.get("HOSIER_REQUIRE_PEERS") == "1":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    here = os.getcwd()
    kinds = {"net": kernel.CLONE_NEWNET, "mnt": kernel.CLONE_NEWNS}
    before = {kind: os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY) for kind in kinds}
    kernel.unshare(kernel.CLONE_NEWNET | kernel.CLONE_NEWNS)
    try:
        _make_up(folder)
        yield
    finally:
        kernel.unshare(_CLONE_FS)  # a thread that is still there would share our folders, and then there is no way back
        for kind, fd in before.items():
            kernel.setns(fd, kinds[kind])
            os.close(fd)
        os.chdir(here)


def _make_up(folder: Path) -> None:
    kernel.mount("", "/", "", kernel.MS_REC | kernel.MS_SLAVE)
    for line in (
        "link set lo up",
        *(f"addr add {address} dev lo" for address in (f"{ANYWHERE[0]}/32", f"{ANYWHERE[1]}/128")),
        "link add cable type veth peer name cut",
        "link set cable up",
        "link set cut up",
        "addr add 192.0.2.1/24 dev cable",
        f"route add default via {NOBODY}",
        f"neigh add {NOBODY} lladdr 02:00:00:00:00:01 dev cable",
    ):
        run(["ip", *line.split()])
    run(["nft", "-f", "-"], data=LEAKS.encode())
    passwd = Path("/etc/passwd").read_text() + f"{USER}:x:{USER_ID}:{USER_ID}::{folder}:/bin/sh\n"
    for name, text in {"hosts": HOSTS, "resolv.conf": "", "passwd": passwd}.items():
        own = folder / name
        own.write_text(text)
        own.chmod(0o644)
        kernel.mount(str(own), os.path.realpath(f"/etc/{name}"), "", kernel.MS_BIND)
    for path in {ROOT, folder, Path(sys.executable).resolve().parent}:
        _open_the_way_to(path)


def _open_the_way_to(path: Path) -> None:
    """For the ordinary user, who may not pass through every folder above: in the way of the first that stops him, an
    empty one is put, with the same path in it."""
    closed: Sequence[Path] = [above for above in reversed(path.parents) if not above.stat().st_mode & 0o001]
    if not closed:
        return
    kept = os.open(path, os.O_PATH)
    kernel.mount("way", str(closed[0]), "tmpfs", 0, "mode=755")
    path.mkdir(parents=True)
    kernel.mount(f"/proc/self/fd/{kept}", str(path), "", kernel.MS_BIND)
    os.close(kept)
