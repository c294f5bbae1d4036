"""How a client logs in with Kerberos: what can be told, and the method that is made of it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from hosier.client.gssapi import Gssapi, initiator_method, tickets_of_this_user
from hosier.errors import ConfigError
from hosier.protocol.auth.gssapi import ClientNegotiation, GssapiFraming


def test_defaults_are_safe() -> None:
    told = Gssapi()
    assert (told.level, told.accepted, told.delegate, told.nec) == (2, (2,), False, False)


@pytest.mark.parametrize(("level", "accepted"), [(0, (2, 1, 0)), (1, (2, 1)), (2, (2,)), (3, (2, 3))])
def test_what_is_better_is_accepted(level: int, accepted: tuple[int, ...]) -> None:
    """GS-REQ-27; 0 and 3 only by whoever asks for them (GS-REQ-30)."""
    assert Gssapi(level=level).accepted == accepted
    assert Gssapi(level=level, accepted=[1]).accepted == (1,)
    assert hash(Gssapi(level=level, accepted=[1])) == hash(Gssapi(level=level, accepted=(1,)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"level": 4}, "the GSSAPI levels are 2, 1, 3 and 0"),
        ({"accepted": (2, 7)}, "the GSSAPI levels are 2, 1, 3 and 0"),
        ({"level": "2"}, "level: expected a whole number, found str"),
        ({"accepted": 2}, "accepted: expected a list, each item a whole number, found int; write [...] around it"),
        ({"sealed_up_to": 65536}, "sealed_up_to cannot be 65536"),
        ({"service": ""}, "not a name such as socks"),
    ],
)
def test_mistakes(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        Gssapi(**fields)


def test_method() -> None:
    pytest.importorskip("gssapi")
    method = initiator_method(Gssapi(level=1), "proxy.example.org", datagrams=False)
    assert isinstance(method.framing, GssapiFraming)
    assert method.blocks
    assert method.exchange is not None
    assert isinstance(method.exchange(), ClientNegotiation)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gssapi", None)
    with pytest.raises(ConfigError, match=r"pip install 'hosier\[gssapi\]'"):
        initiator_method(Gssapi(), "proxy.example.org", datagrams=True)


def test_tickets_of_this_user(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gssapi")
    monkeypatch.setenv("KRB5CCNAME", "FILE:/nowhere/tickets")
    assert tickets_of_this_user() == "FILE:/nowhere/tickets"
