"""The example has every key, changes nothing, and each of its lines can be used."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hosier.config.build import build_settings
from hosier.config.dangers import dangers
from hosier.config.example import example
from hosier.config.keys import keys_of, leaves
from hosier.config.load import load
from hosier.config.schema import validate
from hosier.config.settings import ServeSettings
from hosier.config.sources import Sources
from hosier.policy.accounts import Account
from hosier.policy.budgets import Budget
from hosier.policy.rules import Rule

COMMENTED = re.compile(r"^#(?=[a-z])", re.MULTILINE)


def test_it_passes_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "h.toml"
    path.write_text(example(), encoding="utf-8")
    path.chmod(0o644)
    sources = Sources(file=load(path))
    settings = build_settings(sources)
    assert settings == ServeSettings()
    assert dangers(settings, sources) == []


@pytest.mark.parametrize("path", [path for path, _ in leaves(ServeSettings)], ids=".".join)
def test_every_key_is_in_it(path: tuple[str, ...]) -> None:
    """With what it is for; below its table's head."""
    *above, name = path
    whole = f"\n{example()}"
    if f"\n[{'.'.join(path)}]\n" in whole:
        return
    below = whole.partition(f"\n[{'.'.join(above)}]\n")[2] if above else whole
    assert f"\n#{name} = " in f"\n{below}".partition("\n[")[0]


@pytest.mark.parametrize(("table", "last"), [(Rule, "#rules = "), (Budget, "[budgets]"), (Account, "[accounts]")])
def test_the_keys_of_each_rule_budget_and_account(table: type, last: str) -> None:
    """Beside the key, each with what it is for."""
    lines = example().splitlines()
    place = next(index for index, line in enumerate(lines) if line.startswith(last))
    beside = "\n".join(lines[max(0, place - 70) : place + 70])
    for key in keys_of(table):
        assert re.search(rf"^#   {key.name}: \S", beside, re.MULTILINE), key.name


def test_it_speaks_to_operators() -> None:
    """Of what they can write, in no word of Python's."""
    for word in ("None", "True", "``", "parse_"):
        assert word not in example()


def test_all_of_it_can_be_used(tmp_path: Path) -> None:
    """Without the "#", each line has the type that its key wants."""
    (tmp_path / "secret").write_text("open sesame", encoding="utf-8")
    written = tomllib.loads(COMMENTED.sub("", example()))
    values, complaints = validate(ServeSettings, written, tmp_path)
    assert complaints == []
    assert values["users"] == {"name": "open sesame"}
    for path, key in leaves(ServeSettings):
        value = values
        for step in path:
            value = value[step]
        if not isinstance(key.default, Mapping | Sequence) and key.default is not None:
            assert value == key.default


def test_no_line_is_too_long() -> None:
    assert max(map(len, example().splitlines())) <= 120


@dataclass
class Inner:
    """What is inside."""

    deep: int = 5
    """How deep."""


@dataclass
class Outer:
    inner: Inner = field(default_factory=Inner)
    name: str | None = None
    """A name."""


@dataclass
class Whole:
    outer: Outer = field(default_factory=Outer)
    """What is outside."""

    last: Sequence[int] = ()
    """The last."""


def test_tables_stand_below() -> None:
    _, _, body = example(Whole).partition("\n\n")
    assert (
        body
        == """\
# The last. Expected: a list, each item a whole number.
#last = [1]

# What is outside.
[outer]

# A name. Expected: a text.
#name = ""

# What is inside.
[outer.inner]

# How deep. Expected: a whole number.
#deep = 5
"""
    )
