"""The usual Python way: a SOCKS5 server on asyncio streams, one task per direction. A baseline, not a product."""

import asyncio
import socket
import sys
from asyncio import StreamReader, StreamWriter

CHUNK = 65536


async def pipe(reader: StreamReader, writer: StreamWriter) -> None:
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()


async def read_address(reader: StreamReader, kind: int) -> str:
    if kind == 1:
        return socket.inet_ntop(socket.AF_INET, await reader.readexactly(4))
    if kind == 4:
        return socket.inet_ntop(socket.AF_INET6, await reader.readexactly(16))
    length = (await reader.readexactly(1))[0]
    return (await reader.readexactly(length)).decode("ascii")


async def serve(reader: StreamReader, writer: StreamWriter) -> None:
    target = None
    try:
        version, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        if version != 5 or 0 not in methods:
            return
        writer.write(b"\x05\x00")
        version, command, _, kind = await reader.readexactly(4)
        host = await read_address(reader, kind)
        port = int.from_bytes(await reader.readexactly(2), "big")
        if command != 1:
            return
        try:
            target_reader, target = await asyncio.open_connection(host, port)
        except OSError:
            writer.write(b"\x05\x05\x00\x01" + bytes(6))
            return
        bound = target.get_extra_info("sockname")
        writer.write(b"\x05\x00\x00\x01" + socket.inet_aton(bound[0]) + bound[1].to_bytes(2, "big"))
        await asyncio.gather(pipe(reader, target), pipe(target_reader, writer))
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()
        if target is not None:
            target.close()


async def main(port: int) -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
