"""Purses over several workers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hosier.policy.bucket import Pace
from hosier.policy.budgets import Budget
from hosier.policy.purses import Exhausted, Purse, Usage
from hosier.workers import vault as module
from hosier.workers.shared import SharedTable
from hosier.workers.vault import SharedVault, create_vault_table

NOW = 1000.0
TODAY = 1.8e9
BUDGET = Budget(sessions=3, rate=4.0, down="1000000")


@pytest.fixture
def table() -> Iterator[SharedTable]:
    table = create_vault_table(2)
    yield table
    table.close()


def purse(vault: SharedVault, key: str = "user ann") -> Purse:
    slot = vault.open(key)
    assert slot
    return Purse("fair", BUDGET, key, slot, Usage(None, "day", TODAY))


def test_all_workers_draw_on_the_same(table: SharedTable) -> None:
    vaults = [SharedVault(table, worker) for worker in range(2)]
    one, other = map(purse, vaults)
    stranger = purse(vaults[1], "user bob")
    one.enter(NOW, TODAY)
    other.enter(NOW, TODAY)
    one.enter(NOW, TODAY)
    with pytest.raises(Exhausted, match="3 sessions at the same time"):
        other.enter(NOW, TODAY)
    one.leave()
    other.enter(NOW, TODAY)
    other.leave()
    with pytest.raises(Exhausted, match="4 new sessions a second"):
        one.enter(NOW, TODAY)
    Pace(one.down).spend(100_000, NOW)
    assert Pace(other.down).take(NOW) == pytest.approx((5000, 0.005))
    assert Pace(stranger.down).take(NOW) == (100_000, 0.0)
    stranger.enter(NOW, TODAY)


def test_what_a_worker_that_died_had_is_given_back(table: SharedTable) -> None:
    vaults = [SharedVault(table, worker) for worker in range(2)]
    one, other = map(purse, vaults)
    one.enter(NOW, TODAY)
    other.enter(NOW, TODAY)
    table.forget(0)
    other.enter(NOW + 10, TODAY)
    other.enter(NOW + 10, TODAY)
    with pytest.raises(Exhausted, match="3 sessions"):
        other.enter(NOW + 10, TODAY)


def test_a_row_is_free_when_no_worker_holds_it(table: SharedTable) -> None:
    vaults = [SharedVault(table, worker) for worker in range(2)]
    for vault in vaults:
        purse(vault)
    assert table.held() == 1
    for vault in vaults:
        vault.close("user ann")
        assert len(vault) == 0
    assert table.held() == 0


def test_where_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 0)
    table = create_vault_table(2)
    assert SharedVault(table, 0).open("user ann") is None
    table.close()
