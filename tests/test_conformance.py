"""Every rule of the conformance catalogue is named by the tests that hold us to it, and no test names another one."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CATALOGUE = ROOT / "docs" / "conformance.md"
TESTS = ROOT / "tests"

_KIND = r"(?:(?:S4|S4A|S5|UP|ID|GS|NG)-REQ|A|B)"
_ROW = re.compile(rf"^\| ({_KIND})-(\d+) \|", re.MULTILINE)
_MENTION = re.compile(rf"\b({_KIND})-(\d+)((?:(?:, | and |…)\d+\b)*)")
_MORE = re.compile(r"(, | and |…)(\d+)")

Rule = tuple[str, int]

NOT_FOR_TESTS: dict[str, str] = {
    "ID-REQ-21": "about ident daemons; ours asks them",
    "S4-REQ-25": "about programs: only they know what they have asked for before",
    "S4A-REQ-20": "about Dante",
    "S5-REQ-09": "about what SOCKS is not",
    "S5-REQ-24": "about the protocol: nothing protects the negotiation itself",
    "S5-REQ-59": "about programs: only they know what they have asked for before",
    "UP-REQ-14": "about the protocol: it sends passwords in clear",
    "NG-REQ-04": "about the RFC's own way to get between a program and the system; `hosier run` has another one",
    "NG-REQ-25": "advice to operators",
    "NG-REQ-28": "about the sizes of packets of two connections, which are the kernel's",
    "NG-REQ-29": "about what need not be changed elsewhere",
    "NG-REQ-31": "about what cannot be served",
    "NG-REQ-34": "about what a gateway does not protect",
    "NG-REQ-35": "about what the RFC does not say",
    "NG-REQ-36": "about implementations of others",
}
"""Rules that say nothing a test of ours could find broken, with the reason."""


def text_of(rule: Rule) -> str:
    return f"{rule[0]}-{rule[1]:02}"


@cache
def rules() -> frozenset[Rule]:
    """Those of the catalogue's tables."""
    return frozenset((kind, int(number)) for kind, number in _ROW.findall(CATALOGUE.read_text(encoding="utf-8")))


def named_in(text: str) -> set[Rule]:
    """``S5-REQ-03``; several of a kind as ``S4-REQ-27, 32 and 35`` or ``S5-REQ-01…05``."""
    found: set[Rule] = set()
    for kind, number, more in _MENTION.findall(text):
        last = int(number)
        found.add((kind, last))
        for between, number_of_next in _MORE.findall(more):
            following = int(number_of_next)
            found |= {(kind, one) for one in range(last if between == "…" else following, following + 1)}
            last = following
    return found


@cache
def named_by_tests() -> dict[Rule, Path]:
    """Where each of them is named first; the octets of ``vectors`` say what rule they are about."""
    found: dict[Rule, Path] = {}
    for path in [*sorted(TESTS.rglob("*.py")), TESTS / "vectors" / "vectors.json"]:
        if path != Path(__file__) and "build" not in path.relative_to(TESTS).parts:
            for rule in named_in(path.read_text(encoding="utf-8")):
                found.setdefault(rule, path.relative_to(ROOT))
    return found


def test_how_rules_are_named() -> None:
    assert named_in("A-04 and S4-REQ-27, 32 and 35; S5-REQ-01…03, B-07 to B-09") == {
        ("A", 4),
        *(("S4-REQ", number) for number in (27, 32, 35)),
        *(("S5-REQ", number) for number in (1, 2, 3)),
        ("B", 7),
        ("B", 9),
    }
    assert len(rules()) > 300


def test_each_rule_has_its_test() -> None:
    wanting = sorted(map(text_of, rules() - set(named_by_tests())))
    assert [rule for rule in wanting if rule not in NOT_FOR_TESTS] == []


def test_no_test_names_a_rule_that_is_not_there() -> None:
    assert {text_of(rule): path for rule, path in named_by_tests().items() if rule not in rules()} == {}


@pytest.mark.parametrize("rule", NOT_FOR_TESTS)
def test_no_needless_excuse(rule: str) -> None:
    ((kind, number),) = named_in(rule)
    assert (kind, number) in rules()
    assert (kind, number) not in named_by_tests()
    assert NOT_FOR_TESTS[rule]
