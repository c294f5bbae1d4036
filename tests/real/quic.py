"""An HTTP/3 download through UDP ASSOCIATE: aioquic at both ends, the SOCKS header in a thin layer between.

As a program (``python -m tests.real.quic OCTETS LOSS``) it does the same in a network namespace of its own, in which a
part of the target's datagrams is lost.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import ipaddress
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import QuicEvent
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hosier.protocol.address import parse_address
from hosier.protocol.udp import encode_header

from .harness import Hosier, localhost
from .target import digest, stream

PATIENCE = 300.0
ROOM = 4 << 20


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost and its key, for this one test."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


class Web(QuicConnectionProtocol):
    """Serves /OCTETS: so many octets of the stream that the tests know."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._http = H3Connection(self._quic)
        self._sending: set[asyncio.Task[None]] = set()

    def quic_event_received(self, event: QuicEvent) -> None:
        for found in self._http.handle_event(event):
            if isinstance(found, HeadersReceived):
                size = int(dict(found.headers)[b":path"][1:])
                task = asyncio.ensure_future(self._send(found.stream_id, size))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)

    async def _send(self, number: int, size: int) -> None:
        self._http.send_headers(number, [(b":status", b"200")])
        for block in stream(size):
            self._http.send_data(number, block, end_stream=False)
            self.transmit()
            # aioquic keeps what is not acknowledged: no more of that than a few blocks
            buffer = self._quic._streams[number].sender
            while buffer._buffer_stop - buffer._buffer_start > 4 << 20:
                await asyncio.sleep(0.001)
        self._http.send_data(number, b"", end_stream=True)
        self.transmit()


class Download(QuicConnectionProtocol):
    """Fetches one path and keeps its checksum."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._http = H3Connection(self._quic)
        self._sum = hashlib.sha256()
        self.done: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def fetch(self, size: int) -> None:
        number = self._quic.get_next_available_stream_id()
        headers = [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"localhost"),
            (b":path", b"/%d" % size),
        ]
        self._http.send_headers(number, headers, end_stream=True)
        self.transmit()

    def quic_event_received(self, event: QuicEvent) -> None:
        for found in self._http.handle_event(event):
            if isinstance(found, DataReceived):
                self._sum.update(found.data)
                if found.stream_ended:
                    self.done.set_result(self._sum.hexdigest())


PEER = ("192.0.2.1", 443)
"""What aioquic is told as its peer's address, whatever the answers' headers say: one path."""


class Headers(asyncio.DatagramTransport, asyncio.DatagramProtocol):
    """Between aioquic and the relay: puts the header on, takes it off."""

    def __init__(self, relay: tuple[str, int], host: str, port: int) -> None:
        super().__init__()
        self.inner: QuicConnectionProtocol
        self.senders: set[bytes] = set()
        self._relay = relay
        self._header = encode_header(parse_address(host, port))
        self._outer: asyncio.DatagramTransport

    def connection_made(self, transport: Any) -> None:
        self._outer = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        assert addr[:2] == self._relay
        size = 10 if data[3] == 1 else 22
        self.senders.add(data[:size])
        self.inner.datagram_received(data[size:], PEER)

    def sendto(self, data: Any, addr: Any = None) -> None:
        self._outer.sendto(self._header + data, self._relay)

    def close(self) -> None:
        self._outer.close()

    def is_closing(self) -> bool:
        return self._outer.is_closing()


@asynccontextmanager
async def web(folder: Path, host: str, port: int = 0) -> AsyncIterator[int]:
    """A running HTTP/3 server on an address of this machine, at that port or a free one; its port."""
    settings = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN, max_datagram_size=1350)
    settings.load_cert_chain(*certificate(folder))
    server = await serve(host, port, configuration=settings, create_protocol=Web)
    assert server._transport is not None
    sock = server._transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
    try:
        yield sock.getsockname()[1]
    finally:
        server.close()


async def associate(proxy: tuple[str, int]) -> tuple[asyncio.StreamWriter, tuple[str, int]]:
    reader, writer = await asyncio.open_connection(*proxy)
    writer.write(b"\x05\x01\x00\x05\x03\x00\x01" + bytes(6))
    reply = (await reader.readexactly(12))[2:]
    assert reply[:4] == b"\x05\x00\x00\x01"
    return writer, (socket.inet_ntoa(reply[4:8]), int.from_bytes(reply[8:], "big"))


async def download(proxy: tuple[str, int], host: str, port: int, size: int) -> tuple[str, set[bytes]]:
    """The checksum of what came, and the headers under which it came."""
    loop = asyncio.get_running_loop()
    control, relay = await associate(proxy)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
    sock.bind(("127.0.0.1", 0))
    _, shim = await loop.create_datagram_endpoint(lambda: Headers(relay, host, port), sock=sock)
    settings = QuicConfiguration(
        alpn_protocols=H3_ALPN,
        server_name="localhost",
        max_data=64 << 20,
        max_stream_data=64 << 20,
        max_datagram_size=1350,
    )
    settings.verify_mode = 0  # the certificate is the test's own
    client = Download(QuicConnection(configuration=settings))
    shim.inner = client
    client.connection_made(shim)
    client.connect(PEER)
    try:
        async with asyncio.timeout(PATIENCE):
            await client.wait_connected()
            client.fetch(size)
            return await client.done, shim.senders
    finally:
        client.close()
        await asyncio.sleep(0)
        shim.close()
        control.close()


async def there_and_back(hosier: Hosier, folder: Path, host: str, size: int) -> None:
    """Downloads; every octet must be right, and every answer must have named its true sender."""
    address = localhost() if host == "localhost" else host
    async with web(folder, address) as port:
        checksum, senders = await download(hosier.address, host, port, size)
    assert checksum == digest(size)
    assert senders == {encode_header(parse_address(address, port))}


def main() -> None:
    size, loss = int(sys.argv[1]), int(sys.argv[2])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    rules = f"""table inet lossy {{
chain input {{
type filter hook input priority 0
meta l4proto udp meta length > 1000 numgen random mod 1000 < {loss} counter drop
}}
}}
"""
    subprocess.run(["nft", "-f", "-"], input=rules.encode(), check=True)
    with Hosier() as hosier, tempfile.TemporaryDirectory() as folder:
        asyncio.run(there_and_back(hosier, Path(folder), "127.0.0.1", size))
    listed = subprocess.run(["nft", "-j", "list", "ruleset"], check=True, capture_output=True).stdout
    (lost,) = [
        part["counter"]["packets"]
        for item in json.loads(listed)["nftables"]
        for part in item.get("rule", {}).get("expr", ())
        if "counter" in part
    ]
    print(json.dumps({"lost": lost}))


if __name__ == "__main__":
    main()
