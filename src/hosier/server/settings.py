"""What a server can be told, as plain data with safe defaults, checked when it is made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Final, Literal, NamedTuple

from ..engine.choice import ENGINES
from ..engine.ports import PortRange, parse_ports
from ..errors import ConfigError
from ..policy.accounts import Account
from ..policy.budgets import Budget
from ..policy.limits import Caps
from ..policy.rules import Rule
from ..typed import check_types
from .advertise import Advertised, AdvertisedAddresses, parse_advertise
from .gssapi import GssapiSettings

__all__ = (
    "DEFAULT_LISTEN",
    "BindSettings",
    "Limits",
    "ListenAddress",
    "ServerSettings",
    "UdpSettings",
    "parse_listen",
)

DEFAULT_PORT: Final = 1080  # S5-REQ-01


class ListenAddress(NamedTuple):
    """Where to listen: an IPv4 or IPv6 address as text, and a port (0: any free one)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_possible(self) -> bool:
        """Whether there can be such a place."""
        try:
            ip_address(self.host)
        except ValueError:
            return False
        return 0 <= self.port <= 0xFFFF

    @property
    def is_loopback(self) -> bool:
        return ip_address(self.host).is_loopback


DEFAULT_LISTEN: Final = (ListenAddress("127.0.0.1", DEFAULT_PORT), ListenAddress("::1", DEFAULT_PORT))


def parse_listen(text: str) -> tuple[ListenAddress, ...]:
    """The addresses that a text names: ``HOST:PORT``, ``[IPV6]:PORT``, ``HOST``; ``PORT`` and ``:PORT`` mean loopback
    of both families, ``*:PORT`` every address of both.

    Raises ConfigError.
    """
    host, port = _split_port(text)
    if host in ("", "localhost"):
        return ListenAddress("127.0.0.1", port), ListenAddress("::1", port)
    if host == "*":
        return ListenAddress("0.0.0.0", port), ListenAddress("::", port)  # noqa: S104  # asked for, and guarded
    try:
        return (ListenAddress(str(ip_address(host)), port),)
    except ValueError:
        raise ConfigError(
            f"cannot listen on {text!r}: write 127.0.0.1:1080, [::1]:1080, :1080 (loopback) or '*:1080' (everywhere)"
        ) from None


def _split_port(text: str) -> tuple[str, int]:
    if text.isdigit():
        host, port = "", text
    elif text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or rest[:1] not in ("", ":"):
            raise ConfigError(f"{text!r} has brackets that do not fit: write [::1]:1080")
        port = rest.removeprefix(":")
    elif text.count(":") > 1:
        host, port = text, ""  # a bare IPv6 address
    else:
        host, _, port = text.partition(":")
    if not port:
        return host, DEFAULT_PORT
    if not (port.isascii() and port.isdigit() and int(port) <= 0xFFFF):
        raise ConfigError(f"{port!r} in {text!r} is not a port: 0 to 65535 are")
    return host, int(port)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Seconds that each part of a session may take."""

    handshake: float = 10.0
    """From accept to the end of the request."""

    auth: float = 60.0
    """For the rounds of a method that has many."""

    connect: float = 30.0
    """For name look-up and connect together."""

    bind: float = 120.0
    """For the peer of a BIND to come (S4-REQ-37: two minutes)."""

    idle: float = 3600.0
    """Without an octet in either direction."""

    linger: float = 5.0
    """After a failure reply, for the client to read it (S5-REQ-48: at most 10)."""

    drain: float = 10.0
    """For running sessions to end after the server was told to stop."""

    ident: float = 30.0
    """For the client's ident daemon to answer (RFC 1413 §2, ID-REQ-15)."""

    def __post_init__(self) -> None:
        check_types(self)
        for name in self.__slots__:
            value = getattr(self, name)
            if not 0 < value < 1e9:
                raise ConfigError(f"the limit {name} is {value}: it must be more than 0 seconds and less than 1e9")
        if self.linger > 10:
            raise ConfigError(f"the limit linger is {self.linger}: RFC 1928 allows at most 10 seconds")


