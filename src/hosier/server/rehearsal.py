"""A request as it would be judged, without anybody who makes it: a server that never starts and a session that never
runs, judged by the code that judges those that do."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from os.path import exists
from types import SimpleNamespace
from typing import Any

from ..auth.passwords import PasswordMethod
from ..engine.resolve import Resolver
from ..errors import ConfigError, PolicyDenied, ReplyCode
from ..policy.facts import Facts
from ..policy.purses import LocalVault
from ..policy.rulebook import Rulebook
from ..policy.rules import Verdict
from ..protocol.address import Address
from ..protocol.messages import NO_AUTHENTICATION, Command, Request
from .commands.associate import judge_association
from .commands.bind import expected_peer, speakable
from .ledger import Ledger
from .passages import Passages
from .ruling import DatagramRuling, Judge
from .server import Server
from .session import Session
from .settings import ServerSettings
from .terms import protection_of, rulebook_of
from .treasurer import Treasurer

__all__ = ("NoAnswer", "Rehearsal", "Supposed")


Heard = Callable[[Facts, Verdict | None], None]
"""Told the facts of each decision of the rules, and what could be foreseen; None: it is about to be made."""


class NoAnswer(PolicyDenied):
    """Refused before there is a request that could be answered. ``told``: what the client gets instead of a reply."""

    def __init__(self, reason: str, told: str) -> None:
        super().__init__(reason)
        self.told = told


class _AudibleRulebook(Rulebook):
    """One whose decisions are heard, at a minute of choice."""

    minute: int
    heard: Heard

    def decide(self, facts: Facts) -> Verdict:
        facts.minute = self.minute
        self.heard(facts, None)
        return super().decide(facts)

    def foresee(self, facts: Facts) -> Verdict:
        return self._foreseen(facts, super().foresee)

    def foresee_any(self, facts: Facts) -> Verdict:
        return self._foreseen(facts, super().foresee_any)

    def _foreseen(self, facts: Facts, foresee: Callable[[Facts], Verdict]) -> Verdict:
        facts.minute = self.minute
        verdict = foresee(facts)
        self.heard(facts, verdict)
        return verdict


class Rehearsal(Server):
    """The server of settings, as it would be if it had been started just now.

    Args:
        heard: listens to the rules.
        minute: of the week, at which it is.
    """

    def __init__(self, settings: ServerSettings, heard: Heard, minute: int) -> None:
        super().__init__(settings)
        rulebook = rulebook_of(settings, _AudibleRulebook)
        if rulebook is not None:
            rulebook.heard, rulebook.minute = heard, minute
        self.rulebook = rulebook
        self.policy = protection_of(settings, settings.listen_addresses)
        self.datagram_policy = protection_of(settings, settings.listen_addresses, datagrams=True)
        self.passages = Passages(self)
        self.usage_trouble = ""
        """Why nothing is known of the octets that were used, if that is so."""
        ledger = self._ledger()
        self.treasurer = Treasurer(
            settings.budgets, LocalVault(), ledger, on_demand=settings.budgets_on_demand, groups=settings.groups
        )
        if ledger is not None:
            ledger.close()  # it has been read

    def explain(self, session: Session, reason: str, advice: str = "", *, insist: bool = False) -> None:
        """Nobody is refused."""

    def _ledger(self) -> Ledger | None:
        settings = self.settings
        if settings.usage_file is None or not settings.budgets or not exists(settings.usage_file):
            return None  # nothing was used
        try:
            return Ledger(str(settings.usage_file), new=False)
        except ConfigError as error:
            self.usage_trouble = str(error)
            return None


class Supposed(Session):
    """A session that has come as far as its request. ``method``: as rules call it."""

    __slots__ = ("is_associated",)

    def __init__(
        self, server: Rehearsal, *, client: str, listener: str, user: str | None, method: str, request: Request
    ) -> None:
        # What follows is all that judging asks for; a socket, a task and an engine there are not.
        now: Any = SimpleNamespace(now=time.monotonic())
        self.engine = now
        self.server = server
        self.peer = client, 0
        self.listener = listener
        self.user = user
        self.method = None if request.version == 4 else _code_of(server, method)
        self.request = request
        self.purses = ()
        self.relay = None
        self.verdict = None
        self.dialled = None
        self.started = time.monotonic()
        self.is_associated = False
        """Whether it has got an association: what is refused from then on is a datagram."""

    def identify(self, method: str) -> None:
        """Whether such a client comes as far as a request, and may be who it is. Raises PolicyDenied."""
        assert self.request is not None  # it was made with one
        if self.request.version == 4:
            self._identify4()
        elif self.method is None:
            offered = ", ".join(self.server.settings.effective_methods)
            raise NoAnswer(f"the method {method!r} is not offered; there are: {offered}", "no acceptable method, X'FF'")
        elif method == PasswordMethod.name and not self._is_known():
            raise NoAnswer(f"there is no user {self.user!r}", "the login fails")
        self.server.reviews.identify(self)
        self.server.treasurer.admit(self)

    def places(self, addresses: Sequence[Address], *, passes_on: bool) -> Iterator[tuple[Address, PolicyDenied | None]]:
        """What its command would be told of each place that the target may be, in their order: why it must not be
        reached, or must not connect; None: it may. An unspecified one stands for whoever comes.

        ``addresses``: of a name; empty: they are looked up, ``passes_on``: unless others look names up. Raises
        PolicyDenied where all is said before there is a place, ConfigError for a name that has none.
        """
        assert self.request is not None  # it was made with one
        command, target = self.request.command, self.request.address.canonical()
        judge = self._judge(target)
        if target.is_name and not passes_on:
            found: Iterable[Address] = addresses or _look_up(target)
        else:
            found = (target,)
        if command == Command.BIND:
            found = speakable(self.request.version, tuple(found))
        for place in found:
            try:
                self._reach(judge, place)
            except PolicyDenied as denied:
                yield place, denied
            else:
                yield place, None

    # --- private ---

    def _identify4(self) -> None:
        """As ``ident.identify``, with a daemon that confirms what is asked."""
        server = self.server
        if not server.questions_socks4:
            return
        if not server.admits_socks4:
            raise PolicyDenied("SOCKS4 cannot authenticate, and authentication is required", advice="use SOCKS5")
        if server.settings.ident and self.user is None:
            raise PolicyDenied(
                "no identity from the client's ident daemon: say --user NAME for one that it gives",
                code=ReplyCode.SOCKS4_IDENT_UNREACHABLE,
            )
        if not self._is_known():
            raise PolicyDenied("the SOCKS4 user id is no user's")

    def _is_known(self) -> bool:
        return self.server.users is None or self.server.users.has(self.user or "")

    def _judge(self, target: Address) -> Judge:
        """Who says where it may go, once its command has begun. Raises PolicyDenied."""
        assert self.request is not None  # it was made with one
        if self.request.command == Command.UDP_ASSOCIATE:
            if self.request.version == 4:
                raise PolicyDenied("SOCKS4 has no UDP ASSOCIATE", advice="use SOCKS5")
            first = judge_association(self)
            self.verdict = first.verdict_of(None)
            self.server.draw(self)
            self.is_associated = True
            return DatagramRuling(self, target)
        if self.request.command == Command.BIND:
            target = expected_peer(self, self.request)
        return self.server.judging(self, target)

    def _reach(self, judge: Judge, place: Address) -> None:
        """Raises PolicyDenied."""
        assert self.request is not None  # it was made with one
        if self.request.command != Command.BIND:
            judge.vet((place,))
        elif any(place.octets):
            judge.vet_peers((place,))
        self.verdict = judge.verdict_of(place)
        if self.request.command != Command.UDP_ASSOCIATE:
            self.server.draw(self)


def _code_of(server: Server, name: str) -> int | None:
    """None: the method is not offered."""
    if name == "none":
        return NO_AUTHENTICATION if NO_AUTHENTICATION in server.methods else None
    return next((code for code, method in server.methods.items() if method is not None and method.name == name), None)


def _look_up(target: Address) -> Sequence[Address]:
    async def found() -> tuple[Address, ...]:
        resolver = Resolver(asyncio.get_running_loop())
        try:
            return await resolver.resolve(target.octets, target.port)
        finally:
            resolver.close()

    try:
        return tuple(dict.fromkeys(address.canonical() for address in asyncio.run(found())))
    except OSError as error:
        raise ConfigError(f"{target.host} cannot be looked up ({error.strerror}): say --address ADDRESS") from None
