"""What the server's rules say to one session, target by target.

A target is judged with what is known of the session, and always by the rules that are in force then: a session may
outlive those that it began with.
"""

from collections.abc import Callable, Mapping, Sequence
from socket import AF_INET, inet_pton
from time import localtime, time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..engine.dial import Departures
from ..errors import PolicyDenied, ReplyCode
from ..policy.facts import Facts
from ..policy.name_patterns import plain_name
from ..policy.rules import Verdict
from ..policy.targets import TargetPolicy
from ..protocol.address import NAME, Address, address_of_socket, parse_address
from ..protocol.messages import Command

if TYPE_CHECKING:
    from .session import Session

__all__ = (
    "DeniedByRule",
    *("COMMAND_NAMES", "DatagramRuling", "Judge", "Ruling", "may_lead_to", "minute_of_week", "no_way_out"),
    *("octets_of", "refusal", "words"),
)

COMMAND_NAMES: Final[Mapping[int, str]] = MappingProxyType(
    {Command.CONNECT: "connect", Command.BIND: "bind", Command.UDP_ASSOCIATE: "associate"}
)


_NO_GROUPS: Final[frozenset[str]] = frozenset()


class Judge(Protocol):
    """Who says which addresses may be reached: the protection that is always there, alone or with rules."""

    @property
    def sources(self) -> Departures | None:
        """Where to leave from towards the addresses that passed; None: it does not matter."""

    def vet(self, addresses: Sequence[Address]) -> Sequence[Address]:
        """Those of the addresses that may be dialled, in their order. Raises PolicyDenied if there are none."""

    def vet_peers(self, addresses: Sequence[Address]) -> Sequence[Address]:
        """Those of the addresses that may connect to a client who waits for them. Raises PolicyDenied if none."""

    def verdict_of(self, address: Address | None) -> Verdict | None:
        """What let this address pass; None: no rule did."""


class Ruling:
    """The Judge of one target of a session, where there are rules.

    ``target``: what is asked for, without disguise; None where each datagram will have its own. What can be said
    before its address is known is said at once: raises PolicyDenied.
    """

    __slots__ = ("_facts", "_foreseen", "_last", "_server", "_session", "_verdicts")

    def __init__(self, session: "Session", target: Address | None) -> None:
        self._session = session
        self._server = session.server
        self._verdicts: dict[Address, Verdict] = {}
        self._facts = facts_of(session, target)
        self._last: Verdict
        self._foreseen: Verdict | None = None
        if target is None or target[0] == NAME or not any(target[1]):
            self._foresee(target)

    def _foresee(self, target: Address | None) -> None:
        """What can be said before there is an address. Raises PolicyDenied."""
        rulebook = self._server.rulebook
        if rulebook is None:
            return
        if target is not None and target.is_name and self._facts.name is None and rulebook.has_names:
            raise PolicyDenied("a name with a backslash could be any name", code=ReplyCode.NOT_ALLOWED)
        if rulebook.has_times:
            self._facts.minute = minute_of_week()
        foresee = rulebook.foresee_any if target is None else rulebook.foresee
        verdict = foresee(self._facts)
        if not verdict.allowed:
            raise refusal(verdict)
        if target is not None or rulebook.is_settled(self._facts):
            self._foreseen = verdict

    @property
    def verdict(self) -> Verdict | None:
        """The last one that allowed something, or what is foreseen; None: nothing is yet."""
        return next(reversed(self._verdicts.values()), self._foreseen)

    def verdict_of(self, address: Address | None) -> Verdict | None:
        """The one that let this address pass; None: what was passed on."""
        found = None if address is None else self._verdicts.get(address)
        return self.verdict if found is None else found

    def sources(self, address: Address) -> Address | None:
        verdict = self.verdict_of(address)
        return None if verdict is None else verdict.egress.get(address.kind)

    def vet(self, addresses: Sequence[Address]) -> Sequence[Address]:
        if self._server.rulebook is None:
            return self._policy.vet(addresses)
        if len(addresses) == 1:  # the rule, not the exception
            if denied := self.judge(addresses[0]):
                raise denied
            return addresses
        return _passing([(address, self.judge(address)) for address in addresses])

    def vet_peers(self, addresses: Sequence[Address]) -> Sequence[Address]:
        if self._server.rulebook is None:
            return self._policy.vet_peers(addresses)
        return _passing([(address, self.judge(address, is_peer=True)) for address in addresses])

    def judge(self, address: Address, *, is_peer: bool = False) -> PolicyDenied | None:
        """Why the address must not be reached, or must not connect; None: it may."""
        if address[0] == NAME or (is_peer and not any(address[1])):
            return self._judge_passed_on(address)
        policy = self._policy
        denied = (policy.judge_peer if is_peer else policy.judge)(address, self._ask)
        if denied is not None:
            return denied
        verdict = self._last
        if verdict.egress and address.kind not in verdict.egress:
            return no_way_out(verdict, address)
        self._verdicts[address] = verdict
        return None

    # --- private ---

    @property
    def _policy(self) -> TargetPolicy:
        """What is protected whatever the rules say."""
        return self._server.policy

    def _judge_passed_on(self, name: Address) -> PolicyDenied | None:
        """A name that others look up, or a peer that they do not tell: no condition on its address can hold."""
        answer = self._ask(None)
        if isinstance(answer, PolicyDenied):
            return answer
        self._verdicts[name] = self._last
        return None

    def _ask(self, octets: bytes | None) -> PolicyDenied | bool:
        """For the protection, which asks for each face of an address: refused, or whether it is opened."""
        rulebook = self._server.rulebook
        assert rulebook is not None  # or nobody would ask
        facts = self._facts
        facts.address = octets
        if rulebook.has_times:
            facts.minute = minute_of_week()
        verdict = self._last = rulebook.decide(facts)
        if verdict.log_level == "verbose":
            self._server.explain(self._session, words(verdict), insist=True)
        if not verdict.allowed:
            return refusal(verdict)
        return octets is not None and verdict.opened.find(octets) is not None


