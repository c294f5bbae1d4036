"""Few lines about many refusals."""

from __future__ import annotations

from hosier.observe.crowding import AGAIN, CrowdingLog


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_one_line_when_it_begins_and_one_a_minute() -> None:
    said: list[str] = []
    clock = Clock()
    log = CrowdingLog(said.append, clock)
    for _ in range(1000):
        log.refused("handshakes_per_source", 7, "192.0.2.1", "closed")
    begin = "192.0.2.1: closed; the cap handshakes-per-source=7 is reached; --cap handshakes-per-source=N changes it"
    assert said == [begin]
    clock.now += AGAIN
    log.refused("handshakes_per_source", 7, "192.0.2.1", "closed")
    assert said[1:] == [f"{begin}; 999 more since the last such line"]
    clock.now += AGAIN
    log.refused("handshakes_per_source", 7, "192.0.2.1", "closed")
    assert said[2:] == [begin]


def test_each_cap_for_itself() -> None:
    said: list[str] = []
    log = CrowdingLog(said.append, Clock())
    log.refused("sessions", 1, "192.0.2.1", "closed")
    log.refused("sessions_per_user", 2, "ann", "refused")
    log.refused("table", 0, "192.0.2.1", "closed")
    assert [line.split(";")[0] for line in said] == ["192.0.2.1: closed", "ann: refused", "192.0.2.1: closed"]
    assert said[2] == "192.0.2.1: closed; the table of sources and users is full"
