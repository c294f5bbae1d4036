"""Until when, and from where, a user may come."""

from __future__ import annotations

from datetime import date, datetime
from ipaddress import IPv4Network, ip_address, ip_network

import pytest

from hosier.errors import ConfigError
from hosier.policy.accounts import Account, Accounts

HERE = ip_address("192.0.2.7").packed
DAY = 86400.0


def test_who_has_no_account_is_not_judged() -> None:
    accounts = Accounts({})
    assert not accounts
    assert accounts.judge("ann", HERE, 0.0) is None
    assert accounts.next_end(0.0) is None


def test_no_networks() -> None:
    with pytest.raises(ConfigError, match=r"^clients, item 1: expected a network"):
        Account(clients=["192.0.2.0/24"])  # type: ignore[list-item]


def test_the_last_day_is_a_whole_one() -> None:
    accounts = Accounts({"ann": Account(expires=date(2027, 1, 31))})
    end = datetime(2027, 2, 1).timestamp()  # the machine's clock
    assert accounts
    assert accounts.judge("ann", HERE, end - 1) is None
    denied = accounts.judge("ann", HERE, end)
    assert str(denied) == "the account of 'ann' has expired: 2027-01-31"
    assert accounts.judge("bob", HERE, end) is None


def test_a_moment() -> None:
    moment = datetime.fromisoformat("2027-01-31T18:00:00+00:00")
    accounts = Accounts({"ann": Account(expires=moment)})
    assert accounts.judge("ann", HERE, moment.timestamp() - 0.1) is None
    assert accounts.judge("ann", HERE, moment.timestamp()) is not None


@pytest.mark.parametrize("empty", [[], ()])
def test_no_place_to_come_from(empty: list[IPv4Network]) -> None:
    """The last network taken off the list: nobody means that the user may come from anywhere then."""
    with pytest.raises(ConfigError, match="clients is empty: leave the key out if"):
        Account(clients=empty)


def test_where_a_user_may_come_from() -> None:
    accounts = Accounts({"ann": Account(clients=[ip_network("192.0.2.0/29"), ip_network("2001:db8::/32")])})
    assert accounts.judge("ann", HERE, 0.0) is None
    assert accounts.judge("ann", ip_address("2001:db8::1").packed, 0.0) is None
    for host in ("192.0.2.8", "2001:db9::1"):
        assert str(accounts.judge("ann", ip_address(host).packed, 0.0)) == "'ann' may not come from this address"


def test_the_next_end() -> None:
    first, second = datetime(2027, 1, 2).timestamp(), datetime(2027, 1, 4).timestamp()
    accounts = Accounts(
        {"a": Account(expires=date(2027, 1, 1)), "b": Account(expires=date(2027, 1, 3)), "c": Account()}
    )
    assert accounts.next_end(0.0) == first
    assert accounts.next_end(first) == second
    assert accounts.next_end(second) is None
