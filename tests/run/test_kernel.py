"""Calls into the kernel, in children of the tests, and what they say when they fail."""

from __future__ import annotations

import errno
import os
import select
import socket

import pytest

from hosier.run import kernel

from .inside import enter, forked

pytestmark = [pytest.mark.linux, pytest.mark.usefixtures("namespaces")]


def test_failures_have_their_number_and_their_call() -> None:
    with pytest.raises(OSError, match="setns") as caught:
        kernel.setns(-1, kernel.CLONE_NEWNET)
    assert caught.value.errno == errno.EBADF
    with pytest.raises(OSError, match="mount /nowhere"):
        kernel.mount("", "/nowhere", "", kernel.MS_BIND)
    with pytest.raises(OSError, match="unmount /nowhere"):
        kernel.unmount("/nowhere")
    with pytest.raises(OSError, match="watch /nowhere"):
        kernel.watch_until_unmounted("/nowhere")
    with pytest.raises(OSError, match="unshare"):
        kernel.unshare(-1)


def test_a_name_for_the_process() -> None:
    """Nothing is left of the arguments, in which a proxy's password may stand."""

    def work() -> list[str]:
        kernel.name_process("a-name-that-is-too-long")
        found = []
        for file_name in ("comm", "cmdline"):
            with open(f"/proc/self/{file_name}", encoding="utf-8") as file:
                found.append(file.read())
        return found

    name, arguments = forked(work)
    assert name == "a-name-that-is-\n"
    assert arguments.strip("\0") == "a-name-that-is-too-long"


def test_the_end_of_a_mount_is_told() -> None:
    def work() -> list[bool]:
        enter()
        kernel.mount("", "/", "", kernel.MS_REC | kernel.MS_SLAVE)
        kernel.mount("x", "/mnt", "tmpfs", 0, "size=1m")
        end = kernel.watch_until_unmounted("/mnt")
        before = bool(select.select([end], [], [], 0)[0])
        kernel.unmount("/mnt")
        return [before, bool(select.select([end], [], [], 10)[0])]

    assert forked(work) == [False, True]


def test_a_filter() -> None:
    """Only datagrams that begin with an 'a', behind eight octets of header."""
    program = [(0x30, 0, 0, 8), (0x15, 0, 1, ord("a")), (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver, socket.socket(type=socket.SOCK_DGRAM) as sender:
        receiver.bind(("127.0.0.1", 0))
        kernel.attach_filter(receiver, program)
        for text in (b"b1", b"a1", b"b2", b"a2"):
            sender.sendto(text, receiver.getsockname())
        receiver.settimeout(10)
        assert [receiver.recv(9), receiver.recv(9)] == [b"a1", b"a2"]


def test_a_thread_of_its_own_network() -> None:
    def work() -> bool:
        before = os.readlink("/proc/self/ns/net")
        kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNET)
        return os.readlink("/proc/self/ns/net") != before

    assert forked(work)
