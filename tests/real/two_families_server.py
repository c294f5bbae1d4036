"""``python -m tests.real.two_families_server ADDRESS``: what clients of either family want to reach.

Over TCP a line decides: ``peer`` is answered with the address of whoever asks, ``call HOST PORT`` has it connect there
and say hello, as an FTP server does; whatever else comes is echoed. Over UDP each datagram comes back behind the
address that it came from.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from .two_families import PORT


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    words = (await reader.readline()).decode().split()
    match words:
        case ["peer"]:
            writer.write(writer.get_extra_info("peername")[0].encode() + b"\n")
        case ["call", host, port]:
            address = writer.get_extra_info("sockname")[0]
            _, caller = await asyncio.open_connection(host, int(port), local_addr=(address, 0))
            caller.write(b"hello\n")
            caller.close()
            await caller.wait_closed()
            writer.write(b"called\n")
        case _:
            writer.write(" ".join(words).encode() + b"\n")
    await writer.drain()
    writer.close()


class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.DatagramTransport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(addr[0].encode() + b" " + data, addr)


async def main(address: str) -> None:
    await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, local_addr=(address, PORT))
    async with await asyncio.start_server(converse, address, PORT) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
