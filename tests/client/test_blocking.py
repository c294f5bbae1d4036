"""Through proxies with plain sockets."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hosier
from hosier.testing import Conversation, ScriptedServer, Step, receive, receive_request, send, stall
from hosier.testing.threaded import ThreadedServer

from .harness import PATIENCE, SUCCESS, exactly, opening, until
from .tls import Certificate, door

Start = Callable[..., ThreadedServer]
Place = tuple[str, int]


def test_connect(hosier_server: Start, greeter: Place) -> None:
    with hosier.connect(hosier_server().url, *greeter, timeout=PATIENCE) as sock:
        assert type(sock) is socket.socket
        assert sock.gettimeout() is None
        assert exactly(sock, 11) == b"220 hello\r\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((None, "example.com", 80), "no proxy: expected a URL such as .*, found None"),
        (("socks5h://h", "example.com", "80"), "a port is a whole number, and '80' is none"),
        (("socks5h://h", "example.com", None), "a port is a whole number, and None is none"),
        (("socks5h://h", None, 80), "a host is a text, and None is none"),
        (("socks5h://ann:x@h", "example.com", "80"), "a port is a whole number, and '80' is none"),
    ],
)
def test_arguments_of_another_type(arguments: Any, line: str) -> None:
    with pytest.raises((hosier.ConfigError, hosier.LocalProtocolError), match=f"^{line}$"):
        hosier.connect(*arguments)


def test_own_limit_of_the_program(hosier_server: Start, greeter: Place) -> None:
    """``timeout`` is for the way; afterwards the default limit holds, if a program set one."""
    socket.setdefaulttimeout(7)
    try:
        with hosier.connect(hosier_server().url, *greeter, timeout=PATIENCE) as sock:
            assert sock.gettimeout() == 7
        with hosier.connect(hosier_server().url, *greeter) as sock:
            assert sock.gettimeout() == 7
    finally:
        socket.setdefaulttimeout(None)


def test_without_a_limit(hosier_server: Start, greeter: Place) -> None:
    with hosier.connect(hosier_server().url, *greeter) as sock:
        assert exactly(sock, 3) == b"220"


def test_chain_of_all_kinds(hosier_server: Start, greeter: Place) -> None:
    """Each hop with its own version and method."""
    guarded = hosier_server(users={"ann": "open:sesame"})
    chain: list[str | hosier.Proxy] = [
        hosier_server().url.replace("5h", "4"),
        hosier_server().url,
        hosier.Proxy(guarded.url, username="ann", password="open:sesame"),
    ]
    with hosier.connect(chain, *greeter, timeout=PATIENCE) as sock:
        assert exactly(sock, 11) == b"220 hello\r\n"


def test_http_hop(greeter: Place) -> None:
    answer = [receive(1), _rest_of_head, send(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nearly"), stall()]
    with ScriptedServer(answer) as server:
        url = server.url.replace("socks5h", "http")
        with hosier.connect(url, "example.com", 80, timeout=PATIENCE) as sock:
            assert exactly(sock, 5) == b"early"
        assert server.received.startswith(b"CONNECT example.com:80 HTTP/1.1\r\n")


def _rest_of_head(conversation: object) -> None:
    from hosier.testing import Conversation

    assert isinstance(conversation, Conversation)
    while not conversation.pending.endswith(b"\r\n\r\n"):
        conversation.more()


def test_names_looked_up_here() -> None:
    """A-36, S4-REQ-01, S5-REQ-54: socks5 and socks4 without "h" and "a"."""
    with ScriptedServer(opening(send(SUCCESS), stall())) as server:
        hosier.connect(server.url.replace("5h", "5"), "localhost", 80, timeout=PATIENCE).close()
        addresses = (b"\x01\x7f\x00\x00\x01", b"\x04" + bytes(15) + b"\x01")
        assert server.received[6:] in [address + b"\x00\x50" for address in addresses]
    with ScriptedServer([receive_request(), send(b"\x00\x5a" + bytes(6)), stall()]) as server:
        hosier.connect(server.url.replace("socks5h", "socks4"), "localhost", 80).close()
        assert server.received == b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00"


def test_name_that_cannot_be_looked_up_here() -> None:
    with ScriptedServer([stall()]) as server:
        url = server.url.replace("5h", "5")
        for name in ("name.invalid", "abc.onion"):
            with pytest.raises(hosier.TargetUnreachable, match="looked up here") as caught:
                hosier.connect(url, name, 80, timeout=PATIENCE)
            assert caught.value.place is not None
            assert caught.value.place.step == "lookup target"


def test_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "proxy.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(3)
                sock.sendall(b"\x05\x00")
                sock.recv(100)
                sock.sendall(SUCCESS + b"early")
                sock.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        with hosier.connect(f"socks5h://localhost{path}", "example.com", 80, timeout=PATIENCE) as sock:
            assert exactly(sock, 5) == b"early"
        thread.join()
    with pytest.raises(hosier.ProxyConnectionError):
        hosier.connect(f"socks5h://localhost{path}x", "example.com", 80)


def test_source_address(greeter: Place) -> None:
    with ThreadedServer() as server:
        hosier.connect(hosier.Proxy(server.url, source_address="127.0.0.5"), *greeter).close()
        until(lambda: server.records, "the session ends")
    assert server.records[0].client[0] == "127.0.0.5"


def test_early_payload() -> None:
    """EX-16: large, too; it is behind the request before the proxy has said anything."""
    payload = b"x" * 3_000_000
    with ScriptedServer(opening(receive(len(payload)), send(SUCCESS), stall())) as server:
        hosier.connect(server.url, "example.com", 80, timeout=PATIENCE, early=payload).close()
        assert server.received.endswith(payload)


# --- TLS ---


def test_tls_to_the_proxy(hosier_server: Start, greeter: Place, certificate: Certificate) -> None:
    with door(certificate, hosier_server().address) as (_, port):
        proxy = hosier.Proxy(f"socks5h://localhost:{port}", ssl_context=certificate.client)
        with hosier.connect(proxy, *greeter, timeout=PATIENCE) as sock:
            assert isinstance(sock, hosier.ProtectedSocket)
            assert exactly(sock, 11) == b"220 hello\r\n"
        with pytest.raises(hosier.ProxyConnectionError, match="no TLS with the proxy") as caught:
            hosier.connect(f"socks5h+tls://localhost:{port}", *greeter, timeout=PATIENCE)
        assert caught.value.errno == errno.EPROTO
        with door(certificate, hosier_server().address) as (_, inner):
            chain = [proxy, hosier.Proxy(f"socks5h://localhost:{inner}", ssl_context=certificate.client)]
            with hosier.connect(chain, *greeter, timeout=PATIENCE) as sock:
                assert exactly(sock, 11) == b"220 hello\r\n"
        with hosier.connect([hosier_server().url, proxy], *greeter, timeout=PATIENCE) as sock:
            assert exactly(sock, 3) == b"220"


def test_directions_end_alone_under_tls(hosier_server: Start, certificate: Certificate) -> None:
    with (
        door(certificate, hosier_server().address) as (_, port),
        ScriptedServer([receive_all(b"question"), send(b"answer")]) as target,
    ):
        proxy = hosier.Proxy(f"socks5h://localhost:{port}", ssl_context=certificate.client)
        with hosier.connect(proxy, *target.address, timeout=PATIENCE) as sock:
            sock.sendall(b"question")
            sock.shutdown(socket.SHUT_WR)
            assert exactly(sock, 6) == b"answer"
            assert sock.recv(1) == b""


def receive_all(expected: bytes) -> Step:
    """Reads up to the end, which has to come."""

    def step(conversation: Conversation) -> None:
        data = b""
        while piece := conversation.sock.recv(100):
            data += piece
        assert data == expected

    return step


def test_to_be_cut_off_is_no_end(certificate: Certificate) -> None:
    """TLS announces its ends: without that, somebody on the way may have cut it."""

    def serve() -> None:
        raw = listener.accept()[0]
        raw.settimeout(PATIENCE)
        with certificate.server.wrap_socket(raw, server_side=True) as sock:
            exactly(sock, 3)
            sock.sendall(b"\x05\x00")
            exactly(sock, 10)
            sock.sendall(SUCCESS + b"part")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        proxy = hosier.Proxy(f"socks5h://localhost:{listener.getsockname()[1]}", ssl_context=certificate.client)
        with hosier.connect(proxy, "192.0.2.1", 80, timeout=PATIENCE) as sock:
            assert exactly(sock, 4) == b"part"
            with pytest.raises(hosier.RemoteProtocolError, match="not announced its end"):
                sock.recv(1)
        thread.join(PATIENCE)


def test_limit_covers_tls() -> None:
    with ScriptedServer([stall()]) as server, pytest.raises(hosier.ProxyTimedOut) as caught:
        hosier.connect(server.url.replace("5h", "5h+tls"), "example.com", 80, timeout=0.2)
    assert caught.value.place is not None
    assert caught.value.place.step == "TLS"


# --- BIND ---


@pytest.mark.parametrize("scheme", ["socks5h", "socks4a"])
def test_bind(hosier_server: Start, scheme: str) -> None:
    """S4-REQ-30, S5-REQ-63."""
    url = hosier_server().url.replace("socks5h", scheme)
    with hosier.bind(url, "127.0.0.1", timeout=PATIENCE) as listener:
        assert listener.fileno() >= 0
        with socket.create_connection(listener.address) as peer:
            sock, address = listener.accept(PATIENCE)
            with sock:
                assert address == peer.getsockname()
                peer.sendall(b"hello")
                assert exactly(sock, 5) == b"hello"
        assert listener.fileno() == -1
        with pytest.raises(hosier.LocalProtocolError, match="one peer"):
            listener.accept()


def test_bind_leaves_the_payload() -> None:
    """Both replies and the peer's first words in one piece; zeros stand for the proxy."""
    zeros = b"\x05\x00\x00\x01\x00\x00\x00\x00\x12\x34"
    with ScriptedServer(opening(send(zeros + SUCCESS + b"early"), stall())) as server:
        listener = hosier.bind(server.url, "192.0.2.9", timeout=PATIENCE)
        assert listener.address == ("127.0.0.1", 0x1234)
        sock, address = listener.accept()
        with sock:
            assert address == ("192.0.2.9", 40000)
            assert exactly(sock, 5) == b"early"
        listener.close()


