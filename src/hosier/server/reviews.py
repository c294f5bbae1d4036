"""Sessions under way are judged again: after a reload, and when time changes what rules and accounts say.

What is forbidden now is ended; everything else goes on untouched.
"""

import asyncio
import time
from math import inf
from typing import TYPE_CHECKING, Final

from ..engine.endpoint import Endpoint
from ..errors import PolicyDenied
from ..protocol.address import Address, address_of_socket
from ..protocol.auth.password import PasswordFraming
from ..protocol.messages import Command
from .ruling import COMMAND_NAMES, Judge, minute_of_week
from .settings import ServerSettings
from .udp_relay import UdpRelay

if TYPE_CHECKING:
    from .server import Server
    from .session import Session

__all__ = ("Reviews",)

LONGEST_WAIT: Final = 3600.0
"""Seconds after which the clock is looked at again, in case somebody has set it."""

QUARTER: Final = 900.0
"""Seconds of a quarter of an hour. Summer time begins and ends at one, and puts the clock forward or back."""


class Reviews:
    """Those of one server."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._timer: asyncio.TimerHandle | None = None
        self.since = -inf
        """When the terms last changed, by ``monotonic``: who began before that may have begun under others."""

    def identify(self, session: "Session") -> None:
        """Judges who a session's client is. Raises PolicyDenied."""
        server, user = self._server, session.user
        request = session.request
        assert request is not None  # before that, nobody asks
        if not (server.admits_socks4 if session.method is None else session.method in server.methods):
            raise PolicyDenied("its method of authentication is not offered any more")
        if user is None:
            return
        is_listed = session.method is None or session.method == PasswordFraming.code
        if is_listed and server.users is not None and not server.users.has(user):
            raise PolicyDenied(f"there is no user {user!r} any more")
        client = address_of_socket(session.peer).canonical().octets
        if denied := server.accounts.judge(user, client, time.time()):
            raise denied

    def settle(self, session: "Session", judge: Judge, far: Endpoint | None = None) -> None:
        """For one who has got through: its verdict is known from here on. Raises PolicyDenied if what it has reached
        has been forbidden meanwhile, with ``far`` closed."""
        if session.started <= self.since:
            try:
                judge = self.review(session) or judge
            except PolicyDenied:
                if far is not None:
                    far.close()
                raise
        session.verdict = judge.verdict_of(session.dialled)

    def review(self, session: "Session") -> Judge | None:
        """Judges all that a session has been allowed so far; returns who has judged what it has reached, if it has
        reached anything. Raises PolicyDenied."""
        server, request = self._server, session.request
        if request is None or server.entrance.is_in_handshake(session):
            return None  # it will be judged when it has said what it wants, and who it is
        self.identify(session)
        if not _is_served(request.command, server.settings):
            raise PolicyDenied(f"{COMMAND_NAMES[request.command]} is switched off")
        if isinstance(session.relay, UdpRelay):
            server.judging(session, None)
            session.relay.judge_again()
            return None
        target = request.address.canonical()
        judge = server.judging(session, target)
        waits_for_it = session.bound is not None and not target.is_name and any(target.octets)
        reached = session.dialled or (target if waits_for_it or session.relay is not None else None)
        if reached is None:
            return None  # what it is about to reach is judged when it has
        if request.command == Command.BIND:
            self.judge_peer(judge, reached)
        else:
            judge.vet((reached,))
        return judge

    def judge_peer(self, judge: Judge, peer: Address) -> None:
        """Whether this one may have come to a BIND. An upstream need not tell who came; what it does not tell only
        rules can judge. Raises PolicyDenied."""
        if any(peer.octets) or judge is not self._server.policy:
            judge.vet_peers((peer,))

    def review_all(self) -> int:
        """Ends those that are forbidden now, and tells how many."""
        self.since = time.monotonic()
        ended = 0
        for session in [session for session in self._server.living() if not session.end]:
            try:
                self.review(session)
            except PolicyDenied as denied:
                ended += 1
                session.interrupt(
                    PolicyDenied(f"not allowed any more: {denied.reason}", advice=denied.advice, code=denied.code)
                )
        return ended

    def arm(self) -> None:
        """Waits for the next moment at which time changes something."""
        self.close()
        seconds = min(self._seconds())
        if seconds < inf:
            self._timer = self._server.engine.loop.call_later(min(seconds, LONGEST_WAIT), self._time_has_come)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- private ---

    def _seconds(self) -> tuple[float, float]:
        """Until the times of a rule may begin or end, and until an account expires."""
        now = time.time()
        rulebook = self._server.rulebook
        minutes = rulebook.next_change(minute_of_week()) if rulebook is not None else None
        end = self._server.accounts.next_end(now)
        change = inf if minutes is None else min(60.0 * minutes - now % 60.0, QUARTER - now % QUARTER)
        return change, inf if end is None else end - now

    def _time_has_come(self) -> None:
        self._timer = None
        self.review_all()
        self.arm()


def _is_served(command: int, settings: ServerSettings) -> bool:
    if command == Command.BIND:
        return settings.bind.enabled
    return settings.udp.enabled or command != Command.UDP_ASSOCIATE
