"""HTTP/3 between machines of either family, by aioquic.

``python -m tests.real.two_families_quic serve FOLDER HOST PORT`` serves; ``… fetch HOST PORT OCTETS FAMILY`` downloads,
as a program that knows nothing of SOCKS and no family but the one that it is told (``4`` or ``6``), and prints the
address that it went to and the checksum of what came.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from pathlib import Path

from aioquic.asyncio.client import connect
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration

from .quic import Download, web

FAMILIES = {"4": socket.AF_INET, "6": socket.AF_INET6}
PATIENCE = 90.0


async def serve(folder: str, host: str, port: str) -> None:
    """Until it is ended."""
    async with web(Path(folder), host, int(port)):
        await asyncio.Event().wait()


async def fetch(host: str, port: str, octets: str, family: str) -> None:
    places = await asyncio.get_running_loop().getaddrinfo(
        host, int(port), family=FAMILIES[family], type=socket.SOCK_DGRAM
    )
    address = str(places[0][4][0])
    # The certificate is the test's own.
    settings = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE)
    settings.max_datagram_size = 1200
    async with asyncio.timeout(PATIENCE):
        async with connect(address, int(port), configuration=settings, create_protocol=Download) as client:
            assert isinstance(client, Download)
            client.fetch(int(octets))
            print(address, await client.done)


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[2:]) if sys.argv[1] == "serve" else fetch(*sys.argv[2:]))
