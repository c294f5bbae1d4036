"""What never meets a stand-in is stopped, within a scope and nowhere else."""

from __future__ import annotations

import _socket
import errno
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

import hosier
from hosier.client.socksify.net import spread

from .conftest import Site

# As a module has them that took them out of socket before any scope was there.
old_gethostbyname = socket.gethostbyname
old_gethostbyaddr = socket.gethostbyaddr
old_getnameinfo = socket.getnameinfo
old_getaddrinfo = _socket.getaddrinfo
old_connect = socket.socket.connect
old_sendto = socket.socket.sendto


@pytest.fixture
def unwatched() -> Iterator[Site]:
    """The witness would be told of what is stopped, too."""
    with Site() as running:
        yield running
    assert not running.conversations


def test_functions_from_before(unwatched: Site) -> None:
    with hosier.socksify(unwatched.url), socket.socket() as sock, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        for call in (
            lambda: old_gethostbyname("web.invalid"),
            lambda: old_gethostbyaddr("192.0.2.1"),
            lambda: old_getnameinfo(("192.0.2.1", 80), 0),
            lambda: old_getaddrinfo("web.invalid", 80),
            lambda: old_connect(sock, ("192.0.2.1", 80)),
            lambda: old_sendto(datagrams, b"x", ("192.0.2.1", 80)),
        ):
            with pytest.raises(OSError, match="past socksify") as caught:
                call()
            assert caught.value.errno == errno.EPERM


def test_sockets_written_in_c(unwatched: Site) -> None:
    with hosier.socksify(unwatched.url):
        sock = _socket.socket()
        try:
            with pytest.raises(OSError, match="past socksify"):
                sock.connect(("192.0.2.1", 80))
        finally:
            sock.close()


def test_numbers_that_are_no_numbers(unwatched: Site) -> None:
    """A port that only the system takes for one."""

    class Port:
        def __index__(self) -> int:
            return 80

    with hosier.socksify(unwatched.url), socket.socket() as sock, pytest.raises(OSError, match="past socksify"):
        sock.connect(("192.0.2.1", Port()))


def test_others_are_left_alone(unwatched: Site) -> None:
    """Outside, and sockets of other families."""
    spread()
    assert old_gethostbyname("127.0.0.1") == "127.0.0.1"
    with hosier.socksify(unwatched.url), socket.socket(socket.AF_UNIX) as sock, pytest.raises(FileNotFoundError):
        old_connect(sock, "/nonexistent/socket")


def test_there_is_one_net() -> None:
    """However many scopes there were."""
    program = (
        "import sys; hooks = []; original = sys.addaudithook\n"
        "sys.addaudithook = lambda hook: (hooks.append(hook), original(hook))\n"
        "import hosier\n"
        "for _ in range(3):\n"
        "    with hosier.socksify('proxy'): pass\n"
        "print(len(hooks))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=50)
    assert done.stdout == "1\n"
