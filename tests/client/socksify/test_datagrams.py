"""UDP sockets of programs that know nothing of proxies."""

from __future__ import annotations

import asyncio
import errno
import gc
import select
import socket
from collections.abc import Callable, Iterator

import pytest

import hosier
from hosier.client.socksify.datagrams import association_of
from hosier.testing import ScriptedServer, send, stall

from ..harness import PATIENCE, opening, run, until
from .conftest import WITNESS, Witness

ONE = ("192.0.2.1", 53)
HEADER = b"\x00\x00\x00\x01\xc0\x00\x02\x01\x00\x35"
OTHER = b"\x00\x00\x00\x01\xc0\x00\x02\x02\x00\x35"
SIX = b"\x00\x00\x00\x04" + bytes.fromhex("20010db8000000000000000000000001") + b"\x00\x35"
NAMED = b"\x00\x00\x00\x03\x0bweb.invalid\x00\x35"


class Relay(ScriptedServer):
    """A proxy whose relay is a socket that the test reads and writes."""

    def __init__(self) -> None:
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.udp.settimeout(PATIENCE)
        reply = b"\x05\x00\x00\x01\x7f\x00\x00\x01" + self.udp.getsockname()[1].to_bytes(2, "big")
        super().__init__(opening(send(reply), stall()))

    def say(self, packet: bytes, place: tuple[str, int]) -> None:
        """From outside of the test's scopes."""
        WITNESS.allowed.add(place)
        with hosier.socksify(None):
            self.udp.sendto(packet, place)

    def close(self) -> None:
        super().close()
        self.udp.close()


@pytest.fixture
def relay(witness: Witness) -> Iterator[Relay]:
    """Watched: nothing goes anywhere but to the proxy and to its relay."""
    with Relay() as running, witness(running.address, running.udp.getsockname()):
        yield running


def udp(family: int = socket.AF_INET, limit: float | None = PATIENCE) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(limit)
    return sock


@pytest.mark.parametrize("limit", [None, PATIENCE, 0])
def test_to_and_fro(relay: Relay, limit: float | None) -> None:
    """By address and by name, before and after; the program's socket keeps its number and its limit."""
    with hosier.socksify(relay.url), udp(limit=limit) as sock:
        number = sock.fileno()
        assert sock.sendto(b"hello", ONE) == 5
        packet, place = relay.udp.recvfrom(100)
        assert packet == HEADER + b"hello"
        assert (sock.fileno(), sock.gettimeout()) == (number, limit)
        for family in (socket.AF_INET, socket.AF_INET6):
            address = socket.getaddrinfo("web.invalid", 53, family, socket.SOCK_DGRAM)[0][4]
            sock.sendto(b"by name", 0, address)
            assert relay.udp.recv(100) == NAMED + b"by name"
        relay.say(b"garbage", place)
        relay.say(OTHER + b"answer", place)
        assert select.select([sock], [], [], PATIENCE)[0] == [sock]
        assert sock.recvfrom(100) == (b"answer", ("192.0.2.2", 53))
        if limit == 0:
            with pytest.raises(BlockingIOError):
                sock.recv(100)
    assert len(relay.conversations) == 1


def with_recv(sock: socket.socket) -> bytes:
    return sock.recv(4)


def with_recv_into(sock: socket.socket) -> bytes:
    buffer = bytearray(4)
    return bytes(buffer[: sock.recv_into(buffer)])


def with_recvfrom_into(sock: socket.socket) -> bytes:
    buffer = bytearray(9)
    size, source = sock.recvfrom_into(buffer, 4)
    assert source == ONE
    return bytes(buffer[:size])


def with_recvmsg(sock: socket.socket) -> bytes:
    data, ancillary, flags, source = sock.recvmsg(4)
    assert (ancillary, flags, source) == ([], 0, ONE)
    return data


def with_recvmsg_into(sock: socket.socket) -> bytes:
    buffers = [bytearray(1), bytearray(3)]
    size, ancillary, flags, source = sock.recvmsg_into(buffers)
    assert (size, ancillary, flags, source) == (4, [], 0, ONE)
    return b"".join(buffers)


def with_recvfrom(sock: socket.socket) -> bytes:
    data, source = sock.recvfrom(4)
    assert source == ONE
    return bytes(data)


def by_send(sock: socket.socket, data: bytes) -> object:
    return sock.send(data)


def by_sendall(sock: socket.socket, data: bytes) -> object:
    sock.sendall(data)
    return None


def by_sendmsg(sock: socket.socket, data: bytes) -> object:
    return sock.sendmsg([data[:2], data[2:]])


