"""Between a client's claim and the check of it: who failed too often waits, one check at a time for each source, and a
line for each failure.
"""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import iscoroutine
from math import ceil
from time import monotonic
from typing import NamedTuple
from weakref import WeakValueDictionary

from ..errors import PolicyDenied
from ..observe.access_log import word
from ..policy.backoff import Failures
from ..policy.sources import source_of
from ..protocol.auth.base import AuthStep

__all__ = ("Claim", "Doorkeeper", "failure_line")


class Claim(NamedTuple):
    """Who a client says it is."""

    host: str
    """Where it comes from."""

    user: bytes | None
    """The name it gives; None where the method has none to give."""

    method: str
    """How it wants to prove that, in a word."""

    version: int
    """4 or 5."""

    guessable: bool = True
    """Whether who fails may be guessing. If not, nobody is made to wait, and failures are told but not counted."""


class Doorkeeper:
    """Asked before each check, and told of its outcome.

    Args:
        failures: the memory of them; None: nobody waits.
        tell: takes the line of a failure.
    """

    def __init__(self, failures: Failures | None, tell: Callable[[str], None]) -> None:
        self._failures = failures
        self._tell = tell
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def admit(self, claim: Claim) -> None:
        """Raises PolicyDenied for a client that must wait."""
        failures = self._failures
        if failures is None or not claim[4] or failures.in_peace(now := monotonic()):
            return  # nearly always, and no key is looked for
        if seconds := failures.wait(source_of(claim[0]), claim[1], now):
            raise PolicyDenied(f"too many failures to authenticate: wait {ceil(seconds)} s")

    async def in_turn(self, claim: Claim, check: Awaitable[AuthStep]) -> AuthStep:
        """The outcome of a check that takes long, already heeded. One name at a time for each source: so none guesses
        more often than it may by guessing all at once, and none fills the queue before the others.

        Raises PolicyDenied if the client must wait because of those who had their turn before it.
        """
        if claim.user is None:
            return self.heed(claim, await check)
        source = source_of(claim.host)
        turn = self._turns.get(source)
        if turn is None:
            turn = self._turns[source] = asyncio.Lock()
        try:
            async with turn:
                self.admit(claim)
                return self.heed(claim, await check)
        finally:
            if iscoroutine(check):
                check.close()  # for one that never began; harmless for the others

    def heed(self, claim: Claim, step: AuthStep) -> AuthStep:
        """Takes note of the step's outcome, if it has one; returns the step."""
        outcome = step[1]
        if outcome is not None:
            if outcome[0] is None:
                self.failed(claim, "credentials")
            elif (user := claim[1]) is not None and self._failures is not None:
                self._failures.succeeded(source_of(claim[0]), user)
        return step

    def failed(self, claim: Claim, reason: str, *, counts: bool = True) -> None:
        """The claim was not proved: told in one line, and counted unless it may be nobody's fault."""
        seconds = 0.0
        if self._failures is not None and counts and claim.guessable:
            seconds = self._failures.failed(source_of(claim.host), claim.user, monotonic())
        self._tell(failure_line(claim, reason, ceil(seconds)))


def failure_line(claim: Claim, reason: str, wait: int) -> str:
    """For programs that watch the log, so its form is kept: words ``key=value`` in a fixed order, then the seconds for
    which the next claims are not heard.

    The host comes from the kernel; the name comes from a stranger and is escaped. No name is a dash.
    """
    user = "-" if claim.user is None else word(claim.user.decode("utf-8", "backslashreplace"))
    return (
        f"authentication failure from={claim.host} user={user} method={claim.method} version={claim.version} "
        f"reason={reason} wait={wait}"
    )
