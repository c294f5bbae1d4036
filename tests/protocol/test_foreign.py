"""Strangers on our port (S5-REQ-08, EX-17, EX-49)."""

import pytest

from hosier.protocol.foreign import foreign_answer, looks_like


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"GET / HTTP/1.1\r\n", "http"),
        (b"CONNECT example.com:443 HTTP/1.1\r\n", "http"),
        (b"OPTIONS * HTTP/1.1\r\n", "http"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http"),
        (b"P", "http"),
        (b"DEL", "http"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "tls"),
        (b"\x16", "tls"),
        (b"SSH-2.0-OpenSSH", "ssh"),
        (b"PROXY TCP4 ", "proxy"),
        (b"\r\n\r\n\x00\r\nQUIT\n", "proxy"),
        (b"\x06\x01\x00\x00", "socks6"),
        (b"\x00\x01", None),
        (b"GETTING", None),
        (b"get / ", None),
        (b" GET / ", None),
        (b" ", None),
        (b"\xff" * 9, None),
        (b"", None),
    ],
)
def test_recognised(data: bytes, kind: str | None) -> None:
    assert looks_like(data) == looks_like(bytearray(data)) == kind


def test_answers() -> None:
    """In the stranger's tongue, or silence; never a SOCKS reply."""
    page = foreign_answer("http")
    head, _, body = page.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 501 ")
    assert b"Content-Length: %d" % len(body) in head
    assert b"SOCKS" in body
    alert = foreign_answer("tls")
    assert (alert[0], int.from_bytes(alert[3:5], "big"), alert[5]) == (0x15, len(alert) - 5, 2)
    for kind in ("ssh", "proxy", "socks6", None, "anything"):
        assert foreign_answer(kind) == b""