def by_sendto(sock: socket.socket, data: bytes) -> object:
    return sock.sendto(data, ONE)


def by_sendmsg_to(sock: socket.socket, data: bytes) -> object:
    return sock.sendmsg([data[:2], data[2:]], [], 0, ONE)


@pytest.mark.parametrize(
    "receive", [with_recv, with_recv_into, with_recvfrom, with_recvfrom_into, with_recvmsg, with_recvmsg_into]
)
@pytest.mark.parametrize("tell", [by_send, by_sendall, by_sendmsg, by_sendto, by_sendmsg_to])
def test_connected(
    relay: Relay, tell: Callable[[socket.socket, bytes], object], receive: Callable[[socket.socket], bytes]
) -> None:
    """Every verb; only the peer is heard, and what is too long is cut."""
    with hosier.socksify(relay.url), udp() as sock:
        sock.connect(ONE)
        assert tell(sock, b"hello") in (5, None)
        packet, place = relay.udp.recvfrom(100)
        assert packet == HEADER + b"hello"
        relay.say(OTHER + b"not for us", place)
        relay.say(HEADER + b"answer", place)
        assert receive(sock) == b"answ"


def test_connected_to_a_name(relay: Relay) -> None:
    """Whatever address it has answers."""
    with hosier.socksify(relay.url), udp() as sock:
        assert sock.connect_ex(("web.invalid", 53)) == 0
        sock.send(b"hello")
        packet, place = relay.udp.recvfrom(100)
        assert packet == NAMED + b"hello"
        relay.say(OTHER + b"answer", place)
        assert sock.recv(100) == b"answer"


def test_six(relay: Relay) -> None:
    """A socket of IPv6 is told of IPv6, also where the relay is reached by IPv4, and of IPv4 in IPv6's words."""
    with hosier.socksify(relay.url), udp(socket.AF_INET6) as sock:
        sock.sendto(b"hello", ("2001:db8::1", 53, 0, 0))
        packet, place = relay.udp.recvfrom(100)
        assert packet == SIX + b"hello"
        relay.say(SIX + b"answer", place)
        relay.say(HEADER + b"mapped", place)
        assert sock.recvfrom(100) == (b"answer", ("2001:db8::1", 53, 0, 0))
        assert sock.recvfrom(100) == (b"mapped", ("::ffff:192.0.2.1", 53, 0, 0))


def test_limits(relay: Relay) -> None:
    with hosier.socksify(relay.url), udp() as sock:
        sock.sendto(b"x", ONE)
        sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            sock.recvfrom(100)
        with pytest.raises(OSError, match="without flags"):
            sock.recv(100, socket.MSG_PEEK)
        with pytest.raises(OSError) as caught:
            sock.sendto(bytes(65_500), ONE)
        assert caught.value.errno == errno.EMSGSIZE


def test_no_form(relay: Relay) -> None:
    with hosier.socksify(relay.url), udp() as sock, pytest.raises(OSError, match="255 octets") as caught:
        sock.sendto(b"x", ("n" * 256, 53))
    assert caught.value.errno == errno.EINVAL


def test_ends_with_the_socket(relay: Relay) -> None:
    """The association does not outlive the program's socket (S5-REQ-78)."""
    with hosier.socksify(relay.url):
        sock = udp()
        sock.sendto(b"x", ONE)
        assert association_of(sock) is not None
        (conversation,) = relay.conversations
        assert conversation.sock.fileno() >= 0
        sock.close()
        del sock
        gc.collect()
        until(lambda: conversation.sock.fileno() == -1, "the proxy is told")


def test_the_proxy_ends_it(relay: Relay) -> None:
    with hosier.socksify(relay.url), udp() as sock:
        sock.sendto(b"x", ONE)
        relay.conversations[0].sock.shutdown(socket.SHUT_RDWR)
        with pytest.raises(hosier.ProxyConnectionError, match="ended the association"):
            sock.recv(100)


def test_outside_they_are_left_alone(relay: Relay, witness: Witness) -> None:
    """Before, after and beside."""
    with udp() as one, udp() as other:
        one.bind(("127.0.0.1", 0))
        witness.allowed.add(one.getsockname())
        for _ in range(2):
            other.sendto(b"x", one.getsockname())
            assert one.recvfrom(10)[0] == b"x"
            with hosier.socksify(relay.url), udp() as sock:
                sock.sendto(b"through", ONE)
                assert relay.udp.recv(100) == HEADER + b"through"
        other.sendto(b"x", one.getsockname())
        buffer = bytearray(10)
        assert one.recv_into(buffer) == 1


