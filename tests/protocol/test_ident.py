"""Ident's lines (catalogue 1.3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.errors import LocalProtocolError, RemoteProtocolError
from hosier.protocol.ident import (
    MAX_LINE,
    IdentAnswer,
    decode_answer,
    decode_query,
    encode_answer,
    encode_query,
)

from .codecs import check_broken, check_whole
from .strategies import ident_answers


def test_query() -> None:
    """ID-REQ-03, ID-REQ-04: the port on the ident host first."""
    assert encode_query(40001, 1080) == b"40001, 1080\r\n"
    check_whole(decode_query, b"40001, 1080\r\n", (40001, 1080))
    check_whole(decode_query, b"\t1 ,65535 \n", (1, 65535))
    for pair in ((0, 1080), (40001, 0), (65536, 1), (1, -1)):
        with pytest.raises(LocalProtocolError):
            encode_query(*pair)


@pytest.mark.parametrize(
    "line", [b"\n", b"1\n", b"0,1\n", b"1,65536\n", b"1,000001\n", b"1 2,3\n", b"a,b\r\n", b"1,+2\n"]
)
def test_no_query(line: bytes) -> None:
    check_broken(decode_query, line, "no pair of ports")


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"1, 2 : USERID : UNIX :fred\r\n", IdentAnswer(1, 2, b"fred", b"UNIX")),
        (b"1,2:USERID:UNIX: fred\n", IdentAnswer(1, 2, b" fred", b"UNIX")),
        (b"1,2:USERID:OTHER,UTF-8:a:b c\r\n", IdentAnswer(1, 2, b"a:b c", b"OTHER", b"UTF-8")),
        (b"1,2:USERID:OTHER , :x\r\n", IdentAnswer(1, 2, b"x", b"OTHER")),
        (b"1,2:ERROR:NO-USER\r\n", IdentAnswer(1, 2, None, error=b"NO-USER")),
        (b" 1 , 2 :\tERROR : HIDDEN-USER\t\r\n", IdentAnswer(1, 2, None, error=b"HIDDEN-USER")),
        (b"1,2:ERROR:INVALID-PORT\r\n", IdentAnswer(1, 2, None, error=b"INVALID-PORT")),
        (b"1,2:ERROR:UNKNOWN-ERROR\r\n", IdentAnswer(1, 2, None, error=b"UNKNOWN-ERROR")),
        (b"1,2:ERROR:X" + b"a" * 63 + b"\r\n", IdentAnswer(1, 2, None, error=b"X" + b"a" * 63)),
        (b"1,2:USERID:UNIX:" + b"u" * 512 + b"\r\n", IdentAnswer(1, 2, b"u" * 512, b"UNIX")),
    ],
)
def test_answer(line: bytes, answer: IdentAnswer) -> None:
    """ID-REQ-05…12: blanks between tokens, a bare LF, an empty charset, colons in the user id."""
    check_whole(decode_answer, line, answer)


@pytest.mark.parametrize(
    ("line", "about"),
    [
        (b"\r\n", "three fields"),
        (b"1,2:USERID\r\n", "three fields"),
        (b"1:USERID:UNIX:fred\r\n", "pair of ports"),
        (b"1,2:USER:UNIX:fred\r\n", "neither USERID nor ERROR"),
        (b"1,2:userid:UNIX:fred\r\n", "neither USERID nor ERROR"),
        (b"1,2:ERROR:\r\n", "does not exist"),
        (b"1,2:ERROR:X\r\n", "does not exist"),
        (b"1,2:ERROR:NOUSER\r\n", "does not exist"),
        (b"1,2:ERROR:X" + b"a" * 64 + b"\r\n", "does not exist"),
        (b"1,2:USERID:UNIX\r\n", "no user id"),
        (b"1,2:USERID:UNIX:\r\n", "no user id"),
        (b"1,2:USERID:UNIX:a\x00\r\n", "no user id"),
        (b"1,2:USERID:UNIX:a\rb\r\n", "no user id"),
        (b"1,2:USERID:UNIX:" + b"u" * 513 + b"\r\n", "no user id"),
    ],
)
def test_no_answer(line: bytes, about: str) -> None:
    """ID-REQ-18: a malformed line is no identity."""
    check_broken(decode_answer, line, about)


@pytest.mark.parametrize("decode", [decode_answer, decode_query])
def test_endless_line(decode: object) -> None:
    """ID-REQ-11: given up after 1000 octets and a line end."""
    assert callable(decode)
    check_broken(decode, b"1" * (MAX_LINE + 2) + b"\n", "longer than 1000", at=MAX_LINE + 2)


def test_who_is_meant() -> None:
    """ID-REQ-14, ID-REQ-19."""
    answer = IdentAnswer(1, 2, b" \tfred")
    assert answer.names(b" \tfred")
    assert answer.names(b"fred")
    assert not answer.names(b"\tfred")
    assert not answer.names(b"Fred")
    assert not answer.names(b"")
    assert not IdentAnswer(1, 2, b" ").names(b"")
    assert not IdentAnswer(1, 2, None, error=b"NO-USER").names(b"fred")


def test_daemon() -> None:
    """What a test's daemon says."""
    assert encode_answer(IdentAnswer(1, 2, b"me", b"UNIX")) == b"1, 2 : USERID : UNIX :me\r\n"
    assert encode_answer(IdentAnswer(1, 2, b"me", b"OTHER", b"X")) == b"1, 2 : USERID : OTHER, X :me\r\n"
    assert encode_answer(IdentAnswer(1, 2, None, error=b"NO-USER")) == b"1, 2 : ERROR : NO-USER\r\n"


@given(ident_answers, st.binary(max_size=30))
def test_round_trip(answer: IdentAnswer, tail: bytes) -> None:
    line = encode_answer(answer)
    assert decode_answer(line + tail) == (answer, len(line))


@given(st.integers(1, 0xFFFF), st.integers(1, 0xFFFF))
def test_query_round_trip(client_port: int, server_port: int) -> None:
    line = encode_query(client_port, server_port)
    assert decode_query(line) == ((client_port, server_port), len(line))


@given(st.binary(max_size=1200) | st.text(alphabet="01, :USERIDXO\t\r\n\0", max_size=60).map(str.encode))
def test_any_octets(data: bytes) -> None:
    for octets in (data, b"1,2:" + data, b"1,2:USERID:" + data):
        for decode in (decode_answer, decode_query):
            try:
                found = decode(octets)
            except RemoteProtocolError:
                continue
            assert found is None or octets[found[1] - 1] == 10
