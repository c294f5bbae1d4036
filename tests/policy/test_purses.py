"""What is left of a budget, by what was used."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from hosier.errors import PolicyDenied
from hosier.policy import purses as module
from hosier.policy.bucket import Pace
from hosier.policy.budgets import Budget
from hosier.policy.purses import Exhausted, LocalVault, Purse, Slot, Usage

NOW = 1000.0
TODAY = datetime(2026, 3, 4, 12, tzinfo=UTC).timestamp()
TOMORROW = TODAY + 86400


def purse(budget: Budget, used: int = 0, slot: Slot | None = None) -> Purse:
    slot = slot or LocalVault().open("a key")
    assert slot
    limit = None if budget.octets is None else int(budget.octets)
    return Purse("fair", budget, "user ann", slot, Usage(limit, budget.period, TODAY, used))


def refused(purse: Purse, now: float = NOW, today: float = TODAY) -> tuple[str, str]:
    with pytest.raises(Exhausted) as caught:
        purse.enter(now, today)
    return caught.value.limit, caught.value.reason


# --- usage ---


def test_what_is_taken_and_what_has_moved() -> None:
    usage = Usage(1000, "day", TODAY, 100)
    assert usage.level(NOW) == 900
    assert usage.spend(300, NOW) == 0
    usage.give_back(50)
    assert usage.left == 650
    usage.moved(250)
    assert (usage.used, usage.unsaved, usage.left) == (350, 250, 650)


def test_nothing_is_given_when_nothing_is_left() -> None:
    usage = Usage(1000, "day", TODAY)
    usage.spend(1000, NOW)
    with pytest.raises(PolicyDenied, match="used up"):
        usage.spend(1, NOW)
    assert usage.left == 0


def test_without_a_limit_it_only_counts() -> None:
    usage = Usage(None, "day", TODAY)
    usage.spend(1 << 60, NOW)
    usage.moved(1 << 60)
    assert usage.left > 0


def test_what_others_have_used() -> None:
    usage = Usage(1000, "day", TODAY)
    usage.spend(300, NOW)
    usage.moved(300)
    usage.spend(10, NOW)  # under way
    usage.saved(usage.since, 300, 500)
    assert (usage.used, usage.unsaved, usage.left) == (500, 0, 490)
    usage.moved(10)
    usage.learn(700)
    assert (usage.used, usage.unsaved, usage.left) == (710, 10, 290)


def test_an_operator_may_take_back_what_was_used() -> None:
    usage = Usage(1000, "day", TODAY, 1000)
    assert usage.left == 0
    usage.learn(0)
    assert usage.left == 1000


def test_a_new_period() -> None:
    usage = Usage(1000, "day", TODAY, 1000)
    usage.renew(TODAY + 60)
    assert usage.left == 0
    usage.moved(7)
    usage.renew(TOMORROW)
    assert (usage.used, usage.unsaved, usage.left) == (0, 0, 1000)
    assert usage.since == datetime(2026, 3, 5, tzinfo=UTC).timestamp()


def test_a_period_that_ends_while_octets_are_being_saved() -> None:
    """They were written to the period that they belong to, and are not counted in the new one."""
    usage = Usage(1000, "day", TODAY)
    before = usage.since
    usage.spend(300, NOW)
    usage.moved(300)
    usage.renew(TOMORROW)
    usage.moved(5)
    usage.saved(before, 300, 300)
    assert (usage.used, usage.unsaved, usage.left) == (5, 5, 1000)  # those 5 were taken before


# --- purses ---


def test_sessions_at_the_same_time() -> None:
    slot = LocalVault().open("a key")
    first, other = (purse(Budget(sessions=2), slot=slot) for _ in range(2))  # of two processes
    first.enter(NOW, TODAY)
    other.enter(NOW, TODAY)
    assert refused(first) == ("budget sessions", "user ann: budget 'fair' allows 2 sessions at the same time")
    other.leave()
    assert other.is_idle
    assert not first.is_idle
    first.enter(NOW, TODAY)


def test_sessions_a_second() -> None:
    one = purse(Budget(rate=2.0, sessions=5))
    for _ in range(2):
        one.enter(NOW, TODAY)
    assert refused(one) == ("budget rate", "user ann: budget 'fair' allows 2 new sessions a second")
    one.enter(NOW + 0.5, TODAY)
    assert refused(one, NOW + 0.5)[0] == "budget rate"
    for number in range(2):  # who was refused has taken no place
        one.enter(NOW + 1 + number, TODAY)
    assert refused(one, NOW + 9)[0] == "budget sessions"


def test_a_rate_alone_and_a_slow_one() -> None:
    one = purse(Budget(rate=0.1))
    one.enter(NOW, TODAY)
    assert refused(one, NOW + 9)[0] == "budget rate"
    one.leave()
    one.enter(NOW + 10, TODAY)


def test_octets() -> None:
    one = purse(Budget(octets="1000", period="week"), used=1000)
    assert refused(one) == ("budget octets", "user ann: the octets of budget 'fair' are used up")
    one.enter(NOW, TODAY + 7 * 86400)


def test_expiry() -> None:
    one = purse(Budget(expires=datetime.fromtimestamp(TOMORROW, UTC)))
    one.enter(NOW, TODAY)
    assert refused(one, today=TOMORROW)[0] == "budget expired"


def test_what_flows_draw_from() -> None:
    assert purse(Budget()).up == purse(Budget()).down == ()
    one = purse(Budget(down="1000000", octets="150000"))
    assert len(one.up) == 1
    assert len(one.down) == 2
    assert Pace(one.down).take(NOW) == (100_000, 0.0)
    assert Pace(one.down).take(NOW) == pytest.approx((5000, 0.005))
    assert Pace(one.up).take(NOW) == (45_000, 0.0)
    with pytest.raises(PolicyDenied):
        Pace(one.up).take(NOW)


def test_when_it_would_make_no_difference_to_forget_it() -> None:
    one = purse(Budget(rate=1.0, up="1000000", down="1000000", octets="1GB"))
    assert one.is_full(NOW)
    one.enter(NOW, TODAY)
    one.leave()
    assert not one.is_full(NOW)
    assert one.is_full(NOW + 1.5)
    Pace(one.up).spend(1_000_000, NOW + 1.5)
    assert not one.is_full(NOW + 1.6)
    assert one.is_full(NOW + 3)


def test_the_vault_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    vault = LocalVault()
    assert vault.open("one")
    assert vault.open("two")
    assert vault.open("three") is None
    vault.close("one")
    assert len(vault) == 1
    assert vault.open("three")


def test_a_budget_that_becomes_another_one() -> None:
    before = purse(Budget(sessions=1, octets="1000"), used=400)
    before.enter(NOW, TODAY)
    after = before.changed(Budget(sessions=2, octets="500", period="month"), TODAY)
    assert after.usage.left == 100
    after.enter(NOW, TODAY)
    assert refused(after)[0] == "budget sessions"
    before.leave()
    assert not after.is_idle
    after.leave()
    assert before.is_idle
    assert after.is_idle
    assert before.changed(Budget(), TODAY).usage.left > 1 << 60


def test_a_bandwidth_that_becomes_another_one_is_it_for_who_is_here_too() -> None:
    """Also when it has changed more than once; a limit that comes or goes is not theirs."""
    budget = Budget(up="1MB", octets="10MB")
    first = purse(budget)
    pace = Pace(first.up)
    assert pace.fits(NOW) == 100_000
    second = first.changed(Budget(up="4MB", down="1MB", octets="10MB"), TODAY)
    third = second.changed(Budget(up="2MB", down="2MB", octets="10MB"), TODAY)
    assert pace.fits(NOW) == 200_000
    pace.spend(200_000, NOW)
    assert Pace(third.up).fits(NOW) == pytest.approx(0, abs=1), "there is one for all"
    assert Pace(second.down).fits(NOW) == 200_000
    assert first.down == (first.usage,), "none was added to it"
    assert third.changed(Budget(), TODAY).up == ()
    assert pace.fits(NOW + 1) == 200_000


def test_within_a_period_nothing_begins_anew() -> None:
    usage = Usage(100, "hour", 0.0)
    for now in (0.0, 1.0, 3599.0):
        usage.moved(10)
        usage.renew(now)
    assert usage.used == 30
    usage.renew(3600.0)
    assert (usage.used, usage.since) == (0, 3600)