class DatagramRuling(Ruling):
    """The Judge of one target of an association, which from then on draws on the budgets of the rule that lets it
    pass, too: which rules these are is seldom known when it begins. The first one names it in the log.

    ``explain``: told why the target is refused, which of a name is known when it has been looked up.
    """

    __slots__ = ("_explain",)

    def __init__(
        self, session: "Session", target: Address, explain: Callable[[PolicyDenied], object] = lambda denied: None
    ) -> None:
        self._explain = explain
        try:
            super().__init__(session, target)
        except PolicyDenied as denied:
            explain(denied)
            raise

    def vet(self, addresses: Sequence[Address]) -> Sequence[Address]:
        session = self._session
        try:
            passing = super().vet(addresses)
            verdict = self.verdict_of(passing[0])
            if verdict is not None and verdict.budgets:
                self._server.treasurer.draw_more(session, verdict)
        except PolicyDenied as denied:
            self._explain(denied)
            raise
        if session.verdict is None:
            session.verdict = verdict
        return passing

    def would_pass(self, address: Address) -> bool:
        """Whether it may be reached; nothing is drawn on for that."""
        try:
            super().vet((address,))
        except PolicyDenied:
            return False
        return True

    @property
    def _policy(self) -> TargetPolicy:
        return self._server.datagram_policy


def facts_of(session: "Session", target: Address | None) -> Facts:
    """What is known of a session's request; the minute is looked up when it is judged."""
    server, request = session.server, session.request
    assert request is not None  # it is what is judged
    rulebook = server.rulebook
    command = COMMAND_NAMES[request.command]
    # By position: names would cost every session as much as the decision does.
    return Facts(
        session.listener,
        octets_of(session.peer[0]),
        session.user,
        _NO_GROUPS if rulebook is None else rulebook.groups_of(session.user),
        request.version,
        method_name(session),
        command,
        plain_name(target[1]) if target is not None and target[0] == NAME else None,
        None,
        None if target is None or command == "bind" else target[2],
    )


def octets_of(host: str) -> bytes:
    """A client's address, without disguise."""
    if ":" not in host:
        return inet_pton(AF_INET, host)
    return address_of_socket((host, 0)).canonical().octets


def may_lead_to(session: "Session", target: Address, place: tuple[Any, ...]) -> bool:
    """Whether a target of datagrams that once led to a place, a sockaddr, would lead there now."""
    try:
        ruling = DatagramRuling(session, target.canonical())
    except PolicyDenied:
        return False
    return ruling.would_pass(parse_address(place[0], place[1]))


def method_name(session: "Session") -> str:
    """What has established the session's user, as rules call it."""
    server = session.server
    if session.method is None:  # SOCKS4
        return "none" if session.user is None else "ident" if server.settings.ident else "userid"
    method = server.methods.get(session.method)
    return "none" if method is None else method.name


class _Minute:
    """The present one, looked up anew when it is over."""

    __slots__ = ("since", "until", "value")

    def __init__(self) -> None:
        self.value = 0
        self.since = self.until = 0.0


_PRESENT: Final = _Minute()


def minute_of_week() -> int:
    """Now, by the machine's clock."""
    seconds, minute = time(), _PRESENT
    if not minute.since <= seconds < minute.until:
        now = localtime(seconds)
        minute.value = (now.tm_wday * 24 + now.tm_hour) * 60 + now.tm_min
        minute.since = seconds - seconds % 60
        minute.until = minute.since + 60
    return minute.value


class DeniedByRule(PolicyDenied):
    """By what a rule says, and not by what is protected whatever they say."""

    def __init__(self, verdict: Verdict, reason: str, *, advice: str = "", code: ReplyCode) -> None:
        super().__init__(reason, advice=advice, code=code)
        self.verdict = verdict


def refusal(verdict: Verdict) -> DeniedByRule:
    """A verdict that does not allow, as what ends a request."""
    advice = "" if verdict.rule else "allow it with a rule"
    return DeniedByRule(verdict, words(verdict), advice=advice, code=verdict.reply)


def no_way_out(verdict: Verdict, address: Address) -> DeniedByRule:
    """Of an address of a family for which the rule has none to leave from."""
    reason = f"{verdict.rule} has no address of its family to leave from towards {address.host}"
    return DeniedByRule(verdict, reason, code=ReplyCode.NETWORK_UNREACHABLE)


def words(verdict: Verdict) -> str:
    """The verdict in a few words."""
    if verdict.rule:
        return f"{verdict.rule} {'allows' if verdict.allowed else 'denies'} it"
    return "no rule holds for it"


def _passing(verdicts: Sequence[tuple[Address, PolicyDenied | None]]) -> Sequence[Address]:
    passing = [address for address, denied in verdicts if denied is None]
    if not passing:
        raise next(denied for _, denied in verdicts if denied is not None)
    return passing
