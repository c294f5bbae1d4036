"""A socket under a layer: what a program may do with it, and what reaches the wire."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

import hosier
from hosier.client.layered import LayeredStream
from hosier.client.protected import ProtectedSocket
from hosier.errors import RemoteProtocolError

from .harness import PATIENCE, exactly
from .protection import frame, toy_stream
from .tls import Certificate, door

Place = tuple[str, int]
Protecting = Callable[[], hosier.Proxy]


@pytest.fixture
def pair() -> Iterator[tuple[ProtectedSocket, socket.socket]]:
    """Our end, and the wire at the proxy's."""
    near, far = socket.socketpair()
    far.settimeout(PATIENCE)
    near.settimeout(PATIENCE)
    with ProtectedSocket(near, toy_stream()) as sock, far:
        assert near.fileno() == -1
        assert sock.gettimeout() == PATIENCE
        yield sock, far


Pair = tuple[ProtectedSocket, socket.socket]


def test_octets(pair: Pair) -> None:
    sock, far = pair
    assert sock.send(b"words") == 5
    sock.sendall(memoryview(b"more"))
    assert exactly(far, len(frame(b"words") + frame(b"more"))) == frame(b"words") + frame(b"more")
    far.sendall(frame(b"an") + frame(b"swer")[:3])
    far.sendall(frame(b"swer")[3:])
    buffer = bytearray(10)
    assert sock.recv(1) == b"a"
    assert sock.pending() >= 1
    assert sock.recv_into(buffer, 1) == 1
    got = buffer[:1]
    while len(got) < 5:
        got += buffer[: sock.recv_into(buffer)]
    assert got == b"nswer"
    assert sock.recv(0) == b""


def test_a_buffer_that_is_too_small_costs_nothing(pair: Pair) -> None:
    sock, peer = pair
    peer.sendall(frame(b"hello"))
    with pytest.raises(ValueError, match="too small"):
        sock.recv_into(bytearray(2), 5)
    assert exactly(sock, 5) == b"hello"


def test_half_close(pair: Pair) -> None:
    sock, far = pair
    sock.sendall(b"last")
    sock.shutdown(socket.SHUT_WR)
    assert exactly(far, len(frame(b"last"))) == frame(b"last")
    assert far.recv(1) == b""
    far.sendall(frame(b"goodbye"))
    far.shutdown(socket.SHUT_WR)
    assert (sock.recv(100), sock.recv(100), sock.recv(100)) == (b"goodbye", b"", b"")


