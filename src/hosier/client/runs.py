"""Many datagrams in few calls: the kernel cuts what is sent apart and joins what has come, where it can.

Payloads of one size in a row, to one place, are a run (UDP_SEGMENT); what the relay has sent as a run arrives as one
(UDP_GRO). A run that is refused, by the route or the device, is sent again one by one, and so are others for a while.
"""

import errno
import socket
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from ..engine.segments import (
    RUN_DATAGRAMS,
    RUN_OCTETS,
    can_segment,
    join_arrivals,
    segment_option,
    segment_size,
)
from .envelope import Envelope, HostPort

__all__ = ("Runs",)

_ENOUGH: Final = 64
"""Datagrams that one call collects if they come one by one."""

_REFUSED_FOR: Final = 30.0
"""Seconds without runs after one was refused."""

_ROUTE: Final = frozenset((errno.EMSGSIZE, errno.EINVAL, errno.EIO, errno.EPERM))
_ROOM: Final = frozenset((errno.EAGAIN, errno.ENOBUFS))

_ANCILLARY: Final = 64

Found = list[tuple[bytes, HostPort]]


class Runs:
    """Runs over a socket that is connected to a relay.

    Args:
        udp: the socket; from now on arrivals may be joined, so that nobody else may receive from it.
        send_packet: sends a single datagram, header and all.
    """

    def __init__(self, udp: socket.socket, envelope: Envelope, send_packet: Callable[[bytes], None]) -> None:
        self._udp = udp
        self._envelope = envelope
        self._send_packet = send_packet
        self._runs_after = 0.0 if can_segment() else float("inf")
        self._joined = join_arrivals(udp)

    def send(self, header: bytes, payloads: Sequence[bytes]) -> None:
        """Sends all of them, as ``sendto`` would one after the other. Raises OSError as that does."""
        start, count = 0, len(payloads)
        while start < count:
            end = self._end_of_run(len(header), payloads, start)
            if end - start < 2 or not self._send_run(header, payloads[start:end]):
                for payload in payloads[start:end]:
                    for packet in self._envelope.pack(header, payload):
                        self._send_packet(packet)
            start = end

    def receive(self, flags: int = 0) -> Found:
        """What comes with one call: one datagram or a run of them; none, if it was broken. Raises OSError."""
        size = 0
        if self._joined:
            data, ancillary, _, _ = self._udp.recvmsg(65_535, _ANCILLARY, flags)
            size = segment_size(ancillary)
        else:
            data = self._udp.recv(65_535, flags)
        unpack = self._envelope.unpack
        if not size or size >= len(data):
            single = unpack(data)
            return [] if single is None else [single]
        found: Found = []
        head, source = b"", ("", 0)
        for start in range(0, len(data), size):
            # Those of a run mostly have the header of the first one.
            if head and data.startswith(head, start):
                found.append((data[start + len(head) : start + size], source))
                continue
            packet = data[start : start + size]
            one = unpack(packet)
            if one is not None:
                found.append(one)
                if self._envelope.bare_up_to > 0 and not packet[2]:
                    head, source = packet[: len(packet) - len(one[0])], one[1]
        return found

    def receive_more(self, found: Found) -> None:
        """Adds what is there already, unless it is many, or they come in runs."""
        while len(found) < _ENOUGH:
            try:
                more = self.receive(socket.MSG_DONTWAIT)
            except OSError:  # nothing there, or news of an earlier datagram
                return
            found += more
            if len(more) > 1:
                return

    # --- private ---

    def _end_of_run(self, header: int, payloads: Sequence[bytes], start: int) -> int:
        """Where the run that begins at ``start`` ends: all of one size, the last may be shorter."""
        size = len(payloads[start])
        if header + size > self._envelope.bare_up_to or self._runs_after > monotonic():
            return start + 1
        most = min(len(payloads), start + min(RUN_DATAGRAMS, RUN_OCTETS // (header + size)))
        end = start + 1
        while end < most and len(payloads[end]) == size:
            end += 1
        return end + 1 if end < most and len(payloads[end]) < size else max(end, start + 1)

    def _send_run(self, header: bytes, payloads: Sequence[bytes]) -> bool:
        """Whether the kernel has taken them all."""
        pieces = [header] * (2 * len(payloads))
        pieces[1::2] = payloads
        option = segment_option(len(header) + len(payloads[0]))
        for last_try in (False, True):
            try:
                self._udp.sendmsg(pieces, option)
            except ConnectionRefusedError:  # that was told of an earlier datagram
                if last_try:
                    return False
            except OSError as error:
                if error.errno in _ROUTE:
                    self._runs_after = monotonic() + _REFUSED_FOR
                elif error.errno not in _ROOM:
                    raise
                return False
            else:
                return True
        raise AssertionError  # the second try returns
