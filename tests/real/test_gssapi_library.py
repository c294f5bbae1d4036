"""The client library with Kerberos: through our own server and through Dante's, by both shells."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import hosier
from hosier.errors import AuthError
from hosier.integrations.requests import session
from hosier.protocol.auth.gssapi_layer import GssapiLayer

from ..client.tls import Certificate, door
from ..kerberos_realm import Realm
from .capture import capture
from .dante import LEVELS, sockd
from .harness import PATIENCE, Address, Hosier, wait_until
from .target import Target
from .wire import exactly

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

ANN = "ann@HOSIER.TEST"
SIZE = 200 << 20
BLOCK = bytes(range(256)) * 4096
PROTECTED = pytest.mark.parametrize("level", [1, 2, 3])


def proxy(place: Address, level: int, **told: object) -> hosier.Proxy:
    told = {"level": level, "accepted": (level,), **told}
    return hosier.Proxy(f"socks5h://localhost:{place.port}", gssapi=hosier.Gssapi(**told))  # type: ignore[arg-type]


@contextmanager
def ours(*options: str) -> Iterator[Hosier]:
    with Hosier("--gssapi", "--gssapi-levels=2,1,3,0", *options) as server:
        yield server


@contextmanager
def source(size: int) -> Iterator[tuple[str, int]]:
    """Sends so many octets to one client, and takes nothing."""

    def serve() -> None:
        sock, _ = listener.accept()
        with sock:
            for _ in range(size // len(BLOCK)):
                sock.sendall(BLOCK)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()
        thread.join(PATIENCE)


def whole(size: int) -> str:
    digest = hashlib.sha256()
    for _ in range(size // len(BLOCK)):
        digest.update(BLOCK)
    return digest.hexdigest()


def download(way: hosier.Proxy, size: int) -> str:
    """The checksum of what came through the proxy."""
    digest = hashlib.sha256()
    with source(size) as place, hosier.connect(way, *place, timeout=PATIENCE) as sock:
        while data := sock.recv(1 << 18):
            digest.update(data)
    return digest.hexdigest()


# --- through our own server ---


@PROTECTED
@pytest.mark.slow
def test_200_megabytes(home: Realm, level: int) -> None:
    with ours() as server:
        assert download(proxy(server.address, level), SIZE) == whole(SIZE)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_connect(home: Realm, echo: Address, level: int) -> None:
    data = os.urandom(3 << 20)
    with ours() as server, hosier.connect(proxy(server.address, level), *echo, timeout=PATIENCE) as sock:
        assert isinstance(sock, hosier.ProtectedSocket) == (level > 0)

        def say() -> None:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)

        sending = threading.Thread(target=say)
        sending.start()
        assert exactly(sock, len(data)) == data
        assert sock.recv(1) == b""
        sending.join(PATIENCE)
        [session] = server.sessions(str(echo), 5)
        assert (session["user"], session["sent"], session["end"]) == (ANN, len(data), "client closed")


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_awaited(home: Realm, echo: Address, level: int) -> None:
    data = os.urandom(3 << 20)

    async def main(way: hosier.Proxy) -> None:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await hosier.aio.open_connection(*echo, proxy=way)
            assert isinstance(writer.get_extra_info("layer"), GssapiLayer) == (level > 0)
            writer.write(data)
            writer.write_eof()
            assert hashlib.sha256(await reader.read()).digest() == hashlib.sha256(data).digest()
            writer.close()
            await writer.wait_closed()

    with ours() as server:
        asyncio.run(main(proxy(server.address, level)))


@PROTECTED
def test_chain(home: Realm, echo: Address, level: int) -> None:
    """A layer in a layer: through two of ours, the second named by the first."""
    with ours() as first, ours() as second:
        chain = [proxy(first.address, level), proxy(second.address, 2)]
        with hosier.connect(chain, *echo, timeout=PATIENCE) as sock:
            sock.sendall(b"x" * 300_000)
            assert exactly(sock, 300_000) == b"x" * 300_000


def memory(pid: int) -> int:
    """Octets that the process has in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@PROTECTED
def test_a_client_that_does_not_read(home: Realm, echo: Address, level: int) -> None:
    """Nothing is read for it that it has no room for, others are served, and in the end it has all."""
    size = 64 << 20
    with ours() as server, source(size) as place:
        way = proxy(server.address, level)
        with hosier.connect(way, *echo, timeout=PATIENCE) as other:
            before = memory(server.pid)
            with hosier.connect(way, *place, timeout=PATIENCE) as lazy:
                for _ in range(200):
                    other.sendall(b"x" * 10_000)
                    assert exactly(other, 10_000) == b"x" * 10_000
                assert memory(server.pid) - before < 16 << 20
                digest = hashlib.sha256()
                while data := lazy.recv(1 << 18):
                    digest.update(data)
                assert digest.hexdigest() == whole(size)
            assert memory(server.pid) - before < 16 << 20


