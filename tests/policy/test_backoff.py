"""Back-off: who waits how long, who cannot be locked out, and tables that do not grow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hosier.policy.backoff import ENTRIES, PER_SOURCE, PER_USER, Allowance, Backoff, Failures, Tallies

HOME, AWAY, EVIL = "192.0.2.1", "192.0.2.2", "203.0.113.66"
MINUTE, DAY = 60.0, 86400.0


def attack(failures: Failures, source: str, user: bytes | None, seconds: float, now: float = 0.0) -> Iterator[float]:
    """Fails as often as it is let, for so long; the time of each failure, just after it."""
    end = now + seconds
    while now < end:
        now += failures.wait(source, user, now)
        failures.failed(source, user, now)
        yield now
        now += 0.001


# --- one source ---


def test_some_failures_are_free() -> None:
    failures = Backoff()
    for _ in range(PER_SOURCE.free):
        assert failures.wait(HOME, b"ann", 0.0) == 0
        assert failures.failed(HOME, b"ann", 0.0) == 0


def test_then_each_doubles_the_wait() -> None:
    tallies: Tallies[str] = Tallies(Allowance(2, 1e9), 10)
    waits = []
    for _ in range(8):
        tallies.add(HOME, 0.0)
        waits.append(tallies.wait(HOME, 0.0))
    assert waits == [0, 0, 1, 2, 4, 8, 16, 32]


def test_the_wait_has_an_end() -> None:
    """Failures that nobody could refuse in time do not add up to a year."""
    tallies: Tallies[str] = Tallies(PER_SOURCE, 10)
    for _ in range(5000):
        tallies.add(HOME, 0.0)
    assert tallies.wait(HOME, 0.0) == 1024
    assert tallies.wait(HOME, 1023.0) == 1
    assert tallies.wait(HOME, 1024.0) == 0
    assert tallies.wait(HOME, 5000.0) == 0


def test_time_takes_failures_back() -> None:
    tallies: Tallies[str] = Tallies(Allowance(2, 10.0), 10)
    for now in (0.0, 0.0, 10.0, 20.0, 30.0):  # two at once, then one as each is forgotten
        tallies.add(HOME, now)
        assert tallies.wait(HOME, now) == 0
    tallies.add(HOME, 30.0)
    assert tallies.wait(HOME, 30.0) == 1
    tallies.add(HOME, 1000.0)  # all is forgotten, but no more than all
    tallies.add(HOME, 1000.0)
    assert tallies.wait(HOME, 1000.0) == 0
    tallies.add(HOME, 1000.0)
    assert tallies.wait(HOME, 1000.0) == 1


def test_one_guess_a_minute_in_the_long_run() -> None:
    heard = list(attack(Backoff(), EVIL, b"ann", DAY))
    assert DAY / MINUTE * 0.9 < len(heard) < DAY / MINUTE * 1.1 + PER_SOURCE.free


def test_other_names_do_not_help() -> None:
    """A source is refused whatever name it comes with next, and where it can give none."""
    failures = Backoff()
    for number in range(PER_SOURCE.free + 1):
        failures.failed(EVIL, b"%d" % number, 0.0)
    assert failures.wait(EVIL, b"ann", 0.0) == 1
    assert failures.wait(EVIL, None, 0.0) == 1
    assert failures.wait(HOME, b"ann", 0.0) == 0


def test_methods_without_names() -> None:
    failures = Backoff()
    for _ in range(PER_SOURCE.free + 1):
        failures.failed(EVIL, None, 0.0)
    assert failures.wait(EVIL, None, 0.0) == 1
    assert failures.wait(HOME, None, 0.0) == 0


def test_success_takes_nothing_back() -> None:
    """Else a guesser with an account of its own would log in between guesses."""
    failures = Backoff()
    for _ in range(PER_SOURCE.free + 1):
        failures.succeeded(EVIL, b"mallory")
        failures.failed(EVIL, b"ann", 0.0)
    assert failures.wait(EVIL, b"ann", 0.0) == 1


# --- nobody can be locked out ---


@pytest.mark.parametrize("from_the_same_source", [False, True])
def test_one_source_cannot_lock_a_user_out_elsewhere(from_the_same_source: bool) -> None:
    """A day of guessing as fast as it is let, and the user logs in from anywhere else, new places included; also if
    the guesser sits behind the address where the user is welcome."""
    failures = Backoff()
    if from_the_same_source:
        assert list(attack(failures, EVIL, b"ann", MINUTE))
        failures.succeeded(EVIL, b"ann")
    for now in attack(failures, EVIL, b"ann", DAY, now=MINUTE):
        assert failures.wait(HOME, b"ann", now) == 0


def test_many_sources_are_slowed_together() -> None:
    """A thousand sources with one guess each: what is free for the user, then they wait, wherever they are."""
    failures = Backoff()
    heard = 0
    for number in range(1000):
        source = f"203.0.{number // 250}.{number % 250}"
        if not failures.wait(source, b"ann", 0.0):
            heard += 1
            failures.failed(source, b"ann", 0.0)
    assert heard == PER_USER.free + 1


def test_a_user_stays_welcome_where_it_was() -> None:
    """While a crowd guesses, and while its own neighbours do."""
    failures = Backoff()
    failures.succeeded(HOME, b"ann")
    for number in range(1000):
        failures.failed(f"203.0.{number // 250}.{number % 250}", b"ann", 0.0)
        failures.failed(HOME, b"bob", 0.0)
    assert failures.wait(HOME, b"ann", 0.0) == 0
    assert failures.wait(HOME, b"bob", 0.0) > 0
    assert failures.wait(AWAY, b"ann", 0.0) > 0


def test_welcome_is_no_licence() -> None:
    """Whoever guesses the password of a user who is welcome at the source is counted like any other."""
    failures = Backoff()
    failures.succeeded(HOME, b"ann")
    heard = list(attack(failures, HOME, b"ann", DAY))
    assert len(heard) < DAY / MINUTE * 1.1 + PER_SOURCE.free
    failures.succeeded(HOME, b"ann")
    assert failures.wait(HOME, b"ann", heard[-1]) > 0, "her own success does not reset it"


# --- bounds ---


def test_a_crowd_grows_nothing() -> None:
    failures = Backoff(entries=10)
    for number in range(1000):
        failures.failed(f"203.0.{number // 250}.{number % 250}", b"%d" % number, 0.0)
        failures.succeeded(f"203.0.{number // 250}.{number % 250}", b"%d" % number)
        failures.failed(f"203.0.{number // 250}.{number % 250}", b"%d" % number, 0.0)
    tables = {name: len(table) for name, table in vars(failures).items() if hasattr(table, "__len__")}
    assert tables == {"_sources": 10, "_users": 10, "_pairs": 10, "_welcome": 10}


def test_who_failed_last_is_remembered() -> None:
    """The table forgets whose last failure is the oldest."""
    tallies: Tallies[int] = Tallies(Allowance(0, 1e9), 2)
    for key in (1, 2, 1, 3):
        tallies.add(key, 0.0)
    assert [tallies.wait(key, 0.0) > 0 for key in (1, 2, 3)] == [True, False, True]


def test_the_ordinary_bound_is_far_from_a_user_s_allowance() -> None:
    """To have its failures against a user forgotten, a crowd must fail this often under other names."""
    assert 100 * PER_USER.free < ENTRIES
