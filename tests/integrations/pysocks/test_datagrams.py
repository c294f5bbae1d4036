"""Datagrams of a PySocks socket."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from hosier import pysocks as socks
from hosier.testing import ScriptedServer, receive, receive_greeting, receive_request, send, stall
from hosier.testing.threaded import ThreadedServer

from ..web import NAME

pytestmark = pytest.mark.usefixtures("poll_or_select")

PATIENCE = 20
Scripted = Callable[..., ScriptedServer]


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a UDP server that sends each datagram back."""

    def serve() -> None:
        while True:
            data, sender = sock.recvfrom(65_535)
            if data == b"the end":
                return
            sock.sendto(data, sender)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield sock.getsockname()[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"the end", sock.getsockname())
        thread.join(PATIENCE)


@contextlib.contextmanager
def through(address: tuple[str, int], family: int = socket.AF_INET, rdns: bool = True) -> Iterator[socks.socksocket]:
    with socks.socksocket(family, socket.SOCK_DGRAM) as sock:
        sock.set_proxy(socks.SOCKS5, *address, rdns)
        sock.settimeout(PATIENCE)
        yield sock


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_unconnected(proxy: ThreadedServer, echo: int, family: int) -> None:
    """By address and by a name that only the proxy knows; of IPv6, too, though the relay has IPv4."""
    with through(proxy.address, family) as sock:
        for host in ("127.0.0.1", NAME):
            assert sock.sendto(b"hello", (host, echo)) == 5
            assert sock.recvfrom(100) == (b"hello", ("127.0.0.1", echo))
        sock.sendto(b"hello", 0, ("127.0.0.1", echo))
        assert sock.recv(2) == b"he"
        sock.sendmsg([b"hel", b"lo"], [], 0, ("127.0.0.1", echo))
        assert sock.recvmsg(100) == (b"hello", [], 0, ("127.0.0.1", echo))


@pytest.mark.parametrize("host", ["127.0.0.1", NAME])
def test_connected(proxy: ThreadedServer, echo: int, host: str) -> None:
    with through(proxy.address) as sock:
        sock.connect((host, echo))
        assert sock.getpeername() == (host, echo)
        assert sock.send(b"hello") == 5
        buffer = bytearray(100)
        assert sock.recv_into(buffer) == 5
        sock.sendall(b"again")
        assert sock.recvfrom_into(buffer, 100) == (5, ("127.0.0.1", echo))
        assert buffer[:5] == b"again"
        sock.connect(("0.0.0.0", 0))
        assert sock.get_peername() is None
        with pytest.raises(OSError, match="estination address"):
            sock.send(b"nobody")
        with pytest.raises(OSError, match="not connected"):
            sock.getpeername()


def test_only_from_the_peer(proxy: ThreadedServer, echo: int) -> None:
    """What others send is not for a socket that is connected."""
    with through(proxy.address) as sock:
        sock.sendto(b"from the other one", ("127.0.0.1", echo))
        sock.recv(100, socket.MSG_PEEK)
        sock.connect(("127.0.0.1", 9))
        sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            sock.recv(100)


def test_peek(proxy: ThreadedServer, echo: int) -> None:
    with through(proxy.address) as sock:
        sock.sendto(b"hello", ("127.0.0.1", echo))
        assert sock.recv(100, socket.MSG_PEEK) == b"hello"
        assert sock.recv(100, socket.MSG_PEEK) == b"hello"
        assert sock.recv(100) == b"hello"
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(100)


def test_limits(proxy: ThreadedServer) -> None:
    with through(proxy.address) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(100)
        with pytest.raises(BlockingIOError):
            sock.recv(100, socket.MSG_DONTWAIT)
        with pytest.raises(OSError, match="Message too long"):
            sock.sendto(b"x" * 65_500, ("127.0.0.1", 9))


def test_port_is_announced(scripted_server: Scripted) -> None:
    """Some relays drop what comes from another port; PySocks sends the name "0" along with it."""
    proxy = scripted_server([receive_greeting(), send(b"\x05\x00"), receive_request(), send(reply(9)), stall()])
    with through(proxy.address) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        assert proxy.received.endswith(b"\x05\x03\x00\x01\x00\x00\x00\x00" + port.to_bytes(2, "big"))
        with pytest.raises(OSError, match="already bound") as again:
            sock.bind(("127.0.0.1", 0))
        assert again.value.errno == errno.EINVAL


def reply(port: int) -> bytes:
    return b"\x05\x00\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big")


def test_proxy_ends_the_association(scripted_server: Scripted) -> None:
    proxy = scripted_server([receive_greeting(), send(b"\x05\x00"), receive_request(), send(reply(9)), receive(0)])
    with through(proxy.address) as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="ended the association"):
            sock.recv(100)


def test_refusals(scripted_server: Scripted, no_proxy: str) -> None:
    proxy = scripted_server([receive_greeting(), send(b"\x05\x00"), receive_request(), send(b"\x05\x07\x00")])
    with through(proxy.address) as sock, pytest.raises(socks.SOCKS5Error, match="0x07: Command not supported"):
        sock.sendto(b"hello", ("127.0.0.1", 9))
    with socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.set_proxy(socks.SOCKS4, *proxy.address)
        with pytest.raises(OSError, match="only supported by SOCKS5") as raised:
            sock.bind(("", 0))
        assert raised.value.errno == errno.EOPNOTSUPP
    nobody = "127.0.0.1", int(no_proxy.rpartition(":")[2])
    with through(nobody) as sock, pytest.raises(socks.ProxyConnectionError):
        sock.sendto(b"hello", ("127.0.0.1", 9))


def test_names_looked_up_here(proxy: ThreadedServer, echo: int) -> None:
    with through(proxy.address, rdns=False) as sock:
        with pytest.raises(socket.gaierror):
            sock.sendto(b"hello", (NAME, echo))
        sock.sendto(b"hello", ("localhost", echo))


def test_relay_of_the_other_family(scripted_server: Scripted) -> None:
    answer = b"\x05\x00\x00\x04" + bytes(15) + b"\x01\x00\x09"
    proxy = scripted_server([receive_greeting(), send(b"\x05\x00"), receive_request(), send(answer), stall()])
    with through(proxy.address) as sock, pytest.raises(OSError, match="IPv6 address"):
        sock.bind(("", 0))


def test_without_a_proxy(echo: int) -> None:
    with socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"hello", ("127.0.0.1", echo))
        assert sock.recvfrom(100) == (b"hello", ("127.0.0.1", echo))
        sock.connect(("127.0.0.1", echo))
        sock.sendall(b"hello")
        assert sock.recvmsg(100)[0] == b"hello"
