"""Username/password: the frames (catalogue 4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.errors import LocalProtocolError, RemoteProtocolError
from hosier.protocol.auth.password import Credentials, PasswordFraming, Status

from ..codecs import check_broken, check_whole
from ..strategies import credentials, statuses

FRAMING = PasswordFraming()


def from_client(data: bytes, framing: PasswordFraming = FRAMING) -> tuple[Credentials | Status, int] | None:
    return framing.decode(data, from_client=True)


def from_server(data: bytes, framing: PasswordFraming = FRAMING) -> tuple[Credentials | Status, int] | None:
    return framing.decode(data, from_client=False)


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        ("0104757365720470617373", Credentials(b"user", b"pass")),
        ("0101610100", Credentials(b"a", b"\x00")),
        ("010000", Credentials(b"", b"")),
        ("01ff" + "75" * 255 + "ff" + "70" * 255, Credentials(b"u" * 255, b"p" * 255)),
    ],
)
def test_credentials(wire: str, body: Credentials) -> None:
    """UP-REQ-02, UP-REQ-03, UP-REQ-11, UP-REQ-12."""
    check_whole(from_client, bytes.fromhex(wire), body)
    assert FRAMING.encode(body, from_client=True) == bytes.fromhex(wire)


@pytest.mark.parametrize("code", range(256))
def test_status(code: int) -> None:
    """UP-REQ-05."""
    check_whole(from_server, bytes((1, code)), Status(code))
    assert FRAMING.encode(Status(code), from_client=False) == bytes((1, code))


def test_facts() -> None:
    assert (FRAMING.code, FRAMING.server_speaks_first, FRAMING.refusal) == (2, False, b"\x01\x01")


def test_version() -> None:
    """UP-REQ-09, UP-REQ-10, A-33: at the first octet; a client may be lenient."""
    check_broken(from_client, b"\x05\x01a\x01b", "version 5", at=1)
    check_broken(from_server, b"\x05\x00", "version 5", at=1)
    lenient = PasswordFraming(lenient_version=True)
    check_whole(lambda data: from_server(data, lenient), b"\x05\x00", Status(0))
    check_broken(lambda data: from_client(data, lenient), b"\x05\x01a\x01b", "version 5", at=1)


@pytest.mark.parametrize("wire", ["010000", "01000161", "01016100"])
def test_empty_fields(wire: str) -> None:
    """UP-REQ-11, A-32: a strict server refuses them."""
    strict = PasswordFraming(strict=True)
    check_broken(lambda data: from_client(data, strict), bytes.fromhex(wire), "empty")
    check_whole(lambda data: from_client(data, strict), b"\x01\x01a\x01b", Credentials(b"a", b"b"))


@pytest.mark.parametrize("body", [Credentials(b"u" * 256, b""), Credentials(b"", b"p" * 256), Status(-1), Status(256)])
def test_no_wire_form(body: Credentials | Status) -> None:
    """UP-REQ-04: refused, never cut."""
    with pytest.raises(LocalProtocolError) as caught:
        FRAMING.encode(body, from_client=isinstance(body, Credentials))
    assert "ppp" not in str(caught.value)


def test_password_is_hidden() -> None:
    """UP-REQ-13."""
    assert repr(Credentials(b"user", b"hunter2")) == "Credentials(username=b'user', password=<hidden>)"


@given(credentials | statuses, st.binary(max_size=30))
def test_round_trip(body: Credentials | Status, tail: bytes) -> None:
    client = isinstance(body, Credentials)
    wire = FRAMING.encode(body, from_client=client)
    assert FRAMING.decode(wire + tail, from_client=client) == (body, len(wire))


@given(st.binary(max_size=600), st.booleans(), st.booleans(), st.booleans())
def test_any_octets(data: bytes, client: bool, strict: bool, lenient: bool) -> None:
    framing = PasswordFraming(strict=strict, lenient_version=lenient)
    for octets in (data, b"\x01" + data):
        try:
            found = framing.decode(octets, from_client=client)
        except RemoteProtocolError:
            continue
        assert found is None or framing.encode(found[0], from_client=client)[1:] == octets[1 : found[1]]
