"""The CONNECT of an HTTP proxy."""

import pytest

from hosier.client.http_connect import HttpConnect
from hosier.errors import AuthError, RemoteProtocolError, TunnelRefused
from hosier.protocol.address import parse_address
from hosier.testing import every_cut

TARGET = parse_address("example.com", 443)
ANSWER = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n"


def test_request() -> None:
    assert HttpConnect(TARGET, None, None).start() == (
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"
    )
    assert b"CONNECT [::1]:80 HTTP/1.1\r\n" in HttpConnect(parse_address("::1", 80), None, None).start()
    with_all = HttpConnect(TARGET, b"ann", b"x:y", early=b"hello").start()
    assert with_all.endswith(b"\r\nProxy-Authorization: Basic YW5uOng6eQ==\r\n\r\nhello")


@pytest.mark.parametrize("pieces", list(every_cut(ANSWER)))
def test_answer(pieces: tuple[bytes, ...]) -> None:
    connect = HttpConnect(TARGET, None, None)
    for piece in pieces:
        assert not connect.done
        assert connect.feed(piece) == b""
    assert connect.done
    assert connect.reply is not None


@pytest.mark.parametrize("answer", [ANSWER, b"HTTP/1.0 200\r\n\r\n", b"HTTP/1.1 204 x\r\na: \r\r\n\r\n"])
def test_owed_never_reaches_the_payload(answer: bytes) -> None:
    connect, rest = HttpConnect(TARGET, None, None), answer + b"\r\npayload"
    while not connect.done:
        size = connect.owed
        connect.feed(rest[:size])
        rest = rest[size:]
    assert rest == b"\r\npayload"


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", TunnelRefused, "answered 403"),
        (b"HTTP/1.1 502 Bad Gateway\r\nA: b\r\n\r\n", TunnelRefused, "example.com:443"),
        (b"HTTP/1.1 407 x\r\n\r\n", AuthError, "wants a user name"),
        (b"HTTP/1.1 2x0 x\r\n\r\n", RemoteProtocolError, "no status"),
        (b"HTTP/1.1\r\n\r\n", RemoteProtocolError, "no status"),
        (b"SSH-2.0-x\r\n", RemoteProtocolError, "not answer in HTTP"),
        (b"\x05", RemoteProtocolError, "not answer in HTTP"),
        (b"HTTP/1.1 200 x\r\n" + b"a: b\r\n" * 3000, RemoteProtocolError, "longer than"),
        (b"", RemoteProtocolError, "closed the connection before"),
    ],
)
def test_refusals(answer: bytes, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        HttpConnect(TARGET, None, None).feed(answer)


def test_refused_credentials_and_a_cut_answer() -> None:
    with pytest.raises(AuthError, match="refused the credentials") as caught:
        HttpConnect(TARGET, b"ann", b"SeCrEt").feed(b"HTTP/1.1 407 x\r\n\r\n")
    assert caught.value.status == 407
    connect = HttpConnect(TARGET, None, None)
    connect.feed(b"HTTP")
    with pytest.raises(RemoteProtocolError, match="in the middle"):
        connect.feed(b"")