def test_bind_that_fails() -> None:
    with ScriptedServer(opening(send(b"\x05\x07\x00"), stall())) as server:
        with pytest.raises(hosier.ReplyError) as refused:
            hosier.bind(server.url, "192.0.2.9", timeout=PATIENCE)
        assert refused.value.code == 7
    nobody_came = opening(send(SUCCESS + b"\x05\x06\x00"), stall())
    with ScriptedServer(nobody_came) as server, pytest.raises(hosier.TargetTimedOut):
        hosier.bind(server.url, "192.0.2.9").accept()
    with ScriptedServer(opening(send(SUCCESS), stall())) as server:
        with pytest.raises(hosier.ProxyTimedOut) as late:
            hosier.bind(server.url, "192.0.2.9").accept(0.1)
        assert late.value.place == (server.url, 1, 1, "reply", "192.0.2.9:0")
        hosier.bind(server.url, "192.0.2.9").close()
    with pytest.raises(hosier.ConfigError, match="no BIND"):
        hosier.bind("http://one", "192.0.2.9")


# --- Tor ---


def test_resolve() -> None:
    """A-07, EX-10, EX-11."""
    with ScriptedServer(opening(send(SUCCESS), stall())) as server:
        assert hosier.resolve(server.url, "example.com", timeout=PATIENCE) == "192.0.2.9"
        assert server.received[3:] == b"\x05\xf0\x00\x03\x0bexample.com\x00\x00"
    with ScriptedServer(opening(send(b"\x05\x00\x00\x03\x05a.org\x00\x00"), stall())) as server:
        assert hosier.resolve_ptr(server.url, "192.0.2.9", timeout=PATIENCE) == "a.org"
        assert server.received[3:] == b"\x05\xf1\x00\x01\xc0\x00\x02\x09\x00\x00"
    unknown = opening(send(b"\x05\x04\x00\x00" + bytes(6)), stall())
    with ScriptedServer(unknown) as server, pytest.raises(hosier.TargetUnreachable):
        hosier.resolve(server.url, "example.com", timeout=PATIENCE)
    with pytest.raises(hosier.LocalProtocolError, match="no IP address"):
        hosier.resolve_ptr("one", "example.com")
    with pytest.raises(hosier.ConfigError, match="SOCKS5"):
        hosier.resolve("socks4a://one", "example.com")


def test_onion_errors_have_words() -> None:
    """EX-13."""
    with ScriptedServer(opening(send(b"\x05\xf4\x00\x01"), stall())) as server:
        with pytest.raises(hosier.ReplyError, match="Tor: onion service client authorization missing") as caught:
            hosier.connect(server.url, "abc.onion", 80, timeout=PATIENCE)
        assert caught.value.code == hosier.OnionReplyCode.CLIENT_AUTHORIZATION_MISSING
