"""The keys of a configuration file: the fields of the settings' dataclasses, and what is said below each there.

A field that is added to the settings is a key, with its type, default and description; nothing is listed twice.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from .forms import alternatives, is_list, is_mapping, table_of
from .secrets import Secret

__all__ = ("Key", "keys_of", "leaves")


@dataclass(frozen=True, slots=True)
class Key:
    """One key: ``hint`` is the type of its value, ``default`` the value without it; MISSING: it must be there."""

    name: str
    hint: Any
    default: Any
    description: str

    @property
    def table(self) -> type | None:
        """The dataclass whose fields are the keys below this one, if it is a table's name."""
        return table_of(self.hint)


@cache
def keys_of(settings: type) -> tuple[Key, ...]:
    """The keys that one dataclass makes, in its order."""
    hints = get_type_hints(settings)
    descriptions = _descriptions(settings)
    found = []
    for field in fields(settings):
        if not field.init:
            continue
        hint = hints[field.name] if field.repr else _hidden(hints[field.name])
        table = table_of(hint)
        description = descriptions.get(field.name) or (inspect.getdoc(table) or "" if table else "")
        found.append(Key(field.name, hint, _default(field), " ".join(description.split())))
    return tuple(found)


def leaves(settings: type, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Key]]:
    """Every key that is not a table of further keys, with its path."""
    for key in keys_of(settings):
        path = (*above, key.name)
        if key.table is None:
            yield path, key
        else:
            yield from leaves(key.table, path)


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _hidden(hint: Any) -> Any:
    """The type with its texts as secrets: what ``repr`` must not show may come from a file or the environment."""
    if hint is str:
        return Secret
    inner = tuple(map(_hidden, get_args(hint)))
    if is_mapping(hint):
        return Mapping[str, inner[1]]  # type: ignore[valid-type]
    if is_list(hint):
        return get_origin(hint)[inner]
    return Union[inner] if alternatives(hint) != (hint,) else hint  # noqa: UP007  # built from a tuple


def _descriptions(settings: type) -> dict[str, str]:
    """The text below each field in the source, of base classes too; empty where there is no source."""
    found: dict[str, str] = {}
    for base in reversed(settings.__mro__[:-1]):
        try:
            source = textwrap.dedent(inspect.getsource(base))
        except (OSError, TypeError):
            continue
        (definition,) = ast.parse(source).body
        assert isinstance(definition, ast.ClassDef)
        for field, below in zip(definition.body, definition.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                match below:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        found[field.target.id] = text
    return found
