"""Secrets that a configuration file holds, or better only points to."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, Final, NewType, get_args

from ..errors import ConfigError

__all__ = ("FromEnvironment", "FromFile", "Secret", "may_be_secret", "read_option", "read_secret")

MAX_OCTETS: Final = 64 * 1024

Secret = NewType("Secret", str)
"""The type of a text that ``repr`` hides, in the eyes of a configuration file."""


@dataclass(frozen=True)
class FromFile:
    """A secret is what a file of its own holds, but for the line's end."""

    file: Path


@dataclass(frozen=True)
class FromEnvironment:
    """A secret is the value of an environment variable."""

    env: str


def may_be_secret(hint: Any) -> bool:
    """Whether a secret is, or is in, what has this type."""
    return hint is Secret or is_dataclass(hint) or any(map(may_be_secret, get_args(hint)))


def read_secret(given: str | Mapping[str, str | Path], _: Path | None = None) -> str:
    """The secret itself, from where a file says that it is: the text, ``{"file": ...}`` or ``{"env": ...}``.

    Raises ConfigError, which tells the place and never the secret.
    """
    if isinstance(given, str):
        return given
    if "env" in given:
        found = os.environ.get(str(given["env"]))
        if not found:
            raise ConfigError(f"the environment variable {given['env']} is not set, or empty")
        return found
    path = Path(given["file"])
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_OCTETS + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if len(octets) > MAX_OCTETS:
        raise ConfigError(f"{path} holds more than {MAX_OCTETS} octets: that is no secret")
    try:
        return octets.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not valid UTF-8") from None


def read_option(text: str) -> str:
    """The same for an option, whose text others on this machine can see: the secret itself, ``env:VARIABLE`` or
    ``file:PATH``."""
    kind, _, place = text.partition(":")
    return read_secret({kind: place} if kind in ("env", "file") else text)
