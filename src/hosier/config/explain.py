"""What a server with some settings would say to a request, and why, step by step: in words, as the rehearsal of the
request by the server's own code comes to it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from ..errors import ConfigError, PolicyDenied, ReplyCode
from ..policy.conditions import host_of
from ..policy.facts import Facts
from ..policy.rules import Verdict
from ..policy.time_windows import moment
from ..protocol.address import IPV6, NAME, Address, parse_address
from ..protocol.messages import Command, Request
from ..server.rehearsal import NoAnswer, Rehearsal, Supposed
from ..server.ruling import facts_of, minute_of_week, words
from ..server.settings import ServerSettings
from .settings import ServeSettings

__all__ = ("Explanation", "Question")

_COMMANDS: Final = {"connect": Command.CONNECT, "bind": Command.BIND, "associate": Command.UDP_ASSOCIATE}
_OF_SOCKS4: Final = (ReplyCode.SOCKS4_IDENT_UNREACHABLE, ReplyCode.SOCKS4_IDENT_MISMATCH)


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
    """As the settings write it; None: the first one of the client's family."""

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
        self._heard: list[str] = []
        self._target = question.target.canonical()
        self._minute = minute_of_week() if question.minute is None else question.minute
        self._server = Rehearsal(settings, self._hear, self._minute)
        if question.version == 4 and self._target.kind == IPV6:
            raise ConfigError(f"SOCKS4 has no IPv6 addresses, and cannot ask for {self._target}: say --version 5")
        self._method = question.method or self._likely_method()
        self._session = Supposed(
            self._server,
            client=str(question.client),
            listener=self._listener(),
            user=question.user,
            method=self._method,
            request=Request(question.version, _COMMANDS[question.command], question.target),
        )

    def steps(self) -> Iterator[str]:
        yield self._asked_for()
        if trouble := self._server.usage_trouble:
            yield f"how much of the budgets is used is not known: {trouble}"
        try:
            yield from self._who()
            yield from self._where()
        except PolicyDenied as denied:
            yield from self._told()
            yield f"refused: {denied.reason} ({self._answer(denied)}){f'; {denied.advice}' if denied.advice else ''}"

    # --- the question ---

    def _listener(self) -> str:
        question = self._question
        known = self._settings.listen_addresses
        if question.listener is None:
            client = parse_address(str(question.client), 0).canonical()
            of_family = [address for address in known if (":" in address.host) == (client.kind == IPV6)]
            return str((of_family or known)[0])
        if question.listener not in map(str, known):
            raise ConfigError(f"--listener {question.listener!r}: the file listens on {', '.join(map(str, known))}")
        return question.listener

    def _likely_method(self) -> str:
        if self._question.user is None:
            return "none"
        settings = self._settings
        if self._question.version == 4:
            proving: Sequence[str] = ("ident",) if settings.ident else ("userid",) if settings.socks4_userid else ()
            if not self._server.questions_socks4:
                proving = ()  # nobody asks such a client who it is
        else:
            proving = settings.effective_methods
        method = next((name for name in proving if name != "none"), None)
        if method is None:
            raise ConfigError(f"--user {self._question.user}: the file has no method by which a client could be that")
        return method

    def _asked_for(self) -> str:
        facts = facts_of(self._session, self._target)
        groups = f" (groups: {', '.join(sorted(facts.groups))})" if facts.groups else ""
        return (
            f"request: {facts.command} {self._target}, by {facts.user or 'nobody'}{groups} from "
            f"{host_of(facts.client)} at {facts.listener}; SOCKS{facts.version}, method {self._method}; "
            f"{moment(self._minute)}"
        )

    # --- the steps ---

    def _who(self) -> Iterator[str]:
        """Raises PolicyDenied for a client that would not come as far as a command."""
        self._session.identify(self._method)
        if self._question.user in self._settings.accounts:
            yield f"account {self._question.user}: not expired, and may come from there"

    def _where(self) -> Iterator[str]:
        """Raises PolicyDenied if there is no place that the request could lead to."""
        question, settings = self._question, self._settings
        chain = settings.chain if isinstance(settings, ServeSettings) else ()
        addresses = [parse_address(str(address), self._target.port).canonical() for address in question.addresses]
        first: PolicyDenied | None = None
        for place, denied in self._session.places(addresses, passes_on=bool(chain) and chain[-1].remote_dns):
            yield from self._told()
            if denied is None:
                self.granted = True
                yield f"{place.host}: {self._allowed(place)}"
            else:
                yield f"{place.host}: not allowed: {denied.reason}"
                first = first or denied
        if not self.granted and first is not None:
            raise first
        yield "granted"

    def _told(self) -> Iterator[str]:
        """What was heard since the last time."""
        yield from self._heard
        self._heard.clear()

    def _hear(self, facts: Facts, foreseen: Verdict | None) -> None:
        """Each rule that is asked, up to the one that decides."""
        if foreseen is not None and foreseen.allowed:
            known = "name" if facts.name is not None else "command"
            self._heard.append(f"{self._target.host}: {words(foreseen)}, as far as that can be said of the {known}")
            return
        rulebook = self._server.rulebook
        assert rulebook is not None  # it is what is heard
        whose = "" if facts.address is None else f"{host_of(facts.address)}: "
        for step in rulebook.steps(facts):
            why = f"holds ({step.why or 'it has no conditions'})" if step.holds else f"passed over, {step.why}"
            self._heard.append(f"{whose}{step.label}: {why}")

    def _allowed(self, place: Address) -> str:
        """Why a place may be reached, in words."""
        verdict = self._session.verdict
        if self._question.command == "bind" and not any(place.octets):
            why = "it may wait for anyone; who comes is judged then"
        elif place.kind == NAME:
            why = "passed on as it is: the last upstream looks it up"
        else:
            why = "allowed"
        if verdict is None:
            return f"{why}: there are no rules, and it is not protected"
        return f"{why}: {words(verdict)}{_with(verdict, place)}"

    def _answer(self, denied: PolicyDenied) -> str:
        """What the client gets."""
        if isinstance(denied, NoAnswer):
            return denied.told
        if self._session.is_associated:
            return "the datagram is dropped"
        if self._question.version == 5:
            return f"reply {int(denied.code)}"
        return f"reply {int(denied.code if denied.code in _OF_SOCKS4 else ReplyCode.SOCKS4_REJECTED)}"


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
