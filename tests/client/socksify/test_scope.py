"""What a scope decides, and whose it is."""

from __future__ import annotations

import contextvars
import errno
import socket

import pytest

import hosier
from hosier.client.names import FakeNames
from hosier.client.socksify.scope import Route, Scope, carried, current, outside

V4, V6 = socket.AF_INET, socket.AF_INET6


def scope(bypass: str = "", proxy: str = "proxy") -> Scope:
    return Scope((hosier.Proxy(proxy),), bypass, FakeNames())


@pytest.mark.parametrize(
    ("family", "host", "expected"),
    [
        (V4, "192.0.2.1", Route("192.0.2.1", False)),
        (V4, "web.invalid", Route("web.invalid", False)),
        (V6, "fe80::1%eth0", Route("fe80::1", False)),
        (V4, "", Route("127.0.0.1", False)),
        (V4, "0.0.0.0", Route("127.0.0.1", False)),
        (V6, "::", Route("::1", False)),
        (V4, "10.1.2.3", Route("10.1.2.3", True)),
        (V6, "::ffff:10.1.2.3", Route("::ffff:10.1.2.3", True)),
        (V6, "fe80::9%eth0", Route("fe80::9%eth0", True)),
        (V4, "www.near.invalid", Route("www.near.invalid", True)),
    ],
)
def test_routes(family: int, host: str, expected: Route) -> None:
    assert scope("10.0.0.0/8, near.invalid, fe80::9").route(family, host, 80) == expected


def test_fake_addresses_are_names() -> None:
    """Also those of names that go past the proxy at this port only: then the name is what the system is told."""
    one = scope("db.invalid:5432")
    for family, address in zip((V4, V6), one.names.addresses_for("db.invalid"), strict=True):
        assert one.route(family, address, 80) == Route("db.invalid", False)
        assert one.route(family, address, 5432) == Route("db.invalid", True)
    with pytest.raises(OSError, match="no name any more") as caught:
        one.route(V4, "198.18.9.9", 80)
    assert caught.value.errno == errno.EHOSTUNREACH


def test_addresses_of_names_past_the_proxy() -> None:
    """They go past it, too; bounded."""
    one = scope("near.invalid")
    one.found_here("near.invalid", 80, "192.0.2.5")
    one.found_here("far.invalid", 80, "192.0.2.6")
    assert one.route(V4, "192.0.2.5", 80).direct
    assert not one.route(V4, "192.0.2.6", 80).direct
    for number in range(5000):
        one.found_here("near.invalid", 80, f"10.0.{number >> 8}.{number & 255}")
    assert not one.route(V4, "192.0.2.5", 80).direct
    assert one.route(V4, "10.0.19.135", 80).direct


def test_who_looks_up() -> None:
    assert not scope().asks_here("web.invalid", 80)
    assert scope("web.invalid").asks_here("web.invalid", None)
    assert scope(proxy="socks5://proxy").asks_here("web.invalid", 80)
    chain = Scope((hosier.Proxy("socks5://one"), hosier.Proxy("two")), "", FakeNames())
    assert not chain.asks_here("web.invalid", 80)


def test_the_context_decides() -> None:
    one = scope()
    assert current.get() is None
    assert carried(one, current.get)() is one
    assert current.get() is None
    context = contextvars.copy_context()
    context.run(current.set, one)
    assert context.run(current.get) is one
    assert context.run(carried(None, current.get)) is None

    def within() -> tuple[object, object]:
        with outside():
            inner = current.get()
        return inner, current.get()

    assert context.run(within) == (None, one)
