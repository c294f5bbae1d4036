"""The way through proxies, without I/O."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from hosier.client.http_connect import HttpConnect
from hosier.client.journey import AnyHandshake, Journey, announced, host_of_proxy
from hosier.client.layered import LayeredHandshake
from hosier.client.proxy import Proxy, chain_of
from hosier.client.quick import QuickHandshake
from hosier.errors import ConfigError, ProxyConnectionError, ProxyTimedOut, RemoteProtocolError, TargetUnreachable
from hosier.protocol.address import UNSPECIFIED, parse_address
from hosier.protocol.client_connection import ClientHandshake
from hosier.protocol.messages import AuthMessage, Command, MethodSelected, MethodsOffered, Reply, Request
from hosier.protocol.server_connection import ServerConnection
from hosier.testing import ConnectionPair, ToyFraming, ToyServerExchange

from .harness import SUCCESS
from .protection import frame, play_with_toys

TARGET = parse_address("example.com", 443)


def journey(*urls: str, command: int = Command.CONNECT, timeout: float | None = None) -> Journey:
    return Journey(chain_of(urls), command, TARGET, timeout, b"early")


@pytest.mark.parametrize(
    ("timeout", "early", "line"),
    [
        ("5", b"", "timeout: expected a number of seconds or None, found str"),
        (float("nan"), b"", "timeout: expected a number of seconds or None, found nan"),
        (5, "GET /", "early: expected octets, found str"),
    ],
)
def test_arguments_of_another_type(timeout: Any, early: Any, line: str) -> None:
    with pytest.raises(ConfigError, match=f"^{line}$"):
        Journey(chain_of("h"), Command.CONNECT, TARGET, timeout, early)


def test_hops() -> None:
    """Each proxy leads to the next one, the last one to the destination; only it gets the command and the payload."""
    way = journey("socks4a://me@one", "http://ann:x@two:3128", "three:9050", command=Command.BIND)
    assert (way.target, way.proxy.host) == (parse_address("two", 3128), "one")
    first = way.begin(way.target)
    assert first.start() == b"\x04\x01\x0c\x38\x00\x00\x00\x01me\x00two\x00"
    assert way.passed()
    second = way.begin(way.target)
    assert isinstance(second, HttpConnect)
    assert second.start().startswith(b"CONNECT three:9050 ")
    assert b"early" not in second.start()
    assert way.passed()
    assert way.target == TARGET
    third = way.begin(way.target)
    third.start()
    assert third.feed(b"\x05\x00") == b"\x05\x02\x00\x03\x0bexample.com\x01\xbbearly"
    assert not way.passed()


def test_kinds_of_handshake() -> None:
    assert isinstance(journey("one").begin(TARGET), QuickHandshake)
    assert isinstance(journey("ann@one").begin(TARGET), ClientHandshake)
    assert isinstance(journey("one", command=Command.BIND).begin(TARGET), ClientHandshake)
    assert journey("socks4://one").begin(parse_address("192.0.2.1", 1)).start()[8:] == b"\x00early"


def test_time() -> None:
    assert journey("one").left() is None
    left = journey("one", timeout=20).left()
    assert left is not None
    assert 0 < left <= 20
    with pytest.raises(ProxyTimedOut, match=r"no result within 0 s"):
        journey("one", timeout=0).left()


@pytest.mark.parametrize(
    ("step", "error", "kind", "number", "words"),
    [
        ("lookup", socket.gaierror(-2, "unknown"), ProxyConnectionError, errno.EHOSTUNREACH, "look up the proxy one: "),
        ("lookup target", socket.gaierror(-2, "unknown"), TargetUnreachable, errno.EHOSTUNREACH, "looked up here"),
        ("connect", ConnectionRefusedError(111, "refused"), ProxyConnectionError, 111, "connect to the proxy: refused"),
        ("connect", OSError("odd"), ProxyConnectionError, errno.EIO, "odd"),
        ("TLS", OSError(1, "certificate"), ProxyConnectionError, errno.EPROTO, "no TLS with the proxy: certificate"),
        ("reply", BrokenPipeError(32, "pipe"), ProxyConnectionError, 32, "the connection to the proxy broke: pipe"),
        ("reply", TimeoutError(), ProxyTimedOut, errno.ETIMEDOUT, "no answer"),
    ],
)
def test_errors(step: str, error: OSError, kind: type[OSError], number: int, words: str) -> None:
    way = journey("socks5://ann:SeCrEt@one")
    way.step = step
    found = way.explain(error)
    assert type(found) is kind
    assert found.errno == number
    assert words in str(found)
    assert "SeCrEt" not in str(found)


def test_errors_of_ours_get_their_place_once() -> None:
    way = journey("one", "two")
    error = RemoteProtocolError("odd")
    assert way.explain(error) is error
    assert error.place == ("socks5h://one:1080", 1, 2, "lookup", "example.com:443")
    way.passed()
    way.explain(error)
    assert error.place.hop == 1


def test_step_is_the_handshakes_while_there_is_one() -> None:
    way = journey("one")
    way.begin(TARGET).start()
    error = RemoteProtocolError("odd")
    way.explain(error)
    assert error.place is not None
    assert error.place.step == "method"


def test_wait_for_the_peer() -> None:
    way = journey("one", command=Command.BIND, timeout=0)
    handshake = way.begin(TARGET)
    later = way.resumed(handshake, 20)
    assert later.left() is not None
    assert later.destination == TARGET


def test_address_to_announce() -> None:
    """S4-REQ-28, S5-REQ-63, S5-REQ-76: zeros stand for the proxy."""
    assert announced(parse_address("192.0.2.1", 5), "proxy") == ("192.0.2.1", 5)
    assert announced(UNSPECIFIED._replace(port=7), "proxy") == ("proxy", 7)
    assert announced(parse_address("::", 7), "::1") == ("::1", 7)


def test_host_of_the_last_proxy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as sock:
        assert host_of_proxy(sock, [Proxy("localhost")]) == "127.0.0.1"
        assert host_of_proxy(sock, [Proxy("localhost"), Proxy("two")]) == "two"
    with socket.socket(socket.AF_UNIX) as local:
        assert host_of_proxy(local, [Proxy("socks5h://localhost/x")]) == "localhost"


def test_layers_of_earlier_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows a proxy that protects goes within its layer, and the shell takes over what lies on top."""
    play_with_toys(monkeypatch)
    way = journey("socks5h+gssapi://one", "two", command=Command.CONNECT)
    assert way.protects
    assert not journey("one").protects
    peer = ConnectionPair(None, ServerConnection({1: ToyFraming()}))
    first = way.begin(way.target)
    agree(peer, first)
    assert first.done
    assert way.passed()
    second = way.begin(way.target)
    assert isinstance(second, LayeredHandshake)
    assert second.start() == frame(b"\x05\x01\x00")
    request = second.feed(frame(b"\x05\x00"))
    assert request == frame(b"\x05\x01\x00\x03\x0bexample.com\x01\xbbearly")
    second.feed(frame(SUCCESS))
    assert not way.passed()
    stream = way.take_stream()
    assert stream is not None
    assert stream.wrap(b"payload") == frame(b"payload")
    assert way.take_stream() is None


def agree(peer: ConnectionPair, handshake: AnyHandshake) -> None:
    """Plays the server of a whole handshake with the toy method."""
    server, exchange = peer.server, ToyServerExchange()
    out = handshake.start()
    while not handshake.done:
        server.receive_data(out)
        event = server.next_event()
        if isinstance(event, MethodsOffered):
            out = handshake.feed(server.send(MethodSelected(1)))
        elif isinstance(event, AuthMessage):
            out = handshake.feed(server.send(exchange.step(event.body)))
        else:
            assert isinstance(event, Request)
            out = handshake.feed(server.send(Reply(0)))
