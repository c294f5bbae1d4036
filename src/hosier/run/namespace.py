"""The namespaces of a program: who is who in them, and their network.

Two user namespaces, one within the other. The outer one owns the network and the mounts; the gateway belongs to it. The
program lives in the inner one, where everybody has the numbers that they have outside, and which gives no right over
what the outer one owns: rules, routes, mounts.

An ordinary user is the only one that a map can name. Root gets all numbers, or else ``apt``, ``sudo`` and ``chown``
would meet strangers everywhere; such a map can only be written from the namespace around the new one.
"""

import contextlib
import os
from dataclasses import dataclass
from socket import AF_INET6, AF_PACKET, SOCK_DGRAM, socket

from . import kernel
from .network import SYSCTLS, address_lines, rules
from .tools import Tool

__all__ = ("UserMaps", "enter_network", "enter_user_namespace")


@dataclass(frozen=True)
class UserMaps:
    """The maps from a namespace's numbers to those of the one around it, in the form of ``/proc/PID/uid_map``."""

    outer: tuple[str, str]
    """For users and for groups, of the namespace that owns the network."""
    inner: tuple[str, str]
    """Of the program's."""
    is_root: bool

    @classmethod
    def of_this_process(cls) -> "UserMaps":
        uid, gid = os.geteuid(), os.getegid()
        if uid:
            return cls((f"0 {uid} 1\n", f"0 {gid} 1\n"), (f"{uid} 0 1\n", f"{gid} 0 1\n"), False)
        everybody = (_identical("/proc/self/uid_map"), _identical("/proc/self/gid_map"))
        return cls(everybody, everybody, True)


def enter_user_namespace(maps: tuple[str, str], *, is_root: bool) -> None:
    """Puts this process, which has one thread, into a new user namespace. Raises OSError."""
    if is_root:
        _enter_mapped_by_child(maps)
        return
    kernel.unshare(kernel.CLONE_NEWUSER)
    _write("/proc/self/setgroups", "deny")  # without it nobody may map groups for himself
    _write_maps("self", maps)


def enter_network(*, held: bool, shared_loopback: bool) -> tuple[bool, bool]:
    """Puts this process into new network and mount namespaces, with all routes and rules.

    Args:
        held: whether handshakes are to wait for the proxy, where the kernel has what it takes.
        shared_loopback: whether loopback addresses are captured, too.

    Returns whether it has IPv6, and whether handshakes wait. Raises OSError; ConfigError if a program is missing.
    """
    kernel.unshare(kernel.CLONE_NEWNET | kernel.CLONE_NEWNS)
    ipv6 = _has_sockets(AF_INET6, SOCK_DGRAM)
    held = held and _has_sockets(AF_PACKET, SOCK_DGRAM)
    # The two have nothing to do with each other.
    work = [
        Tool("ip", ("-batch", "-"), address_lines(ipv6=ipv6)),
        Tool("nft", ("-f", "-"), rules(ipv6=ipv6, held=held, shared_loopback=shared_loopback)),
    ]
    for name, value in SYSCTLS.items():
        with contextlib.suppress(FileNotFoundError):  # a kernel without it does not need it
            _write(f"/proc/sys/{name}", value)
    for tool in work:
        tool.wait()
    return ipv6, held


# --- private ---


def _has_sockets(family: int, kind: int) -> bool:
    """Whether this kernel has them, for this process."""
    try:
        socket(family, kind).close()
    except OSError:
        return False
    return True


def _identical(path: str) -> str:
    """A map that leaves every number as it is."""
    with open(path, encoding="ascii") as file:
        extents = [line.split() for line in file]
    return "".join(f"{first} {first} {count}\n" for first, _, count in extents)


def _enter_mapped_by_child(maps: tuple[str, str]) -> None:
    """A child that stays behind in the old namespace writes the maps."""
    waiting, go = os.pipe()
    child = os.fork()
    if child == 0:
        number = 1
        try:
            os.close(go)
            os.read(waiting, 1)
            _write_maps(str(os.getppid()), maps)
            number = 0
        except OSError as error:
            number = error.errno or 1
        finally:
            os._exit(number)
    os.close(waiting)
    try:
        kernel.unshare(kernel.CLONE_NEWUSER)
    finally:
        os.close(go)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise OSError(status, os.strerror(status), "uid_map")


def _write_maps(pid: str, maps: tuple[str, str]) -> None:
    for kind, text in zip(("uid", "gid"), maps, strict=True):
        _write(f"/proc/{pid}/{kind}_map", text)


def _write(path: str, text: str) -> None:
    """At once and unbuffered: what the kernel says of it is heard here."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
