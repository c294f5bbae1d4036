"""TLS to a proxy as a stream of octets: whatever carries it, and however it is cut."""

from __future__ import annotations

import ssl
from contextlib import suppress

import pytest

from hosier.client.layered import LayeredStream
from hosier.client.tls_stream import TlsStream, usual_context
from hosier.errors import RemoteProtocolError

from .protection import toy_stream
from .tls import Certificate

BIG = bytes(range(256)) * 1000


class Server:
    """The other side, octets in and octets out."""

    def __init__(self, certificate: Certificate, layer: LayeredStream | None = None) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = certificate.server.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.layer = layer
        self.heard = b""
        self.ended = False

    def take(self, data: bytes) -> bytes:
        if self.layer is not None:
            self.layer.receive(data)
            data = self.layer.take()
        self.incoming.write(data)
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
            while piece := self.tls.read(1 << 16):
                self.heard += piece
            self.ended = True
        return self.out()

    def say(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.out()

    def end(self) -> bytes:
        with suppress(ssl.SSLError):
            self.tls.unwrap()
        return self.out()

    def out(self) -> bytes:
        data = self.outgoing.read()
        return data if self.layer is None else self.layer.wrap(data)


def agreed(stream: TlsStream, server: Server) -> None:
    out = stream.shake()
    while not stream.established:
        out = stream.shake(server.take(out))
    stream.receive(server.take(out))  # tickets, for one


@pytest.mark.parametrize("within", [False, True], ids=["bare", "within a layer"])
def test_both_ways(certificate: Certificate, within: bool) -> None:
    stream = TlsStream(certificate.client, "localhost", toy_stream() if within else None)
    server = Server(certificate, toy_stream() if within else None)
    agreed(stream, server)
    answer = server.take(stream.wrap(b"hello") + stream.wrap(b"") + stream.wrap(BIG))
    assert server.heard == b"hello" + BIG
    for octet in answer + server.say(BIG[:100]):
        stream.receive(bytes((octet,)))
    assert (stream.pending, stream.take(), stream.ended) == (100, BIG[:100], False)
    server.take(stream.end())
    assert server.ended
    stream.receive(server.say(b"the rest"))  # the other direction goes on
    assert stream.take() == b"the rest"
    stream.receive(server.end())
    assert stream.ended


def test_layer_above_it(certificate: Certificate) -> None:
    """A proxy with TLS may agree on a layer of its own."""
    stream, server = TlsStream(certificate.client, "localhost"), Server(certificate)
    agreed(stream, server)
    above, theirs = toy_stream(below=stream), toy_stream()
    server.take(above.wrap(b"hello"))
    theirs.receive(server.heard)
    assert theirs.take() == b"hello"
    above.receive(server.say(theirs.wrap(b"answer")))
    assert above.take() == b"answer"
    server.take(above.end())
    assert server.ended


def test_end_that_was_not_announced(certificate: Certificate) -> None:
    stream, server = TlsStream(certificate.client, "localhost"), Server(certificate)
    agreed(stream, server)
    stream.receive(server.say(b"hello"))
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="cut"):
            stream.receive(b"")


def test_forged_record(certificate: Certificate) -> None:
    stream, server = TlsStream(certificate.client, "localhost"), Server(certificate)
    agreed(stream, server)
    record = server.say(b"hello")
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="TLS"):
            stream.receive(record[:-1] + bytes((record[-1] ^ 1,)))


def test_whom_nobody_trusts(certificate: Certificate) -> None:
    assert usual_context() is usual_context()
    for context, host in ((usual_context(), "localhost"), (certificate.client, "other.example")):
        with pytest.raises(ssl.SSLCertVerificationError):
            agreed(TlsStream(context, host), Server(certificate))


def test_what_is_no_tls(certificate: Certificate) -> None:
    stream = TlsStream(certificate.client, "localhost")
    stream.shake()
    with pytest.raises(ssl.SSLError):
        stream.shake(b"HTTP/1.1 400 Bad Request\r\n\r\n")
