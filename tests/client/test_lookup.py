"""Names that are looked up on this side."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from hosier.client.lookup import Place4or6, addresses, alternating, literal, look_up, pick
from hosier.protocol.address import parse_address

FOUR, SIX = socket.AF_INET, socket.AF_INET6


def four(n: int) -> Place4or6:
    return Place4or6(FOUR, (f"192.0.2.{n}", 80))


def six(n: int) -> Place4or6:
    return Place4or6(SIX, (f"2001:db8::{n}", 80, 0, 0))


@pytest.mark.parametrize(("host", "family"), [("192.0.2.1", FOUR), ("::1", SIX), ("2001:db8::1", SIX)])
def test_literals(host: str, family: int) -> None:
    assert literal(host, 80) == (family, (host, 80))
    assert look_up(host, 80, lambda: None) == [(family, (host, 80))]


@pytest.mark.parametrize("host", ["example.com", "a1", "1.2.3", "1.2.3.4.5", "fe80::1%lo", "::g"])
def test_names(host: str) -> None:
    assert literal(host, 80) is None


def test_order() -> None:
    """RFC 8305 §4: the families in turn, beginning with the system's first choice."""
    assert alternating([six(1), six(2), six(3), four(1)]) == [six(1), four(1), six(2), six(3)]
    assert alternating([four(1), four(2)]) == [four(1), four(2)]
    with pytest.raises(socket.gaierror):
        alternating([])


def test_answers_of_the_system() -> None:
    infos: list[Any] = [
        (SIX, 1, 6, "", ("2001:db8::1", 80, 0, 0)),
        (SIX, 1, 6, "", ("2001:db8::1", 80, 0, 0)),
        (socket.AF_UNIX, 1, 0, "", ("x", 0)),
        (FOUR, 1, 6, "", ("192.0.2.1", 80)),
    ]
    assert addresses(infos) == [six(1), four(1)]


def test_address_to_ask_for() -> None:
    assert pick([six(1), four(1)], 443, only_ipv4=False) == parse_address("2001:db8::1", 443)
    assert pick([six(1), four(1)], 443, only_ipv4=True) == parse_address("192.0.2.1", 443)
    scoped = Place4or6(SIX, ("fe80::1%lo", 80, 0, 1))
    assert pick([scoped], 1, only_ipv4=False) == parse_address("fe80::1", 1)
    with pytest.raises(socket.gaierror, match="no IPv4"):
        pick([six(1)], 443, only_ipv4=True)


@pytest.mark.parametrize("limit", [None, 20.0])
def test_look_up(limit: float | None) -> None:
    found = look_up("localhost", 80, lambda: limit)
    assert {place.sockaddr[0] for place in found} <= {"127.0.0.1", "::1"}
    with pytest.raises(socket.gaierror):
        look_up("name.invalid", 80, lambda: limit)
    with pytest.raises((UnicodeError, socket.gaierror)):
        look_up("x" * 64 + ".invalid", 80, lambda: limit)


@pytest.mark.parametrize("name", ["abc.onion", "ABC.Onion."])
def test_onion_names_stay_here(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 7686."""
    monkeypatch.setattr(socket, "getaddrinfo", None)
    with pytest.raises(socket.gaierror, match="socks5h"):
        look_up(name, 80, lambda: None)


def test_resolver_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left behind when the time is up."""
    enough = threading.Event()

    def slowly(*_: object, **__: object) -> list[Any]:
        enough.wait(20)
        return [(FOUR, 1, 6, "", ("192.0.2.1", 80))]

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    with pytest.raises(TimeoutError, match=r"slow\.example"):
        look_up("slow.example", 80, lambda: 0.05)
    enough.set()
