"""Faults that other servers had where they decide who may do what, each by its name."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from hosier.errors import ConfigError, PolicyDenied
from hosier.policy.facts import Facts
from hosier.policy.rulebook import Rulebook
from hosier.policy.rules import Rule
from hosier.protocol.address import Address
from hosier.server.settings import ServerSettings
from hosier.server.terms import protection_of, rulebook_of

from .datagrams import Datagrams, associated
from .harness import request4, run, stage
from .test_reviews import reload
from .test_ruling import PASSWORDS, allow, answer5, connects, deny, logged_in

EVERYTHING = Rule(action="allow")
WIDE = allow(networks=[ip_network("0.0.0.0/0"), ip_network("::/0")])

# Cloud metadata, loopback and inner networks, in all the forms that filters have missed.
DISGUISED = [
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "::169.254.169.254",
    "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::1",
    "fd00:ec2::254",
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "100.64.0.1",
    "192.0.0.192",
    "168.63.129.16",
    "127.0.0.2",
    "::1",
    "fe80::1",
    "10.0.0.1",
    "::ffff:10.0.0.1",
    "2001:0:0:0:0:0:f5ff:fffe",  # Teredo's way to write 10.0.0.1
]


@pytest.mark.parametrize("rule", [EVERYTHING, WIDE], ids=["everything", "0.0.0.0/0"])
@pytest.mark.parametrize("host", DISGUISED)
def test_squid_1161_a_rule_for_everything_opens_no_inner_network(host: str, rule: Rule) -> None:
    settings = ServerSettings(listen=["*:1080"], open=True, rules=[rule])
    book, policy = rulebook_of(settings, Rulebook), protection_of(settings, settings.listen_addresses)
    assert book is not None

    def ruling(octets: bytes) -> bool:
        return book.decide(Facts(address=octets)).opened.find(octets) is not None

    octets = ip_address(host).packed
    address = Address(1 if len(octets) == 4 else 4, octets, 80).canonical()
    assert isinstance(policy.judge(address, ruling), PolicyDenied)


def test_squid_1161_nor_by_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judged is what the name stands for when it is dialled, whatever it stood for before."""

    async def main() -> None:
        rules = [allow(names=["rebinding.example"])]
        async with stage(listen=["0.0.0.0:0"], open=True, rules=rules) as scene:
            target = scene.target()

            async def resolve(name: bytes, port: int, source: object) -> Any:
                return (Address(1, bytes((127, 0, 0, 1)), port),)

            monkeypatch.setattr(scene.server._resolver, "resolve", resolve)
            assert await connects(scene, 5, "rebinding.example", target.port) == 2
            assert target.was_left_alone()

    run(main)


def test_docker_dante_1_rules_make_no_open_proxy() -> None:
    """Who wants to be one says so, rules or not."""
    with pytest.raises(ConfigError, match="would be an open proxy"):
        ServerSettings(listen=["*:1080"], rules=[allow(clients=[ip_network("192.0.2.0/24")])])


def test_docker_dante_1_what_no_rule_names_is_denied() -> None:
    async def main() -> None:
        rules = [allow(ports=[443], users=["ann"])]
        async with stage(listen=["0.0.0.0:0"], users=PASSWORDS, rules=rules) as scene:
            for user in ("ann", "bob"):
                client = await logged_in(scene, user)
                assert await answer5(client, "192.0.2.1", 25) == 2
                client.close()

    run(main)


def test_cve_2024_54662_a_method_that_a_rule_asks_for_is_asked_for_everywhere() -> None:
    """A name alone, which nothing proves, is not enough where a rule says how it must be proved."""

    async def main() -> None:
        rules = [allow(users=["ann"], methods=["password"]), deny()]
        async with stage(users=PASSWORDS, socks4_userid=True, rules=rules) as scene:
            target = scene.target()
            client = await scene.client()
            await client.send(request4(target.host, target.port, user=b"ann"))
            assert (await client.exactly(8))[1] == 0x5B
            client.close()
            assert await answer5(await logged_in(scene, "ann"), target.host, target.port) == 0

    run(main)


@pytest.mark.parametrize(
    "fields",
    [
        {"action": "allow", "reply": "not-allowed"},
        {"action": "deny", "egress": [ip_address("192.0.2.1")]},
        {"action": "deny", "budgets": ["x"]},
        {"action": "allow", "commands": ["bind"], "ports": [1]},
    ],
)
def test_cve_2024_54662_a_keyword_is_refused_where_it_means_nothing(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Rule(**fields)


def test_dante_1_3_1_a_datagram_that_may_pass_opens_no_way_for_another() -> None:
    """Nor does one that was allowed before: what is known of a lane does not outlive the rules that opened it."""

    async def main() -> None:
        async with stage() as outside:
            first, second = Datagrams(outside), Datagrams(outside, "127.0.0.3")
            only = [allow(ports=[first.place[1]]), deny()]
            async with stage(rules=only) as scene:
                client = await associated(scene)
                client.ask(first.place, b"x")
                assert (await first.receive())[0] == b"x"
                for _ in range(3):
                    client.ask(second.place, b"x")
                await client.proof(first)
                assert second.has_nothing()
                reload(scene, rules=[allow(ports=[second.place[1]]), deny()])
                client.ask(first.place, b"no more")
                await client.proof(second)
                assert first.has_nothing()

    run(main)


def test_3proxy_0_9_9_parts_of_a_datagram_are_judged_as_a_whole() -> None:
    """A fragment's target is no less a target."""

    async def main() -> None:
        async with stage(rules=[deny(networks=[ip_network("127.0.0.3/32")]), EVERYTHING]) as scene:
            friend, enemy = Datagrams(scene), Datagrams(scene, "127.0.0.3")
            client = await associated(scene)
            client.ask(enemy.place, b"half", 1)
            client.ask(enemy.place, b"half", 0x82)
            await client.proof(friend)
            await asyncio.sleep(0)
            assert enemy.has_nothing()

    run(main)
