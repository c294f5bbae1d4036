"""Who may answer: nobody who was not asked, as the filtering says, and nobody who must not any more."""

from __future__ import annotations

import pytest

from hosier.policy.answers import Filtering
from hosier.protocol.address import parse_address
from hosier.protocol.udp import encode_header
from hosier.server.answerers import Answerers

ANN, ANNS_OTHER_PORT, BOB = ("192.0.2.1", 53), ("192.0.2.1", 54), ("192.0.2.2", 53)


@pytest.mark.parametrize(
    ("filtering", "may"),
    [
        (Filtering.ENDPOINT_INDEPENDENT, [ANN, ANNS_OTHER_PORT, BOB]),
        (Filtering.ADDRESS, [ANN, ANNS_OTHER_PORT]),
        (Filtering.ADDRESS_AND_PORT, [ANN]),
    ],
)
def test_who_may(filtering: Filtering, may: list[tuple[str, int]]) -> None:
    answerers = Answerers(filtering, 8)
    assert answerers.header(ANN) is None
    answerers.expect(*ANN)
    for _ in range(2):
        assert [place for place in (ANN, ANNS_OTHER_PORT, BOB) if answerers.header(place)] == may
    assert answerers.header(ANN) == encode_header(parse_address(*ANN))
    assert len(answerers) == len(may)


def test_a_link_is_not_told() -> None:
    answerers = Answerers(Filtering.ENDPOINT_INDEPENDENT, 8)
    answerers.expect("fe80::1", 53)
    assert answerers.header(("fe80::1%lo", 53, 0, 1)) == encode_header(parse_address("fe80::1", 53))


def test_who_may_go_on() -> None:
    answerers = Answerers(Filtering.ADDRESS, 8)
    for place in (ANN, BOB):
        answerers.expect(*place)
        assert answerers.header(place)
    answerers.keep([BOB])
    assert answerers.header(ANN) is None
    assert answerers.headers.young == {BOB: encode_header(parse_address(*BOB))}


def test_who_is_not_asked_again_is_forgotten() -> None:
    answerers = Answerers(Filtering.ADDRESS, 4)
    for number in range(100):
        answerers.expect(f"192.0.2.{number}", 53)
    assert len(answerers) <= 4
    answerers.expect(*ANN)
    for _ in range(2):
        answerers.age()
    assert answerers.header(ANN) is None
