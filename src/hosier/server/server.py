"""The server inside any asyncio program: ``async with hosier.Server(...)``."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from ..auth.base import Method
from ..auth.users import Users
from ..auth.watched_users import Proofs
from ..engine.choice import make_engine
from ..engine.egress import DirectEgress, Egress, MakeEgress
from ..engine.listener import Listener
from ..engine.poller import Engine
from ..engine.resolve import Resolver
from ..errors import ConfigError, LocalProtocolError
from ..observe.access_log import printable
from ..observe.counts import Counts
from ..observe.record import SessionRecord
from ..policy.accounts import Accounts
from ..policy.backoff import Backoff, Failures
from ..policy.limits import Caps, LocalTallyBook, TallyBook
from ..policy.purses import LocalVault, Vault
from ..policy.quota import Quota
from ..policy.rulebook import Rulebook
from ..policy.targets import TargetPolicy
from ..protocol.address import NAME, Address
from ..protocol.auth.base import AuthFraming
from ..protocol.auth.password import PasswordFraming
from ..protocol.messages import NO_AUTHENTICATION, Command
from ..typed import check_callable, with_fields
from .advertise import AdvertisedAddresses
from .doorkeeper import Doorkeeper
from .entrance import Entrance
from .ledger import Ledger
from .listening import configured_address, listening_sockets
from .meter import Meter
from .passages import Passages
from .pulse import Pulse
from .reload import Reload
from .reviews import Reviews
from .ruling import Judge, Ruling
from .session import Session
from .settings import ListenAddress, ServerSettings
from .terms import Terms, protection_of
from .treasurer import Treasurer

__all__ = ("Server",)

_CONNECT: Final = int(Command.CONNECT)
_NO_OCTETS: Final = (0, 0)
_log = logging.getLogger("hosier")


class Server:
    """A SOCKS server in the running event loop.

    ``Server(settings)`` or ``Server(listen=..., users=..., ...)`` with the fields of :class:`ServerSettings`; it
    listens after ``start()`` or inside ``async with``. Explanations of refusals go to the logger "hosier".

    Args:
        settings: everything it is told; keyword arguments replace single fields.
        on_session_end: called with a SessionRecord for each session that has ended.
        on_totals: called then with the sessions served and the octets of payload relayed since the start.
        tallies: where sessions are counted for their caps, if that is shared with other processes.
        failures: likewise, where failures to authenticate are counted.
        passwords: likewise, what is known of the passwords of a users file.
        counts: where what happens is counted, for metrics; without them nobody looks at sessions before they end.
        vault: where the numbers of budgets stand, if that is shared with other processes.
        egress: makes the way to targets; None: straight out of this machine.

    Raises ConfigError for what is no setting, or not of its type.
    """

    def __init__(
        self,
        settings: ServerSettings | None = None,
        *,
        on_session_end: Callable[[SessionRecord], None] | None = None,
        on_totals: Callable[[int, int], None] | None = None,
        tallies: TallyBook | None = None,
        failures: Failures | None = None,
        passwords: Proofs | None = None,
        counts: Counts | None = None,
        vault: Vault | None = None,
        egress: MakeEgress | None = None,
        **given: Any,
    ) -> None:
        check_callable(on_session_end=on_session_end, on_totals=on_totals, egress=egress)
        self.settings = with_fields(ServerSettings, settings, given)
        self.sessions_served = 0
        self.octets_relayed = 0
        self.users: Users | None
        self.methods: Mapping[int, Method | None]
        self.unguessable: frozenset[int]
        self.framings: dict[int, AuthFraming] = {}
        self.advertised: AdvertisedAddresses
        self.admits_socks4: bool
        self.questions_socks4: bool
        self.rulebook: Rulebook | None
        self.accounts: Accounts
        self.has_accounts: bool
        self._adopt(Terms(self.settings, passwords=passwords))
        self.quick_methods = frozenset((NO_AUTHENTICATION, PasswordFraming.code))
        udp = self.settings.udp
        self.associations = Quota("associations", total=udp.associations, each=udp.per_user)
        self.doorkeeper = Doorkeeper((failures or Backoff()) if self.settings.backoff else None, _warn)
        self.engine: Engine
        self.egress: Egress
        self.policy: TargetPolicy
        self.datagram_policy: TargetPolicy
        self.passages: Passages
        self.entrance = Entrance(self, tallies if tallies is not None else LocalTallyBook())
        self.meter = Meter(counts or Counts())
        self.watches = counts is not None or bool(self.settings.budgets)
        """Whether anybody wants to know; else no session is counted in the meter."""
        self._vault = vault if vault is not None else LocalVault()
        self.treasurer: Treasurer
        self._pulse: Pulse | None = None
        self._make_egress = egress if egress is not None else self._straight
        self._on_session_end = on_session_end
        self._on_totals = on_totals
        self._started = False
        self._listeners: dict[Listener, ListenAddress] = {}  # with how the settings write it
        self.reviews = Reviews(self)
        self._all_ended: asyncio.Event | None = None
        self._resolver: Resolver

    @property
    def addresses(self) -> list[ListenAddress]:
        """Where it listens, with the ports that were taken for port 0."""
        return [ListenAddress(*listener.sock.getsockname()[:2]) for listener in self._listeners]

    @property
    def sessions(self) -> int:
        """Sessions under way."""
        return len(self.engine.tasks) if self._started else 0

    @property
    def caps(self) -> Caps:
        """How many may come in, complete after the start: what was set, and what the machine carries."""
        return self.entrance.caps

    @property
    def listens(self) -> bool:
        """Whether new clients are let in."""
        return bool(self._listeners)

    def living(self) -> Iterator[Session]:
        """The sessions themselves; none may end meanwhile."""
        return (task for task in self.engine.tasks if isinstance(task, Session))

    async def start(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Listens: on its addresses, or on sockets that are bound to them and listen already.

        Raises ConfigError if an address cannot be had; one of a family that the machine lacks is left out with a line
        in the log, unless it is the only one. LocalProtocolError if it has been started and not closed since. After
        any other failure nothing is left open, the given sockets included.
        """
        if self._started:
            raise LocalProtocolError("this server has been started: close() it before it is started again")
        if sockets is None:
            sockets = listening_sockets(self.settings.listen_addresses)
        with contextlib.ExitStack() as undo:
            undo.callback(self._terms.close)
            for sock in sockets:
                undo.callback(sock.close)
            if self.users is not None:
                self.users.open()
            usage_file = self.settings.usage_file
            ledger = Ledger(str(usage_file)) if self.settings.budgets and usage_file is not None else None
            if ledger is not None:
                undo.callback(ledger.close)
            self.treasurer = Treasurer(
                self.settings.budgets,
                self._vault,
                ledger,
                on_demand=self.settings.budgets_on_demand,
                groups=self.settings.groups,
                limited=self.meter.limited,
            )
            self.engine = make_engine(self.settings.engine)
            undo.callback(self.engine.close)
            self._resolver = Resolver(self.engine.loop)
            undo.callback(self._resolver.close)
            self._listeners = self._listening(sockets, self.settings)
            undo.callback(self._stop_listening)
            undo.callback(self.reviews.close)
            self._enforce()
            self._watch()
            undo.pop_all()
        self._started = True

    def prepare(
        self,
        settings: ServerSettings,
        keep: Collection[str] = (),
        sockets: Sequence[socket.socket] | None = None,
    ) -> Reload:
        """Everything that other settings need, without a change yet; ``keep``: what stays as it is in any case;
        ``sockets``: where to listen besides, if that is settled. Raises ConfigError if they cannot be kept."""
        return Reload(self._terms, settings, {*self._listeners.values()}, keep, sockets)

    def switch(self, reload: Reload) -> int:
        """From now on the other settings hold. Sessions that they forbid are ended, all others stay; returns how many
        were ended. Raises ConfigError, with nothing changed, if the system does not let it wait on another socket."""
        try:
            opened = self._listening(reload.sockets, reload.terms.settings)
        except OSError as error:
            reload.abandon()
            raise ConfigError(f"cannot wait for connections on another socket: {error.strerror}") from None
        reload.terms.take_over(self._terms)
        self._adopt(reload.terms)
        for listener in [one for one, address in self._listeners.items() if address in reload.closed]:
            del self._listeners[listener]
            listener.close()
        self._listeners.update(opened)
        udp = self.settings.udp
        self.treasurer.adopt(
            self.settings.budgets, on_demand=self.settings.budgets_on_demand, groups=self.settings.groups
        )
        self._watch()
        self.associations.resize(total=udp.associations, each=udp.per_user)
        if self.users is not None:
            self.users.open()
        self._enforce()
        return self.reviews.review_all()

    async def drain(self) -> bool:
        """Accepts no more and waits for the running sessions, at most as long as the limit says; True: all ended."""
        if not self._started:
            return True
        self._stop_listening()
        self._all_ended = self._all_ended or asyncio.Event()
        if self.engine.tasks:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_ended.wait(), self.settings.limits.drain)
        return not self.engine.tasks

    async def close(self) -> None:
        """Ends everything now; harmless where nothing was started."""
        self._stop_listening()
        self.reviews.close()
        if self._pulse is not None:
            self._pulse.stop()
        if self._started:
            self._started = False
            self._all_ended = None
            self.engine.close()
            await self.treasurer.close()
            self._resolver.close()
        self._terms.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # --- for the sessions ---

    def judging(self, session: Session, target: Address | None) -> Judge:
        """Who decides which addresses the session may reach for a target; None: for targets that each datagram names.
        Raises PolicyDenied if it may reach none, whatever the address."""
        if self.rulebook is None:
            return self.policy
        if target is None or target[0] == NAME or session.request.command != _CONNECT:  # type: ignore[union-attr]
            return Ruling(session, target)
        return self.passages.to(session, target)

    def explain(self, session: Session, reason: str, advice: str = "", *, insist: bool = False) -> None:
        """Says why a client was refused, for the operator who wonders. ``insist``: even one who does not."""
        if insist or _log.isEnabledFor(logging.INFO):
            request = session.request
            wanted = f" {request.address}" if request is not None else ""
            client = ListenAddress(*session.peer[:2])
            level = logging.WARNING if insist else logging.INFO
            _log.log(level, "%s%s: %s%s", client, wanted, printable(reason), f"; {advice}" if advice else "")

    def admit(self, session: Session) -> None:
        """Its handshake is over, and its request here: judges who it is, and counts it among its user's. Raises
        PolicyDenied."""
        self.entrance.greeted(session)
        if self.watches:
            self.meter.greeted(session)
        if self.has_accounts or session.started <= self.reviews.since:
            self.reviews.identify(session)
        if session.user is not None and self.entrance.caps.sessions_per_user:
            self.entrance.identified(session, session.user)
        if self.settings.budgets:
            self.treasurer.admit(session)

    def answered(self, session: Session) -> None:
        """Its command has succeeded; what follows is its relay."""
        self.meter.answered(session)
        if session.purses and self.treasurer.paces:
            self.treasurer.hold(session)

    def draw(self, session: Session) -> None:
        """Opens the budgets that the session's rule gives it. Raises PolicyDenied."""
        verdict = session.verdict
        if verdict is not None and verdict.budgets:
            self.treasurer.draw(session, verdict.budgets, verdict.owner)

    def ended(self, session: Session) -> None:
        """The last thing that a session does."""
        self.sessions_served += 1
        relay = session.relay
        octets = up, down = _NO_OCTETS if relay is None else (relay.up.payload, relay.down.payload)
        self.octets_relayed += up + down
        if self._on_totals is not None:  # who sees that nobody is here any more sees all of them
            self._on_totals(self.sessions_served, self.octets_relayed)
        greeted = self.entrance.left(session)
        if self._all_ended is not None and len(self.engine.tasks) <= 1:
            self._all_ended.set()
        if self.watches:  # as it does where there are budgets
            moved = self.meter.ended(session, octets, greeted=greeted)
            if session.purses:
                self.treasurer.leave(session, moved)
        if self._on_session_end is not None:
            self._on_session_end(session.record(octets))

    # --- private ---

    def _beat(self, seconds: float, lag: float) -> None:
        self.meter.lagged(lag)
        self.meter.look(self.living(), seconds)
        self.treasurer.beat(self.living())

    def _watch(self) -> None:
        """From when there is something to be looked at twice a second."""
        self.watches = self.watches or bool(self.settings.budgets)
        if self.watches and self._pulse is None:
            self._pulse = Pulse(self.engine.loop, self._beat)

    def _straight(self, engine: Engine, resolver: Resolver) -> Egress:
        return DirectEgress(engine, resolver, advertise=self.advertised.of, ports=self.settings.port_range)

    def _adopt(self, terms: Terms) -> None:
        """Takes over what settings come to."""
        self._terms = terms
        self.settings = terms.settings
        self.users = terms.users
        self.methods = terms.methods
        self.unguessable = terms.unguessable
        # Connections that wait for their greeting have this very table: they are to know what is chosen for them then.
        self.framings.clear()
        self.framings.update(terms.framings)
        self.advertised = terms.advertised
        self.admits_socks4 = terms.admits_socks4
        self.questions_socks4 = terms.questions_socks4
        self.rulebook = terms.rulebook
        self.accounts = terms.accounts
        self.has_accounts = bool(terms.accounts)

    def _listening(self, sockets: Sequence[socket.socket], settings: ServerSettings) -> dict[Listener, ListenAddress]:
        """Accepts on all of them, or on none. Raises OSError."""
        made: dict[Listener, ListenAddress] = {}
        try:
            for sock in sockets:
                address = configured_address(sock, settings.listen_addresses)
                accepted = partial(self.entrance.accepted, str(address))
                made[Listener(self.engine, sock, accepted, self.entrance.exhausted)] = address
        except OSError:
            for listener in made:
                listener.close()
            raise
        return made

    def _enforce(self) -> None:
        """Makes what follows from the terms once it is known where we listen."""
        self.entrance.open()
        self.egress = self._make_egress(self.engine, self._resolver)
        self.policy = protection_of(self.settings, self.addresses)
        self.datagram_policy = protection_of(self.settings, self.addresses, datagrams=True)
        self.passages = Passages(self)
        self.reviews.arm()

    def _stop_listening(self) -> None:
        while self._listeners:
            self._listeners.popitem()[0].close()


def _warn(line: str) -> None:
    _log.warning("%s", line)
