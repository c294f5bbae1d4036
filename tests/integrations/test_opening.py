"""A connected socket as a host library wants it."""

from __future__ import annotations

import socket
import types

import pytest

import hosier
from hosier.integrations.opening import apply_options, blames_target, open_socket, seam
from hosier.testing.threaded import ThreadedServer

from .web import NAME, Web


def test_limit_and_options_stay_on_the_socket(proxy: ThreadedServer, web: Web) -> None:
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    with open_socket(proxy.url, NAME, web.port, timeout=20, options=options) as sock:
        assert sock.gettimeout() == 20
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    with open_socket(proxy.url, NAME, web.port, timeout=None) as sock:
        assert sock.gettimeout() is None


def test_bad_options_leave_no_socket_open(proxy: ThreadedServer, web: Web) -> None:
    with pytest.raises(OSError, match="rotocol"):
        open_socket(proxy.url, NAME, web.port, timeout=20, options=[(socket.IPPROTO_TCP, 9999, 1)])


def test_options_of_tcp_are_nothing_for_a_unix_socket() -> None:
    one, other = socket.socketpair()
    with one, other:
        apply_options(one, [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_SNDBUF, 40_000)])
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) >= 40_000


def test_who_is_to_blame() -> None:
    assert blames_target(hosier.TargetRefused(5))
    assert blames_target(hosier.LocalProtocolError("too long a name"))
    assert not blames_target(hosier.ReplyError(2))
    assert not blames_target(hosier.ProxyTimedOut("late"))


def test_seam_that_is_gone() -> None:
    """A release that has changed is a mistake with a name, not a way round the proxy."""
    seam(socket.socket, "connect")
    with pytest.raises(hosier.ConfigError, match=r"this release of socket \(\?\) has no socket.connect_slowly"):
        seam(socket.socket, "connect_slowly")
    with pytest.raises(hosier.ConfigError, match=r"has no types.gone"):
        seam(types, "gone")
