"""The commented example that ``hosier config init`` writes, made from the settings' own words."""

import textwrap
from collections.abc import Iterator
from dataclasses import MISSING
from typing import Final, get_args

from .forms import FORMS, in_words, is_mapping, sample, table_of, toml
from .keys import Key, keys_of
from .settings import ServeSettings

__all__ = ("example",)

_HEAD: Final = """\
# What `hosier serve --config FILE` reads; `hosier config check FILE` says what is wrong with it.
#
# Each line that begins with "#" and a key shows the key's default, or an example where the default is nothing: take
# the "#" away and change the value. Options on the command line go before this file.
"""
_WIDTH: Final = 118


def example(settings: type = ServeSettings) -> str:
    """A file with every key, those of a rule, a budget and an account as well, in which everything is as by default."""
    return "\n".join((_HEAD, *_keys(settings, "")))


def _keys(settings: type, above: str) -> Iterator[str]:
    """The keys of a table, then the tables in it: what stands below a table's head belongs to the table."""
    tables = []
    for key in keys_of(settings):
        if key.table or is_mapping(key.hint):
            tables.append(key)
        else:
            yield _about(key)
            yield from _of_each(key)
            yield f"#{key.name} = {_value(key)}\n"
    for key in tables:
        name = f"{above}{key.name}"
        yield _about(key)
        yield f"[{name}]\n"
        if key.table:
            yield from _keys(key.table, f"{name}.")
        else:
            yield from _of_each(key)
            yield f"#name = {sample(get_args(key.hint)[1])}\n"


def _of_each(key: Key) -> Iterator[str]:
    """What can be said in each item of a list of tables, or in each table below a name."""
    items = [table for item in get_args(key.hint) if (table := table_of(item)) is not None and table not in FORMS]
    for table in items:
        yield "# The keys of each:"
        for inner in keys_of(table):
            about = f"{inner.name}: {inner.description.replace('``', '')} Expected: {in_words(inner.hint)}."
            yield textwrap.fill(
                about, _WIDTH, initial_indent="#   ", subsequent_indent="#     ", break_on_hyphens=False
            )


def _about(key: Key) -> str:
    words = "" if key.table else f" Expected: {in_words(key.hint)}."
    text = f"{key.description.replace('``', '')}{words}"
    return textwrap.fill(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _value(key: Key) -> str:
    empty = key.default is MISSING or key.default is None or key.default == () or key.default == []
    return sample(key.hint) if empty else toml(key.default)
