"""How octets reach a protocol of asyncio's."""

from __future__ import annotations

import asyncio

from hosier.client.aio.feeding import feed


class Small(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.buffer = bytearray(4)
        self.heard = b""

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.heard += self.buffer[:nbytes]


class Simple(asyncio.Protocol):
    heard = b""

    def data_received(self, data: bytes) -> None:
        self.heard += data


def test_either_kind() -> None:
    for protocol in (Small(), Simple()):
        feed(protocol, b"0123456789")
        assert protocol.heard == b"0123456789"
    feed(asyncio.BaseProtocol(), b"nobody listens")
