"""From the texts of options to settings by key, the form in which a configuration file gives them, too."""

import argparse
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Final

from ..config.keys import keys_of
from ..config.secrets import read_option
from ..config.settings import ServeSettings
from ..engine.ports import parse_ports
from ..errors import ConfigError
from ..policy.limits import Caps
from ..policy.networks import parse_network
from ..server.advertise import Advertised, parse_advertise
from ..server.settings import Limits, ListenAddress, UdpSettings, parse_listen

__all__ = ("BIND_CHOICES", "cap_names", "in_option", "values_of")


def values_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What options say, as settings by key: an option's ``dest`` is its key, with a dot before a key within a table.
    What no option names is left out.

    Raises ConfigError, in the words of the command line.
    """
    keys = {key.name for key in keys_of(ServeSettings)}
    values: dict[str, Any] = {}
    for path, given in vars(arguments).items():
        name, _, within = path.partition(".")
        if name not in keys:
            continue
        if path == "admin.place" and (token := os.environ.get("HOSIER_ADMIN_TOKEN")):
            values.setdefault(name, {})["token"] = token
        value = _READ[path](given) if path in _READ else given
        if within:
            values.setdefault(name, {})[within] = value
        else:
            values[name] = value
    return values


def _listen(texts: list[str]) -> list[ListenAddress]:
    return [address for text in texts for address in parse_listen(text)]


def _networks(texts: list[str]) -> list[IPv4Network | IPv6Network]:
    return [parse_network(text) for text in texts]


def _users(texts: list[str]) -> dict[str, str]:
    return dict(_user(text) for text in texts)


def _user(text: str) -> tuple[str, str]:
    name, colon, password = text.partition(":")
    if not name:
        raise ConfigError("--user without a name: write NAME or NAME:PASSWORD")
    if not colon:
        password = os.environ.get("HOSIER_PASSWORD", "")
        if not password:
            password = secrets.token_urlsafe(12)
            print(f"hosier: the password of {name} is {password} (shown only now)", file=sys.stderr, flush=True)
    return name, password


def _advertise(texts: list[str]) -> list[Advertised]:
    return [parse_advertise(text) for text in texts]


def _upstream(texts: list[str]) -> list[str]:
    return [read_option(text) for text in texts]


def _levels(text: str) -> list[int]:
    try:
        return [int(level) for level in text.split(",")]
    except ValueError:
        raise ConfigError(f"--gssapi-levels {text!r}: write for example 2,1") from None


def _limits(texts: list[str]) -> dict[str, float]:
    known = [field.name for field in fields(Limits)]
    values: dict[str, float] = {}
    for text in texts:
        name, _, seconds = text.partition("=")
        if name not in known:
            raise ConfigError(f"--timeout {text!r}: there is no limit {name!r}; known: {', '.join(known)}")
        try:
            values[name] = float(seconds)
        except ValueError:
            raise ConfigError(f"--timeout {text!r}: write {name}=SECONDS") from None
    return values


def cap_names() -> str:
    return ", ".join(field.name.replace("_", "-") for field in fields(Caps))


def _caps(texts: list[str]) -> dict[str, int]:
    values: dict[str, int] = {}
    for text in texts:
        name, _, number = text.partition("=")
        key = name.replace("-", "_")
        if key not in Caps.__slots__:
            raise ConfigError(f"--cap {text!r}: there is no cap {name!r}; known: {cap_names()}")
        values[key] = _number(number, f"--cap {text!r}: write {name}=N")
    return values


def _workers(text: str) -> int | str:
    return text if text == "auto" else _number(text, f"--workers {text!r}: write a number, or auto")


def _number(text: str, otherwise: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ConfigError(otherwise)
    return int(text)


def _udp(texts: list[str]) -> dict[str, Any]:
    defaults = {field.name: field.default for field in fields(UdpSettings)}
    values: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in defaults:
            raise ConfigError(f"--udp {text!r}: there is no setting {name!r}; known: {', '.join(defaults)}")
        kind: Any = type(defaults[name])
        try:
            values[name] = _SWITCH[value] if kind is bool else kind(value)
        except (KeyError, ValueError):
            raise ConfigError(
                f"--udp {text!r}: write a value like that in {name}={in_option(defaults[name])}"
            ) from None
    return values


def in_option(value: object) -> str:
    """A value as one writes it on the command line."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


_SWITCH: Final = {"on": True, "off": False}

BIND_CHOICES: Final[Mapping[str, dict[str, bool]]] = {
    "on": {},
    "anyone": {"anyone": True},
    "off": {"enabled": False},
}

_READ: Final[Mapping[str, Callable[[Any], Any]]] = {
    "listen": _listen,
    "users": _users,
    "allow": _networks,
    "deny": _networks,
    "advertise": _advertise,
    "ports": parse_ports,
    "bind": BIND_CHOICES.__getitem__,
    "gssapi.keytab": Path,
    "gssapi.levels": _levels,
    "limits": _limits,
    "caps": _caps,
    "workers": _workers,
    "udp": _udp,
    "upstream": _upstream,
}
