"""Our client beside tor's SocksPort, as far as it answers without a network: look-ups, errors, limits, credentials."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import hosier

from .harness import PATIENCE
from .proxies import tor

pytestmark = pytest.mark.real

NO_ONION = "abcdef.onion"
"""Too short to be one."""

SOME_ONION = "duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion"


@pytest.fixture
def onion_router(program: Callable[..., str], tmp_path: Path) -> Iterator[str]:
    with tor(program, tmp_path) as address:
        yield f"socks5h://{address}"


def caught(call: Callable[[], object]) -> OSError:
    with pytest.raises(OSError) as error:
        call()
    return error.value


def plainly(proxy: hosier.ProxyChain, host: str) -> socket.socket:
    return hosier.connect(proxy, host, 80, timeout=PATIENCE)


def early(proxy: hosier.ProxyChain, host: str) -> socket.socket:
    return hosier.connect(proxy, host, 80, timeout=PATIENCE, early=b"GET")


def awaited(proxy: hosier.ProxyChain, host: str) -> socket.socket:
    return asyncio.run(hosier.aio.connect(proxy, host, 80, timeout=PATIENCE))


def test_answers(onion_router: str) -> None:
    """One tor for all of them: it takes a while to begin."""
    isolated = hosier.Proxy(onion_router).with_credentials("job-17", "\u00e4")
    for proxy in (onion_router, isolated, isolated.with_credentials("", "")):
        for connect in (plainly, early, awaited):
            error = caught(partial(connect, proxy, NO_ONION))
            assert isinstance(error, hosier.ReplyError)
            assert error.code == hosier.OnionReplyCode.BAD_ADDRESS
            assert "bad address" in str(error)
    for host in ("example.com", SOME_ONION):  # tor gives up by itself, before we would
        assert isinstance(caught(partial(plainly, onion_router, host)), TimeoutError)
    refused = caught(lambda: hosier.connect(onion_router, "127.0.0.1", 80, timeout=PATIENCE))
    assert isinstance(refused, hosier.ReplyError)
    assert refused.code == 1


def test_look_ups(onion_router: str) -> None:
    """EX-10, EX-11."""
    assert hosier.resolve(onion_router, "192.0.2.1", timeout=PATIENCE) == "192.0.2.1"
    assert asyncio.run(hosier.aio.resolve(onion_router, "192.0.2.1", timeout=PATIENCE)) == "192.0.2.1"
    for call in (
        lambda: hosier.resolve(onion_router, NO_ONION, timeout=PATIENCE),
        lambda: hosier.resolve(onion_router, "example.com", timeout=PATIENCE),
        lambda: hosier.resolve_ptr(onion_router, "127.0.0.1", timeout=PATIENCE),
    ):
        error = caught(call)
        assert isinstance(error, hosier.TargetUnreachable)
        assert error.errno == errno.EHOSTUNREACH


def test_what_tor_has_not(onion_router: str) -> None:
    """SOCKS4a it has, BIND and datagrams not; it is no HTTP proxy here, and says so in HTTP."""
    error = caught(lambda: hosier.connect(onion_router.replace("5h", "4a"), NO_ONION, 80, timeout=PATIENCE))
    assert isinstance(error, hosier.ReplyError)
    assert error.code == hosier.ReplyCode.SOCKS4_REJECTED
    assert caught(lambda: hosier.bind(onion_router, "192.0.2.1", timeout=PATIENCE)).errno == errno.EOPNOTSUPP
    assert caught(lambda: hosier.associate(onion_router, timeout=PATIENCE)).errno == errno.EOPNOTSUPP
    error = caught(lambda: hosier.connect(onion_router.replace("socks5h", "http"), "example.com", 80, timeout=PATIENCE))
    assert isinstance(error, hosier.TunnelRefused)
    assert error.code == 501


def test_names_of_onions_stay_within(onion_router: str) -> None:
    """Also those that unmodified code looks up: tor is told the name, nobody else is."""
    with hosier.socksify(onion_router), pytest.raises(hosier.ReplyError) as error:
        socket.create_connection((NO_ONION, 80), PATIENCE)
    assert error.value.code == hosier.OnionReplyCode.BAD_ADDRESS
