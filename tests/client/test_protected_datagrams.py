"""Datagrams under a layer, without I/O."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

import hosier
from hosier.client.envelope import Envelope
from hosier.client.protected_datagrams import ProtectedEnvelope
from hosier.errors import ConfigError
from hosier.protocol.address import parse_address
from hosier.testing import ToyLayer

from .harness import PATIENCE, run
from .protection import frame, toy_stream

PLACE = ("192.0.2.1", 53)


def envelope(fragment_size: int | None = None) -> tuple[ProtectedEnvelope, bytes]:
    made = Envelope(fragment_size=fragment_size).under(toy_stream())
    assert isinstance(made, ProtectedEnvelope)
    made.fit(65_507)
    return made, made.learn(PLACE, parse_address(*PLACE))


def test_without_a_layer() -> None:
    bare = Envelope()
    assert bare.under(None) is bare


def test_there_and_back() -> None:
    """GS-REQ-40: one frame around header and payload."""
    sealed, header = envelope()
    [packet] = sealed.pack(header, b"data")
    assert packet == frame(header + b"data")
    assert sealed.unpack(packet) == (b"data", PLACE)
    assert sealed.bare_up_to < 0


@pytest.mark.parametrize(
    "packet", [b"", b"\x00\x00\x00\x01", frame(b"x")[:-1], frame(b"x") + b"x", frame(b"no header")]
)
def test_what_is_dropped(packet: bytes) -> None:
    """GS-REQ-41."""
    assert envelope()[0].unpack(packet) is None


def test_sizes() -> None:
    """GS-REQ-42."""
    sealed, header = envelope()
    assert sealed.max_payload("192.0.2.1") == ToyLayer.max_datagram - 10
    [packet] = sealed.pack(header, bytes(sealed.max_payload("192.0.2.1")))
    assert len(packet) == 65_507
    with pytest.raises(OSError, match="too long"):
        sealed.pack(header, bytes(sealed.max_payload("192.0.2.1") + 1))


def test_fragments() -> None:
    """Each is a datagram of its own."""
    sealed, header = envelope(300)
    pieces = sealed.pack(header, bytes(1000))
    assert len(pieces) == 4
    assert [sealed.unpack(piece) for piece in pieces] == [None, None, None, (bytes(1000), PLACE)]
    with pytest.raises(ConfigError):
        Envelope(fragment_size=1)


# --- through a proxy ---


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A target for datagrams that says everything again."""

    def serve() -> None:
        while True:
            data, place = sock.recvfrom(65_535)
            if not data:
                return
            sock.sendto(data, place)

    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=serve)
        thread.start()
        yield sock.getsockname()
        with socket.socket(type=socket.SOCK_DGRAM) as last:
            last.sendto(b"", sock.getsockname())
        thread.join(PATIENCE)


@pytest.mark.parametrize("announce", [False, True])
def test_blocking(protecting: Callable[[], hosier.Proxy], echo: tuple[str, int], announce: bool) -> None:
    with hosier.associate(protecting(), timeout=PATIENCE, announce=announce) as datagrams:
        datagrams.settimeout(PATIENCE)
        most = datagrams.max_payload(echo[0])
        assert most == ToyLayer.max_datagram - 10
        for data in (b"first", bytes(most)):
            assert datagrams.sendto(data, echo) == len(data)
            assert datagrams.recvfrom() == (data, echo)


def test_awaited(protecting: Callable[[], hosier.Proxy], echo: tuple[str, int]) -> None:
    async def main() -> None:
        async with await hosier.aio.associate(protecting(), timeout=PATIENCE) as datagrams:
            for data in (b"first", bytes(datagrams.max_payload(echo[0]))):
                await datagrams.sendto(data, echo)
                assert await datagrams.recvfrom() == (data, echo)

    run(main())
