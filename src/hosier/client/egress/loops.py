"""Chains that lead back to who walks them (NG-REQ-27): two gateways, each the other's upstream, pass every request
round and round until both are out of sockets.

SOCKS counts no hops, so a loop is found by asking: when many requests for one target wait at the same time, the next
one first asks for a name that nobody has. If that request comes in at our own door, the chain leads back. Other
upstreams say that there is no such name, and that is that.
"""

import secrets
from collections.abc import Callable
from errno import ELOOP
from time import monotonic
from typing import Final

from ...protocol.address import NAME, Address

__all__ = ("LoopGuard",)

MANY: Final = 16
"""Requests for one target that wait at the same time, before it looks like a loop."""

SECONDS: Final = 10.0
"""For which an answer, whatever it is, is believed."""

_DISCARD_PORT: Final = 9
_NOBODYS: Final = b".loop.invalid"  # RFC 6761 §6.4: such names never exist


class LoopGuard:
    """Counts who waits, and knows its own questions when they come back."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._waiting: dict[Address, int] = {}
        self._question: Address | None = None
        self._ask_after = 0.0
        self._closed_until = 0.0

    def enter(self, target: Address) -> Address | None:
        """One more waits for the target. Where that looks like a loop: the question to ask first.

        Raises OSError (ELOOP) if the chain is known to lead back; then nobody more waits.
        """
        waiting = self._waiting
        count = waiting.get(target, 0)
        if count >= MANY or self._closed_until:
            now = self._clock()
            if now < self._closed_until:
                raise _leads_back()
            if count >= MANY and now >= self._ask_after and self._question is None:
                self._question = Address(NAME, secrets.token_hex(8).encode() + _NOBODYS, _DISCARD_PORT)
                waiting[target] = count + 1
                return self._question
        waiting[target] = count + 1
        return None

    def leave(self, target: Address) -> None:
        """One less waits for it."""
        count = self._waiting[target] - 1
        if count:
            self._waiting[target] = count
        else:
            del self._waiting[target]

    def refuse_question(self, target: Address) -> None:
        """Raises OSError (ELOOP) if the target is our own question: it has come back."""
        if target == self._question:
            self._closed_until = self._clock() + SECONDS
            raise _leads_back()

    def answered(self) -> None:
        """The question has been asked. Raises OSError (ELOOP) if it came back."""
        self._question = None
        now = self._clock()
        self._ask_after = now + SECONDS
        if now < self._closed_until:
            raise _leads_back()


def _leads_back() -> OSError:
    return OSError(ELOOP, "the upstreams lead back to this server")
