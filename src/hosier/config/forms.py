"""How each type of a setting is written in a configuration file: in which of TOML's types, and in which words.

A setting of a new type gets a line in ``FORMS``; what is built of types that are there (lists, choices, tables of
them) needs none.
"""

import collections.abc
import json
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import date, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from ..engine.ports import PortRange, parse_ports
from ..errors import ConfigError
from ..policy.networks import parse_network
from ..policy.octets import Octets, parse_octets
from ..server.advertise import Advertised, parse_advertise
from ..server.settings import ListenAddress, parse_listen
from .secrets import FromEnvironment, FromFile, Secret, read_secret

__all__ = ("FORMS", "Form", "alternatives", "in_words", "is_list", "is_mapping", "is_row", "sample", "table_of", "toml")


@dataclass(frozen=True, slots=True)
class Form:
    """How one type is written.

    Attributes:
        words: what it looks like, to follow "expected".
        example: one in TOML.
        written: the types that TOML may give, one of which is enough.
        read: makes the setting of it, given the folder of the file; None: nothing is to be made.
    """

    words: str
    example: str
    written: tuple[type, ...]
    read: Callable[[Any, Path], Any] | None = None


def _listen(text: str, _: Path) -> str:
    parse_listen(text)
    return text


def _address(text: str, _: Path) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not an IP address: write for example 192.0.2.1 or 2001:db8::1") from None


def _path(text: str, folder: Path) -> Path:
    if not text or "\0" in text:
        raise ConfigError("this path is empty or holds a NUL")
    return folder / Path(text).expanduser()


_PATH: Final = Form("a path, seen from the folder of this file", '"file"', (str,), _path)

FORMS: Final[Mapping[Any, Form]] = {
    bool: Form("true or false", "true", (bool,)),
    int: Form("a whole number", "1", (int,)),
    float: Form("a number", "1.0", (float,)),
    str: Form("a text", '""', (str,)),
    Path: _PATH,
    Path | str: _PATH,
    Secret: Form(
        'a text, { file = "PATH" } or { env = "VARIABLE" }',
        '{ file = "secret" }',
        (str, FromFile, FromEnvironment),
        read_secret,
    ),
    ListenAddress | str: Form('an address such as "127.0.0.1:1080"', '"127.0.0.1:1080"', (str,), _listen),
    IPv4Network | IPv6Network: Form(
        'a network such as "10.0.0.0/8"', '"10.0.0.0/8"', (str,), lambda text, _: parse_network(text)
    ),
    Advertised | str: Form(
        'an address, or "LOCAL=ADDR" for one of several', '"192.0.2.1"', (str,), lambda text, _: parse_advertise(text)
    ),
    PortRange | str: Form('ports such as "40000-40999"', '"40000-40999"', (str,), lambda text, _: parse_ports(text)),
    Octets | str: Form('octets such as "10MB"', '"10MB"', (int, str), lambda given, _: parse_octets(given)),
    date | datetime: Form(
        "a date such as 2027-01-31, or one with a time such as 2027-01-31T18:00:00",
        "2027-01-31",
        (date, datetime),
        lambda day, _: day,
    ),
    int | str: Form('a number such as 443, or a text such as "8000-8999"', "443", (int, str), lambda given, _: given),
    IPv4Address | IPv6Address: Form('an IP address such as "192.0.2.1"', '"192.0.2.1"', (str,), _address),
}

_LISTS: Final = (collections.abc.Sequence, list, tuple)


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The types of a union in which a file can write it; of others, the type alone.

    None is left out: a file says it by leaving the key out. So is what the settings make of a text themselves.
    """
    if hint in FORMS or get_origin(hint) not in (Union, types.UnionType):
        return (hint,)
    present = tuple(one for one in get_args(hint) if one is not types.NoneType)
    whole: Any = Union[present]  # noqa: UP007  # what is left without None may have a form of its own
    if whole in FORMS:
        return (whole,)
    return tuple(one for one in present if one in FORMS or get_args(one) or str not in present)


def table_of(hint: Any) -> type | None:
    """The dataclass whose fields are a table's keys, if the type is one."""
    (only, *more) = alternatives(hint)
    return only if not more and is_dataclass(only) and isinstance(only, type) else None


def is_list(hint: Any) -> bool:
    return get_origin(hint) in _LISTS


def is_row(hint: Any) -> bool:
    """Whether it is a list of a fixed length, each item with a type of its own."""
    return get_origin(hint) is tuple and get_args(hint)[-1] is not ...


def is_mapping(hint: Any) -> bool:
    return get_origin(hint) in (collections.abc.Mapping, dict)


def in_words(hint: Any) -> str:
    """What a value of the type looks like, as in "expected a number"."""
    if hint in FORMS:
        return FORMS[hint].words
    several = alternatives(hint)
    if several != (hint,):
        return " or ".join(in_words(one) for one in several)
    if get_origin(hint) is Literal:
        *others, last = map(toml, get_args(hint))
        return f"{', '.join(others)} or {last}" if others else last
    if is_list(hint):
        items = get_args(hint)
        return (
            f"a list of {' and '.join(map(in_words, items))}"
            if is_row(hint)
            else f"a list, each item {in_words(items[0])}"
        )
    if is_mapping(hint):
        return f"a table, each value {in_words(get_args(hint)[1])}"
    return "a table"


def sample(hint: Any) -> str:
    """A value of the type in TOML."""
    hint = alternatives(hint)[0]
    if hint in FORMS:
        return FORMS[hint].example
    if get_origin(hint) is Literal:
        return toml(get_args(hint)[0])
    if is_list(hint):
        items = get_args(hint) if is_row(hint) else get_args(hint)[:1]
        return f"[{', '.join(map(sample, items))}]"
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        needed = [one.name for one in fields(hint) if one.init and one.default is one.default_factory is MISSING]
        return f"{{ {', '.join(f'{name} = {sample(hints[name])}' for name in needed)} }}" if needed else "{}"
    return "{}"


def toml(value: Any) -> str:
    """A setting in TOML."""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, Sequence) and not isinstance(value, str | ListenAddress):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(str(value), ensure_ascii=False)
