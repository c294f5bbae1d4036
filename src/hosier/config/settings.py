"""What ``hosier serve`` can be told: the server's settings, and those of the command around it."""

from dataclasses import dataclass
from typing import Literal

from ..server.settings import ServerSettings

__all__ = ("ServeSettings",)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeSettings(ServerSettings):
    """Everything that ``hosier serve`` can be told: each field is a key of its configuration file."""

    log: Literal["text", "json", "off"] = "text"
    """The form of the access log: a line per session on standard output."""

    uvloop: bool = False
    """Run on uvloop, which the extra ``uvloop`` brings."""

    verbose: bool = False
    """Explain each refusal on standard error."""
