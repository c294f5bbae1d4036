"""Each key and item is found on its line, however TOML lets one write it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.config.lines import KeyPath, locate

ODD = r'''# [no] table = "here"
plain = 1 # plain = 2
dotted."key [of] = # things".'last one' = [ # "
  1, 2,
  { x = 1, y.z = "]" }, # }
  """
  lines, \""" a = 1, and "quotes" ]"""",
  [1979-05-27 07:32:00, 1.5], '''

ODD += r"""
]
bare-key_1 = -1.5e3
text = '''
[fake]
key = 1
'quotes'''''
date = 1979-05-27 07:32:00

[table]
1.5 = 0x1F
empty = {}

[ table . inner ] # a comment
"" = ""

[[list]]
[[list.below]]
x = 1
[[list.below]]
[list.below.table]
none = []
[[list]]
[list.one]
[[ list . below ]]
deep = {a = {b = [{c = [
  1]}]}}
"""


def paths(value: Any, above: KeyPath = ()) -> Iterator[KeyPath]:
    """Every key and item of what tomllib reads."""
    if above:
        yield above
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, one in inner:
        yield from paths(one, (*above, step))


def test_every_key_and_item_is_found_and_nothing_else() -> None:
    assert set(locate(ODD)) == set(paths(tomllib.loads(ODD)))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("plain",), 2),
        (("dotted",), 3),
        (("dotted", "key [of] = # things", "last one"), 3),
        (("dotted", "key [of] = # things", "last one", 1), 4),
        (("dotted", "key [of] = # things", "last one", 2, "y", "z"), 5),
        (("dotted", "key [of] = # things", "last one", 3), 6),
        (("dotted", "key [of] = # things", "last one", 4), 8),
        (("dotted", "key [of] = # things", "last one", 4, 1), 8),
        (("bare-key_1",), 10),
        (("text",), 11),
        (("date",), 15),
        (("table",), 17),
        (("table", "1", "5"), 18),
        (("table", "empty"), 19),
        (("table", "inner"), 21),
        (("table", "inner", ""), 22),
        (("list",), 24),
        (("list", 0), 24),
        (("list", 0, "below", 0, "x"), 26),
        (("list", 0, "below", 1), 27),
        (("list", 0, "below", 1, "table", "none"), 29),
        (("list", 1), 30),
        (("list", 1, "one"), 31),
        (("list", 1, "below", 0), 32),
        (("list", 1, "below", 0, "deep", "a", "b", 0, "c"), 33),
        (("list", 1, "below", 0, "deep", "a", "b", 0, "c", 0), 34),
    ],
)
def test_line(path: KeyPath, line: int) -> None:
    assert locate(ODD)[path] == line


@pytest.mark.parametrize(
    "text", ["", "\n", "# only this", "a=1", "[a]", "[[a]]", "a=[]", "a={}", "a=[[],[],]", "a.b=1\n"]
)
def test_small_files(text: str) -> None:
    assert set(locate(text)) == set(paths(tomllib.loads(text)))


WORDS = ("a", "b", '"a b"', "'='", "1", '"#"')
VALUES = (
    "1",
    '"]"',
    "'}'",
    '"""\n"""',
    "'''\n]'''",
    "[]",
    "{}",
    "[1, # ]\n 2,\n]",
    "{ x.y = [{ z = 1 }] }",
    "07:32:00",
)
STATEMENTS = st.lists(
    st.one_of(
        st.builds(
            "{} = {}".format,
            st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(".".join),
            st.sampled_from(VALUES),
        ),
        st.builds("[{}]".format, st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" . ".join)),
        st.builds("[[{}]] # x".format, st.lists(st.sampled_from(WORDS), min_size=1, max_size=2).map(".".join)),
        st.just("# [a]"),
    ),
    max_size=6,
)


@given(STATEMENTS)
def test_agrees_with_tomllib(statements: list[str]) -> None:
    """On what it accepts; what it does not never comes here."""
    text = "\n".join(statements)
    try:
        read = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    found = locate(text)
    assert set(found) == set(paths(read))
    assert all(1 <= line <= text.count("\n") + 1 for line in found.values())


def test_a_long_file_takes_one_pass() -> None:
    """Fifty thousand networks: quadratic work would run into the test's time limit."""
    text = "deny = [\n" + "".join(f'  "10.{n >> 8}.{n & 255}.0/24",\n' for n in range(50_000)) + "]\n"
    found = locate(text)
    assert found["deny", 49_999] == 50_001