@pytest.mark.parametrize("how", [socket.SHUT_WR, socket.SHUT_RDWR])
def test_an_end_that_has_no_room_to_be_announced(pair: Pair, how: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not passed on without that, unless nobody waits for an answer."""
    monkeypatch.setattr(LayeredStream, "end", lambda _: b"goodbye")
    sock, far = pair
    sock.setblocking(False)
    filled = fill(sock)
    if how == socket.SHUT_WR:
        with pytest.raises(BlockingIOError):
            sock.shutdown(how)
        assert exactly(far, filled) == b"x" * filled
        sock.shutdown(how)
        assert exactly(far, 7) == b"goodbye"
        sock.shutdown(how)  # it is announced once
    else:
        sock.shutdown(how)
        assert exactly(far, filled) == b"x" * filled
    assert far.recv(1) == b""


def test_an_end_behind_a_frame_that_is_half_sent(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The announcement does not fall into the frame."""
    monkeypatch.setattr(LayeredStream, "end", lambda _: b"goodbye")
    sock, far = pair
    sock.setblocking(False)
    sent = 0
    with suppress(BlockingIOError):
        while True:
            sent += sock.send(bytes(1 << 20))
    with pytest.raises(BlockingIOError):
        sock.shutdown(socket.SHUT_WR)
    frames = b""
    while not frames.endswith(b"goodbye"):
        frames += far.recv(1 << 20)
        with suppress(BlockingIOError):
            sock.shutdown(socket.SHUT_WR)
    reader = toy_stream()
    reader.receive(frames.removesuffix(b"goodbye"))
    reader.receive(b"")
    assert len(reader.take()) > sent
    assert far.recv(1) == b""


def test_who_takes_nothing_any_more_learns_of_the_end(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LayeredStream, "end", lambda _: b"goodbye")
    sock, far = pair
    sock.settimeout(0.01)
    filled = fill(sock)
    sock.shutdown(socket.SHUT_WR)
    assert exactly(far, filled) == b"x" * filled
    assert far.recv(1) == b""


def fill(sock: socket.socket) -> int:
    """Below the layer, until nothing more goes; how many octets went."""
    filled = 0
    for size in (4096, 1):
        with suppress(BlockingIOError, TimeoutError):
            while True:
                filled += socket.socket.send(sock, b"x" * size)
    return filled


def test_files(pair: Pair) -> None:
    sock, far = pair
    far.sendall(frame(b"220 hello\r\n221 ") + frame(b"goodbye\r\n"))
    with sock.makefile("rwb") as file:
        assert file.readline() == b"220 hello\r\n"
        assert file.readline() == b"221 goodbye\r\n"
        file.write(b"QUIT\r\n")
        file.flush()
    assert exactly(far, len(frame(b"QUIT\r\n"))) == frame(b"QUIT\r\n")
    assert sock.sendfile(io.BytesIO(b"0123456789"), 2, 5) == 5
    assert sock.sendfile(io.BytesIO(b"0123456789"), 7) == 3
    assert exactly(far, len(frame(b"23456") + frame(b"789"))) == frame(b"23456") + frame(b"789")


def test_time_limit(pair: Pair) -> None:
    sock, far = pair
    sock.settimeout(0.01)
    far.sendall(frame(b"half")[:3])
    with pytest.raises(TimeoutError):
        sock.recv(10)
    far.sendall(frame(b"half")[3:])
    sock.settimeout(PATIENCE)
    assert sock.recv(10) == b"half"


def test_without_waiting(pair: Pair) -> None:
    """What is half sent is sent on, by whoever comes with the same octets."""
    sock, far = pair
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        sock.recv(10)
    data = bytes(range(256)) * 4000
    sent = 0
    with suppress(BlockingIOError):
        while True:
            sent += sock.send(data[sent:])
    assert 0 < sent < len(data)
    got = bytearray()
    reader = toy_stream()

    def drain() -> None:
        reader.receive(far.recv(1 << 20))
        got.extend(reader.take())

    while sent < len(data):
        drain()
        try:
            sent += sock.send(data[sent:])
        except BlockingIOError:
            continue
    while len(got) < len(data):
        drain()
    assert got == data


@pytest.mark.parametrize("wire", [b"\x05\x00", frame(b"cut")[:-1]], ids=["broken", "cut"])
def test_spoiled(pair: Pair, wire: bytes) -> None:
    """It ends, for good, and is no end of file."""
    sock, far = pair
    far.sendall(wire)
    far.shutdown(socket.SHUT_WR)
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            sock.recv(10)


def test_what_came_whole_before_a_fault(pair: Pair) -> None:
    """It is received first, in whatever sizes; then every call raises, and what came behind the fault is nobody's."""
    sock, far = pair
    far.sendall(frame(b"genuine") + frame(b"") + frame(b" words") + b"\x05\x00" + frame(b"never"))
    assert sock.recv(3) == b"gen"
    assert sock.recv(100) == b"uine words"
    far.settimeout(PATIENCE)
    assert far.recv(1) == b"", "the connection is over"
    for _ in range(3):
        with pytest.raises(RemoteProtocolError):
            sock.recv(10)
    assert not sock.pending()


def test_nothing_goes_past_the_layer(pair: Pair) -> None:
    sock, _ = pair
    past: list[Callable[[], object]] = [
        sock.dup,
        lambda: sock.sendmsg([b"x"]),
        lambda: sock.recvmsg(1),
        lambda: sock.recvmsg_into([bytearray(1)]),
        lambda: sock.sendto(b"x", ("127.0.0.1", 1)),
        lambda: sock.recvfrom(1),
        lambda: sock.recvfrom_into(bytearray(1)),
    ]
    for attempt in past:
        with pytest.raises(NotImplementedError, match="past the security layer"):
            attempt()
    with pytest.raises(ValueError, match="no flags"):
        sock.recv(1, socket.MSG_PEEK)
    with pytest.raises(ValueError, match="no flags"):
        sock.send(b"x", socket.MSG_OOB)


def test_two_threads(pair: Pair) -> None:
    sock, far = pair
    data = bytes(3_000_000)

    def echo() -> None:
        while wire := far.recv(65_536):
            far.sendall(wire)

    echoing = threading.Thread(target=echo)
    sending = threading.Thread(target=sock.sendall, args=(data,))
    echoing.start()
    sending.start()
    assert exactly(sock, len(data)) == data
    sending.join(PATIENCE)
    sock.shutdown(socket.SHUT_WR)
    echoing.join(PATIENCE)


# --- through proxies ---


def test_connect(protecting: Protecting, greeter: Place) -> None:
    with hosier.connect(protecting(), *greeter, timeout=PATIENCE) as sock:
        assert isinstance(sock, hosier.ProtectedSocket)
        assert sock.gettimeout() is None
        assert exactly(sock, 11) == b"220 hello\r\n"
        assert sock.getpeername()[0] == "127.0.0.1"


def test_chain(
    protecting: Protecting, hosier_server: Callable[..., hosier.testing.ThreadedServer], greeter: Place
) -> None:
    """Layers in layers, with others before, between and behind."""
    plain = hosier_server().url
    chains: list[list[str | hosier.Proxy]] = [
        [plain, protecting()],
        [protecting(), plain],
        [protecting(), protecting()],
        [plain, protecting(), plain.replace("5h", "4"), protecting(), plain],
    ]
    for chain in chains:
        with hosier.connect(chain, *greeter, timeout=PATIENCE) as sock:
            assert exactly(sock, 11) == b"220 hello\r\n"
            sock.sendall(b"x" * 300_000)
            assert exactly(sock, 300_000) == b"x" * 300_000


def test_early_payload(protecting: Protecting, greeter: Place) -> None:
    """EX-16: under the layer like all that follows the request."""
    early = b"early" * 20_000
    with hosier.connect(protecting(), *greeter, timeout=PATIENCE, early=early) as sock:
        assert exactly(sock, 11 + len(early)) == b"220 hello\r\n" + early


def test_bind(protecting: Protecting) -> None:
    with (
        hosier.bind(protecting(), "127.0.0.1", timeout=PATIENCE) as listener,
        socket.create_connection(listener.address) as peer,
    ):
        sock, address = listener.accept(PATIENCE)
        with sock:
            assert address == peer.getsockname()
            peer.sendall(b"hello")
            assert exactly(sock, 5) == b"hello"
            sock.sendall(b"hello, too")
            assert exactly(peer, 10) == b"hello, too"


def test_tls_with_the_target(protecting: Protecting, greeter: Place, certificate: Certificate) -> None:
    """Any library that wraps what it gets: the octets of TLS go through the layer."""
    with door(certificate, greeter) as (_, port):
        sock = hosier.connect(protecting(), "127.0.0.1", port, timeout=PATIENCE)
        with certificate.client.wrap_socket(sock, server_hostname="localhost") as secure:
            assert sock.fileno() == -1
            assert exactly(secure, 11) == b"220 hello\r\n"
            secure.sendall(b"x" * 300_000)
            assert exactly(secure, 300_000) == b"x" * 300_000


def test_tls_to_the_next_proxy(
    protecting: Protecting,
    hosier_server: Callable[..., hosier.testing.ThreadedServer],
    greeter: Place,
    certificate: Certificate,
) -> None:
    with door(certificate, hosier_server().address) as (_, port):
        secured = hosier.Proxy(f"socks5h://localhost:{port}", ssl_context=certificate.client)
        with hosier.connect([protecting(), secured], *greeter, timeout=PATIENCE) as sock:
            assert isinstance(sock, hosier.ProtectedSocket)
            assert exactly(sock, 11) == b"220 hello\r\n"
    with door(certificate, ("127.0.0.1", protecting().port)) as (_, port):
        inner = hosier.Proxy(f"socks5h+gssapi://localhost:{port}", ssl_context=certificate.client)
        with hosier.connect(inner, *greeter, timeout=PATIENCE) as sock:
            assert isinstance(sock, hosier.ProtectedSocket)
            assert exactly(sock, 11) == b"220 hello\r\n"
