"""What the engine knows of security layers."""

from __future__ import annotations

import pytest

import hosier.engine.layers
from hosier.engine.layers import Translation, finish_layer, has_ended_early, in_pieces, last_octets
from hosier.testing import ToyLayer


class Tunnel(ToyLayer):
    """One that has words for an end."""

    ended = True

    def finish(self) -> None:
        raise ConnectionResetError("too early")

    def end(self) -> bytes:
        return b"bye"


class InPieces(ToyLayer):
    header_size = 4

    def wrap_in_pieces(self, data: bytes | bytearray) -> tuple[bytes, bytes]:
        raise NotImplementedError

    def unwrap_in_pieces(self, header: bytearray, rest: bytearray) -> bytes | None:
        raise NotImplementedError


def test_a_layer_that_is_no_tunnels_has_nothing_to_say() -> None:
    layer = ToyLayer()
    finish_layer(layer)
    assert (has_ended_early(layer), last_octets(layer)) == (False, b"")


def test_a_tunnels_layer_is_asked() -> None:
    layer = Tunnel()
    assert (has_ended_early(layer), last_octets(layer)) == (True, b"bye")
    with pytest.raises(ConnectionResetError):
        finish_layer(layer)


def test_pieces_where_the_layer_and_the_system_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = InPieces()
    assert in_pieces(ToyLayer()) is None
    monkeypatch.setattr(hosier.engine.layers, "_GATHERS", True)
    assert in_pieces(layer) is layer
    monkeypatch.setattr(hosier.engine.layers, "_GATHERS", False)
    assert in_pieces(layer) is None


def test_a_translation_opens_and_closes() -> None:
    """What one layer's frame has in it goes into frames of the other, however small those are."""

    class Narrow(ToyLayer):
        max_payload = 4

    opens, closes = ToyLayer(2), Narrow(1)
    translation = Translation(opens, closes)
    wire = opens.wrap(b"question")
    closed = closes.wrap(b"ques") + closes.wrap(b"tion")
    assert translation.unwrap(wire + b"more") == (closed, len(wire))
    assert translation.unwrap(wire[:-1]) is None
    assert translation.close(b"question") == closed


def test_a_translation_ends_as_its_halves_do() -> None:
    translation = Translation(Tunnel(), ToyLayer())
    assert (translation.ended, translation.end()) == (True, b"")
    with pytest.raises(ConnectionResetError):
        translation.finish()
    translation = Translation(ToyLayer(), Tunnel())
    translation.finish()
    assert (translation.ended, translation.end()) == (False, b"bye")