def test_the_web_with_requests(program: Callable[..., str], home: Realm, target: Target, tmp_path: Path) -> None:
    """A library that makes TLS of the socket it gets, as for any proxy."""
    certificate = Certificate(program("openssl"), tmp_path)
    host, _, port = target.at("127.0.0.1").rpartition(":")
    with (
        ours() as server,
        door(certificate, (host, int(port))) as (_, secure),
        session(proxy(server.address, 2)) as web,
    ):
        url = target.url("127.0.0.1")
        assert web.get(url, timeout=PATIENCE).ok
        url = f"https://localhost:{secure}{urlsplit(url).path}"
        assert web.get(url, verify=str(certificate.file), timeout=PATIENCE).ok


def check_bind(way: hosier.Proxy) -> None:
    with (
        hosier.bind(way, "127.0.0.1", timeout=PATIENCE) as listener,
        socket.create_connection(listener.address, timeout=PATIENCE) as peer,
    ):
        sock, address = listener.accept(PATIENCE)
        with sock:
            assert address[1] == peer.getsockname()[1]
            sock.sendall(b"to the peer")
            assert exactly(peer, 11) == b"to the peer"
            peer.sendall(b"from the peer")
            assert exactly(sock, 13) == b"from the peer"


@PROTECTED
def test_bind(home: Realm, level: int) -> None:
    with ours() as server:
        check_bind(proxy(server.address, level))


def test_what_both_accept(home: Realm, echo: Address) -> None:
    """We ask for 1, are answered 2, and are content; whoever is not says so."""
    with Hosier("--gssapi", "--gssapi-levels=2") as server:
        with hosier.connect(
            hosier.Proxy(f"socks5h://localhost:{server.port}", gssapi=hosier.Gssapi(level=1)), *echo, timeout=PATIENCE
        ) as sock:
            sock.sendall(b"x")
            assert exactly(sock, 1) == b"x"
        with pytest.raises(AuthError, match="insists on protection level 2"):
            hosier.connect(proxy(server.address, 1), *echo, timeout=PATIENCE)


@pytest.fixture
def echoing() -> Iterator[tuple[str, int]]:
    """A target for datagrams that says everything again."""

    def serve() -> None:
        while True:
            data, place = sock.recvfrom(65_535)
            if data == b"end":
                return
            sock.sendto(data, place)

    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=serve)
        thread.start()
        yield sock.getsockname()
        with socket.socket(type=socket.SOCK_DGRAM) as last:
            last.sendto(b"end", sock.getsockname())
        thread.join(PATIENCE)


def check_datagrams(way: hosier.Proxy, target: tuple[str, int], sizes: tuple[int, ...]) -> None:
    with hosier.associate(way, timeout=PATIENCE) as datagrams:
        datagrams.settimeout(PATIENCE)
        for size in sizes:
            data = os.urandom(size or datagrams.max_payload(target[0]))
            datagrams.sendto(data, target)
            assert datagrams.recvfrom() == (data, target)


@PROTECTED
def test_datagrams(home: Realm, echoing: tuple[str, int], level: int) -> None:
    """Small ones, and the largest that there are (GS-REQ-42); what is in the log is payload."""
    with ours() as server:
        check_datagrams(proxy(server.address, level), echoing, (1, 100, 1200, 9000, 0))
        [session] = server.sessions_of("UDP_ASSOCIATE", 1)
        assert session["user"] == ANN
        assert session["datagrams"] == {"sent": 5, "received": 5, "dropped": {}}
        assert session["sent"] == session["received"] > 65_000


@PROTECTED
def test_datagrams_awaited(home: Realm, echoing: tuple[str, int], level: int) -> None:
    async def main(way: hosier.Proxy) -> None:
        async with asyncio.timeout(PATIENCE), await hosier.aio.associate(way) as datagrams:
            for size in (1, 1200, datagrams.max_payload(echoing[0])):
                data = os.urandom(size)
                await datagrams.sendto(data, echoing)
                assert await datagrams.recvfrom() == (data, echoing)

    with ours() as server:
        asyncio.run(main(proxy(server.address, level)))


