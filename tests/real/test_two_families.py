"""RFC 3089: clients and servers of either family, through one gateway, two and three, with every command (6.2)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from .harness import ROOT, run
from .namespaces import Machine
from .two_families import CHAINS, CLIENT_SIDE, FAR_SIDE, PORT, SERVERS, gateways_and_servers

pytestmark = pytest.mark.real

TYPES = {"A": (4, 4), "B": (4, 6), "C": (6, 4), "D": (6, 6)}
"""The families of client and server."""

types = pytest.mark.parametrize("kind", TYPES)
chains = pytest.mark.parametrize("chain", CHAINS)
forms = pytest.mark.parametrize("form", ["name", "address", "text"])


@pytest.fixture(scope="module")
def machines() -> Iterator[dict[str, Machine]]:
    with gateways_and_servers() as found:
        yield found


@pytest.fixture(scope="module")
def outcome(machines: dict[str, Machine]) -> Any:
    """What a client of a family comes to through a chain: all cases at once, asked for once."""

    @cache
    def outcome(family: int, chain: str) -> dict[str, Any]:
        port, last, _ = CHAINS[chain]
        program = (sys.executable, "-m", "tests.real.two_families_client", CLIENT_SIDE[family], str(port), last)
        done = run(machines[f"client{family}"].command(*program), cwd=ROOT, patience=120)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return outcome


@types
@chains
@forms
def test_connect(outcome: Any, kind: str, chain: str, form: str) -> None:
    """NG-REQ-01, 05, 07, 15, 22, 23, B-26: the server sees the last gateway, in its own family, and so does the
    client's reply."""
    near, far = TYPES[kind]
    gateway = FAR_SIDE[CHAINS[chain][1]][far]
    assert outcome(near, chain)[f"connect {far} {form}"] == {"seen": gateway, "bound": gateway}


@types
@chains
@forms
def test_bind(outcome: Any, kind: str, chain: str, form: str) -> None:
    """The server calls the last gateway back, at an address of its own family."""
    near, far = TYPES[kind]
    gateway, server = FAR_SIDE[CHAINS[chain][1]][far], SERVERS[far]
    expected = {"bound": gateway, "came": server, "said": "hello", "server": server}
    assert outcome(near, chain)[f"bind {far} {form}"] == expected


@types
@chains
@forms
def test_associate(outcome: Any, kind: str, chain: str, form: str) -> None:
    near, far = TYPES[kind]
    expected = {"seen": FAR_SIDE[CHAINS[chain][1]][far], "sender": f"{SERVERS[far]} {PORT}", "payload": "question"}
    assert outcome(near, chain)[f"associate {far} {form}"] == expected


@chains
@pytest.mark.parametrize("family", [4, 6])
def test_name_that_does_not_resolve(outcome: Any, family: int, chain: str) -> None:
    """NG-REQ-17: reply 4, from wherever the last gateway is."""
    found = outcome(family, chain)
    assert (found["unknown name CONNECT"], found["unknown name BIND"]) == (4, 4)


@chains
@pytest.mark.parametrize("family", [4, 6])
def test_name_of_both_families(outcome: Any, family: int, chain: str) -> None:
    """Whichever family answers will do."""
    assert outcome(family, chain)["both"]["seen"] in FAR_SIDE[CHAINS[chain][1]].values()
