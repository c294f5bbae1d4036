"""The headers of datagrams to and from a relay (RFC 1928 §7), without I/O."""

import errno
import os
from time import monotonic
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError, RemoteProtocolError
from ..protocol.address import Address, encode_address, parse_address
from ..protocol.fragments import Reassembly
from ..protocol.udp import MAX_HEADER, decode_datagram, header_size

if TYPE_CHECKING:
    from .layered import LayeredStream

__all__ = ("LARGEST_IPV4", "Envelope", "HostPort")

HostPort = tuple[str, int]

LARGEST_IPV4: Final = 65_507
"""Octets of the largest datagram over IPv4."""

_MAX_KNOWN: Final = 1024
"""Peers whose headers are remembered; then it begins anew."""

_MAX_FRAGMENTS: Final = 0x7F
_LAST_FRAGMENT: Final = 0x80


class Envelope:
    """Adds headers to datagrams and takes them off. Headers of peers met before are remembered.

    Args:
        largest: octets of the largest datagram that reaches the relay.
        fragment_size: split what is larger than so many octets, header included; None: never.
    """

    def __init__(self, *, largest: int = LARGEST_IPV4, fragment_size: int | None = None) -> None:
        if fragment_size is not None and fragment_size <= MAX_HEADER:
            raise ConfigError(f"fragments need more than the {MAX_HEADER} octets of the largest header")
        self.largest = largest
        self.headers: dict[HostPort, bytes] = {}
        """By destination; ``learn`` adds to them."""
        self._fragment_size = fragment_size
        self._sources: dict[bytes, HostPort] = {}
        self._reassembly = Reassembly()

    @property
    def largest_single(self) -> int:
        """Octets of the largest datagram that travels as one."""
        return min(self.largest, self._fragment_size or self.largest)

    @property
    def bare_up_to(self) -> int:
        """Octets of the largest datagram that goes as it is: a header, the payload, and nothing done to them."""
        return self.largest_single

    def fit(self, largest: int) -> None:
        """The socket takes datagrams of so many octets."""
        self.largest = largest

    def under(self, stream: "LayeredStream | None") -> "Envelope":
        """The envelope for datagrams that the layer of the control connection protects, too; None: there is none."""
        if stream is None:
            return self
        from .protected_datagrams import ProtectedEnvelope

        return ProtectedEnvelope(stream.layer, fragment_size=self._fragment_size)

    def learn(self, destination: HostPort, address: Address) -> bytes:
        """Remembers the header for a destination."""
        if len(self.headers) >= _MAX_KNOWN:
            self.headers.clear()
        header = self.headers[destination] = bytes(3) + encode_address(address)
        return header

    def pack(self, header: bytes, data: bytes) -> list[bytes]:
        """The datagrams for one payload: mostly a single one.

        Raises OSError with EMSGSIZE for what is too large, and for what would take more than 127 fragments.
        """
        if len(header) + len(data) > self.largest:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        room = self.largest_single - len(header)
        if len(data) <= room:
            return [header + data]
        pieces = [data[start : start + room] for start in range(0, len(data), room)]
        if len(pieces) > _MAX_FRAGMENTS:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        numbers = [*range(1, len(pieces)), len(pieces) | _LAST_FRAGMENT]
        return [
            header[:2] + bytes((number,)) + header[3:] + piece for number, piece in zip(numbers, pieces, strict=True)
        ]

    def unpack(self, packet: bytes) -> tuple[bytes, HostPort] | None:
        """Payload and sender; None for what is dropped: a broken header, a fragment that completes nothing."""
        if packet[2:4] == b"\x00\x01":
            header, data = packet[:10], packet[10:]
        elif packet[2:4] == b"\x00\x04":
            header, data = packet[:22], packet[22:]
        else:
            return self._unpack_unusual(packet)
        source = self._sources.get(header)
        if source is None:
            try:
                address = decode_datagram(header).address
            except RemoteProtocolError:
                return None
            if len(self._sources) >= _MAX_KNOWN:
                self._sources.clear()
            source = self._sources[header] = (address.host, address.port)
        return data, source

    def max_payload(self, host: str | None = None) -> int:
        """Octets of the largest payload to a host; without one, to any (S5-REQ-81)."""
        if host is None:
            return self.largest - MAX_HEADER
        address = parse_address(host, 0)
        return self.largest - header_size(address.kind, len(address.octets))

    def _unpack_unusual(self, packet: bytes) -> tuple[bytes, HostPort] | None:
        try:
            fragment, address, data = decode_datagram(packet)
        except RemoteProtocolError:
            return None
        source = (address.host, address.port)
        if not fragment:
            self._reassembly.reset()  # S5-REQ-96
            return data, source
        whole = self._reassembly.add(fragment, address, data, monotonic())
        return None if whole is None else (whole, source)
