"""Who got through to which address: clients come back for what they had, and need not be judged step by step again.

An address is all that can be known of a target, so it is judged as soon as it is asked for, with the protection and the
rules together; and what was allowed is remembered for everybody of whom the rules could not tell anything else.
"""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Final

from ..engine.dial import Departures
from ..policy.rules import Verdict
from ..protocol.address import Address
from .ruling import Ruling, minute_of_week, octets_of

if TYPE_CHECKING:
    from .server import Server
    from .session import Session

__all__ = ("Passage", "Passages")

MOST: Final = 4096
"""Passages that are remembered; then it begins anew."""


class Passage:
    """The Judge of an address that may be reached."""

    __slots__ = ("_verdict", "sources")

    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict
        self.sources: Departures | None = self._source if verdict.egress else None

    def vet(self, addresses: Sequence[Address]) -> Sequence[Address]:
        """It is known already."""
        return addresses

    vet_peers = vet

    def verdict_of(self, _: Address | None) -> Verdict:
        return self._verdict

    def _source(self, address: Address) -> Address | None:
        return self._verdict.egress.get(address.kind)


class Passages:
    """Those of a server, for as long as the same terms are in force."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._known: dict[Hashable, Passage] = {}
        self._kinds: dict[str, Hashable] = {}  # of clients, as the rules tell them apart
        self._has_times = server.rulebook is not None and server.rulebook.has_times

    def __len__(self) -> int:
        return len(self._known)

    def to(self, session: "Session", target: Address) -> Passage:
        """The way of a session that asks for a CONNECT to an address. Raises PolicyDenied if there is none."""
        # All that a rule can ask for. The groups follow from the user.
        host = session.peer[0]
        kind = self._kinds.get(host)
        key = (
            target,
            session.user,
            self._kind_of(host) if kind is None else kind,
            session.method,
            session.listener,
            session.request.version,  # type: ignore[union-attr]  # there is one, or nothing would be judged
            minute_of_week() if self._has_times else 0,
        )
        return self._known.get(key) or self._judged(session, target, key)

    def _kind_of(self, host: str) -> Hashable:
        rulebook = self._server.rulebook
        assert rulebook is not None  # or nobody would ask
        if len(self._kinds) >= MOST:
            self._kinds.clear()
        kind = self._kinds[host] = rulebook.kind_of(octets_of(host))
        return kind

    def _judged(self, session: "Session", target: Address, key: Hashable) -> Passage:
        ruling = Ruling(session, target)
        ruling.vet((target,))
        verdict = ruling.verdict_of(target)
        assert verdict is not None  # or it would have raised
        passage = Passage(verdict)
        # Each of those that are explained has its line, and the machine may get other addresses at any time.
        if verdict.log_level != "verbose" and not self._server.policy.may_be_own(target):
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[key] = passage
        return passage
