"""Which names a pattern means, in whatever way a client writes them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosier.errors import ConfigError
from hosier.policy.name_patterns import NamePattern, parse_pattern, plain_name

steady = settings(derandomize=True, database=None, deadline=None)


@pytest.mark.parametrize(
    ("asked", "plain"),
    [
        (b"www.example.com", "www.example.com"),
        (b"WWW.Example.COM", "www.example.com"),
        (b"www.example.com.", "www.example.com"),
        ("bücher.example".encode(), "xn--bcher-kva.example"),
        ("BÜCHER。example".encode(), "xn--bcher-kva.example"),
        (b"\xff.Example", "\\xff.example"),
        ("É..Example".encode(), "é..example"),
        (b".", ""),
        (b"ev\\105l.example", None),
        (b"evil\\.example", None),
    ],
)
def test_one_form_of_a_name(asked: bytes, plain: str | None) -> None:
    """Case, the dot at the end and the script do not count. A resolver would read a backslash as an escape, so a name
    that has one could be any name."""
    assert plain_name(asked) == plain


@pytest.mark.parametrize(
    ("pattern", "meant", "others"),
    [
        ("www.example.com", ["www.example.com"], ["example.com", "a.www.example.com", "www.example.com.evil"]),
        ("WWW.Example.Com.", ["www.example.com"], ["example.com"]),
        (".example.com", ["example.com", "a.example.com", "b.a.example.com"], ["anexample.com", "com", "example.co"]),
        ("*.example.com", ["a.example.com", "b.a.example.com"], ["example.com", "anexample.com"]),
        (
            "ads*.example.*",
            ["ads.example.com", "ads1.example.org"],
            ["ad.example.com", "ads.example", "x.ads.example.com"],
        ),
        ("*ad*bc*", ["adbc", "xadxbcx"], ["bcad", "abc"]),
        ("a*a", ["aa", "aba"], ["a"]),
        ("*", ["a", "a.b"], []),
        ("bücher.example", ["xn--bcher-kva.example"], ["bcher.example"]),
        (".bücher.example", ["a.xn--bcher-kva.example"], []),
        ("*.bücher.example", ["a.xn--bcher-kva.example"], ["xn--bcher-kva.example"]),
    ],
)
def test_what_a_pattern_means(pattern: str, meant: list[str], others: list[str]) -> None:
    parsed = parse_pattern(pattern)
    assert [name for name in (*meant, *others) if parsed.matches(name)] == meant


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..a",
        "a..b",
        ".*.example",
        "a\\b",
        "a\0b",
        "x" * 256,
        "a.example:80",
        "http://a.example/",
        "a b.example",
        "a@b",
    ],
)
def test_no_patterns(text: str) -> None:
    with pytest.raises(ConfigError, match="is no name of a target"):
        parse_pattern(text)


@pytest.mark.parametrize("text", ["10.0.0.1", "::1", "[::1]", "::ffff:10.0.0.1", "10.1", "0x7f.1", "10.0.0.1."])
def test_addresses_have_no_name(text: str) -> None:
    with pytest.raises(ConfigError, match="is an address: write it under networks"):
        parse_pattern(text)


@pytest.mark.parametrize("text", ["10.0.0.*", "10.*", "*.0.0.1"])
def test_stars_make_no_networks(text: str) -> None:
    with pytest.raises(ConfigError, match="is an address: write it under networks"):
        parse_pattern(text)


@pytest.mark.parametrize("text", ["bü*.example", "*ü.example"])
def test_stars_beside_other_letters(text: str) -> None:
    """A label is encoded as a whole: no part of it stands for a part of the name."""
    with pytest.raises(ConfigError, match="not ASCII"):
        parse_pattern(text)


@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        ("a.example", "a.example"),
        (".example", ".example"),
        ("*.example.com", ".example.com"),
        ("*s.example.com", ".example.com"),
        ("a.*", None),
        ("*a", None),
    ],
)
def test_keys(pattern: str, key: str | None) -> None:
    assert parse_pattern(pattern).key == key


@steady
@given(
    st.lists(st.text("ab.", max_size=3), min_size=2, max_size=4).map("*".join),
    st.text("ab.", min_size=1, max_size=12),
)
def test_stars_stand_for_any_characters(pattern: str, name: str) -> None:
    """As a regular expression says it, but in linear time."""
    wanted = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) is not None
    assert NamePattern(tuple(pattern.split("*"))).matches(name) == wanted


@steady
@given(st.text("ab", min_size=1, max_size=3), st.text("ab.", min_size=1, max_size=9))
def test_all_below(domain: str, name: str) -> None:
    assert NamePattern((domain,), below=True).matches(name) == f".{name}".endswith(f".{domain}")