@dataclass(frozen=True, kw_only=True, slots=True)
class BindSettings:
    """Who may wait for a peer with BIND, and for whom."""

    enabled: bool = True
    """Whether BIND is served at all; where not, clients get reply 2."""

    anyone: bool = False
    """Whether a request with zeros for the peer's address lets anyone in (S5-REQ-58, A-31), at the port that it
    wishes for (S4-REQ-42); where not, such requests get reply 2."""

    def __post_init__(self) -> None:
        check_types(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class UdpSettings:
    """How datagrams are relayed (UDP ASSOCIATE)."""

    enabled: bool = True
    """Whether UDP ASSOCIATE is served at all; where not, clients get reply 2."""

    follow: bool = False
    """Whether an association follows its client to another port, as NAT may change it (A-14)."""

    filtering: Literal["endpoint-independent", "address", "address-and-port"] = "address"
    """Who may answer: "endpoint-independent" (anyone), "address" (hosts that the client has sent to), or
    "address-and-port" (only the very ports), in the terms of RFC 4787."""

    reassemble: bool = True
    """Whether fragments are put together (S5-REQ-88…97); where not, they are dropped (S5-REQ-89)."""

    idle: float = 300.0
    """Seconds without a datagram in either direction."""

    targets: int = 1024
    """Targets that one association remembers; of more, those are forgotten that were not used for longest."""

    associations: int = 8192
    """Associations at a time, in all."""

    per_user: int = 1024
    """Associations at a time of one user, or of one client address where nobody authenticates."""

    buffer: int = 1 << 20
    """Octets that the system may hold for a socket in each direction, as far as its own limits allow."""

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 < self.idle < 1e9:
            raise ConfigError(f"udp idle is {self.idle}: it must be more than 0 seconds and less than 1e9")
        for name, least in (("targets", 2), ("associations", 1), ("per_user", 1), ("buffer", 4096)):
            value = getattr(self, name)
            if not least <= value < 1 << 31:
                raise ConfigError(f"udp {name} is {value}: it must be at least {least} and less than {1 << 31}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """Everything that :class:`hosier.Server` can be told."""

    listen: Sequence[ListenAddress | str] = DEFAULT_LISTEN
    """Where to listen: "192.0.2.1:1080", "[::1]:1080", ":1080" (loopback of both families), "*:1080" (everywhere)."""

    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Names and passwords; with any, everybody must authenticate and SOCKS4 is refused."""

    users_file: Path | str | None = None
    """Further users, hashed, in a file that ``hosier passwd`` writes; read again when it changes."""

    ident: bool = False
    """Ask the ident daemon on a SOCKS4 client's machine who the client is (RFC 1413); no answer, no service."""

    ident_port: int = 113
    """Where ident daemons listen (ID-REQ-01)."""

    socks4_userid: bool = False
    """With users: believe the name that a SOCKS4 client gives, though nothing proves it."""

    backoff: bool = True
    """Make sources that fail to authenticate again and again wait (UP-REQ-17)."""

    methods: Sequence[str] = ()
    """Methods by preference: "none", "password", "gssapi", or what a package brings. Empty: what fits the users and
    GSSAPI, in this order."""

    open: bool = False
    """Allow listening beyond loopback without authentication."""

    allow: Sequence[IPv4Network | IPv6Network] = ()
    """Inner networks that clients may reach though the server listens beyond loopback."""

    deny: Sequence[IPv4Network | IPv6Network] = ()
    """Networks that nobody may reach."""

    rules: Sequence[Rule] = ()
    """Who may do what: the first rule whose conditions all hold decides. With any, what no rule allows is refused, if
    others than this machine can reach the server."""

    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Users by the name of their group, for the rules."""

    accounts: Mapping[str, Account] = field(default_factory=dict)
    """By user: until when, and from where, the user may come; whatever the method of authentication."""

    advertise: Sequence[Advertised | str] = ()
    """What others are told in the place of our own addresses (NAT, containers): "ADDR", one for each family, or
    "LOCAL=ADDR" for one address of several."""

    ports: PortRange | str | None = None
    """Where to listen for peers and for the datagrams of clients, "LOW-HIGH". Left out: any free port."""

    bind: BindSettings = field(default_factory=BindSettings)
    gssapi: GssapiSettings = field(default_factory=GssapiSettings)
    udp: UdpSettings = field(default_factory=UdpSettings)
    limits: Limits = field(default_factory=Limits)
    caps: Caps = field(default_factory=Caps)
    budgets: Mapping[str, Budget] = field(default_factory=dict)
    """What each user, source, group, listener or rule may use, by a name of your choice."""

    usage_file: Path | str | None = None
    """Where octets are written down that users and others have used; SQLite."""

    engine: Literal["auto", "epoll", "portable"] = "auto"
    """What moves the octets: "epoll" (Linux only), "portable", or "auto", the best that can be had."""

    strict: bool = False
    """Refuse what the RFCs forbid but the world sends: nonzero RSV (A-04), empty credentials (A-32)."""

    def __post_init__(self) -> None:
        check_types(self)
        if not self.listen_addresses:
            raise ConfigError("no address to listen on")
        for address in self.listen_addresses:
            if not address.is_possible:
                raise ConfigError(f"cannot listen on {address}: a ListenAddress has an IP address and a port")
        AdvertisedAddresses(self.advertised)  # it complains of what does not fit together
        _ = self.port_range  # likewise
        for name, password in self.users.items():
            if any(0xD800 <= ord(letter) <= 0xDFFF for letter in name + password):
                raise ConfigError("a user's name or password is not valid UTF-8")
            if len(name.encode()) > 255 or len(password.encode()) > 255:
                raise ConfigError(f"user {name[:32]!r}: name and password have at most 255 octets each (RFC 1929)")
        if self.ident and self.socks4_userid:
            raise ConfigError("--ident asks for proof of a SOCKS4 user and --socks4-userid for none: leave one out")
        if self.socks4_userid and not self.has_users:
            raise ConfigError("--socks4-userid needs users: add --users FILE or --user NAME:PASSWORD")
        for name, budget in self.budgets.items():
            if not name.isprintable():
                raise ConfigError(f"the budget {name!r}: a name has no characters that cannot be printed")
            if budget.octets is not None and self.usage_file is None:
                raise ConfigError(f"the octets of budget {name!r} must be written down somewhere: add usage_file")
        for name in self.budgets_on_demand:
            if name not in self.budgets:
                raise ConfigError(f"a rule names the budget {name!r}, which there is not: add [budgets.{name}]")
        for name, budget in self.budgets.items():
            if budget.per == "rule" and name not in self.budgets_on_demand:
                raise ConfigError(f"the budget {name!r} is per rule, and no rule names it")
            if budget.per == "group" and not self.groups:
                raise ConfigError(f"the budget {name!r} is per group, and there are no groups")
        if not 1 <= self.ident_port <= 0xFFFF:
            raise ConfigError(f"the ident port is {self.ident_port}: 1 to 65535 are ports")
        if self.engine not in ENGINES:
            raise ConfigError(f"there is no engine {self.engine!r} here; there are: {', '.join(ENGINES)}")
        methods = self.effective_methods
        if self.has_users and "none" in methods:
            raise ConfigError("method 'none' contradicts configured users: leave one of them out")
        if self.has_users and "password" not in methods:
            raise ConfigError("users are configured, but no method asks for a password: add --method password")
        if "password" in methods and not self.has_users:
            raise ConfigError("method 'password' needs users: add --user NAME:PASSWORD or --users FILE")
        if self.gssapi.enabled and "gssapi" not in methods:
            raise ConfigError("GSSAPI is enabled, but no method asks for it: add --method gssapi")
        if "gssapi" in methods and not self.gssapi.enabled:
            raise ConfigError("method 'gssapi' is not enabled: add --gssapi")
        self._check_rules()
        if len(set(methods)) < len(methods):
            raise ConfigError("a method is named twice")
        beyond = [address for address in self.listen_addresses if not address.is_loopback]
        if beyond and "none" in methods and not self.open:
            raise ConfigError(
                f"listening on {beyond[0]} without authentication would be an open proxy: "
                "add --user NAME:PASSWORD or --users FILE, or --open if you mean it"
            )

    def _check_rules(self) -> None:
        """Raises ConfigError for a rule that names what there is not."""
        listeners = set(self.listen_addresses)
        methods = {"none", "password", "gssapi", "ident", "userid", *self.methods}
        for index, rule in enumerate(self.rules):
            for at, group in enumerate(rule.groups or ()):
                if group not in self.groups:
                    raise ConfigError(f"there is no group {group!r}", at=("rules", index, "groups", at))
            for at, method in enumerate(rule.methods or ()):
                if method not in methods:
                    known = ", ".join(sorted(methods))
                    raise ConfigError(
                        f"there is no method {method!r}; known: {known}", at=("rules", index, "methods", at)
                    )
            for at, text in enumerate(rule.listeners or ()):
                if not listeners.issuperset(parse_listen(text)):
                    raise ConfigError(f"{text!r} is not in listen", at=("rules", index, "listeners", at))

    @property
    def listen_addresses(self) -> tuple[ListenAddress, ...]:
        return tuple(
            address
            for given in self.listen
            for address in (parse_listen(given) if isinstance(given, str) else (given,))
        )

    @property
    def advertised(self) -> tuple[Advertised, ...]:
        return tuple(parse_advertise(given) if isinstance(given, str) else given for given in self.advertise)

    @property
    def port_range(self) -> PortRange | None:
        return parse_ports(self.ports) if isinstance(self.ports, str) else self.ports

    @property
    def budgets_on_demand(self) -> frozenset[str]:
        """Names of the budgets that are only for the sessions which rules give them to."""
        return frozenset(name for rule in self.rules for name in rule.budgets)

    @property
    def own_places(self) -> Sequence[ListenAddress]:
        """Where else this program listens, and no client may go."""
        return ()

    @property
    def has_users(self) -> bool:
        return bool(self.users) or self.users_file is not None

    @property
    def effective_methods(self) -> tuple[str, ...]:
        if self.methods:
            return tuple(self.methods)
        # Passwords first: many clients offer GSSAPI unasked, and have no ticket when they are taken at their word.
        chosen = (*(("password",) if self.has_users else ()), *(("gssapi",) if self.gssapi.enabled else ()))
        return chosen or ("none",)

    @property
    def is_public(self) -> bool:
        """Whether somebody beyond this machine can reach the server."""
        return any(not address.is_loopback for address in self.listen_addresses)
