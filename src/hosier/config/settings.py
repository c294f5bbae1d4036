"""What ``hosier serve`` can be told: the server's settings, and those of the command around it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal

from ..client.proxy import Proxy, chain_of
from ..errors import ConfigError
from ..observe.destinations import Destination
from ..server.settings import ListenAddress, ServerSettings, parse_listen
from ..typed import check_types

__all__ = ("AdminSettings", "ServeSettings")

MOST_WORKERS: Final = 256


UNIX: Final = "unix:"


@dataclass(frozen=True, kw_only=True, slots=True)
class AdminSettings:
    """A listener for those who run the server: metrics, health, and who is here."""

    place: str = ""
    """"127.0.0.1:9180", ":9180" (loopback of both families) or "unix:PATH"; empty: none."""

    token: str = field(default="", repr=False)
    """What whoever reads it must show; needed where others than this machine can reach it."""

    def __post_init__(self) -> None:
        check_types(self)
        if not self.token.isascii() or any(letter.isspace() for letter in self.token):
            raise ConfigError("the admin token has letters that HTTP cannot carry: use ASCII without spaces")
        beyond = [place for place in self.places if not isinstance(place, str) and not place.is_loopback]
        if beyond and not self.token:
            raise ConfigError(
                f"the admin pages on {beyond[0]} would tell strangers who does what: set HOSIER_ADMIN_TOKEN "
                "or admin.token, or listen on loopback or a unix socket"
            )

    @property
    def places(self) -> list[ListenAddress | str]:
        """Where to listen; texts are those of unix sockets."""
        if self.place.startswith(UNIX):
            if not self.place.removeprefix(UNIX):
                raise ConfigError("the admin socket has no name: write unix:PATH")
            return [self.place]
        return list(parse_listen(self.place)) if self.place else []


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeSettings(ServerSettings):
    """Everything that ``hosier serve`` can be told: each field is a key of its configuration file."""

    admin: AdminSettings = field(default_factory=AdminSettings)

    log: Literal["text", "json", "off"] = "text"
    """The form of the access log: a line per session."""

    log_to: Literal["stdout", "syslog", "journald"] = "stdout"
    """Where the access log goes."""

    log_file: Path | str | None = None
    """A file that the access log goes to instead; SIGUSR1 has it opened anew."""

    run_as: str = ""
    """USER or USER:GROUP to become once all ports are open; for who is started as root."""

    upstream: Sequence[str] = field(default=(), repr=False)
    """Proxies through which targets are reached, the nearest first: URLs such as "socks5h://user:password@host:1080".
    Names are passed on to the last one (socks5h, socks4a, http) or looked up here (socks5, socks4)."""

    uvloop: bool = False
    """Run on uvloop, which the extra ``uvloop`` brings."""

    verbose: bool = False
    """Explain each refusal on standard error."""

    workers: int | Literal["auto"] = 1
    """Processes that serve together, "auto": one for each processor."""

    @property
    def chain(self) -> tuple[Proxy, ...]:
        """The upstreams; none: targets are reached straight out of this machine."""
        return chain_of(self.upstream) if self.upstream else ()

    @property
    def log_destination(self) -> Destination:
        return Destination(self.log_to, None if self.log_file is None else str(self.log_file))

    @property
    def own_places(self) -> list[ListenAddress]:
        return [place for place in self.admin.places if not isinstance(place, str)]

    def __post_init__(self) -> None:
        ServerSettings.__post_init__(self)  # super() does not know the class that slots make
        if self.log_file is not None and self.log_to != "stdout":
            raise ConfigError(f"the log cannot go to a file and to {self.log_to}: leave one of them out")
        if self.workers != "auto" and not 1 <= self.workers <= MOST_WORKERS:
            raise ConfigError(f"there cannot be {self.workers} workers: 1 to {MOST_WORKERS} can, or auto")
        if self.upstream:
            for index, rule in enumerate(self.rules):
                if rule.egress:
                    raise ConfigError(
                        "the upstream decides where targets are reached from: leave out either egress or upstream",
                        at=("rules", index, "egress"),
                    )
        for hop, proxy in enumerate(self.chain):
            if any(_leads_back(proxy, address, hop) for address in self.listen_addresses):
                raise ConfigError(f"the upstream {proxy} is this server itself: leave it out")


def _leads_back(proxy: Proxy, address: ListenAddress, hop: int) -> bool:
    """Whether the proxy is the server's own listener; what is loopback for another proxy is another machine's."""
    if proxy.path is not None or proxy.port != address.port:
        return False
    host = {"localhost": "127.0.0.1"}.get(proxy.host, proxy.host)
    try:
        place, own = ip_address(host), ip_address(address.host)
    except ValueError:
        return False  # a name: only the one who dials it knows
    if place.is_loopback:
        return not hop and (place == own or (own.is_unspecified and own.version == place.version))
    return place == own
