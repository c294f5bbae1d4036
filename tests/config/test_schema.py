"""Keys and types of a file against those of the settings, and the JSON schema."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

from hosier.config import schema
from hosier.config.complaints import Complaint
from hosier.config.keys import keys_of
from hosier.config.schema import json_schema, validate
from hosier.config.settings import ServeSettings
from hosier.errors import ConfigError


class Range(NamedTuple):
    low: int
    high: int


@dataclass
class Rule:
    target: str
    port: int = 0


@dataclass
class Things:
    """Types that settings may have some day."""

    number: int | Literal["auto"] = "auto"
    ports: Range | str | None = None
    row: tuple[int, str] = (0, "")
    rules: Sequence[Rule] = ()
    named: Mapping[str, Rule] = field(default_factory=dict)
    where: Path | None = None
    rule: Rule | None = None


def check(text: str, settings: type = ServeSettings) -> tuple[dict[str, Any], list[Complaint]]:
    return validate(settings, tomllib.loads(text), Path("/etc/hosier"))


def test_nothing_given_nothing_said() -> None:
    assert check("") == ({}, [])
    assert check("[limits]\n[users]") == ({"limits": {}, "users": {}}, [])


def test_values() -> None:
    text = """
    number = 3
    ports = "1-2"
    row = [1, "x"]
    rules = [{ target = "a" }, { target = "b", port = 5 }]
    named.one = { target = "c" }
    where = "sub/file"
    rule.target = "d"
    """
    assert check(text, Things) == (
        {
            "number": 3,
            "ports": "1-2",
            "row": (1, "x"),
            "rules": [{"target": "a"}, {"target": "b", "port": 5}],
            "named": {"one": {"target": "c"}},
            "where": Path("/etc/hosier/sub/file"),
            "rule": {"target": "d"},
        },
        [],
    )


def test_whole_numbers_are_numbers() -> None:
    values, _ = check("limits.idle = 600")
    assert values == {"limits": {"idle": 600.0}}


SECRET = 'a text, { file = "PATH" } or { env = "VARIABLE" }'


@pytest.mark.parametrize(
    ("text", "path", "what"),
    [
        ("opn = true", ("opn",), "there is no such key; did you mean open?"),
        ("[limits]\nidel = 1", ("limits", "idel"), "there is no such key; did you mean idle?"),
        ("[limits]\nlisten = []", ("limits", "listen"), "there is no such key; did you mean listen?"),
        ("idle = 5", ("idle",), "there is no such key; did you mean limits.idle?"),
        ('open = "yes"', ("open",), 'expected true or false, found "yes"'),
        ("open = 1", ("open",), "expected true or false, found 1"),
        ("open = 1979-05-27", ("open",), "expected true or false, found a date or time"),
        ("limits.idle = true", ("limits", "idle"), "expected a number, found true"),
        ('limits.idle = "5"', ("limits", "idle"), 'expected a number, found "5"'),
        ("limits = 5", ("limits",), "expected a table, found a number"),
        ("limits = []", ("limits",), "expected a table, found a list"),
        ('log = "xml"', ("log",), 'expected "text", "json" or "off", found "xml"'),
        ("listen = 1080", ("listen",), 'expected a list, each item an address such as "127.0.0.1:1080", found 1080'),
        ('listen = ["1", 2]', ("listen", 1), 'expected an address such as "127.0.0.1:1080", found 2'),
        ('methods = [["a"]]', ("methods", 0), "expected a text, found a list"),
        (f'log = "{"x" * 50}"', ("log",), 'expected "text", "json" or "off", found a text'),
        ('deny = ["10.0.0.0/40"]', ("deny", 0), "'10.0.0.0/40' is not a network: write for example 192.168.0.0/16"),
        ('users = "ann:sesame"', ("users",), f"expected a table, each value {SECRET}, found a text"),
        ("users.ann = 12345", ("users", "ann"), f"expected {SECRET}, found a number"),
        ('users.ann = { fil = "x" }', ("users", "ann"), f"expected {SECRET}, found a table"),
        ('users.ann = { file = "x", env = "Y" }', ("users", "ann"), f"expected {SECRET}, found a table"),
        ("users.ann = {}", ("users", "ann"), f"expected {SECRET}, found a table"),
        ('users.ann = { file = "nothing" }', ("users", "ann"), "cannot read /etc/hosier/nothing: No such file"),
        ('users.ann = { env = "HOSIER_NO_SUCH" }', ("users", "ann"), "the environment variable HOSIER_NO_SUCH is not"),
    ],
)
def test_mistakes(text: str, path: tuple[str | int, ...], what: str) -> None:
    values, [complaint] = check(text)
    assert values == {}
    assert complaint.path == path
    assert complaint.what.startswith(what)


@pytest.mark.parametrize(
    ("text", "path", "what"),
    [
        ('number = "all"', ("number",), 'expected a whole number or "auto", found "all"'),
        ("number = 1.5", ("number",), 'expected a whole number or "auto", found 1.5'),
        ("ports = 1", ("ports",), "expected a text, found 1"),
        ('row = [1, "x", 3]', ("row",), "expected a list of a whole number and a text, found a list"),
        ("row = [1, 2]", ("row", 1), "expected a text, found 2"),
        ("row = [1]", ("row", 1), "is missing: write a text"),
        ("[[rules]]\nport = 1", ("rules", 0, "target"), "is missing: write a text"),
        ('[[rules]]\ntarget = "a"\nprt = 1', ("rules", 0, "prt"), "there is no such key; did you mean port?"),
        ("[named.x]\nport = 1", ("named", "x", "target"), "is missing: write a text"),
        ('where = ""', ("where",), "this path is empty or holds a NUL"),
        ("rule.port = 1.5", ("rule", "target"), "is missing: write a text"),
    ],
)
def test_mistakes_in_other_types(text: str, path: tuple[str | int, ...], what: str) -> None:
    _, [complaint, *_] = check(text, Things)
    assert complaint == Complaint(path, what)


def test_all_mistakes_at_once_and_one_for_each_key() -> None:
    _, found = check('listen = [1, "x"]\nopen = 2\nidle = 3\nlimits = { idle = "x", y = 1 }\nusers.a = {}\nusers.b = 1')
    assert [complaint.path for complaint in found] == [
        ("listen", 0),
        ("listen", 1),
        ("users", "a"),
        ("users", "b"),
        ("open",),
        ("limits", "idle"),
        ("limits", "y"),
        ("idle",),
    ]


@pytest.mark.parametrize(
    "text",
    [
        'users.ann = ["sesame"]',
        'users = ["sesame"]',
        'users.ann = { file = ["sesame"] }',
        'users.ann = { password = "sesame" }',
        'users = { ann = { x = "sesame" } }',
        'limits = "sesame"',
        'user = "ann:sesame"',
    ],
)
def test_secrets_are_not_shown(text: str) -> None:
    _, found = check(text)
    assert found
    assert "sesame" not in str(found)


@dataclass
class Strange:
    call: Callable[[], None] | None = None


def test_a_type_without_a_form() -> None:
    with pytest.raises(TypeError, match=r"has no form in a file: give it one in hosier/config/forms\.py$"):
        check("", Strange)


def test_without_pydantic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(ConfigError) as caught:
        schema.validate(ServeSettings, {}, Path())
    assert str(caught.value) == "a configuration file needs pydantic: pip install 'hosier[server]'"


# --- the JSON schema ---


def test_json_schema_has_every_key() -> None:
    found = json.loads(json.dumps(json_schema(ServeSettings)))
    assert found["$schema"].startswith("https://json-schema.org/")
    assert found["additionalProperties"] is False
    for key in keys_of(ServeSettings):
        assert key.description == found["properties"][key.name]["description"]
        if key.table:
            name = found["properties"][key.name]["$ref"].rpartition("/")[2]
            assert set(found["$defs"][name]["properties"]) == {inner.name for inner in keys_of(key.table)}
            assert found["$defs"][name]["additionalProperties"] is False


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("open", {"type": "boolean", "default": False}),
        ("listen", {"type": "array", "items": {"type": "string"}, "default": ["127.0.0.1:1080", "[::1]:1080"]}),
        ("log", {"type": "string", "enum": ["text", "json", "off"], "default": "text"}),
        ("deny", {"type": "array", "items": {"type": "string"}, "default": []}),
    ],
)
def test_json_schema_of_a_key(name: str, expected: dict[str, Any]) -> None:
    found = json_schema(ServeSettings)["properties"][name]
    assert {part: found[part] for part in expected} == expected
