"""How many there may be, in all and for each owner."""

import pytest

from hosier.errors import PolicyDenied, ReplyCode
from hosier.policy.quota import Quota


def test_in_all() -> None:
    quota = Quota("associations", total=2, each=2)
    quota.enter("ann")
    quota.enter("bob")
    with pytest.raises(PolicyDenied, match="there are 2 associations already") as denied:
        quota.enter("eve")
    assert denied.value.code == ReplyCode.GENERAL_FAILURE
    quota.leave("ann")
    quota.enter("eve")
    assert quota.in_use == 2


def test_for_each() -> None:
    quota = Quota("associations", total=9, each=2)
    quota.enter("ann")
    quota.enter("ann")
    with pytest.raises(PolicyDenied, match="ann has 2 associations already") as denied:
        quota.enter("ann")
    assert denied.value.code == ReplyCode.GENERAL_FAILURE
    quota.enter("bob")
    quota.leave("ann")
    quota.enter("ann")
    assert quota.in_use == 3


def test_nobody_is_remembered() -> None:
    quota = Quota("associations", total=9, each=9)
    for owner in map(str, range(100)):
        quota.enter(owner)
        quota.leave(owner)
    assert quota.in_use == 0
    assert not quota._held


def test_others_hold_from_now_on() -> None:
    quota = Quota("associations", total=9, each=9)
    for _ in range(3):
        quota.enter("ann")
    quota.resize(total=3, each=9)
    with pytest.raises(PolicyDenied, match="there are 3 associations already"):
        quota.enter("bob")
    quota.resize(total=9, each=1)
    quota.enter("bob")
    with pytest.raises(PolicyDenied, match="ann has 3 associations already"):
        quota.enter("ann")
