"""Which user a principal is."""

import pytest

from hosier.auth.principals import RealmRule
from hosier.errors import RemoteProtocolError


@pytest.mark.parametrize(
    ("principal", "user"),
    [
        ("ann@HOME", "ann"),
        ("ann@ELSEWHERE", "ann@ELSEWHERE"),
        ("host/box@HOME", "host/box"),
        (r"ann\@ELSEWHERE@HOME", r"ann\@ELSEWHERE"),  # a name with an @ is not somebody of another realm
        (r"ann\\@HOME", r"ann\\"),
    ],
)
def test_home_realm(principal: str, user: str) -> None:
    rule = RealmRule("HOME", ["ELSEWHERE"])
    assert rule.user(principal) == user


def test_without_a_home_everybody_keeps_the_realm() -> None:
    assert RealmRule().user("ann@ANYWHERE") == "ann@ANYWHERE"


@pytest.mark.parametrize("rule", [RealmRule("HOME"), RealmRule("", ["HOME"]), RealmRule("OTHER", ["HOME"])])
def test_other_realms_are_refused(rule: RealmRule) -> None:
    assert rule.user("ann@HOME")
    for principal in ("ann@home", "ann@ELSEWHERE", r"ann@HOME\@ELSEWHERE"):
        with pytest.raises(RemoteProtocolError, match="realm that is not allowed"):
            rule.user(principal)


@pytest.mark.parametrize(
    "principal", ["", "ann", "ann@", "@HOME", r"ann\@HOME", "WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS"]
)
@pytest.mark.parametrize("rule", [RealmRule(), RealmRule("HOME"), RealmRule("WELLKNOWN:ANONYMOUS")])
def test_nobody_in_particular(rule: RealmRule, principal: str) -> None:
    with pytest.raises(RemoteProtocolError, match="nobody"):
        rule.user(principal)
