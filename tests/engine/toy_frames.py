"""What is sent under the toy layer, and one that engines need not put together."""

from __future__ import annotations

from hosier.testing import ToyLayer


def frames(data: bytes, size: int = 60_000) -> bytes:
    layer = ToyLayer()
    return b"".join(layer.wrap(data[start : start + size]) for start in range(0, len(data), size))


class InPieces(ToyLayer):
    """A layer whose frames need not be put together."""

    header_size = 4

    def __init__(self) -> None:
        super().__init__()
        self.in_pieces = 0
        self.as_read = 0

    def unwrap_in_pieces(self, header: bytearray, rest: bytearray) -> bytes | None:
        if header[2:] != len(rest).to_bytes(2, "big"):
            return None
        self.in_pieces += 1
        found = self.unwrap(header + rest)
        rest[:] = bytes(len(rest))
        assert found is not None
        return found[0]

    def wrap_in_pieces(self, data: bytes | bytearray) -> tuple[bytes, bytes]:
        self.as_read += isinstance(data, bytearray)
        frame = self.wrap(bytes(data))
        return frame[:4], frame[4:]
