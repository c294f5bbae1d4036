"""What a step alone decides; the steps together are walked in ``test_proxied``."""

from __future__ import annotations

import socket

import pytest

from hosier.client.egress.steps import explained, host_address, places_of
from hosier.client.journey import Journey
from hosier.client.proxy import Proxy, chain_of
from hosier.engine.endpoint import Endpoint
from hosier.errors import ProxyTimedOut
from hosier.protocol.address import UNSPECIFIED, parse_address
from hosier.protocol.messages import Command

from ...engine.harness import Lab, Run

TARGET = parse_address("target.example", 80)


def test_a_late_answer_is_the_targets_only_from_the_last_proxy() -> None:
    journey = Journey(chain_of(["socks5h://one", "socks5h://two"]), Command.CONNECT, TARGET, None)
    late = TimeoutError("connect limit")
    for _ in range(2):
        handshake = journey.begin(TARGET)
        assert isinstance(explained(journey, late), ProxyTimedOut)
        handshake.start()
        handshake.feed(b"\x05\x00")
        if not journey.asked:
            assert isinstance(explained(journey, late), ProxyTimedOut)
            journey.passed()
    assert explained(journey, late) is late
    assert "hop 2 of 2" in str(explained(journey, OSError(5, "broken")))


@pytest.mark.parametrize(
    ("chain", "bound", "address"),
    [
        ("socks5h://127.0.0.1", parse_address("192.0.2.9", 4000), parse_address("192.0.2.9", 4000)),
        ("socks5h://proxy.example", UNSPECIFIED._replace(port=4000), parse_address("127.0.0.1", 4000)),
        (["socks5h://one", "socks5h://two.example"], UNSPECIFIED, parse_address("two.example", 0)),
        ("socks5h://localhost/run/proxy", UNSPECIFIED, parse_address("localhost", 0)),
    ],
)
def test_zeros_stand_for_the_proxys_address(run: Run, chain: str, bound: object, address: object) -> None:
    async def main(lab: Lab) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            sock = lab.own(socket.create_connection(listener.getsockname()))

            class Nobody:
                def on_edge(self, endpoint: object, events: int) -> None:
                    pass

            endpoint = Endpoint(lab.engine, sock, Nobody())
            assert host_address(endpoint, chain_of(chain), bound) == address  # type: ignore[arg-type]

    run(main)


def test_places_that_are_known_beforehand() -> None:
    assert places_of(Proxy("socks5h://192.0.2.1:9")) == (parse_address("192.0.2.1", 9),)
    assert places_of(Proxy("socks5h://[2001:db8::1]")) == (parse_address("2001:db8::1", 1080),)
    assert places_of(Proxy("socks5h://proxy.example")) is None
    assert places_of(Proxy("socks5h://localhost/run/proxy")) is None
    assert places_of(Proxy("socks5h://192.0.2.1", source_address="192.0.2.9")) is None
