"""What ``hosier serve`` can be told: the server's settings, and those of the command around it."""

from dataclasses import dataclass, field
from typing import Final, Literal

from ..errors import ConfigError
from ..server.settings import ListenAddress, ServerSettings, parse_listen

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
        if not self.token.isascii() or any(letter.isspace() for letter in self.token):
            raise ConfigError("the admin token has letters that HTTP cannot carry: use ASCII without spaces")
        beyond = [place for place in self.places if not isinstance(place, str) and not place.is_loopback]
        if beyond and not self.token:
            raise ConfigError(
                f"the admin pages on {beyond[0]} would tell strangers who does what: set a token for them, "
                "or listen on loopback or a unix socket"
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
    """The form of the access log: a line per session on standard output."""

    uvloop: bool = False
    """Run on uvloop, which the extra ``uvloop`` brings."""

    verbose: bool = False
    """Explain each refusal on standard error."""

    workers: int | Literal["auto"] = 1
    """Processes that serve together, "auto": one for each processor."""

    @property
    def own_places(self) -> list[ListenAddress]:
        return [place for place in self.admin.places if not isinstance(place, str)]

    def __post_init__(self) -> None:
        ServerSettings.__post_init__(self)  # super() does not know the class that slots make
        if self.workers != "auto" and not 1 <= self.workers <= MOST_WORKERS:
            raise ConfigError(f"there cannot be {self.workers} workers: 1 to {MOST_WORKERS} can, or auto")
