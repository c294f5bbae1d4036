"""TLS in front of a server, for tests: a certificate for localhost and 127.0.0.1, and a door that takes TLS off."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path


class Certificate:
    """Made by openssl; ``server`` and ``client`` are the contexts for each side."""

    def __init__(self, openssl: str, directory: Path) -> None:
        key, certificate = directory / "key.pem", directory / "certificate.pem"
        subprocess.run(
            [
                *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
                *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-days", "2"),
                *("-keyout", str(key), "-out", str(certificate)),
            ],
            check=True,
            capture_output=True,
        )
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(certificate, key)
        self.client = ssl.create_default_context(cafile=str(certificate))


@contextlib.contextmanager
def door(certificate: Certificate, inner: tuple[str, int]) -> Iterator[tuple[str, int]]:
    """A TLS server on loopback behind which ``inner`` is reached."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []
    sockets: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                outer, _ = listener.accept()
            except OSError:
                return
            start(serve, outer)

    def serve(outer: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(inner) as plain,
            certificate.server.wrap_socket(outer, server_side=True) as secure,
        ):
            sockets.extend((secure, plain))
            secure.settimeout(20)
            up = start(copy, secure, plain)
            copy(plain, secure)
            up.join(20)

    def copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def start(target: object, *arguments: socket.socket) -> threading.Thread:
        assert callable(target)
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        threads.append(thread)
        thread.start()
        return thread

    start(accept)
    try:
        yield listener.getsockname()
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(20)
