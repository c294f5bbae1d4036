"""The listening sockets: which are had, which are left out, and what is said about those that cannot be had."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from hosier.engine.listener import listening_socket
from hosier.errors import ConfigError
from hosier.server import listening as module
from hosier.server.listening import configured_address, listening_sockets, shared_listening_sockets
from hosier.server.settings import ListenAddress, ServerSettings


def places(*listen: str) -> Sequence[ListenAddress]:
    return ServerSettings(listen=listen, open=True).listen_addresses


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def without_ipv6(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def listen(address: ListenAddress, family: int, **options: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(number, os.strerror(number))
        return listening_socket(address, family, **options)

    monkeypatch.setattr(module, "listening_socket", listen)


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
def test_a_family_that_the_machine_lacks_is_left_out(
    number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    without_ipv6(monkeypatch, number)
    (sock,) = listening_sockets(places("127.0.0.1:0", "[::1]:0"))
    with sock:
        assert sock.family == socket.AF_INET
    assert caplog.record_tuples == [("hosier", 30, f"not listening on [::1]:0: {os.strerror(number)}")]


def test_the_only_family_cannot_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    without_ipv6(monkeypatch, errno.EAFNOSUPPORT)
    with pytest.raises(ConfigError, match=r"^cannot listen on \[::1\]:0: Address family not supported"):
        listening_sockets(places("[::1]:0"))


def test_an_address_of_another_machine() -> None:
    with pytest.raises(ConfigError, match=r"^cannot listen on 192\.0\.2\.1:0: Cannot assign requested address$"):
        listening_sockets(places("192.0.2.1:0"))


@pytest.mark.parametrize("count", [1, 3])
def test_a_port_that_is_taken(count: int) -> None:
    """Nothing stays open of what was had already."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        before = descriptors()
        message = (
            f"cannot listen on 127.0.0.1:{port}: the port is taken; stop the other program or choose --listen HOST:PORT"
        )
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            shared_listening_sockets(places("127.0.0.1:0", f"127.0.0.1:{port}"), count)
        assert descriptors() == before


def test_a_port_that_others_share_is_taken_too() -> None:
    """Who binds with SO_REUSEPORT from the start would share the port with a server that runs already."""
    ((first,), (second,)) = shared_listening_sockets(places("127.0.0.1:0"), 2)
    with first, second:
        place = "{}:{}".format(*first.getsockname())
        with pytest.raises(ConfigError, match="the port is taken"):
            shared_listening_sockets(places(place), 2)
        with pytest.raises(ConfigError, match="the port is taken"):
            listening_sockets(places(place))


def test_those_who_share_get_each_address() -> None:
    workers = shared_listening_sockets(places("127.0.0.1:0", "127.0.0.2:0"), 3)
    assert [[sock.getsockname() for sock in sockets] for sockets in workers] == [
        [sock.getsockname() for sock in workers[0]]
    ] * 3
    assert [sock.getsockname()[0] for sock in workers[0]] == ["127.0.0.1", "127.0.0.2"]
    for sockets in workers:
        for sock in sockets:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            sock.close()


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EACCES, "cannot listen on 127.0.0.1:80: ports below 1024 need privileges; choose a higher one"),
        (errno.EPERM, "cannot listen on 127.0.0.1:80: ports below 1024 need privileges; choose a higher one"),
        (errno.EMFILE, "cannot listen on 127.0.0.1:80: Too many open files"),
    ],
)
def test_why_it_cannot_listen(number: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def listen(*_: Any, **__: Any) -> socket.socket:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module, "listening_socket", listen)
    with pytest.raises(ConfigError) as caught:
        listening_sockets(places("127.0.0.1:80"))
    assert str(caught.value) == message


def test_which_address_of_the_settings_it_is() -> None:
    addresses = places("127.0.0.1:0", "127.0.0.2:0")
    for sock, address in zip(listening_sockets(addresses), addresses, strict=True):
        with sock:
            assert configured_address(sock, addresses) == address
            bound = ListenAddress(*sock.getsockname())
            assert configured_address(sock, [*addresses[:0], bound]) == bound
            assert configured_address(sock, ()) == bound
