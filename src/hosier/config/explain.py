"""What a server with some settings would say to a request, and why, step by step; it asks what the server would ask."""

import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from ..auth.passwords import PasswordMethod
from ..errors import ConfigError, PolicyDenied
from ..policy.conditions import host_of
from ..policy.facts import Facts
from ..policy.name_patterns import plain_name
from ..policy.networks import embedded_ipv4
from ..policy.rules import Verdict
from ..policy.targets import Ruling
from ..policy.time_windows import moment
from ..protocol.address import IPV4, IPV6, Address, address_of_socket, parse_address
from ..server.ruling import minute_of_week, no_way_out, refusal, words
from ..server.settings import ServerSettings
from ..server.terms import Terms, protection_of

__all__ = ("Explanation", "Question")


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A request that could come."""

    client: IPv4Address | IPv6Address
    target: Address
    """A name or an address, with the port; with BIND, the peer."""

    user: str | None = None
    command: str = "connect"
    version: int = 5
    method: str | None = None
    """None: the one that such a client would come with."""

    listener: str | None = None
    """As the settings write it; None: the first one."""

    minute: int | None = None
    """Of the week; None: now."""

    addresses: Sequence[IPv4Address | IPv6Address] = ()
    """What a name stands for; empty: it is looked up."""


class Explanation:
    """Of the answer to a question; raises ConfigError for one that makes no sense here.

    ``steps()`` tells them, a line each; ``granted`` is known when they have ended.
    """

    def __init__(self, settings: ServerSettings, question: Question) -> None:
        self.granted = False
        self._settings = settings
        self._question = question
        self._terms = Terms(settings)
        datagrams = question.command == "associate"
        self._policy = protection_of(settings, settings.listen_addresses, datagrams=datagrams)
        self._target = question.target.canonical()
        self._facts = self._all_facts()

    def steps(self) -> Iterator[str]:
        facts = self._facts
        groups = f" (groups: {', '.join(sorted(facts.groups))})" if facts.groups else ""
        who = f"{facts.user or 'nobody'}{groups} from {host_of(facts.client)}"
        yield (
            f"request: {facts.command} {self._target}, by {who} "
            f"at {facts.listener}; SOCKS{facts.version}, method {facts.method}; {moment(facts.minute)}"
        )
        try:
            yield from self._who()
            self._served()
            yield from self._before_the_address()
            yield from self._each_address()
        except PolicyDenied as denied:
            reply = f"reply {int(denied.code)}" if facts.version == 5 else "reply 91"
            yield f"refused: {denied.reason} ({reply}){f'; {denied.advice}' if denied.advice else ''}"

    # --- the question ---

    def _all_facts(self) -> Facts:
        question, settings, rulebook = self._question, self._settings, self._terms.rulebook
        known = [str(address) for address in settings.listen_addresses]
        listener = question.listener or known[0]
        if listener not in known:
            raise ConfigError(f"--listener {listener!r}: the file listens on {', '.join(known)}")
        return Facts(
            listener=listener,
            client=Address(IPV4 if question.client.version == 4 else IPV6, question.client.packed, 0)
            .canonical()
            .octets,
            user=question.user,
            groups=frozenset() if rulebook is None else rulebook.groups_of(question.user),
            version=question.version,
            method=question.method or self._likely_method(),
            command=question.command,
            name=plain_name(self._target.octets) if self._target.is_name else None,
            port=None if question.command == "bind" else self._target.port,
            minute=minute_of_week() if question.minute is None else question.minute,
        )

    def _likely_method(self) -> str:
        if self._question.user is None:
            return "none"
        settings = self._settings
        four = ("ident",) if settings.ident else ("userid",) if settings.socks4_userid else ()
        proving = four if self._question.version == 4 else settings.effective_methods
        method = next((name for name in proving if name != "none"), None)
        if method is None:
            raise ConfigError(f"--user {self._question.user}: the file has no method by which a client could be that")
        return method

    # --- the steps ---

    def _who(self) -> Iterator[str]:
        """Raises PolicyDenied for a client that would not come as far as a request."""
        facts, terms = self._facts, self._terms
        if facts.version == 4 and not terms.admits_socks4:
            raise PolicyDenied("SOCKS4 cannot authenticate, and authentication is required")
        if facts.version == 5 and facts.method not in self._settings.effective_methods:
            offered = ", ".join(self._settings.effective_methods)
            raise PolicyDenied(f"the method {facts.method!r} is not offered; there are: {offered}")
        if facts.user is None:
            return
        is_listed = facts.version == 4 or facts.method == PasswordMethod.name
        if is_listed and terms.users is not None and not terms.users.has(facts.user):
            raise PolicyDenied(f"there is no user {facts.user!r}")
        if denied := terms.accounts.judge(facts.user, facts.client, time.time()):
            raise denied
        if facts.user in self._settings.accounts:
            yield f"account {facts.user}: not expired, and may come from there"

    def _served(self) -> None:
        enabled = {"bind": self._settings.bind.enabled, "associate": self._settings.udp.enabled}
        if not enabled.get(self._facts.command, True):
            raise PolicyDenied(f"{self._facts.command} is switched off")

    def _before_the_address(self) -> Iterator[str]:
        """What can be said of a name alone."""
        rulebook = self._terms.rulebook
        if rulebook is None or not self._target.is_name:
            return
        if self._facts.name is None and rulebook.has_names:
            raise PolicyDenied("a name with a backslash could be any name")
        verdict = rulebook.foresee(self._facts)
        if not verdict.allowed:
            yield from self._asked(self._facts, "")
            raise refusal(verdict)
        yield f"{self._target.host} may be looked up: {words(verdict)}, as far as that can be said of the name"

    def _each_address(self) -> Iterator[str]:
        denied: PolicyDenied | None = None
        for address in self._addresses():
            try:
                yield from self._address(address)
                self.granted = True
            except PolicyDenied as error:
                yield f"{address.host}: not allowed: {error.reason}"
                denied = denied or error
        if not self.granted and denied is not None:
            raise denied
        yield "granted"

    def _addresses(self) -> Sequence[Address]:
        target = self._target
        if not target.is_name:
            return (target,)
        if self._question.addresses:
            return [parse_address(str(address), target.port).canonical() for address in self._question.addresses]
        try:
            found = socket.getaddrinfo(target.octets, target.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ConfigError(f"{target.host} cannot be looked up ({error.strerror}): say --address ADDRESS") from None
        return list(dict.fromkeys(address_of_socket(sockaddr).canonical() for *_, sockaddr in found))

    def _address(self, address: Address) -> Iterator[str]:
        """The steps for one address. Raises PolicyDenied."""
        judge = self._policy.judge_peer if self._facts.command == "bind" else self._policy.judge
        if never := judge(address, lambda _: True):
            raise never
        yield f"{address.host}: closed by nothing that goes before the rules"
        rulebook = self._terms.rulebook
        if rulebook is None:
            if denied := judge(address):
                raise denied
            yield f"{address.host}: allowed: there are no rules, and it is not protected"
            return
        verdicts = []
        for octets in _faces(address):
            facts = replace(self._facts, address=octets)
            yield from self._asked(facts, f"{host_of(octets)}: ")
            verdicts.append(rulebook.decide(facts))
        if denied := judge(address, _answers(verdicts)):
            raise denied
        if verdicts[-1].egress and address.kind not in verdicts[-1].egress:
            raise no_way_out(verdicts[-1], address)
        yield f"{address.host}: allowed: {words(verdicts[-1])}{_with(verdicts[-1], address)}"

    def _asked(self, facts: Facts, whose: str) -> Iterator[str]:
        """Each rule that is asked, up to the one that decides."""
        assert self._terms.rulebook is not None  # who calls this has seen one
        for step in self._terms.rulebook.steps(facts):
            why = f"holds ({step.why or 'it has no conditions'})" if step.holds else f"passed over, {step.why}"
            yield f"{whose}{step.label}: {why}"


def _faces(address: Address) -> Sequence[bytes]:
    """All that has to be allowed of an address: an IPv6 one may carry an IPv4 one."""
    inner = embedded_ipv4(address.octets) if address.kind == IPV6 else None
    return (address.octets,) if inner is None else (inner, address.octets)


def _answers(verdicts: Sequence[Verdict]) -> Ruling:
    """The verdicts, one for each face, as the protection asks for them."""
    left = iter(verdicts)

    def answer(octets: bytes) -> PolicyDenied | bool:
        verdict = next(left)
        return verdict.opened.find(octets) is not None if verdict.allowed else refusal(verdict)

    return answer


def _with(verdict: Verdict, address: Address) -> str:
    """What else the rule says."""
    source = verdict.egress.get(address.kind)
    parts = [
        f"leaves from {source.host}" if source else "",
        f"draws on {', '.join(verdict.budgets)}" if verdict.budgets else "",
        f"log level {verdict.log_level}" if verdict.log_level != "normal" else "",
    ]
    told = ", ".join(part for part in parts if part)
    return f"; {told}" if told else ""
