"""The question to an ident daemon and its answer (RFC 1413), as a SOCKS4 server uses them.

This file owns the line format; when to ask and whom to believe is decided in ``hosier.auth``.
"""

from typing import Final, NamedTuple

from ..errors import LocalProtocolError, RemoteProtocolError
from .address import Buffer

__all__ = ("MAX_LINE", "IdentAnswer", "decode_answer", "decode_query", "encode_answer", "encode_query")

MAX_LINE: Final = 1000  # RFC 1413, note 2; a user id of 512 octets fits (note 3)
_MAX_USER_ID: Final = 512
_ERRORS: Final = frozenset((b"INVALID-PORT", b"NO-USER", b"HIDDEN-USER", b"UNKNOWN-ERROR"))
_BLANKS: Final = b" \t"


class IdentAnswer(NamedTuple):
    """What the daemon says about the connection between ``client_port`` (its side) and ``server_port`` (ours).

    ``user_id`` None: it named an ``error`` instead. Blanks before the user id belong to it in the grammar, but
    daemons and the RFC's own example print one there; ``names()`` compares with and without (ID-REQ-14).
    """

    client_port: int
    server_port: int
    user_id: bytes | None
    system: bytes = b""
    charset: bytes = b"US-ASCII"
    error: bytes = b""

    def names(self, user_id: bytes) -> bool:
        """Whether the daemon means this user: octet by octet, case kept; empty never matches (ID-REQ-19)."""
        return bool(user_id) and self.user_id is not None and user_id in (self.user_id, self.user_id.lstrip(_BLANKS))


def encode_query(client_port: int, server_port: int) -> bytes:
    """The question: first the port on the ident host, then ours (ID-REQ-03, 04).

    Raises LocalProtocolError for a port outside 1..65535.
    """
    for port in (client_port, server_port):
        if not 1 <= port <= 0xFFFF:
            raise LocalProtocolError(f"port {port} is outside 1..65535")
    return b"%d, %d\r\n" % (client_port, server_port)


def decode_query(data: Buffer) -> tuple[tuple[int, int], int] | None:
    """The daemon's side, for test peers: both ports and the size of the line; None: the line is not complete.

    Raises RemoteProtocolError for a line that is no query.
    """
    found = _line(data)
    if found is None:
        return None
    line, size = found
    return _ports(line), size


def encode_answer(answer: IdentAnswer) -> bytes:
    """The daemon's side, for test peers."""
    pair = b"%d, %d" % (answer.client_port, answer.server_port)
    if answer.user_id is None:
        return pair + b" : ERROR : " + answer.error + b"\r\n"
    charset = b"" if answer.charset == b"US-ASCII" else b", " + answer.charset
    return pair + b" : USERID : " + answer.system + charset + b" :" + answer.user_id + b"\r\n"


def decode_answer(data: Buffer) -> tuple[IdentAnswer, int] | None:
    """The answer and the size of its line; None: the line is not complete (ID-REQ-05…12).

    Raises RemoteProtocolError for a line that is no answer or is longer than 1000 octets.
    """
    found = _line(data)
    if found is None:
        return None
    line, size = found
    parts = line.split(b":", 2)
    if len(parts) != 3:
        raise RemoteProtocolError("ident answer has fewer than three fields")
    client_port, server_port = _ports(parts[0])
    kind, rest = parts[1].strip(_BLANKS), parts[2]
    if kind == b"ERROR":
        error = rest.strip(_BLANKS)
        if error not in _ERRORS and not (error.startswith(b"X") and 2 <= len(error) <= 64):
            raise RemoteProtocolError("ident answer names an error that does not exist")
        return IdentAnswer(client_port, server_port, None, error=error), size
    if kind != b"USERID":
        raise RemoteProtocolError("ident answer is neither USERID nor ERROR")
    described, colon, user_id = rest.partition(b":")
    if not colon or not 1 <= len(user_id) <= _MAX_USER_ID or 0 in user_id or 13 in user_id:
        raise RemoteProtocolError("ident answer carries no user id of 1 to 512 octets")
    system, _, charset = described.partition(b",")
    return IdentAnswer(
        client_port, server_port, user_id, system.strip(_BLANKS), charset.strip(_BLANKS) or b"US-ASCII"
    ), size


def _line(data: Buffer) -> tuple[bytes, int] | None:
    """The first line without its end, CR LF or a bare LF, and its whole size."""
    end = data.find(b"\n", 0, MAX_LINE + 2)
    if end < 0:
        if len(data) > MAX_LINE + 1:
            raise RemoteProtocolError(f"ident line is longer than {MAX_LINE} octets")
        return None
    line = bytes(data[:end])
    return line.removesuffix(b"\r"), end + 1


def _ports(pair: bytes) -> tuple[int, int]:
    first, comma, second = pair.partition(b",")
    ports = first.strip(_BLANKS), second.strip(_BLANKS)
    if not comma or not all(port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 0xFFFF for port in ports):
        raise RemoteProtocolError("ident line has no pair of ports")
    return int(ports[0]), int(ports[1])
