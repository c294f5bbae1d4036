"""The covers: their texts, and what a process that wears them sees."""

from __future__ import annotations

import os
import select
from pathlib import Path

import pytest

from hosier.errors import ConfigError
from hosier.run import kernel, mounts
from hosier.run.mounts import cover, hosts, nsswitch, resolv_conf
from hosier.run.network import OWN_IPV4, OWN_IPV6

from .inside import enter, forked


def test_the_resolver_has_no_search_list_and_only_us() -> None:
    assert resolv_conf(ipv6=True) == f"nameserver {OWN_IPV4}\nnameserver {OWN_IPV6}\nsearch .\n"
    assert OWN_IPV6 not in resolv_conf(ipv6=False)


def test_only_files_and_dns_are_asked_for_hosts() -> None:
    original = (
        "passwd: files systemd\nhosts: files mymachines resolve [!UNAVAIL=return] dns\n # hosts: x\nnetworks: files\n"
    )
    assert nsswitch(original) == "passwd: files systemd\n # hosts: x\nnetworks: files\nhosts: files dns\n"
    assert nsswitch("") == "hosts: files dns\n"


def test_hosts_keeps_what_is_loopback() -> None:
    original = (
        "127.0.0.1 localhost\n127.0.1.1 machine # me\n::1 ip6-localhost\n10.0.0.5 build.corp\n# 127.0.0.1\n\nx y\n"
    )
    assert hosts(original) == "127.0.0.1 localhost\n127.0.1.1 machine # me\n::1 ip6-localhost\n"


def test_localhost_is_there_in_any_case() -> None:
    assert hosts("") == "127.0.0.1 localhost\n::1 localhost\n"
    assert hosts("127.0.0.1 machine # localhost\n").endswith("127.0.0.1 localhost\n::1 localhost\n")


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """A root with a resolver as systemd leaves it, and the sockets of daemons."""
    for folder in ("etc", "run/systemd/resolve", "run/nscd", "tmp"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/hosts").write_text("10.0.0.5 build.corp\n")
    (tmp_path / "etc/nsswitch.conf").write_text("hosts: resolve\n")
    for name in ("stub-resolv.conf", "io.systemd.Resolve"):
        (tmp_path / "run/systemd/resolve" / name).write_text("search corp\n")
    (tmp_path / "run/nscd/socket").touch()
    (tmp_path / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    return tmp_path


@pytest.mark.linux
@pytest.mark.usefixtures("namespaces")
def test_everything_that_leads_past_us_is_covered(etc: Path) -> None:
    """Also where resolv.conf is a link into a folder that is itself covered."""

    def work() -> dict[str, object]:
        enter()
        for folder in ("etc", "run", "tmp"):
            kernel.mount(str(etc / folder), f"/{folder}", "", kernel.MS_BIND | kernel.MS_REC)
        end = cover(ipv6=True)
        seen = {name: Path(f"/etc/{name}").read_text() for name in ("hosts", "nsswitch.conf", "resolv.conf")}
        left = [*os.listdir("/run/systemd/resolve"), *os.listdir("/run/nscd"), *os.listdir("/tmp")]
        return {**seen, "left": left, "ended": bool(select.select([end], [], [], 0)[0])}

    assert forked(work) == {
        "hosts": hosts(""),
        "nsswitch.conf": nsswitch(""),
        "resolv.conf": resolv_conf(ipv6=True),
        "left": ["stub-resolv.conf"],
        "ended": False,
    }
    assert (etc / "etc/hosts").read_text() == "10.0.0.5 build.corp\n"  # the files themselves are as they were


@pytest.mark.linux
@pytest.mark.usefixtures("namespaces")
def test_nothing_to_cover(tmp_path: Path) -> None:
    def work() -> str:
        enter()
        kernel.mount(str(tmp_path), "/etc", "", kernel.MS_BIND)
        with pytest.raises(ConfigError) as caught:
            cover(ipv6=True)
        return str(caught.value)

    assert "neither /etc/resolv.conf nor" in forked(work)


def test_the_folders_are_those_of_the_daemons() -> None:
    assert "/run/nscd" in mounts.MASKED