@pytest.mark.parametrize(
    ("proxy", "words"), [("socks4a://127.0.0.1:9", "SOCKS5"), (["127.0.0.1:9", "127.0.0.1:9"], "one proxy")]
)
def test_proxies_without_datagrams(witness: Witness, proxy: hosier.ProxyChain, words: str) -> None:
    with witness(), hosier.socksify(proxy), udp() as sock:
        for call in (lambda: sock.sendto(b"x", ONE), lambda: sock.connect(ONE)):
            with pytest.raises(OSError, match=words) as caught:
                call()
            assert caught.value.errno == errno.EOPNOTSUPP


def test_a_proxy_that_will_not(witness: Witness) -> None:
    with ScriptedServer(opening(send(b"\x05\x07\x00"), stall())) as proxy, witness(proxy.address):
        with hosier.socksify(proxy.url), udp() as sock, pytest.raises(hosier.ReplyError) as caught:
            sock.sendto(b"x", ONE)
        assert caught.value.errno == errno.EOPNOTSUPP


# --- in asyncio ---


class Inbox(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.arrived: asyncio.Queue[tuple[bytes, object]] = asyncio.Queue()
        self.errors: asyncio.Queue[Exception] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.arrived.put_nowait((data, addr))

    def error_received(self, exc: Exception) -> None:
        self.errors.put_nowait(exc)


def test_awaited(relay: Relay) -> None:
    """An endpoint to one place: the loop is free while the proxy is asked."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with hosier.socksify(relay.url):
            transport, inbox = await loop.create_datagram_endpoint(Inbox, remote_addr=("web.invalid", 53))
        try:
            transport.sendto(b"hello")
            packet, place = await loop.run_in_executor(None, relay.udp.recvfrom, 100)
            assert packet == NAMED + b"hello"
            relay.say(HEADER + b"answer", place)
            assert await inbox.arrived.get() == (b"answer", ONE)
        finally:
            transport.close()

    run(main())


def test_no_place_is_refused_in_a_loop(relay: Relay) -> None:
    """Where the first datagram would hold up the loop it is an error, and nothing is sent."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with hosier.socksify(relay.url):
            transport, inbox = await loop.create_datagram_endpoint(Inbox, family=socket.AF_INET)
            transport.sendto(b"hello", ONE)
            error = await inbox.errors.get()
            assert isinstance(error, OSError)
            assert error.errno == errno.EOPNOTSUPP
            transport.close()

    run(main())
    assert not relay.conversations


def test_without_a_peer_nothing_is_sent(relay: Relay) -> None:
    """To send without an address is a mistake of the program's, as it is without a proxy."""
    with hosier.socksify(relay.url), udp() as sock:
        sock.sendto(b"one", ONE)
        for send_it in (sock.send, sock.sendall, lambda data: sock.sendmsg([data])):
            with pytest.raises(OSError, match=r"[Dd]estination") as caught:
                send_it(b"two")
            assert caught.value.errno == errno.EDESTADDRREQ
        sock.sendto(b"three", ONE)
    assert [relay.udp.recv(100) for _ in range(2)] == [HEADER + b"one", HEADER + b"three"]


def test_what_goes_past_the_proxy_needs_another_socket(relay: Relay) -> None:
    """Its answers would not be heard."""
    place = ("127.0.0.1", 9)
    with hosier.socksify(relay.url, bypass="127.0.0.0/8"), udp() as sock:
        sock.sendto(b"one", ONE)
        past: list[Callable[[], object]] = [
            lambda: sock.sendto(b"two", place),
            lambda: sock.sendmsg([b"two"], (), 0, place),
            lambda: sock.connect(place),
        ]
        for call in past:
            with pytest.raises(OSError, match="take another one") as caught:
                call()
            assert caught.value.errno == errno.EOPNOTSUPP
        assert sock.connect_ex(place) == errno.EOPNOTSUPP
        sock.sendto(b"three", ONE)
    assert [relay.udp.recv(100) for _ in range(2)] == [HEADER + b"one", HEADER + b"three"]


def test_a_buffer_that_is_too_small_costs_no_datagram(relay: Relay) -> None:
    with hosier.socksify(relay.url), udp() as sock:
        sock.connect(ONE)
        sock.send(b"hello")
        _, place = relay.udp.recvfrom(100)
        relay.say(HEADER + b"answer", place)
        for receive in (sock.recv_into, sock.recvfrom_into):
            with pytest.raises(ValueError, match="buffer"):
                receive(bytearray(4), 6)
        assert sock.recv(100) == b"answer"
