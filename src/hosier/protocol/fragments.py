"""Fragments of UDP datagrams put together again (RFC 1928 §7). Pure: whoever has a clock says what time it is."""

from typing import Final

from .address import Address

__all__ = ("LARGEST", "REASSEMBLY_SECONDS", "Reassembly")

REASSEMBLY_SECONDS: Final = 5.0
"""The least that the RFC allows (S5-REQ-92)."""

LARGEST: Final = 65507
"""Octets that a datagram over IPv4 can carry; a sequence may not amount to more (S5-REQ-97)."""

_POSITION: Final = 0x7F
_END: Final = 0x80


class Reassembly:
    """The one queue of one receiver (S5-REQ-90). ``held`` is what it holds, in octets; ``deadline`` is when its timer
    expires, on the caller's clock, None while it is empty."""

    __slots__ = ("_highest", "_parts", "_target", "abandoned", "deadline", "held")

    def __init__(self) -> None:
        self.held = 0
        self.deadline: float | None = None
        self.abandoned = 0
        """Fragments that were received in vain so far."""
        self._parts: list[bytes] = []
        self._highest = 0
        self._target: Address | None = None

    def add(self, fragment: int, target: Address, data: bytes, now: float) -> bytes | None:
        """The whole datagram, if this fragment completes it. ``fragment`` is 1 to 255 (S5-REQ-88)."""
        if self.deadline is not None and now >= self.deadline:
            self.reset()
        position = fragment & _POSITION
        if position and position == self._highest and target == self._target:
            self.abandoned += 1  # a duplicate (S5-REQ-95)
            return None
        if position <= self._highest or target != self._target:
            self.reset()  # S5-REQ-91, 97
        if position != self._highest + 1 or self.held + len(data) > LARGEST:
            # A gap can never be filled, since a lower position would reset; nor can an end without a position be one.
            self.reset()
            self.abandoned += 1
            return None
        if position == 1:
            self._target = target
            self.deadline = now + REASSEMBLY_SECONDS
        self._highest = position
        self._parts.append(data)
        self.held += len(data)
        if not fragment & _END:
            return None
        whole = b"".join(self._parts)
        self._parts.clear()
        self.reset()
        return whole

    def reset(self) -> None:
        """Abandons what has come of a sequence (S5-REQ-91)."""
        self.abandoned += len(self._parts)
        self._parts.clear()
        self._highest = self.held = 0
        self._target = self.deadline = None
