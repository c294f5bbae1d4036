"""How octets reach a protocol of asyncio's, of either kind."""

import asyncio

__all__ = ("feed",)


def feed(protocol: asyncio.BaseProtocol, data: bytes) -> None:
    """Gives octets to a protocol that has a buffer of its own, or to one that has not."""
    if isinstance(protocol, asyncio.BufferedProtocol):
        while data:
            buffer = memoryview(protocol.get_buffer(len(data))).cast("B")
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            protocol.buffer_updated(size)
            data = data[size:]
    elif isinstance(protocol, asyncio.Protocol):
        protocol.data_received(data)
