"""The methods that a client offers."""

from __future__ import annotations

import pytest

from hosier.client.gssapi import Gssapi
from hosier.client.methods import WITHOUT_AUTHENTICATION, methods_of
from hosier.client.proxy import Proxy
from hosier.protocol.messages import Command


def codes(proxy: Proxy) -> list[int]:
    return [method.code for method in methods_of(proxy, Command.CONNECT)]


def test_order_is_kept() -> None:
    assert codes(Proxy("h")) == [0]
    assert Proxy("h").methods == WITHOUT_AUTHENTICATION
    assert codes(Proxy("ann:x@h")) == [0, 2]
    assert codes(Proxy("ann:x@h", methods=["password"])) == [2]


def test_kerberos() -> None:
    pytest.importorskip("gssapi")
    assert codes(Proxy("socks5h+gssapi://h")) == [1]
    everything = Proxy("ann:x@h", gssapi=Gssapi(), methods=("gssapi", "password", "none"))
    assert codes(everything) == [1, 2, 0]
    assert [method.blocks for method in methods_of(everything, Command.UDP_ASSOCIATE)] == [True, False, False]
