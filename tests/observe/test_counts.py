"""Numbers in cells."""

from __future__ import annotations

import re

import pytest

from hosier.observe.counts import CELLS, FAMILIES, OTHER, Counts, add_up, new_cells, place_of, value_of

BOUNDS = {family.name: family.bounds for family in FAMILIES}["dial_seconds"]


def test_every_value_has_its_own_cell() -> None:
    plain = [(family.name, value) for family in FAMILIES if not family.bounds for value in family.values]
    places = [place_of(name, value) for name, value in plain]
    for family in FAMILIES:
        if family.bounds:
            first = place_of(family.name)
            places += range(first, first + len(family.bounds) + 2)
    assert sorted(places) == list(range(CELLS))


def test_names_and_labels_are_what_prometheus_takes() -> None:
    for family in FAMILIES:
        assert re.fullmatch("[a-z_]+", family.name)
        assert re.fullmatch("[a-z]*", family.label)
        assert bool(family.label) == (family.values != ("",))
        assert list(family.bounds) == sorted(set(family.bounds))
        assert len(set(family.values)) == len(family.values)


def test_counting() -> None:
    counts = Counts()
    counts.count("sessions_started")
    counts.count("octets", "up", 7)
    counts.count("octets", "down", 5)
    counts.count("octets", "down", 6)
    assert value_of(counts.cells, "sessions_started") == 1
    assert value_of(counts.cells, "octets", "down") == 11
    assert value_of(counts.cells, "octets") == 18
    assert sum(counts.cells) == 19


def test_no_stranger_makes_a_new_series() -> None:
    counts = Counts()
    for reason in ("never heard of", "x" * 1000, OTHER):
        counts.count("datagrams_dropped", reason)
    assert value_of(counts.cells, "datagrams_dropped", "nor of this") == 3
    assert len(counts.cells) == CELLS


def test_a_label_without_other_has_no_place_for_the_unknown() -> None:
    with pytest.raises(KeyError):
        Counts().count("octets", "sideways")


@pytest.mark.parametrize(("seconds", "bucket"), [(0, 0), (0.0005, 0), (0.0006, 1), (30, 14), (31, 15)])
def test_a_histogram(seconds: float, bucket: int) -> None:
    counts = Counts()
    first = place_of("dial_seconds")
    counts.took(first, BOUNDS, seconds)
    counts.took(first, BOUNDS, seconds)
    cells = counts.cells[first : first + len(BOUNDS) + 2]
    assert cells[bucket] == sum(cells[:-1]) == 2
    assert cells[-1] == pytest.approx(2 * seconds * 1e9)
    assert sum(counts.cells) == sum(cells)


def test_several_processes() -> None:
    one, other = Counts(), Counts(new_cells())
    one.count("octets", "up", 3)
    other.count("octets", "up", 4)
    assert value_of(add_up([one.cells, other.cells]), "octets", "up") == 7


def test_the_sessions_of_a_process_that_died() -> None:
    counts = Counts()
    counts.count("sessions_started", number=9)
    counts.count("handshakes", "ok", 7)
    counts.count("sessions_ended", "CONNECT", 4)
    counts.lose_the_living()
    assert value_of(counts.cells, "sessions_ended", "lost") == 5
    assert value_of(counts.cells, "handshakes", "lost") == 2
