"""Who one is inside, and what is there."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
from pathlib import Path

import pytest

from hosier.run import kernel
from hosier.run.namespace import UserMaps, enter_user_namespace
from hosier.run.network import OWN_IPV4, OWN_IPV6, SYSCTLS

from .inside import enter, forked

pytestmark = [pytest.mark.linux, pytest.mark.usefixtures("namespaces")]

ORDINARY = 47110


def become_ordinary() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(ORDINARY, ORDINARY, ORDINARY)
        os.setresuid(ORDINARY, ORDINARY, ORDINARY)
        ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: as it is after exec


def enter_both() -> None:
    identity = UserMaps.of_this_process()
    enter_user_namespace(identity.outer, is_root=identity.is_root)
    kernel.unshare(kernel.CLONE_NEWNET)
    enter_user_namespace(identity.inner, is_root=identity.is_root)


def test_an_ordinary_user_stays_who_he_is() -> None:
    def work() -> list[int]:
        become_ordinary()
        before = [os.getuid(), os.getgid()]
        enter_both()
        return [*before, os.getuid(), os.getgid()]

    uid, gid, inner_uid, inner_gid = forked(work)
    assert (uid, gid) == (inner_uid, inner_gid)
    assert uid


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="is about root")
def test_root_has_everybody() -> None:
    """A map of one alone would make strangers of all others: apt, sudo and chown fail then."""

    def work() -> list[int]:
        enter_both()
        os.setgroups([ORDINARY])
        os.setresgid(ORDINARY, ORDINARY, ORDINARY)
        os.setresuid(ORDINARY, ORDINARY, ORDINARY)
        return [os.getuid(), os.getgid(), *os.getgroups()]

    assert forked(work) == [ORDINARY] * 3


@pytest.mark.parametrize("ordinary", [True, False])
def test_the_program_has_no_right_over_its_network(ordinary: bool) -> None:
    def work() -> int:
        if ordinary:
            become_ordinary()
        enter_both()
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            try:
                sock.setsockopt(socket.SOL_SOCKET, 36, 1)  # SO_MARK: another mark would lead past the rules
            except OSError as error:
                return error.errno or 0
        return 0

    assert forked(work) == errno.EPERM


def test_the_network() -> None:
    def work() -> dict[str, object]:
        ipv6, held = enter()
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.connect(("203.0.113.1", 9))
            source = sock.getsockname()[0]
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.connect(("2001:db8::1", 9))
            source6 = sock.getsockname()[0]
        set_up = {name: Path(f"/proc/sys/{name}").read_text().strip() for name in SYSCTLS}
        links = [name for _, name in socket.if_nameindex()]
        return {"found": [ipv6, held], "sources": [source, source6], "set": set_up, "links": links}

    found = forked(work)
    assert found["found"] == [True, True]
    assert found["sources"] == [OWN_IPV4, OWN_IPV6]
    assert found["links"] == ["lo"]
    assert {name: value for name, value in found["set"].items() if value != SYSCTLS[name]}.keys() <= {
        "net/ipv6/icmp/ratelimit"
    }


def test_ports_below_1024_are_the_program_s() -> None:
    def work() -> int:
        become_ordinary()
        enter()
        enter_user_namespace(("47110 0 1\n", "47110 0 1\n"), is_root=False)
        with socket.create_server(("", 80)) as server:
            return int(server.getsockname()[1])

    if os.geteuid() == 0:
        assert forked(work) == 80


def test_a_map_that_is_not_allowed_is_an_error() -> None:
    def work() -> int:
        become_ordinary()
        with pytest.raises(OSError) as caught:
            enter_user_namespace(("0 0 1\n", "0 0 1\n"), is_root=False)
        return caught.value.errno or 0

    assert forked(work) == errno.EPERM


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="is about root")
def test_the_same_where_a_child_writes_it() -> None:
    """Unnoticed, the program would run as nobody."""

    def work() -> int:
        with pytest.raises(OSError) as caught:
            enter_user_namespace(("nonsense\n", "nonsense\n"), is_root=True)
        return caught.value.errno or 0

    assert forked(work) == errno.EINVAL


def test_hosts_that_do_not_exist_do_not_answer() -> None:
    """Every address is local, so the kernel would answer a ping for each of them."""

    def work() -> list[bool]:
        enter()
        Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 0")
        echo = b"\x08\x00" + bytes(6)
        answers = []
        for host in ("127.0.0.1", "198.51.100.1"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as sock:
                sock.sendto(echo, (host, 0))
                answers.append(bool(select.select([sock], [], [], 0.3)[0]))
        return answers

    assert forked(work) == [True, False]


def test_a_kernel_without_ipv6_and_packet_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> list[bool]:
        found = enter()
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.connect(("203.0.113.1", 9))
        return list(found)

    monkeypatch.setattr("hosier.run.namespace._has_sockets", lambda *_: False)
    assert forked(work) == [False, False]
