"""Clients that came to the wrong port: recognise them and answer in their own tongue.

A SOCKS message begins with 4 or 5. Anything else ends the connection (S5-REQ-08), but a browser that was given an
HTTP proxy's setting deserves to learn why.
"""

from typing import Final

from .address import Buffer

__all__ = ("foreign_answer", "looks_like")

_HTTP_METHODS: Final = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH", b"PRI")
_TLS_HANDSHAKE: Final = b"\x16"
_SOCKS6: Final = b"\x06"

_PAGE: Final = (
    b"This is a SOCKS proxy, not an HTTP proxy or a web server.\n"
    b"Set it as a SOCKS proxy: socks5h://HOST:PORT, in browsers under 'SOCKS host'.\n"
)
_HTTP_ANSWER: Final = (
    b"HTTP/1.1 501 Not Implemented\r\nConnection: close\r\nContent-Type: text/plain; charset=us-ascii\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_PAGE), _PAGE)
)
# A fatal alert, protocol_version (RFC 8446 §6): the client reports "wrong version" instead of a bare disconnect.
_TLS_ANSWER: Final = b"\x15\x03\x01\x00\x02\x02\x46"

_ANSWERS: Final = {"http": _HTTP_ANSWER, "tls": _TLS_ANSWER}


def looks_like(data: Buffer) -> str | None:
    """What the first octets of a stream that is not SOCKS seem to be: "http", "tls", "ssh", "proxy" (the PROXY
    protocol), "socks6"; None if nothing is known. Judges by what is there, so a single octet may be enough."""
    start = bytes(data[:8])
    if start.startswith(_TLS_HANDSHAKE):
        return "tls"
    if start.startswith(_SOCKS6):
        return "socks6"
    if start.startswith(b"SSH-"):
        return "ssh"
    if start.startswith((b"PROXY ", b"\r\n\r\n\x00\r\nQ")):
        return "proxy"
    word = start.split(b" ", 1)[0]
    if word and any(method.startswith(word) for method in _HTTP_METHODS):
        return "http"
    return None


def foreign_answer(kind: str | None) -> bytes:
    """The octets that make the stranger's own error message helpful; none where silence is all it understands."""
    return _ANSWERS.get(kind or "", b"")
