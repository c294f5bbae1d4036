"""Options that are a time in seconds."""

from __future__ import annotations

import pytest

from hosier.cli.seconds import seconds

from .harness import ran


def test_times() -> None:
    assert [seconds(text) for text in ("0.2", "30", "1e6")] == [0.2, 30, 1_000_000]


@pytest.mark.parametrize("time", ["0", "-1", "nan", "inf", "1e300", "soon"])
@pytest.mark.parametrize("verb", ["connect", "listen", "probe"])
def test_a_mistake_is_a_line(verb: str, time: str) -> None:
    place = () if verb == "probe" else ("target.example", "80")
    status, output, said = ran(verb, "--proxy", "127.0.0.1:9", "--timeout", time, *place)
    assert (status, output) == (2, b"")
    assert said.count("\n") == 1
    assert f"argument --timeout: '{time}' is no time: write seconds, more than 0 and at most 1000000" in said
