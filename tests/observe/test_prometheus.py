"""The counts as Prometheus reads them; promtool's opinion is in ``tests/real``."""

from __future__ import annotations

import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hosier.errors import ConfigError
from hosier.observe.counts import FAMILIES, Counts, place_of
from hosier.observe.prometheus import exposition, require_prometheus

BOUNDS = {family.name: family.bounds for family in FAMILIES}


def samples(counts: Counts, **gauges: tuple[str, float]) -> dict[tuple[str, str], float]:
    """What a reader makes of it: values by name and label's value."""
    media_type, text = exposition(counts.cells, gauges, "1.2.3")
    assert media_type.startswith("text/plain; version=0.0.4")
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = sample.name, ",".join(sample.labels.values())
            assert key not in found
            found[key] = sample.value
    return found


def test_everything_is_there_from_the_start() -> None:
    """So that what never happened is 0 and not missing."""
    found = samples(Counts())
    for family in FAMILIES:
        if not family.bounds:
            for value in family.values:
                assert found[f"hosier_{family.name}_total", value] == 0
        else:
            assert found[f"hosier_{family.name}_count", ""] == found[f"hosier_{family.name}_sum", ""] == 0
    assert found["hosier_build_info", "1.2.3"] == 1


def test_counters_and_what_is_between_them() -> None:
    counts = Counts()
    counts.count("sessions_started", number=10)
    counts.count("handshakes", "ok", 8)
    counts.count("sessions_ended", "BIND", 3)
    counts.count("octets", "up", 2**40)
    found = samples(counts, workers=("How many.", 4))
    assert found["hosier_sessions", ""] == 7
    assert found["hosier_handshakes_under_way", ""] == 2
    assert found["hosier_octets_total", "up"] == 2**40
    assert found["hosier_workers", ""] == 4


def test_histograms_add_up() -> None:
    counts = Counts()
    for seconds in (0.0001, 0.0001, 0.02, 100):
        counts.took(place_of("dial_seconds"), BOUNDS["dial_seconds"], seconds)
    found = samples(counts)
    assert found["hosier_dial_seconds_bucket", "0.0005"] == 2
    assert found["hosier_dial_seconds_bucket", "0.01"] == 2
    assert found["hosier_dial_seconds_bucket", "0.025"] == 3
    assert found["hosier_dial_seconds_bucket", "+Inf"] == found["hosier_dial_seconds_count", ""] == 4
    assert found["hosier_dial_seconds_sum", ""] == pytest.approx(100.0202)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigError, match=r"^metrics need prometheus_client: pip install 'hosier\[server\]'$"):
        require_prometheus()
