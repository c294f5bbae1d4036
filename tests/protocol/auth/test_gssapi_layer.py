"""GSSAPI: the layer (catalogue 5.2, "Data")."""

import pytest

from hosier.errors import LocalProtocolError, RemoteProtocolError
from hosier.protocol.auth.gssapi_layer import GssapiLayer, Level, pack_header
from hosier.testing import every_cut

from .fake_context import FakeContext


def layer(level: Level = Level.CONFIDENTIALITY, **options: int) -> GssapiLayer:
    return GssapiLayer(FakeContext(), level, **options)


@pytest.mark.parametrize(
    ("level", "wire"),
    [(Level.INTEGRITY, "01030007570068656c6c6f"), (Level.CONFIDENTIALITY, "01030007570168656c6c6f")],
)
def test_frames(level: Level, wire: str) -> None:
    """GS-REQ-34, GS-REQ-35; TG-12."""
    octets = bytes.fromhex(wire)
    assert layer(level).wrap(b"hello") == octets
    assert layer(level).unwrap(octets + b"\x01") == (b"hello", len(octets))
    assert layer(level).unwrap(memoryview(octets)) == (b"hello", len(octets))


def test_any_cut() -> None:
    wire = layer().wrap(b"hello")
    for pieces in every_cut(wire):
        data = b""
        for piece in pieces:
            assert layer().unwrap(data) is None
            data += piece
        assert layer().unwrap(data) == (b"hello", len(wire))


def test_empty_frame() -> None:
    assert layer().unwrap(layer().wrap(b"")) == (b"", 6)


@pytest.mark.parametrize(
    ("wire", "complaint"),
    [
        ("02", "version 2"),  # GS-REQ-45
        ("0101", "type 0x01"),
        ("01030007570068656c6c6f", "not confidential"),  # GS-REQ-36, TG-14
        ("010300025800", "not wrapped"),
        ("01030000", "not wrapped"),
    ],
)
def test_not_believed(wire: str, complaint: str) -> None:
    with pytest.raises(RemoteProtocolError, match=complaint):
        layer().unwrap(bytes.fromhex(wire))


@pytest.mark.parametrize("level", [Level.INTEGRITY, Level.SELECTIVE])
@pytest.mark.parametrize("sealed", [False, True])
def test_more_than_was_agreed_is_welcome(level: Level, sealed: bool) -> None:
    """At level 1 a sealed frame protects no less; at level 3 the sender decides."""
    token = bytes((0x57, sealed)) + b"hello"
    wire = pack_header(1, 3, len(token)) + token
    assert layer(level).unwrap(wire) == (b"hello", len(wire))


@pytest.mark.parametrize(("size", "sealed"), [(0, 1), (5, 1), (6, 0)])
def test_selective_protection(size: int, sealed: int) -> None:
    """GS-REQ-35, level 3: by the size of each message."""
    wire = layer(Level.SELECTIVE, sealed_up_to=5).wrap(bytes(size))
    assert wire[5] == sealed


def test_selective_protection_seals_all_unless_told() -> None:
    chosen = layer(Level.SELECTIVE)
    assert chosen.wrap(bytes(chosen.max_payload))[5] == 1


@pytest.mark.parametrize(
    ("level", "stream", "datagram"),
    [(Level.INTEGRITY, 65529, 65501), (Level.CONFIDENTIALITY, 65519, 65491), (Level.SELECTIVE, 65519, 65491)],
)
def test_sizes(level: Level, stream: int, datagram: int) -> None:
    """GS-REQ-38, GS-REQ-42: a frame of at most 65,535 octets, a datagram of at most 65,507."""
    chosen = layer(level)
    assert (chosen.level, chosen.max_payload, chosen.max_datagram) == (level, stream, datagram)
    assert len(chosen.wrap(bytes(stream))) <= 65535
    assert len(chosen.wrap_datagram(bytes(datagram))) <= 65507


def test_pieces_are_the_frame() -> None:
    chosen = layer(Level.INTEGRITY)
    header, token = chosen.wrap_in_pieces(b"hello")
    assert header + token == chosen.wrap(b"hello")
    assert len(header) == chosen.header_size
    assert chosen.unwrap_in_pieces(header, bytearray(token)) == b"hello"


@pytest.mark.parametrize("header", ["02030007", "01020007", "01030006", "01030008"])
def test_pieces_of_no_whole_frame(header: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The context must not see them: it counts."""
    _, token = layer().wrap_in_pieces(b"hello")
    monkeypatch.setattr(FakeContext, "unwrap", None)
    assert layer().unwrap_in_pieces(bytes.fromhex(header), bytearray(token)) is None


def test_pieces_that_are_not_believed() -> None:
    header, token = layer(Level.INTEGRITY).wrap_in_pieces(b"hello")
    with pytest.raises(RemoteProtocolError, match="not confidential"):
        layer().unwrap_in_pieces(header, bytearray(token))


def test_the_size_of_datagrams_is_asked_for_where_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, asked = layer(), []

    def limit(_: FakeContext, size: int, confidential: bool) -> int:
        asked.append((size, confidential))
        return 7

    monkeypatch.setattr(FakeContext, "wrap_limit", limit)
    assert (chosen.max_datagram, chosen.max_datagram) == (7, 7)
    assert asked == [(65503, True)]


def test_a_token_that_is_longer_than_promised() -> None:
    """GS-REQ-39."""
    context = FakeContext()
    chosen = GssapiLayer(context, Level.INTEGRITY)
    context.longer = 10
    for wrap in (chosen.wrap, chosen.wrap_in_pieces):
        with pytest.raises(LocalProtocolError, match="65529"):
            wrap(bytes(chosen.max_payload))


def test_datagrams() -> None:
    """GS-REQ-40."""
    chosen = layer()
    wire = chosen.wrap_datagram(b"datagram")
    assert wire == chosen.wrap(b"datagram")
    assert chosen.unwrap_datagram(wire) == b"datagram"
    with pytest.raises(LocalProtocolError, match="65491"):
        chosen.wrap_datagram(bytes(65492))


@pytest.mark.parametrize(
    "change", [lambda wire: wire[:-1], lambda wire: wire + b"x", lambda wire: wire[:3], lambda _: b""]
)
def test_datagrams_that_are_no_frame(change: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """GS-REQ-41. The context must not see them: it would take the genuine one, which comes after, for the second."""
    assert callable(change)
    wire = change(layer().wrap(b"datagram"))

    def never(*_: object) -> None:
        raise AssertionError("unwrapped")

    monkeypatch.setattr(FakeContext, "unwrap", never)
    with pytest.raises(RemoteProtocolError, match="one whole frame"):
        layer().unwrap_datagram(wire)


def test_datagrams_that_are_not_believed() -> None:
    for wire in (b"\x02\x03\x00\x02\x57\x01", b"\x01\x01\x00\x02\x57\x01", b"\x01\x03\x00\x02\x57\x00"):
        with pytest.raises(RemoteProtocolError):
            layer().unwrap_datagram(wire)


def test_levels_by_strength() -> None:
    assert sorted(Level, key=lambda level: level.strength) == [0, 1, 3, 2]
