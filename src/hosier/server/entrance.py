"""Where connections come in: each takes a place, as long as there are some, and gives it back at its end."""

import logging
from functools import partial
from socket import SocketType
from typing import TYPE_CHECKING, Any

from ..errors import PolicyDenied
from ..observe.crowding import CrowdingLog
from ..policy.limits import Admission, Caps, Refusal, Tally, TallyBook
from .capacity import room
from .session import Session

if TYPE_CHECKING:
    from .server import Server

__all__ = ("Entrance",)

_log = logging.getLogger("hosier")


class Entrance:
    """That of one server: it makes the sessions of those who find a place, and knows who is still in its handshake.

    Args:
        tallies: where sessions are counted for their caps.
    """

    def __init__(self, server: "Server", tallies: TallyBook) -> None:
        self.caps: Caps
        """Once it is open: what was set, and what the machine carries."""
        self.admission: Admission
        self._server = server
        self._tallies = tallies
        self._handshaking: dict[Session, None] = {}  # in the order of their accept
        self._crowding = CrowdingLog(partial(_log.warning, "%s"))

    def open(self) -> None:
        """From now on the caps of the server's settings hold; those inside are counted already."""
        settings = self._server.settings
        self.caps = settings.caps.complete(room(), is_public=settings.is_public)
        self.admission = Admission(self.caps, self._tallies)

    def accepted(self, listener: str, sock: SocketType, peer: Any) -> None:
        """A connection, and where it came in, as the settings write it: a session begins, or it is closed."""
        admitted = self.admission.enter(peer[0])
        if type(admitted) is Refusal:  # isinstance() costs ten times as much for what is none
            if admitted.name in ("sessions", "handshakes") and self._handshaking:
                admitted = self._push_in(peer[0], admitted)
            if isinstance(admitted, Refusal):
                self._refused(admitted, peer[0], "closed")
                sock.close()
                return
        server = self._server
        try:
            session = Session(server, sock, peer, admitted, listener)
        except BaseException:  # the system does not watch another socket: nobody is here who could give the place back
            for tally in admitted:
                tally.greeted()
                tally.leave()
            raise
        if server.watches:
            server.meter.started()
        self._handshaking[session] = None
        session.start()

    def exhausted(self, error: OSError) -> None:
        """Connections wait, and the process may not open another file."""
        _log.warning("cannot accept: %s; raise the limit of open files (ulimit -n)", error.strerror)

    def is_in_handshake(self, session: Session) -> bool:
        return session in self._handshaking

    def greeted(self, session: Session) -> None:
        """Its handshake is over, and its request here."""
        del self._handshaking[session]
        for tally in session.tallies:
            tally.greeted()

    def identified(self, session: Session, user: str) -> None:
        """It is a user's, and counts among them. Raises PolicyDenied if they are too many."""
        admitted = self.admission.enter_as(user)
        if isinstance(admitted, Refusal):
            self._refused(admitted, f"user {user!r}"[:80], "refused")
            raise PolicyDenied(f"this user has {admitted.cap} sessions already")
        session.tallies += admitted

    def left(self, session: Session) -> bool:
        """It has ended: others can have its place. Tells whether its handshake was over."""
        greeted = session not in self._handshaking
        if not greeted:
            self.greeted(session)
        for tally in session.tallies:
            tally.leave()
        return greeted

    # --- private ---

    def _push_in(self, host: str, refusal: Refusal) -> tuple[Tally, ...] | Refusal:
        """Where all places are taken, the oldest handshake makes room. Honest clients need few round trips for theirs:
        the oldest is hardly one of them, even when strangers hold most places."""
        self._crowding.refused(*refusal, host, "the oldest handshake was ended")
        oldest = next(iter(self._handshaking))
        place, oldest.tallies = oldest.tallies, ()
        oldest.limit = "handshakes"
        oldest.interrupt(TimeoutError("pushed out by newer handshakes"))
        return self.admission.take_over(host, place)

    def _refused(self, refusal: Refusal, who: str, done: str) -> None:
        self._server.meter.limited(refusal.name)
        self._crowding.refused(*refusal, who, done)
