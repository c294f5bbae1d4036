"""Who comes in while others are inside."""

from __future__ import annotations

from dataclasses import fields

import pytest

from hosier.errors import ConfigError
from hosier.policy.limits import (
    FEWEST,
    MOST,
    RESERVED,
    SESSION_MEMORY,
    Admission,
    Caps,
    LocalTallyBook,
    Refusal,
    Tally,
    room_for,
)

Held = tuple[Tally, ...]


# --- caps ---


def test_every_cap_has_its_number_in_the_end() -> None:
    alone = Caps().complete(1000, is_public=False)
    assert alone == Caps(
        sessions=1000, sessions_per_source=0, sessions_per_user=0, handshakes=1000, handshakes_per_source=0
    )
    assert Caps().complete(1000, is_public=True) == Caps(
        sessions=1000, sessions_per_source=500, sessions_per_user=0, handshakes=1000, handshakes_per_source=500
    )
    assert alone.complete(5, is_public=True) == alone


def test_what_was_set_stays() -> None:
    own = Caps(sessions=1, sessions_per_source=2, sessions_per_user=3, handshakes=4, handshakes_per_source=5)
    assert own.complete(1000, is_public=True) == own
    assert Caps(sessions=8, sessions_per_source=0).complete(1000, is_public=True) == Caps(
        sessions=8, sessions_per_source=0, sessions_per_user=0, handshakes=8, handshakes_per_source=4
    )
    assert Caps(handshakes=1).complete(1000, is_public=True).handshakes_per_source == 1


@pytest.mark.parametrize("name", [field.name for field in fields(Caps)])
def test_bounds(name: str) -> None:
    least = 0 if name.endswith(("source", "user")) else 1
    for value in (least, MOST):
        assert getattr(Caps(**{name: value}), name) == value
    for value in (least - 1, MOST + 1):
        with pytest.raises(ConfigError, match=f"^the cap {name.replace('_', '-')} is {value}: it must be from {least}"):
            Caps(**{name: value})


def test_room() -> None:
    much = 1 << 50
    assert room_for(RESERVED + 2000, much) == 1000
    assert room_for(RESERVED + 2000, much, workers=3) == 3000
    assert room_for(1 << 30, 512 << 20) == (512 << 20) // SESSION_MEMORY
    assert room_for(0, much) == room_for(1024, 0) == FEWEST
    assert room_for(1 << 40, 1 << 60) == MOST


# --- admission ---


def admission(**caps: int) -> tuple[Admission, LocalTallyBook]:
    tallies = LocalTallyBook()
    return Admission(Caps(**caps).complete(1000, is_public=False), tallies), tallies


def held(admitted: Held | Refusal) -> Held:
    assert not isinstance(admitted, Refusal), admitted
    return admitted


def greeted(admitted: Held | Refusal) -> Held:
    for tally in held(admitted):
        tally.greeted()
    return held(admitted)


def left(admitted: Held) -> None:
    for tally in admitted:
        tally.leave()


def test_sessions_in_all() -> None:
    door, _ = admission(sessions=2)
    first = greeted(door.enter("192.0.2.1"))
    second = greeted(door.enter("192.0.2.2"))
    assert door.enter("192.0.2.3") == Refusal("sessions", 2)
    left(first)
    first = greeted(door.enter("192.0.2.3"))
    assert door.enter("192.0.2.3") == Refusal("sessions", 2)
    left(first)
    left(second)
    greeted(door.enter("192.0.2.3"))
    greeted(door.enter("192.0.2.3"))


def test_handshakes_in_all() -> None:
    door, _ = admission(handshakes=1)
    first = held(door.enter("192.0.2.1"))
    assert door.enter("192.0.2.2") == Refusal("handshakes", 1)
    greeted(first)
    held(door.enter("192.0.2.2"))


def test_sessions_of_one_source() -> None:
    door, tallies = admission(sessions=3, sessions_per_source=2)
    first, second = greeted(door.enter("192.0.2.1")), greeted(door.enter("192.0.2.1"))
    assert door.enter("192.0.2.1") == Refusal("sessions_per_source", 2)
    other = greeted(door.enter("192.0.2.2"))  # who was refused holds no place of the others
    assert len(tallies) == 2
    left(first)
    left(second)
    left(other)
    assert len(tallies) == 0
    for _ in range(2):
        greeted(door.enter("192.0.2.1"))


def test_handshakes_of_one_source() -> None:
    door, _ = admission(handshakes_per_source=1)
    first = held(door.enter("2001:db8::1"))
    assert door.enter("2001:db8::2") == Refusal("handshakes_per_source", 1)
    held(door.enter("2001:db8:0:1::"))
    greeted(first)
    held(door.enter("2001:db8::3"))


def test_a_place_changes_hands() -> None:
    """It counts as before in all; each source has what is its own."""
    door, tallies = admission(handshakes=1, sessions_per_source=1)
    first = held(door.enter("192.0.2.1"))
    assert door.enter("192.0.2.2") == Refusal("handshakes", 1)
    second = held(door.take_over("192.0.2.2", first))
    assert len(tallies) == 1
    assert door.enter("192.0.2.1") == Refusal("handshakes", 1)
    greeted(second)
    third = held(door.enter("192.0.2.1"))
    assert door.take_over("192.0.2.2", third) == Refusal("sessions_per_source", 1)
    held(door.enter("192.0.2.1"))  # the place was given back


def test_many_sources_leave_nothing_behind() -> None:
    """One address per connection: the table holds those who are inside, and nobody else."""
    door, tallies = admission(sessions=100, sessions_per_source=5)
    for number in range(5000):
        admitted = greeted(door.enter(f"10.0.{number // 250}.{number % 250}"))
        assert len(tallies) == 1
        left(admitted)
    assert len(tallies) == 0


def test_sessions_of_one_user() -> None:
    door, tallies = admission(sessions_per_user=1)
    first = held(door.enter_as("ann"))
    assert len(first) == 1
    assert door.enter_as("ann") == Refusal("sessions_per_user", 1)
    held(door.enter_as("bob"))
    left(first)
    held(door.enter_as("ann"))
    assert len(tallies) == 2


def test_a_user_is_no_source() -> None:
    door, tallies = admission(sessions_per_user=1, sessions_per_source=1)
    held(door.enter("192.0.2.1"))
    held(door.enter_as("192.0.2.1"))
    held(door.enter_as("\udc80"))  # names that are not text have such letters
    assert len(tallies) == 3


def test_users_are_not_counted_for_nothing() -> None:
    door, tallies = admission()
    assert door.enter_as("ann") == ()
    assert len(tallies) == 0


def test_handshakes_of_a_user_are_over() -> None:
    door, tallies = admission(sessions_per_user=2)
    ((tally,), _) = held(door.enter_as("ann")), held(door.enter_as("ann"))
    assert tallies.of("user ann") is tally
    assert tally.enter(3, 1) == ""  # were handshakes counted, this would be the third


def test_a_full_table_refuses_who_is_new() -> None:
    """To let them in uncounted would open the door to whoever fills the table."""

    class Full(LocalTallyBook):
        def of(self, key: str) -> Tally | None:
            return None

    tallies = Full()
    door = Admission(Caps(sessions_per_source=5, sessions_per_user=5).complete(10, is_public=False), tallies)
    assert door.enter("192.0.2.1") == Refusal("table", 0)
    assert door.enter_as("ann") == Refusal("table", 0)
    assert tallies.all.enter(1, 1) == ""  # nothing was counted
