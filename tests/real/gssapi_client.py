"""A client that speaks GSSAPI over a plain socket, with the core's own client role."""

from __future__ import annotations

import socket
from types import TracebackType

from hosier.auth.kerberos import KerberosInitiator, KerberosMethod
from hosier.protocol.address import parse_address
from hosier.protocol.auth.gssapi_layer import GssapiLayer
from hosier.protocol.client_connection import ClientHandshake, ClientMethod
from hosier.protocol.messages import Command, Reply, Request

from .harness import PATIENCE, Address


class GssapiClient:
    """A session with the proxy: ``connect`` or ``bind``, then ``send`` and ``receive`` payload under the layer."""

    def __init__(self, proxy: Address, initiator: KerberosInitiator) -> None:
        self.sock = socket.create_connection(proxy, timeout=PATIENCE)
        self.layer: GssapiLayer | None = None
        self._method = KerberosMethod(initiator=initiator)
        self._frames = b""
        self._plain = b""

    def __enter__(self) -> GssapiClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def connect(self, host: str, port: int, command: Command = Command.CONNECT) -> Reply:
        """The reply. Raises what ClientHandshake does."""
        handshake = self.begin(host, port, command)
        return self.finish(handshake)

    def begin(self, host: str, port: int, command: Command = Command.CONNECT) -> ClientHandshake:
        """Up to the reply; with BIND to the first one."""
        request = Request(5, command, parse_address(host, port))
        handshake = ClientHandshake(request, (ClientMethod(self._method.framing, self._method.client_exchange),))
        self.sock.sendall(handshake.start())
        while not handshake.done and handshake.first_reply is None:
            self.sock.sendall(handshake.feed(self.sock.recv(4096)))
        return handshake

    def finish(self, handshake: ClientHandshake) -> Reply:
        while not handshake.done:
            self.sock.sendall(handshake.feed(self.sock.recv(4096)))
        assert handshake.reply is not None
        left = handshake.detach()
        assert left.layer is None or isinstance(left.layer, GssapiLayer)
        self.layer, self._frames, self._plain = left.layer, left.wrapped, left.leftover
        return handshake.reply

    def send(self, data: bytes) -> None:
        for start in range(0, len(data), 65_000):
            piece = data[start : start + 65_000]
            self.sock.sendall(self.layer.wrap(piece) if self.layer else piece)

    def receive(self) -> bytes:
        """What comes next; empty at the end of the stream, which must not cut a frame."""
        plain, self._plain = self._plain, b""
        while not plain:
            if self.layer is None:
                return self.sock.recv(1 << 18)
            found = self.layer.unwrap(self._frames) if self._frames else None
            if found is not None:
                plain, self._frames = found[0], self._frames[found[1] :]
                continue
            data = self.sock.recv(1 << 18)
            if not data:
                assert not self._frames, "the stream ended inside a frame"
                return b""
            self._frames += data
        return plain

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.receive()
            assert piece, f"ended after {len(data)} of {size} octets"
            data += piece
        assert len(data) == size
        return data

    def end(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)
