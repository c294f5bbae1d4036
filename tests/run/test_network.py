"""Texts for ip and nft; the programs themselves are asked whether they take them in test_namespace."""

from __future__ import annotations

import pytest

from hosier.run.network import HELD, OWN_IPV4, OWN_IPV6, RELEASED, address_lines, rules


def test_everything_is_local() -> None:
    lines = address_lines(ipv6=True).splitlines()
    assert f"route add local 0.0.0.0/0 dev lo src {OWN_IPV4}" in lines
    assert f"route add local ::/0 dev lo src {OWN_IPV6}" in lines


def test_without_ipv6_there_is_no_word_of_it() -> None:
    assert ":" not in address_lines(ipv6=False)
    assert "ip6" not in rules(ipv6=False, held=True, shared_loopback=False)


def test_a_held_syn_is_thrown_away_only_where_somebody_listens() -> None:
    held = rules(ipv6=True, held=True, shared_loopback=False)
    assert f"meta mark {HELD} meta l4proto tcp tproxy ip to {OWN_IPV4}:1 drop;" in held
    assert f"mark set {HELD}" in held
    assert "drop;" not in rules(ipv6=True, held=False, shared_loopback=False).replace("echo-request drop;", "")


def test_only_what_was_let_go_is_young() -> None:
    """Where nothing is held, the program's own call ends the handshake, and no segment can come too early."""
    assert rules(ipv6=True, held=True, shared_loopback=False).count(f"meta mark {RELEASED} tcp flags") == 2
    assert "young" not in rules(ipv6=True, held=False, shared_loopback=False)


@pytest.mark.parametrize("shared", [False, True])
def test_loopback_is_captured_only_where_it_is_shared(shared: bool) -> None:
    text = rules(ipv6=True, held=True, shared_loopback=shared)
    assert (f"ip daddr {{ {OWN_IPV4}, 127.0.0.0/8 }} accept" in text) is not shared
    assert (f"ip6 daddr {{ {OWN_IPV6}, ::1 }} accept" in text) is not shared
