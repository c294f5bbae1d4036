"""A rule as an operator writes it: conditions, all of which must hold, and what then happens.

The docstrings here are the documentation of the keys. What the rules come to is decided in ``rulebook``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, Literal, NamedTuple

from ..errors import ConfigError, ReplyCode
from ..protocol.address import IPV4, IPV6, Address
from ..typed import check_types
from .name_patterns import NamePattern, parse_pattern
from .networks import Networks
from .targets import PROTECTED
from .time_windows import TimeWindow, parse_times

__all__ = ("CONDITIONS", "REPLIES", "LogLevel", "PortSpan", "Rule", "Verdict", "is_protected")

Network = IPv4Network | IPv6Network

LogLevel = Literal["silent", "normal", "verbose"]
Reply = Literal[
    "general-failure",
    "not-allowed",
    "network-unreachable",
    "host-unreachable",
    "connection-refused",
    "ttl-expired",
    "command-not-supported",
    "address-type-not-supported",
]

REPLIES: Final[Mapping[str, ReplyCode]] = {
    code.name.lower().replace("_", "-"): code
    for code in ReplyCode
    if ReplyCode.SUCCEEDED < code <= ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED
}
"""The replies that a rule may choose (RFC 1928 §6)."""


CONDITIONS: Final = (
    "listeners",
    "clients",
    "users",
    "groups",
    "versions",
    "methods",
    "commands",
    "names",
    "networks",
    "ports",
    "times",
)
"""The keys of a rule that say when it holds."""


class PortSpan(NamedTuple):
    """Ports from the first to the last."""

    first: int
    last: int


class Verdict(NamedTuple):
    """What the rules say to a request, for all who act on it."""

    allowed: bool
    rule: str
    """Which rule decided, for people; empty: none did."""

    reply: ReplyCode = ReplyCode.NOT_ALLOWED
    """What the client is told if it is not allowed."""

    egress: Mapping[int, Address] = {}  # nobody changes it
    """Our addresses to leave from, by the kind of address (``AddressType``); empty: whichever the system takes."""

    budgets: tuple[str, ...] = ()
    """Names of the budgets that the session draws on."""

    log_level: LogLevel = "normal"

    opened: Networks = Networks()  # nobody changes it
    """Protected networks that the rule opens."""

    owner: str = ""
    """Whose the budgets are that are per rule: the rule of a name, wherever it stands; without a name, of a place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """The first rule whose conditions all hold decides. A condition that is left out always holds; an empty one never
    could, and is refused."""

    action: Literal["allow", "deny"]
    """What happens where the rule's conditions hold."""

    name: str = ""
    """What logs and explanations call the rule."""

    listeners: Sequence[str] | None = None
    """Where the client came in: addresses as in ``listen``, and no others."""

    clients: Sequence[Network] | None = None
    """Networks that the client comes from."""

    users: Sequence[str] | None = None
    """Who the client is, whatever the method that proved it."""

    groups: Sequence[str] | None = None
    """Groups of users, defined in ``groups``, one of which the client's user belongs to."""

    versions: Sequence[Literal[4, 5]] | None = None
    """Of the protocol; SOCKS4a is 4."""

    methods: Sequence[str] | None = None
    """How the client has authenticated: "none", "password", "gssapi", or what a package brings; with SOCKS4 "ident",
    or "userid" for a name that nothing proves."""

    commands: Sequence[Literal["connect", "bind", "associate"]] | None = None
    """What it asks for; "associate" is UDP, and holds for each datagram."""

    names: Sequence[str] | None = None
    """Names of targets, as clients ask for them: "www.example.com", ".example.com" with all below it, or with stars
    for any characters, as "*.example.com". An address has no name."""

    networks: Sequence[Network] | None = None
    """Networks of targets, after names are looked up; with BIND, of the peer. A rule that allows a protected network,
    or a part of one, and names it here opens it."""

    ports: Sequence[int | str] | None = None
    """Ports of targets: 443, or "8000-8999". The peer of a BIND has none."""

    times: Sequence[str] | None = None
    """When: "mon-fri 08:00-18:00", "sat,sun", "22:00-06:00", by the machine's clock."""

    reply: Reply | None = None
    """With "deny": what the client is told; "not-allowed" where nothing is said."""

    egress: Sequence[IPv4Address | IPv6Address] = ()
    """With "allow": the address of this machine to leave from, at most one of each family. A target of a family
    without one is not reached."""

    budgets: Sequence[str] = ()
    """With "allow": names of the budgets that the session draws on."""

    log_level: LogLevel = "normal"
    """"silent": no line in the access log; "verbose": what the rule decides is explained, too."""

    patterns: tuple[NamePattern, ...] = field(init=False, repr=False, compare=False)
    spans: tuple[PortSpan, ...] = field(init=False, repr=False, compare=False)
    windows: tuple[TimeWindow, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_types(self)
        self._refuse_what_says_nothing()
        made = {
            "patterns": tuple(parse_pattern(text) for text in self.names or ()),
            "spans": tuple(_span(given) for given in self.ports or ()),
            "windows": tuple(window for text in self.times or () for window in parse_times(text)),
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)

    @property
    def egress_by_kind(self) -> dict[int, Address]:
        """Kind of address to the address of this machine to leave from."""
        kinds = {4: IPV4, 6: IPV6}
        return {kinds[one.version]: Address(kinds[one.version], one.packed, 0) for one in self.egress}

    def verdict(self, label: str) -> Verdict:
        """What it says where it decides; ``label`` names it."""
        return Verdict(
            self.action == "allow",
            label,
            REPLIES[self.reply or "not-allowed"],
            self.egress_by_kind,
            tuple(self.budgets),
            self.log_level,
            Networks(network for network in self.networks or () if is_protected(network)),
            f"rule {self.name!r}" if self.name else label,
        )

    def _refuse_what_says_nothing(self) -> None:
        """A key that could not mean anything where it stands would be a mistake that nobody notices."""
        for wrong in _contradictions(self):
            raise ConfigError(wrong)


def _contradictions(rule: Rule) -> Iterator[str]:
    if rule.action == "allow" and rule.reply is not None:
        yield "a reply goes with the action deny: what is allowed is answered by what comes of it"
    if rule.action == "deny" and (rule.egress or rule.budgets):
        yield "egress and budgets go with the action allow: what is denied goes nowhere"
    if any(one.is_unspecified for one in rule.egress):
        yield "egress: an unspecified address is none to leave from: leave egress out for any of this machine's"
    for key in CONDITIONS:
        given = getattr(rule, key)
        if given is not None and not given:
            yield f"{key} is empty, so that the rule could never hold: leave the key out if it is about all {key}"
    if rule.ports and rule.commands and "bind" in rule.commands:
        yield "the peer of a BIND has no port that could be judged: leave out either ports or the command bind"
    if len(rule.egress) > len({one.version for one in rule.egress}):
        yield "two addresses of one family to leave from: one can be"


def is_protected(network: Network) -> bool:
    """Whether it lies in a protected network: what is wider, as 0.0.0.0/0, names none."""
    return any(network.version == wider.version and network.subnet_of(wider) for wider, _ in PROTECTED)  # type: ignore[arg-type]


def _span(given: int | str) -> PortSpan:
    """Raises ConfigError."""
    first, dash, last = str(given).partition("-")
    if all(part.isascii() and part.isdigit() and len(part) < 6 for part in (first, last if dash else first)):
        span = PortSpan(int(first), int(last or first))
        if 1 <= span.first <= span.last <= 0xFFFF:
            return span
    raise ConfigError(f'{given!r} are no ports: write 443 or "8000-8999", from 1 to 65535')