class Interfering:
    """The way to the proxy, in other hands: what leaves the client waits here until it is let go."""

    def __init__(self, datagrams: hosier.ProxiedDatagramSocket) -> None:
        self.held: list[bytes] = []
        self._genuine = datagrams._send
        datagrams._send = self.held.append  # type: ignore[assignment]

    def let_go(self, *packets: bytes) -> None:
        for packet in packets:
            self._genuine(packet)


@PROTECTED
def test_datagrams_in_other_hands(home: Realm, echoing: tuple[str, int], level: int) -> None:
    """B-23: what comes twice or was changed is dropped and counted, what comes late is not. Dante relays a replay."""
    with ours() as server, hosier.associate(proxy(server.address, level), timeout=PATIENCE) as datagrams:
        datagrams.settimeout(PATIENCE)
        wire = Interfering(datagrams)
        for number in range(3):
            datagrams.sendto(b"%d" % number, echoing)
        first, second, third = wire.held
        flipped = bytes((*third[:40], third[40] ^ 1, *third[41:]))
        wire.let_go(second, first, second, flipped, third[:-1], b"\x00\x00\x00\x01in clear", third, third)
        assert [datagrams.recvfrom()[0] for _ in range(3)] == [b"1", b"0", b"2"]
        datagrams.close()
        [session] = server.sessions_of("UDP_ASSOCIATE", 1)
        assert session["datagrams"] == {"sent": 3, "received": 3, "dropped": {"not genuine": 5}}


@pytest.mark.parametrize(("level", "readable"), [(1, True), (2, False)])
def test_capture_of_datagrams(
    home: Realm, program: Callable[..., str], echoing: tuple[str, int], tmp_path: Path, level: int, readable: bool
) -> None:
    """B-20, B-21: at level 2 neither words nor targets can be read. At level 1 both can, so the test can fail."""
    file, words = tmp_path / "capture", b"nobody shall read these words"
    header = b"\x00\x00\x00\x01" + socket.inet_aton(echoing[0]) + echoing[1].to_bytes(2, "big")
    with ours() as server, hosier.associate(proxy(server.address, level), timeout=PATIENCE) as datagrams:
        datagrams.settimeout(PATIENCE)
        port = datagrams.getsockname()[1]  # the target's side is not protected
        with capture(program, port, file, socket.SOCK_DGRAM):
            for size in (1, 40):
                datagrams.sendto(words * size, echoing)
                assert datagrams.recvfrom() == (words * size, echoing)
    seen = file.read_bytes()
    assert seen.count(b"\x01\x03") >= 2  # frames: tcpdump may be ready a little later than it says, but not much
    assert (words in seen) is readable
    assert (header in seen) is readable


# --- through Dante's ---


@contextmanager
def dantes(home: Realm, folder: Path) -> Iterator[tuple[Address, Path]]:
    with sockd(folder, home.folder / "service.keytab", home.environment) as running:
        yield running


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.slow
def test_200_megabytes_through_dante(home: Realm, tmp_path: Path, level: int) -> None:
    with dantes(home, tmp_path) as (place, log):
        assert download(proxy(place, level), SIZE) == whole(SIZE)
        wait_until(lambda: f"gssapi/{LEVELS[level]}%{ANN}" in log.read_text(), "the session in Dante's log")


@pytest.mark.parametrize("level", [0, 1, 2])
def test_through_dante(home: Realm, echo: Address, tmp_path: Path, level: int) -> None:
    data = os.urandom(1 << 20)

    async def main(way: hosier.Proxy) -> None:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await hosier.aio.open_connection(*echo, proxy=way)
            writer.write(data)
            writer.write_eof()
            assert await reader.read() == data
            writer.close()
            await writer.wait_closed()

    with dantes(home, tmp_path) as (place, log):
        asyncio.run(main(proxy(place, level)))
        wait_until(lambda: f"gssapi/{LEVELS[level]}%{ANN}" in log.read_text(), "the session in Dante's log")


@pytest.mark.parametrize("level", [1, 2])
def test_bind_through_dante(home: Realm, tmp_path: Path, level: int) -> None:
    with dantes(home, tmp_path) as (place, _):
        check_bind(proxy(place, level))


@pytest.mark.parametrize("level", [1, 2])
def test_datagrams_through_dante(home: Realm, echoing: tuple[str, int], tmp_path: Path, level: int) -> None:
    with dantes(home, tmp_path) as (place, log):
        check_datagrams(proxy(place, level), echoing, (1, 100, 1200, 9000))
        wait_until(lambda: f"gssapi/{LEVELS[level]}%{ANN}" in log.read_text(), "the association in Dante's log")
