"""A socket of the system that connects through a proxy."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

import hosier
from hosier import pysocks as socks
from hosier.testing import ScriptedServer, receive, receive_credentials, receive_greeting, receive_request, send
from hosier.testing.threaded import ThreadedServer

from ..conftest import Start
from ..web import NAME

PATIENCE = 20
SUCCESS = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x10\x00"
Scripted = Callable[..., ScriptedServer]


@pytest.fixture
def greeter() -> Iterator[int]:
    """The port of a server that says hello first, and echoes."""

    def serve() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock, contextlib.suppress(ConnectionError):
                sock.settimeout(PATIENCE)
                sock.sendall(b"hello")
                while data := sock.recv(65_536):
                    sock.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE)


def through(proxy: ThreadedServer, kind: int = socks.SOCKS5, **how: object) -> socks.socksocket:
    sock = socks.socksocket()
    sock.set_proxy(kind, *proxy.address, **how)  # type: ignore[arg-type]
    sock.settimeout(PATIENCE)
    return sock


@pytest.mark.parametrize("kind", [socks.SOCKS4, socks.SOCKS5])
def test_connect(proxy: ThreadedServer, greeter: int, kind: int) -> None:
    """By a name that only the proxy knows; the socket keeps its number, options and limit."""
    with through(proxy, kind) as sock:
        number = sock.fileno()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.connect((NAME, greeter))
        assert sock.recv(5) == b"hello"
        sock.sendall(b"echo")
        with sock.makefile("rb") as file:
            assert file.read(4) == b"echo"
        assert (sock.fileno(), sock.gettimeout()) == (number, PATIENCE)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getpeername() == sock.get_peername() == (NAME, greeter)
        assert sock.get_proxy_peername() == sock.getproxypeername() == proxy.address
        bound = sock.get_proxy_sockname()
        assert bound is not None
        assert bound == sock.getproxysockname() == sock.proxy_sockname
        assert bound[1] > 0


def test_http_proxy(scripted_server: Scripted) -> None:
    answer = b"HTTP/1.1 200 fine\r\n\r\nhello"
    proxy = scripted_server([receive(1), send(answer)])
    with socks.socksocket() as sock:
        sock.set_proxy(socks.HTTP, *proxy.address, True, "ann", "open sesame")
        sock.connect(("target.test", 80))
        assert sock.recv(5) == b"hello"
        assert sock.getpeername() == ("target.test", 80)
    assert proxy.received.startswith(b"CONNECT target.test:80 HTTP/1.1\r\n")
    assert b"Basic YW5uOm9wZW4gc2VzYW1l" in proxy.received


def test_credentials(hosier_server: Start, greeter: int) -> None:
    """Long ones, too, which PySocks writes wrongly; and a user without a password."""
    user, password = "ü" * 100, "p" * 255
    guarded = hosier_server(users={user: password})
    with through(guarded, username=user, password=password) as sock:
        sock.connect(("127.0.0.1", greeter))
        assert sock.recv(5) == b"hello"
    with through(guarded, username=user, password="wrong") as sock, pytest.raises(socks.SOCKS5AuthError) as refused:
        sock.connect(("127.0.0.1", greeter))
    assert str(refused.value) == "Socket error: SOCKS5 authentication failed"
    assert isinstance(refused.value.__cause__, hosier.AuthError)


def test_user_without_a_password(scripted_server: Scripted) -> None:
    proxy = scripted_server([receive_greeting(), send(b"\x05\x02"), receive_credentials(), send(b"\x01\x01")])
    with socks.socksocket() as sock:
        sock.set_proxy(socks.SOCKS5, *proxy.address, True, "ann")
        with pytest.raises(socks.SOCKS5AuthError):
            sock.connect(("target.test", 80))
    assert b"\x01\x03ann\x00" in proxy.received


def test_long_names_arrive_as_they_are(scripted_server: Scripted) -> None:
    name = ".".join(["n" * 60] * 4)
    proxy = scripted_server([receive_greeting(), send(b"\x05\x00"), receive_request(), send(SUCCESS)])
    with socks.socksocket() as sock:
        sock.set_proxy(socks.SOCKS5, *proxy.address)
        sock.connect((name, 80))
        assert proxy.received.endswith(b"\x03" + bytes((len(name),)) + name.encode() + b"\x00\x50")
    with socks.socksocket() as sock:
        sock.set_proxy(socks.SOCKS5, *proxy.address)
        with pytest.raises(socks.GeneralProxyError):
            sock.connect((f"{name}.{name}", 80))


def test_names_looked_up_here(scripted_server: Scripted) -> None:
    proxy = scripted_server([receive_greeting(), send(b"\x05\x00"), receive_request(), send(SUCCESS)])
    with socks.socksocket() as sock:
        sock.setproxy(proxytype=socks.PROXY_TYPE_SOCKS5, addr=proxy.address[0], port=proxy.address[1], rdns=False)
        sock.connect(("localhost", 80))
        assert sock.getpeername()[0] in ("127.0.0.1", "::1")
    with socks.socksocket() as sock:
        sock.set_proxy(socks.SOCKS5, *proxy.address, False)
        with pytest.raises(socks.GeneralProxyError, match="Socket error") as raised:
            sock.connect((NAME, 80))
    assert isinstance(raised.value.socket_err, socket.gaierror)


@pytest.mark.parametrize("pair", [("::1", 0), ("[::1]", 0), ("::1", 0, 0, 0), (b"::1", 0)])
def test_ipv6_targets(proxy: ThreadedServer, pair: tuple[object, ...]) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener, through(proxy) as sock:
        sock.connect((pair[0], listener.getsockname()[1], *pair[2:]))
        assert sock.getpeername() == ("::1", listener.getsockname()[1])


def test_ipv6_proxy(hosier_server: Start, greeter: int) -> None:
    """A socket of IPv4 takes it, too: it becomes one of IPv6 under its number."""
    proxy = hosier_server(listen=["[::1]:0"])
    for host in ("::1", "[::1]"):
        with socks.socksocket(socket.AF_INET) as sock:
            number = sock.fileno()
            sock.set_proxy(socks.SOCKS5, host, proxy.address[1])
            sock.settimeout(PATIENCE)
            sock.connect(("127.0.0.1", greeter))
            assert sock.recv(5) == b"hello"
            assert sock.fileno() == number
            assert not sock.get_inheritable()
            assert sock.get_proxy_peername()[:2] == ("::1", proxy.address[1])


def test_errors(proxy: ThreadedServer, refused_port: int) -> None:
    with through(proxy) as sock, pytest.raises(socks.SOCKS5Error) as refused:
        sock.connect(("127.0.0.1", refused_port))
    assert str(refused.value) == "Socket error: 0x05: Connection refused"
    assert refused.value.errno == errno.ECONNREFUSED
    assert isinstance(refused.value.socket_err, socks.SOCKS5Error)
    assert str(refused.value.socket_err) == "0x05: Connection refused"
    assert isinstance(refused.value.__cause__, hosier.TargetRefused)
    assert sock.fileno() == -1
    with through(proxy, socks.SOCKS4) as sock, pytest.raises(socks.SOCKS4Error, match=r"^Socket error: 0x5b: "):
        sock.connect(("127.0.0.1", refused_port))
    with socks.socksocket() as sock:
        sock.set_proxy(socks.SOCKS5, "127.0.0.1", refused_port)
        with pytest.raises(socks.ProxyConnectionError) as nobody:
            sock.connect(("127.0.0.1", 80))
    assert str(nobody.value).startswith(f"Error connecting to SOCKS5 proxy 127.0.0.1:{refused_port}: [Errno 111]")
    assert isinstance(nobody.value.socket_err, ConnectionRefusedError)


def test_limit_covers_the_handshake(silent_proxy: str) -> None:
    with socks.socksocket() as sock:
        sock.set_proxy(socks.SOCKS5, "127.0.0.1", hosier.Proxy(silent_proxy).port)
        sock.settimeout(0.2)
        with pytest.raises(socks.GeneralProxyError, match=r"Socket error: .*timed out") as raised:
            sock.connect(("127.0.0.1", 80))
    assert isinstance(raised.value.socket_err, TimeoutError)


@pytest.mark.parametrize("pair", [("", 80), ("h", "80"), (None, 80), "h", ("h",)])
def test_no_destination(proxy: ThreadedServer, pair: object) -> None:
    with through(proxy) as sock, pytest.raises(socks.GeneralProxyError, match="Invalid destination"):
        sock.connect(pair)


def test_no_proxy_at_all() -> None:
    for arguments in ((7, "h", 1080), (socks.SOCKS5, None, 1080), (socks.SOCKS5, "h", 70_000)):
        with socks.socksocket() as sock:
            sock.set_proxy(*arguments)
            with pytest.raises(socks.GeneralProxyError):
                sock.connect(("127.0.0.1", 80))


def test_connect_ex(proxy: ThreadedServer, greeter: int, refused_port: int) -> None:
    with through(proxy) as sock:
        assert sock.connect_ex(("127.0.0.1", greeter)) == 0
    with through(proxy) as sock:
        assert sock.connect_ex(("127.0.0.1", refused_port)) == errno.ECONNREFUSED
    with socks.socksocket() as sock:
        assert sock.connect_ex(("127.0.0.1", refused_port)) == errno.ECONNREFUSED
    with through(proxy) as sock, pytest.raises(hosier.TargetRefused):
        sock.connect(("127.0.0.1", refused_port), True)


def test_socket_that_must_not_block(proxy: ThreadedServer, greeter: int) -> None:
    """As with PySocks it is connected afterwards, and does not block."""
    with through(proxy) as sock:
        sock.setblocking(False)
        sock.connect(("127.0.0.1", greeter))
        assert sock.gettimeout() == 0
        with contextlib.suppress(BlockingIOError):
            assert sock.recv(5) == b"hello"


def test_without_a_proxy(greeter: int) -> None:
    """A socket as any other, with any family."""
    with socks.socksocket() as sock:
        assert sock.get_peername() is None
        with pytest.raises(OSError, match="not connected"):
            sock.getpeername()
        sock.settimeout(PATIENCE)
        sock.connect(("127.0.0.1", greeter))
        assert sock.getpeername() == sock.get_peername() == ("127.0.0.1", greeter)
        buffer = bytearray(5)
        assert sock.recv_into(buffer) == 5
        assert sock.send(b"a") + sock.sendmsg([b"b", b"c"]) == 3
        assert len(sock.recvfrom(3)[0]) > 0
        copy = sock.dup()
        assert copy.getpeername() == ("127.0.0.1", greeter)
        copy.close()
    with pytest.raises(ValueError, match="stream or datagram"):
        socks.socksocket(socket.AF_INET, socket.SOCK_RAW)
    with socks.socksocket(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        assert sock.gettimeout() == 0


def test_in_the_place_of_every_socket(proxy: ThreadedServer, greeter: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """``socket.socket = socks.socksocket``: what is not of the internet goes on, and we are not fooled ourselves."""
    monkeypatch.setattr(socket, "socket", socks.socksocket)
    monkeypatch.setattr(socks.socksocket, "default_proxy", None)
    socks.set_default_proxy(socks.SOCKS5, *proxy.address)
    with socket.socket() as sock:
        sock.settimeout(PATIENCE)
        sock.connect((NAME, greeter))
        assert sock.recv(5) == b"hello"
    one, other = socket.socketpair()
    with one, other:
        one.sendall(b"hello")
        assert other.recv(5) == b"hello"
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as sock:
        sock.connect(listener.getsockname())
        accepted, address = listener.accept()
        with accepted:
            assert accepted.getpeername() == address
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert isinstance(sock, socks.socksocket)
        sock.bind(("", 0))
        assert sock.get_proxy_sockname() == ("0.0.0.0", 0)
