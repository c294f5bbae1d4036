"""A proxy as PySocks tells it."""

from __future__ import annotations

import pytest

import hosier
from hosier.integrations.pysocks.proxies import HTTP, SOCKS4, SOCKS5, in_text, new_spelling, proxy_of, proxy_tuple


@pytest.mark.parametrize(
    ("kind", "rdns", "url"),
    [
        (SOCKS4, True, "socks4a://h:1080"),
        (SOCKS4, False, "socks4://h:1080"),
        (SOCKS5, True, "socks5h://h:1080"),
        (SOCKS5, False, "socks5://h:1080"),
        (HTTP, True, "http://h:8080"),
    ],
)
def test_types(kind: int, rdns: bool, url: str) -> None:
    assert str(proxy_of(proxy_tuple(kind, "h", None, rdns, None, None))) == url


def test_http_proxy_of_addresses() -> None:
    assert not proxy_of(proxy_tuple(HTTP, "h", 1, False, None, None)).remote_dns


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_ipv6(host: str) -> None:
    assert proxy_of(proxy_tuple(SOCKS5, host, 9, True, None, None)).host == "::1"


def test_credentials() -> None:
    kept = proxy_tuple(SOCKS5, "h", 9, True, "ü", b"\xff")
    assert kept[4:] == ("ü".encode(), b"\xff")
    assert proxy_of(kept).password == b"\xff"
    assert proxy_of(proxy_tuple(SOCKS5, "h", 9, True, "ann", "")).password == b""
    assert proxy_of(proxy_tuple(SOCKS4, "h", 9, True, "ann", "ignored")).username == b"ann"
    assert proxy_of(proxy_tuple(SOCKS5, "h", 9, True, "", "ignored")).username is None


@pytest.mark.parametrize("kept", [(0, "h", 1), (9, "h", 1), (SOCKS5, "", 1), (SOCKS5, "h", 70_000), (SOCKS5, "a b", 1)])
def test_what_is_no_proxy(kept: tuple[int, str, int]) -> None:
    with pytest.raises(hosier.ConfigError):
        proxy_of(proxy_tuple(*kept, True, None, None))


def test_for_people() -> None:
    assert in_text(proxy_tuple(SOCKS5, "h", None, True, "ann", "open sesame")) == "SOCKS5 proxy h:1080"


def test_old_spelling() -> None:
    assert new_spelling({"proxytype": 1, "addr": "h"}) == {"proxy_type": 1, "addr": "h"}
