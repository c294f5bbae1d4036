"""The counts in the form that Prometheus reads; the only file that knows prometheus_client.

Nothing is kept there while the server runs: what is asked for is put into its words when it is asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

from ..errors import ConfigError
from .counts import FAMILIES, Family, place_of, value_of

__all__ = ("PREFIX", "exposition", "require_prometheus")

PREFIX: Final = "hosier_"

_MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""What every version of Prometheus takes; the package would name a newer one, which our plain names do not need."""


def require_prometheus() -> None:
    """Raises ConfigError if the package is not installed."""
    _package()


def exposition(cells: Sequence[int], gauges: Mapping[str, tuple[str, float]], version: str) -> tuple[str, bytes]:
    """The media type and the text.

    Args:
        cells: the counts, as ``Counts`` keeps them.
        gauges: further numbers that go up and down, by name: what each means, and its value.
        version: of Hosier.
    """
    package = _package()

    class Collector:
        def collect(self) -> Iterator[Any]:
            core = package.core
            yield core.InfoMetricFamily(f"{PREFIX}build", "Which Hosier this is.", {"version": version})
            for name, (meaning, value) in {**_under_way(cells), **gauges}.items():
                yield core.GaugeMetricFamily(PREFIX + name, meaning, value)
            for family in FAMILIES:
                yield _histogram(core, family, cells) if family.bounds else _counter(core, family, cells)

    registry = package.CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return _MEDIA_TYPE, package.generate_latest(registry)


def _under_way(cells: Sequence[int]) -> dict[str, tuple[str, float]]:
    started = value_of(cells, "sessions_started")
    return {
        "sessions": ("Sessions under way.", started - value_of(cells, "sessions_ended")),
        "handshakes_under_way": ("Those of them in their handshake.", started - value_of(cells, "handshakes")),
    }


def _counter(core: Any, family: Family, cells: Sequence[int]) -> Any:
    found = core.CounterMetricFamily(PREFIX + family.name, family.help, labels=[family.label] if family.label else [])
    for value in family.values:
        found.add_metric([value] if family.label else [], cells[place_of(family.name, value)])
    return found


def _histogram(core: Any, family: Family, cells: Sequence[int]) -> Any:
    first, size = place_of(family.name), len(family.bounds) + 1
    bounds = [*map(str, family.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(cells[first : first + size]), strict=True))
    found = core.HistogramMetricFamily(PREFIX + family.name, family.help)
    found.add_metric([], buckets, cells[first + size] / 1e9)
    return found


def _package() -> Any:
    try:
        import prometheus_client
        import prometheus_client.core
    except ImportError:
        raise ConfigError("metrics need prometheus_client: pip install 'hosier[server]'") from None
    return prometheus_client
