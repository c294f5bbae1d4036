"""A configuration file, read and checked key by key."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..errors import ConfigError
from .complaints import in_order
from .lines import KeyPath, locate
from .schema import validate
from .settings import ServeSettings

__all__ = ("ConfigFile", "load")

MAX_OCTETS: Final = 4 * 1024 * 1024

_PLACE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


@dataclass(frozen=True)
class ConfigFile:
    """What a file says: ``written`` as TOML has it, ``values`` as the settings take them; ``lines`` tells where."""

    path: Path
    written: Mapping[str, Any] = field(repr=False)
    values: Mapping[str, Any] = field(repr=False)
    lines: Mapping[KeyPath, int] = field(repr=False)


def load(path: Path) -> ConfigFile:
    """Reads a file; relative paths in it begin at its folder.

    Raises ConfigError with a line for every mistake: FILE:LINE: KEY: what is wrong.
    """
    text = _text(path)
    try:
        written = tomllib.loads(text)
        lines = locate(text)
    except ValueError as error:
        raise ConfigError(_not_toml(path, text, str(error))) from None
    except RecursionError:
        raise ConfigError(f"{path}: lists or tables are nested too deeply") from None
    values, complaints = validate(ServeSettings, written, path.absolute().parent)
    if complaints:
        raise ConfigError("\n".join(in_order(path, lines, complaints)))
    return ConfigFile(path, written, values, lines)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_OCTETS + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if len(octets) > MAX_OCTETS:
        raise ConfigError(f"{path} is larger than {MAX_OCTETS} octets")
    try:
        return octets.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: this is not valid UTF-8") from None


def _not_toml(path: Path, text: str, reason: str) -> str:
    """tomllib names the place at the end of its message, which never holds a value."""
    place = _PLACE.search(reason)
    line = f":{place[1] or len(text.splitlines())}" if place else ""
    return f"{path}{line}: this is not TOML: {_PLACE.sub('', reason).lower()}"
