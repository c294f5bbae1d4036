"""Filtering, in the terms of RFC 4787 §5 (A-15)."""

import pytest

from hosier.policy.answers import Filtering

SENT_TO = ("192.0.2.1", 53)


@pytest.mark.parametrize(
    ("filtering", "same_host", "stranger"),
    [("endpoint-independent", True, True), ("address", True, False), ("address-and-port", False, False)],
)
def test_who_may_answer(filtering: str, same_host: bool, stranger: bool) -> None:
    key = Filtering(filtering).key
    assert key(*SENT_TO) == key(*SENT_TO)
    assert (key("192.0.2.1", 54) == key(*SENT_TO)) is same_host
    assert (key("192.0.2.2", 53) == key(*SENT_TO)) is stranger
