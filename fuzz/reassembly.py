"""Fragments of datagrams in any order, to any targets, at any times, beside a plain telling of what RFC 1928 wants.

Three octets of an input are one fragment: its FRAG, its target and how long it comes after the one before, its size.
"""

from oracle import require

from hosier.protocol.address import parse_address
from hosier.protocol.fragments import LARGEST, REASSEMBLY_SECONDS, Reassembly

__all__ = ("SEEDS", "check_reassembly")

_TARGETS = tuple(parse_address(host, 53) for host in ("192.0.2.1", "192.0.2.2", "dns.example", "2001:db8::1"))
_PAUSES = (0.0, 1.0, REASSEMBLY_SECONDS / 2, REASSEMBLY_SECONDS)
_END = 0x80

SEEDS = (
    bytes((1, 0, 1, 2, 0, 1, 0x83, 0, 1)),
    bytes((1, 0, 1, 2, 1, 1, 0x82, 0, 1)),
    bytes((1, 0, 1, 1, 0, 1, 0x82, 0, 1)),
    bytes((1, 0, 1, 2, 8, 1, 3, 8, 1, 0x84, 8, 1)),
    bytes((1, 0, 255, 2, 0, 255, 0x83, 0, 1)),
    bytes((0x81, 0, 0, 1, 0, 1, 3, 0, 1, 0x80, 0, 1)),
)


class Telling:
    """The same in other words: one sequence at a time, whose positions are 1, 2, 3 and so on."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self._target = _TARGETS[0]
        self._began = 0.0

    def add(self, fragment: int, number: int, data: bytes, now: float) -> bytes | None:
        position, target = fragment & ~_END, _TARGETS[number]
        if now >= self._began + REASSEMBLY_SECONDS:
            self.parts = []
        is_ours = bool(self.parts) and target == self._target
        if is_ours and position == len(self.parts):
            return None
        if not (is_ours and position == len(self.parts) + 1 and sum(map(len, self.parts)) + len(data) <= LARGEST):
            self.parts = []
            if position != 1:
                return None
            self._target, self._began = target, now
        self.parts.append(data)
        if not fragment & _END:
            return None
        whole, self.parts = b"".join(self.parts), []
        return whole


def check_reassembly(data: bytes) -> None:
    """What is given out was sent, nothing is held too long or beyond the bound, and every fragment is counted."""
    queue, telling, now, joined = Reassembly(), Telling(), 0.0, 0
    for count, at in enumerate(range(0, len(data) - 2, 3), 1):
        fragment, options, size = data[at] or 1, data[at + 1], min(data[at + 2] * 257, LARGEST)
        now += _PAUSES[options >> 2 & 3]
        octets = bytes((count & 0xFF,)) * size
        before = len(telling.parts)
        expected = telling.add(fragment, options & 3, octets, now)
        require(queue.add(fragment, _TARGETS[options & 3], octets, now) == expected, "what is given out was sent")
        if expected is not None:
            joined += before + 1 if fragment & ~_END != 1 else 1
        held = sum(map(len, telling.parts))
        require(queue.held == held <= LARGEST, "what is held is bounded, and known")
        require((queue.deadline is None) == (not telling.parts), "the timer runs while something is held")
        require(queue.deadline is None or now < queue.deadline <= now + REASSEMBLY_SECONDS, "nothing is held too long")
        require(queue.abandoned + joined + len(telling.parts) == count, "every fragment is counted")
