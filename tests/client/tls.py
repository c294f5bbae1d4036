"""TLS in front of a server, for tests: a certificate for localhost and 127.0.0.1, and a door that takes TLS off."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path


class Certificate:
    """Made by openssl, for localhost and one more name; ``server`` and ``client`` are the contexts for each side."""

    def __init__(self, openssl: str, directory: Path, name: str = "localhost") -> None:
        key, certificate = directory / "key.pem", directory / "certificate.pem"
        self.key, self.file = key, certificate
        subprocess.run(
            [
                *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
                *(
                    "-subj",
                    "/CN=localhost",
                    "-addext",
                    f"subjectAltName=DNS:localhost,DNS:{name},IP:127.0.0.1",
                    "-days",
                    "2",
                ),
                *("-keyout", str(key), "-out", str(certificate)),
            ],
            check=True,
            capture_output=True,
        )
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(certificate, key)
        # As before Python 3.12: who ends without TLS's announcement may still be spoken to.
        self.server.options |= ssl.OP_IGNORE_UNEXPECTED_EOF

    @property
    def client(self) -> ssl.SSLContext:
        """A new one each time: some libraries set what they want to negotiate in those that they are given."""
        context = ssl.create_default_context(cafile=str(self.file))
        context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
        return context


class ServersTls:
    """The server's side of TLS, octets in and octets out: a direction can end while the other one goes on."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.established = asyncio.Event()
        self.ended = False
        """The client has announced its end."""

    def receive(self, data: bytes) -> bytes:
        """Records in, what they hold out. Raises SSLError."""
        self._incoming.write(data)
        plain = b""
        try:
            if not self.established.is_set():
                self._tls.do_handshake()
                self.established.set()
            while piece := self._tls.read(65_536):
                plain += piece
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # the same, once we have announced ours
            self.ended = True
        return plain

    def say(self, data: bytes) -> bytes:
        self._tls.write(data)
        return self.out()

    def end(self) -> bytes:
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        return self.out()

    def out(self) -> bytes:
        return self._outgoing.read()


async def _up(tls: ServersTls, reader: asyncio.StreamReader, *writers: asyncio.StreamWriter) -> None:
    back, plain = writers
    while not tls.ended and (data := await reader.read(65_536)):
        try:
            plain.write(tls.receive(data))
        finally:
            if out := tls.out():  # also why it is refused
                back.write(out)
        await plain.drain()
    plain.write_eof()
    tls.established.set()  # or never


async def _down(tls: ServersTls, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await tls.established.wait()
    while data := await reader.read(65_536):
        writer.write(tls.say(data))
        await writer.drain()
    writer.write(tls.end())
    writer.write_eof()


@contextlib.contextmanager
def door(certificate: Certificate, inner: tuple[str, int], host: str = "127.0.0.1") -> Iterator[tuple[str, int]]:
    """A TLS server of this machine behind which ``inner`` is reached; a loop in a thread, since one thread must not
    write to a TLS connection while another one reads from it."""
    listener = socket.create_server((host, 0))
    loop = asyncio.new_event_loop()
    transports: list[asyncio.WriteTransport] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tls = ServersTls(certificate.server)
        transports.append(writer.transport)
        try:
            plain_reader, plain_writer = await asyncio.open_connection(*inner)
            transports.append(plain_writer.transport)
            try:
                async with asyncio.TaskGroup() as directions:
                    directions.create_task(_up(tls, reader, writer, plain_writer))
                    directions.create_task(_down(tls, plain_reader, writer))
            finally:
                plain_writer.close()
        except* OSError:
            pass
        finally:
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, sock=listener)
        opened.set()
        await closing.wait()
        loop.remove_reader(listener)
        await asyncio.sleep(0)  # asyncio leaves a connection open that it is accepting while its server is closed
        server.close()
        for transport in transports:
            if not transport.is_closing():
                transport.abort()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
        for transport in transports:
            transport.abort()  # one that is being closed may have something left to say, and nobody to take it
        await asyncio.sleep(0)

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(main())

    opened, closing = threading.Event(), asyncio.Event()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert opened.wait(20)
    try:
        yield listener.getsockname()
    finally:
        loop.call_soon_threadsafe(closing.set)
        thread.join(20)
