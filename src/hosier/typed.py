"""Whether what a dataclass of settings was given is of the types that its fields declare: for those who write Python,
what the configuration file's schema is for those who write TOML."""

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import date, datetime
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import ConfigError

__all__ = ("check_callable", "check_types", "with_fields")

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SettingsT = TypeVar("SettingsT", bound="DataclassInstance")

_WORDS: Final[Mapping[Any, str]] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    types.NoneType: "None",
    Path: "a path",
    date: "a date",
    datetime: "a datetime",
    **dict.fromkeys((IPv4Network, IPv6Network), "a network of ipaddress.ip_network"),
    **dict.fromkeys((IPv4Address, IPv6Address), "an address of ipaddress.ip_address"),
}


_UNIONS: Final = (types.UnionType, Union)


class _Misfit(NamedTuple):
    """The innermost value that is not of its type, and where it is."""

    place: str
    hint: Any
    value: Any


def check_types(settings: "DataclassInstance") -> None:
    """Looks at all fields of a dataclass that its caller gives.

    Raises ConfigError for the first that is not of its type: one line that names the field and both types. The value
    is not shown, since it may be a secret, but where it should have been one of some words.
    """
    for name, hint, default in _fields(type(settings)):
        value = getattr(settings, name)
        if value is not default and not _fits(hint, value):
            raise ConfigError(_told(_culprit(name, hint, value)))


def check_callable(**given: object) -> None:
    """Raises ConfigError for the first that can be neither called nor left out."""
    for name, value in given.items():
        if value is not None and not callable(value):
            raise ConfigError(f"{name}: expected what can be called, found {type(value).__name__}")


def with_fields(kind: type[SettingsT], settings: SettingsT | None, given: Mapping[str, Any]) -> SettingsT:
    """Settings of a kind, None: the defaults, with some fields replaced. Raises ConfigError for other settings, and for
    fields that they have not."""
    if settings is None:
        settings = kind()
    if not isinstance(settings, kind):
        raise ConfigError(f"settings: expected keywords or {_in_words(kind)}, found {type(settings).__name__}")
    known = [field.name for field in fields(kind)]
    if unknown := next((name for name in given if name not in known), None):
        from difflib import get_close_matches

        nearest = "".join(f"; did you mean {name!r}?" for name in get_close_matches(unknown, known, n=1))
        raise ConfigError(f"there is no setting {unknown!r}{nearest}")
    return replace(settings, **given)


@cache
def _fields(settings: "type[DataclassInstance]") -> tuple[tuple[str, Any, Any], ...]:
    """Name, type and default of each."""
    hints = _hints(settings)
    return tuple((field.name, hints[field.name], field.default) for field in fields(settings) if field.init)


_hints: Final = cache(get_type_hints)


def _fits(hint: Any, value: Any) -> bool:
    origin = get_origin(hint)
    if origin is None:
        wanted = (int, float) if hint is float else hint
        if not isinstance(value, wanted) or (value.__class__ is bool and hint is not bool):
            return False
        return not _is_row(hint) or all(_fits(inner, item) for _, inner, item in _parts(hint, value))
    inner = get_args(hint)
    if origin in _UNIONS:
        return any(_fits(one, value) for one in inner)
    if origin is Literal:
        return value in inner
    if origin is Mapping:
        return isinstance(value, Mapping) and all(
            _fits(inner[0], key) and _fits(inner[1], item) for key, item in value.items()
        )
    return _is_list(value) and all(_fits(inner[0], item) for item in value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def _is_row(hint: Any) -> bool:
    """Whether it is a named tuple."""
    return hasattr(hint, "_fields")


def _culprit(place: str, hint: Any, value: Any) -> _Misfit:
    for part, wanted, item in _parts(hint, value):
        if not _fits(wanted, item):
            return _culprit(f"{place}, {part}", wanted, item)
    return _Misfit(place, hint, value)


def _parts(hint: Any, value: Any) -> Iterator[tuple[str, Any, Any]]:
    """What a list, dict or named tuple holds: the name of each part, its type, and what stands there."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in _UNIONS:
        for one in inner:
            yield from _parts(one, value)
    elif _is_row(hint) and isinstance(value, hint):
        for name, wanted in _hints(hint).items():
            yield name, wanted, getattr(value, name)
    elif origin is Mapping and isinstance(value, Mapping):
        for key, item in value.items():
            yield "a key", inner[0], key
            yield repr(key), inner[1], item
    elif origin is Sequence and _is_list(value):
        for index, item in enumerate(value):
            yield f"item {index + 1}", inner[0], item


def _told(misfit: _Misfit) -> str:
    place, hint, value = misfit
    is_choice = isinstance(value, str) and any(get_origin(one) is Literal for one in _alternatives(hint))
    found = repr(value) if is_choice or value is None else type(value).__name__
    is_alone = any(get_origin(one) is Sequence and _fits(get_args(one)[0], value) for one in _alternatives(hint))
    return f"{place}: expected {_in_words(hint)}, found {found}{'; write [...] around it' if is_alone else ''}"


def _in_words(hint: Any) -> str:
    """What a value of the type is, as in "expected a number"."""
    words = [word for one in _alternatives(hint) for word in _words(one)]
    *others, last = dict.fromkeys(words)
    return f"{', '.join(others)} or {last}" if others else last


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in _UNIONS else (hint,)


def _words(hint: Any) -> Iterator[str]:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        yield from map(repr, inner)
    elif origin is Mapping:
        yield f"a dict, each value {_in_words(inner[1])}"
    elif origin is Sequence:
        yield f"a list, each item {_in_words(inner[0])}"
    else:
        yield _WORDS.get(hint) or f"{hint.__module__}.{hint.__qualname__}"
