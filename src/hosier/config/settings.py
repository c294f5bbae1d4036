"""What ``hosier serve`` can be told: the server's settings, and those of the command around it."""

from dataclasses import dataclass
from typing import Final, Literal

from ..errors import ConfigError
from ..server.settings import ServerSettings

__all__ = ("ServeSettings",)

MOST_WORKERS: Final = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeSettings(ServerSettings):
    """Everything that ``hosier serve`` can be told: each field is a key of its configuration file."""

    log: Literal["text", "json", "off"] = "text"
    """The form of the access log: a line per session on standard output."""

    uvloop: bool = False
    """Run on uvloop, which the extra ``uvloop`` brings."""

    verbose: bool = False
    """Explain each refusal on standard error."""

    workers: int | Literal["auto"] = 1
    """Processes that serve together, "auto": one for each processor."""

    def __post_init__(self) -> None:
        ServerSettings.__post_init__(self)  # super() does not know the class that slots make
        if self.workers != "auto" and not 1 <= self.workers <= MOST_WORKERS:
            raise ConfigError(f"there cannot be {self.workers} workers: 1 to {MOST_WORKERS} can, or auto")
