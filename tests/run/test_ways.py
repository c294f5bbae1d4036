"""Which way leads where, and what a failure means to the program."""

from __future__ import annotations

import errno
from ipaddress import ip_network
from socket import EAI_NONAME, gaierror
from typing import Any

import pytest

from hosier.client.names import FakeNames
from hosier.errors import AuthError, ProxyConnectionError, reply_error
from hosier.protocol.address import parse_address
from hosier.run.network import OWN_IPV4, OWN_IPV6
from hosier.run.ways import Ways, anything, number_for

PROXIED: Any = object()
DIRECT: Any = object()


def ways(*bypass: str, shared: bool = False, names: FakeNames | None = None) -> Ways:
    return Ways(
        FakeNames() if names is None else names, PROXIED, DIRECT, list(map(ip_network, bypass)), shared_loopback=shared
    )


def test_a_fake_address_means_its_name() -> None:
    """NG-REQ-13, NG-REQ-14."""
    names = FakeNames()
    found = ways(names=names)
    for address in names.addresses_for("Web.Example."):
        assert found.to(address, 443) == (PROXIED, parse_address("web.example", 443))


def test_a_forgotten_fake_address_means_nothing() -> None:
    for address in ("198.18.0.1", "100::1", OWN_IPV4, OWN_IPV6):
        with pytest.raises(OSError, match="stands for no name") as caught:
            ways().to(address, 80)
        assert caught.value.errno == errno.EHOSTUNREACH


def test_networks_that_bypass_the_proxies() -> None:
    found = ways("10.0.0.0/8", "2001:db8::/32")
    for host, egress in {
        "10.1.2.3": DIRECT,
        "11.1.2.3": PROXIED,
        "2001:db8::1": DIRECT,
        "2001:db9::1": PROXIED,
    }.items():
        for _ in range(2):
            assert found.to(host, 80) == (egress, parse_address(host, 80))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_loopback(host: str) -> None:
    assert ways(shared=True).to(host, 1)[0] is DIRECT
    assert ways().to(host, 1)[0] is PROXIED


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (reply_error(5), errno.ECONNREFUSED),
        (reply_error(4), errno.EHOSTUNREACH),
        (reply_error(6), errno.ETIMEDOUT),
        (reply_error(2), errno.EACCES),
        (ProxyConnectionError("gone", errno.ECONNREFUSED), errno.ENETUNREACH),
        (AuthError("no"), errno.ENETUNREACH),
        (gaierror(EAI_NONAME, "no such name"), errno.EHOSTUNREACH),
        (TimeoutError(), errno.ETIMEDOUT),
        (OSError(errno.ECONNRESET, "reset"), errno.ECONNRESET),
        (OSError("without a number"), errno.EHOSTUNREACH),
    ],
)
def test_what_connect_fails_with(error: OSError, number: int) -> None:
    assert number_for(error) == number


def test_whom_the_program_reaches_is_its_own_business() -> None:
    addresses = (parse_address("169.254.169.254", 80),)
    assert anything(addresses) is addresses
