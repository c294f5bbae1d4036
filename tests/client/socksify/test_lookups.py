"""Lookups within a scope: every call of the socket module, and nobody is asked."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

import hosier
from hosier.client.names import FakeNames
from hosier.client.socksify.lookups import LOOKUPS

from .conftest import Witness

STREAM = socket.SOCK_STREAM


@pytest.fixture
def scope(witness: Witness) -> Iterator[None]:
    """A scope in which the first name is 198.18.0.1; the proxy is never asked for a lookup."""
    with witness(), hosier.socksify("192.0.2.7", names=FakeNames()):
        yield


def places(*args: Any, **fields: Any) -> list[tuple[int, str]]:
    return [(info[0], str(info[4][0])) for info in socket.getaddrinfo(*args, **fields)]


@pytest.mark.usefixtures("scope")
def test_names_become_fake_addresses() -> None:
    """Of the family that is asked for (NG-REQ-09…12, 19); one, where any will do."""
    assert places("web.invalid", 80, type=STREAM) == [(socket.AF_INET, "198.18.0.1")]
    assert places("web.invalid", 80, socket.AF_INET6, STREAM) == [(socket.AF_INET6, "100::1")]
    assert places(b"WEB.invalid.", "https", socket.AF_INET, STREAM) == [(socket.AF_INET, "198.18.0.1")]
    assert socket.gethostbyname("web.invalid") == "198.18.0.1"
    assert socket.gethostbyname_ex("other.invalid") == ("other.invalid", [], ["198.18.0.2"])


@pytest.mark.usefixtures("scope")
def test_answers_are_complete() -> None:
    """Ports by name, all kinds of sockets, the canonical name, flags about what this machine has."""
    assert {info[4] for info in socket.getaddrinfo("web.invalid", "http")} == {("198.18.0.1", 80)}
    found = socket.getaddrinfo("web.invalid", 80, flags=socket.AI_CANONNAME | socket.AI_ADDRCONFIG)
    assert {info[1] for info in found} >= {socket.SOCK_STREAM, socket.SOCK_DGRAM}
    assert found[0][3] == "web.invalid"
    assert {info[4] for info in found} == {("198.18.0.1", 80)}
    mapped = socket.getaddrinfo("web.invalid", 80, socket.AF_INET6, STREAM, flags=socket.AI_V4MAPPED | socket.AI_ALL)
    assert [info[4] for info in mapped] == [("100::1", 80, 0, 0)]


@pytest.mark.usefixtures("scope")
@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("127.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("::1", "::1"),
        (b"2001:db8::1", "2001:db8::1"),
    ],
)
def test_numbers_are_numbers(host: str | bytes, found: str) -> None:
    """NG-REQ-20."""
    assert {place for _, place in places(host, 80)} == {found}


@pytest.mark.usefixtures("scope")
def test_numbers_have_the_usual_errors() -> None:
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("192.0.2.1", 80, socket.AF_INET6)
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("web.invalid", 80, flags=socket.AI_NUMERICHOST)
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("web.invalid", "no such service")


@pytest.mark.usefixtures("scope")
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "some.localhost"])
def test_localhost_is_here(host: str) -> None:
    """RFC 6761: never a question to anybody."""
    assert places(host, 80, type=STREAM) == [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    assert places(host, 80, socket.AF_INET6, STREAM) == [(socket.AF_INET6, "::1")]
    assert socket.gethostbyname(host) == "127.0.0.1"


@pytest.mark.usefixtures("scope")
def test_no_host_and_all_of_them() -> None:
    assert {place for _, place in places(None, 80, type=STREAM, flags=socket.AI_PASSIVE)} <= {"0.0.0.0", "::"}
    assert socket.gethostbyname("") == "0.0.0.0"
    assert socket.gethostbyname("<broadcast>") == "255.255.255.255"


@pytest.mark.usefixtures("scope")
@pytest.mark.parametrize("name", ["n" * 256, "a b.invalid", "192.0.2.1 x", "\u00fc" * 200])
def test_no_names(name: str) -> None:
    """An error of lookups, as programs expect, with a word why."""
    for lookup in (socket.gethostbyname, lambda name: socket.getaddrinfo(name, 80)):
        with pytest.raises(socket.gaierror) as caught:
            lookup(name)
        assert caught.value.errno == socket.EAI_NONAME


@pytest.mark.usefixtures("scope")
def test_backwards() -> None:
    """Fake addresses have their names (NG-REQ-21); others are not asked about."""
    address = socket.gethostbyname("web.invalid")
    assert socket.gethostbyaddr(address) == ("web.invalid", [], [address])
    assert socket.gethostbyaddr("web.invalid") == ("web.invalid", [], [address])
    assert socket.gethostbyaddr("100::1") == ("web.invalid", [], ["100::1"])
    assert socket.getfqdn("web.invalid") == "web.invalid"
    with pytest.raises(socket.herror):
        socket.gethostbyaddr("192.0.2.1")
    assert socket.getnameinfo((address, 80), socket.NI_NUMERICSERV) == ("web.invalid", "80")
    assert socket.getnameinfo((address, 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV) == (address, "80")
    assert socket.getnameinfo(("192.0.2.1", 80), socket.NI_NUMERICSERV) == ("192.0.2.1", "80")
    with pytest.raises(socket.gaierror):
        socket.getnameinfo(("192.0.2.1", 80), socket.NI_NAMEREQD)


def test_names_past_the_proxy_are_looked_up_here(witness: Witness) -> None:
    """And so is everything where the proxy takes addresses only."""
    with hosier.socksify("192.0.2.7", bypass="near.invalid, db.invalid:5432"):
        for ask in (
            lambda: socket.getaddrinfo("near.invalid", 80),
            lambda: socket.gethostbyname("www.near.invalid"),
            lambda: socket.getaddrinfo("db.invalid", "5432"),
        ):
            with pytest.raises(socket.gaierror):
                ask()
        assert socket.gethostbyname("db.invalid").startswith("198.18.")  # whose port is not said
    with hosier.socksify("socks5://192.0.2.7"), pytest.raises(socket.gaierror):
        socket.gethostbyname("far.invalid")
    with hosier.socksify("socks5://192.0.2.7"), witness(), pytest.raises(socket.gaierror, match="Tor"):
        socket.gethostbyname("secret.onion")


def test_outside_of_a_scope_they_are_as_ever(witness: Witness) -> None:
    """The stand-ins are there, for others, and hand everything on."""
    with hosier.socksify("192.0.2.7"), hosier.socksify(None), witness():
        assert socket.gethostbyname("127.0.0.1") == "127.0.0.1"
        assert socket.gethostbyname_ex("127.0.0.1") == ("127.0.0.1", [], ["127.0.0.1"])
        assert socket.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0] == "127.0.0.1"
        assert socket.gethostbyaddr("127.0.0.1")[2] == ["127.0.0.1"]
        assert places("127.0.0.1", 80, type=STREAM) == [(socket.AF_INET, "127.0.0.1")]
    with hosier.socksify("192.0.2.7"), hosier.socksify(None), pytest.raises(socket.gaierror):
        socket.gethostbyname("web.invalid")


def test_every_lookup_has_a_stand_in() -> None:
    """NG-REQ-02."""
    covered = {name for _, name, _ in LOOKUPS}
    assert covered == {"getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo"}
