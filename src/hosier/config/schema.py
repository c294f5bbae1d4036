"""The file's schema, made from the settings' dataclasses; the only file that knows pydantic.

Each dataclass has a twin here that checks nothing but keys and types, so that all such mistakes of a file are found at
once. What the settings demand of one another is checked where they are built.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, field, fields, make_dataclass
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from ..errors import ConfigError
from .complaints import Complaint, did_you_mean
from .forms import FORMS, alternatives, in_words, is_list, is_mapping, is_row, table_of, toml
from .keys import Key, keys_of
from .lines import KeyPath
from .secrets import may_be_secret

__all__ = ("json_schema", "validate")

_PLAIN: Final = (bool, int, float, str, date, datetime)
_ABSENT: Final = object()  # what a twin holds where a file says nothing
_SHORT: Final = 40


def validate(settings: type, written: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], list[Complaint]]:
    """The values that a file gives, as the settings take them, nested like its tables, and what is wrong with it.

    Args:
        settings: the dataclass whose fields are the keys.
        written: what the TOML says.
        folder: what relative paths begin at.
    """
    pydantic = _pydantic()
    try:
        values: dict[str, Any] = _adapter(settings).validate_python(written, context=folder)
    except pydantic.ValidationError as error:
        return {}, list(_complaints(settings, written, error.errors(include_url=False, include_input=False)))
    return values, []


def json_schema(settings: type) -> dict[str, Any]:
    """The JSON schema with which an editor completes and checks a file."""
    schema: dict[str, Any] = _adapter(settings).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "hosier serve --config"}


def _pydantic() -> Any:
    try:
        import pydantic
    except ImportError:
        raise ConfigError("a configuration file needs pydantic: pip install 'hosier[server]'") from None
    return pydantic


# --- the twins ---


@cache
def _adapter(settings: type) -> Any:
    return _pydantic().TypeAdapter(_twin(settings))


def _twin(table: type) -> Any:
    """A dataclass with the same fields in the types of a file; what it reads becomes a dict of what was given."""
    pydantic = _pydantic()
    twin = make_dataclass(
        table.__name__,
        [(key.name, _described(key), field(**_default(key))) for key in keys_of(table)],
        kw_only=True,
        namespace={"__pydantic_config__": pydantic.ConfigDict(extra="forbid")},
    )
    return Annotated[twin, pydantic.AfterValidator(_given)]


def _default(key: Key) -> dict[str, Any]:
    return {} if key.default is MISSING else {"default_factory": lambda: _ABSENT}


def _given(twin: Any) -> dict[str, Any]:
    return {one.name: value for one in fields(twin) if (value := getattr(twin, one.name)) is not _ABSENT}


def _described(key: Key) -> Any:
    shown = key.default not in (MISSING, None) and not isinstance(key.default, Mapping) and key.table is None
    extra = {"default": json.loads(toml(key.default))} if shown else None
    described = _pydantic().Field(description=key.description or None, json_schema_extra=extra)
    return Annotated[_in_file(key.hint), described]


def _in_file(hint: Any) -> Any:
    """The type of a setting as pydantic shall read it from a file."""
    pydantic = _pydantic()
    if hint in _PLAIN:
        return Annotated[hint, pydantic.Strict()]
    if (form := FORMS.get(hint)) and form.read:
        return Annotated[_any_of(form.written), pydantic.AfterValidator(_reading(form.read))]
    several = alternatives(hint)
    if several != (hint,):
        return _any_of(several)
    if table := table_of(hint):
        return _twin(table)
    if get_origin(hint) is Literal:
        return hint
    inner = get_args(hint)
    if is_list(hint):
        if is_row(hint):
            return tuple[tuple(map(_in_file, inner))]  # type: ignore[misc]
        return list[_in_file(inner[0])]  # type: ignore[misc]
    if is_mapping(hint):
        return dict[str, _in_file(inner[1])]  # type: ignore[misc]
    raise TypeError(f"{hint} has no form in a file: give it one in hosier/config/forms.py")


def _any_of(hints: tuple[Any, ...]) -> Any:
    return Union[tuple(map(_in_file, hints))]  # noqa: UP007  # built from a tuple


def _reading(read: Callable[[Any, Path], Any]) -> Callable[[Any, Any], Any]:
    def reading(value: Any, information: Any) -> Any:
        try:
            return read(value, information.context)
        except ConfigError as error:
            raise ValueError(str(error)) from None

    return reading


# --- what is wrong ---


def _complaints(settings: type, written: Any, problems: Iterable[Mapping[str, Any]]) -> Iterable[Complaint]:
    """One for each key, however many alternatives of its type did not fit."""
    found: dict[KeyPath, Complaint] = {}
    for problem in problems:
        steps: KeyPath = problem["loc"]
        path, hint = _place(settings, steps)
        if hint is None:
            _, table = _place(settings, steps[:-1])
            what = f"there is no such key{did_you_mean(settings, table_of(table) or settings, str(steps[-1]))}"
        elif problem["type"] == "value_error":
            what = str(problem["ctx"]["error"])
        elif path in found:
            continue
        elif problem["type"] == "missing" and path == steps:
            what = f"is missing: write {in_words(hint)}"
        else:
            what = f"expected {in_words(hint)}, found {_shown(hint, written, path)}"
        found[path] = Complaint(path, what)
    return found.values()


def _place(settings: type, steps: KeyPath) -> tuple[KeyPath, Any]:
    """The key that pydantic means, without its steps into the alternatives of a type, and the key's type; None:
    there is no such key."""
    path: KeyPath = ()
    hint: Any = settings
    for step in steps:
        (only, *more) = alternatives(hint)
        if more:
            break
        if table := table_of(only):
            hint = next((key.hint for key in keys_of(table) if key.name == step), None)
        elif is_list(only):
            inner = get_args(only)
            hint = inner[int(step)] if is_row(only) else inner[0]
        elif is_mapping(only):
            hint = get_args(only)[1]
        else:
            break
        path = (*path, step)
        if hint is None:
            break
    return path, hint


def _shown(hint: Any, written: Any, path: KeyPath) -> str:
    """What stands in the file: itself where it is short and can be no secret, else its kind."""
    for step in path:
        written = written[step]
    if isinstance(written, bool | int | float | str) and not may_be_secret(hint) and len(toml(written)) <= _SHORT:
        return toml(written)
    kinds = {str: "a text", bool: "true or false", int: "a number", float: "a number", dict: "a table", list: "a list"}
    return kinds.get(type(written), "a date or time")
