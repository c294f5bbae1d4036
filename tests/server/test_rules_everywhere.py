"""Each condition and each action of a rule, both ways, at each place where a rule decides: CONNECT, the peer of BIND, a
datagram; in SOCKS4, 4a and 5. A keyword means the same wherever it is valid."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Any, Literal

import pytest

from hosier.engine import resolve
from hosier.policy.budgets import Budget
from hosier.policy.rules import Rule

from .commands.test_bind import Reply, reply
from .datagrams import Associate, Datagrams, bound
from .harness import Peer, Stage, ipv4, login, request4, request5, run, stage

Action = Literal["allow", "deny"]

BIND, ASSOCIATE = 2, 3

# A condition that holds for ann, who comes from 127.0.0.1 with a password (SOCKS5) or a user id (4) and wants
# "localhost" or 127.0.0.1; and one that does not.
BOTH_WAYS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"users": ["ann", "eve"]}, {"users": ["eve"]}),
    ({"groups": ["staff"]}, {"groups": ["others"]}),
    ({"methods": ["password", "userid"]}, {"methods": ["none", "ident", "gssapi"]}),
    ({"clients": [ip_network("127.0.0.0/30")]}, {"clients": [ip_network("192.0.2.0/24")]}),
    ({"listeners": ["127.0.0.1:0"]}, {"listeners": ["127.0.0.2:0"]}),
    ({"times": ["mon-sun"]}, {"times": ["mon 00:00-00:01", "thu 00:00-00:01"]}),
    ({"networks": [ip_network("127.0.0.1/32"), ip_network("::1/128")]}, {"networks": [ip_network("127.0.0.2/31")]}),
    ({}, {"users": ["ann"], "groups": ["others"]}),
]
BOTH_ACTIONS: Sequence[tuple[Action, Action]] = (("allow", "deny"), ("deny", "allow"))
PROOF = Rule(action="allow", commands=["associate"], networks=[ip_network("127.0.0.9/32")])
PLACES = [
    (4, "connect", "127.0.0.1"),
    (4, "connect", "localhost"),
    (5, "connect", "127.0.0.1"),
    (5, "connect", "localhost"),
    (4, "bind", "127.0.0.1"),
    (5, "bind", "127.0.0.1"),
    (5, "bind", "localhost"),
    (5, "associate", "127.0.0.1"),
    (5, "associate", "localhost"),
]


@pytest.fixture(autouse=True)
def on_a_wednesday(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("ruling", "reviews", "passages"):
        monkeypatch.setattr(f"hosier.server.{module}.minute_of_week", lambda: 2 * 1440 + 600)


async def passes(scene: Stage, version: int, command: str, host: str) -> bool:
    """Whether ann gets what she wants."""
    if command == "associate":
        return await passes_datagram(scene, host)
    client, answer = await asked(scene, version, command, host, scene.target().port)
    client.close()
    assert answer.code in (0, 2, 0x5B)
    return answer.code == 0


async def asked(scene: Stage, version: int, command: str, host: str, port: int) -> tuple[Peer, Reply]:
    """Ann, who has asked for something, and the first reply."""
    number = {"connect": 1, "bind": BIND, "associate": ASSOCIATE}[command]
    if command != "connect":
        port = 0
    if command == "associate":
        host = "0.0.0.0"
    client = await scene.client()
    if version == 4:
        await client.send(request4(host, port, number, b"ann", as_name=host == "localhost"))
    else:
        await log_in(client)
        await client.send(request5(host, port, number, as_name=host == "localhost"))
    return client, await reply(client, version)


async def log_in(client: Peer) -> None:
    await client.send(b"\x05\x01\x02" + login(b"ann", b"open sesame"))
    assert await client.exactly(4) == b"\x05\x02\x01\x00"


async def passes_datagram(scene: Stage, host: str) -> bool:
    """One behind it goes where rules always let it, so that what has not come by then never will."""
    control = await scene.client()
    await log_in(control)
    await control.send(request5("0.0.0.0", 0, ASSOCIATE))
    answer = await control.reply5()
    if answer[1] == 2:
        return False
    client, target = Associate(scene, control, bound(answer), "127.0.0.1"), Datagrams(scene)
    proof = Datagrams(scene, "127.0.0.9")
    client.ask((host, target.place[1]), b"x")
    if host == "localhost":
        client.ask(("127.0.0.9", proof.place[1]), b"again")
        assert (await proof.receive())[0] == b"again"
        while _looking_up(scene):
            client.ask(("127.0.0.9", proof.place[1]), b"again")
            assert (await proof.receive())[0] == b"again"
    await client.proof(proof)
    control.close()
    return not target.has_nothing()


def _looking_up(scene: Stage) -> bool:
    return bool(scene.server._resolver._asked)


@pytest.mark.parametrize(("version", "command", "host"), PLACES)
@pytest.mark.parametrize(("holds", "fails"), BOTH_WAYS, ids=lambda fields: "+".join(fields) or "nothing")
def test_a_keyword_means_the_same_everywhere(
    version: int, command: str, host: str, holds: dict[str, Any], fails: dict[str, Any]
) -> None:
    """S4-REQ-12, S5-REQ-55."""
    settings: dict[str, Any] = {
        "listen": ["127.0.0.1:0", "127.0.0.2:0"],
        "users": {"ann": "open sesame"},
        "socks4_userid": True,
        "groups": {"staff": ["ann"], "others": ["bob"]},
    }

    async def main() -> None:
        for action, otherwise in BOTH_ACTIONS:
            for fields, expected in ((holds, action), (fails, otherwise)):
                rules = [PROOF, Rule(action=action, **fields), Rule(action=otherwise)]
                async with stage(**settings, rules=rules) as scene:
                    assert await passes(scene, version, command, host) == (expected == "allow"), (action, fields)

    run(main)


@pytest.mark.parametrize(("version", "command", "host"), PLACES)
def test_names_and_commands(version: int, command: str, host: str) -> None:
    settings: dict[str, Any] = {"users": {"ann": "open sesame"}, "socks4_userid": True}
    named = host == "localhost"

    async def main() -> None:
        for rule, granted in (
            (Rule(action="deny", names=["LOCALHOST."]), not named),
            (Rule(action="deny", names=["*"]), not named),  # an address has no name
            (Rule(action="deny", commands=[command]), False),  # type: ignore[list-item]
            (Rule(action="deny", versions=[version]), False),  # type: ignore[list-item]
            (Rule(action="deny", versions=[9 - version]), True),  # type: ignore[list-item]
        ):
            async with stage(**settings, rules=[PROOF, rule, Rule(action="allow")]) as scene:
                assert await passes(scene, version, command, host) == granted, rule

    run(main)


OURS: dict[str, Any] = {"users": {"ann": "open sesame"}, "socks4_userid": True}


@pytest.mark.parametrize("command", ["connect", "associate"])
def test_ports(command: str) -> None:
    """S5-REQ-55: with the command bind they are refused: its peer has no port that could be judged."""

    async def main() -> None:
        for action, otherwise in BOTH_ACTIONS:
            for ports, expected in ((["1-65535"], action), ([1], otherwise)):
                rules = [PROOF, Rule(action=action, ports=ports), Rule(action=otherwise)]
                async with stage(**OURS, rules=rules) as scene:
                    assert await passes(scene, 5, command, "127.0.0.1") == (expected == "allow")

    run(main)


# --- actions, where the rule holds and where it does not ---


@pytest.mark.parametrize(("version", "command", "host"), PLACES)
def test_a_reply_is_the_rules_everywhere(version: int, command: str, host: str) -> None:
    """SOCKS4 knows one word for all of them."""

    async def main() -> None:
        for user, expected in (("ann", 0x5B if version == 4 else 4), ("eve", 0)):
            rules = [Rule(action="deny", users=[user], reply="host-unreachable"), Rule(action="allow")]
            async with stage(**OURS, rules=rules) as scene:
                _, answer = await asked(scene, version, command, host, scene.target().port)
                assert answer.code == expected

    run(main)


@pytest.mark.parametrize(("version", "command", "host"), PLACES)
def test_a_log_level_is_the_rules_everywhere(version: int, command: str, host: str) -> None:
    async def main() -> None:
        for action, _ in BOTH_ACTIONS:
            for user, expected in (("ann", "silent"), ("eve", "normal")):
                rules = [Rule(action=action, users=[user], log_level="silent"), Rule(action=action)]
                async with stage(**OURS, rules=rules) as scene:
                    target = scene.target()
                    client, _ = await asked(scene, version, command, host, target.port)
                    client.close()
                    if (command, action) == ("connect", "allow"):
                        (await target.accept()).close()
                    assert (await scene.record()).log_level == expected, (action, user)

    run(main)


@pytest.mark.parametrize(("version", "command", "host"), [place for place in PLACES if place[1] != "associate"])
def test_a_budget_is_the_rules_everywhere(version: int, command: str, host: str) -> None:
    """One session may be here. Of an association, the first datagram tells which rule it is: see ``test_treasurer``."""

    async def main() -> None:
        for user, second in (("ann", 0x5B if version == 4 else 2), ("eve", 0)):
            rules = [Rule(action="allow", users=[user], budgets=["one"]), Rule(action="allow")]
            async with stage(**OURS, rules=rules, budgets={"one": Budget(sessions=1)}) as scene:
                for expected in (0, second):
                    _, answer = await asked(scene, version, command, host, scene.target().port)
                    assert answer.code == expected

    run(main)


@pytest.mark.parametrize(("version", "command", "host"), PLACES)
def test_an_egress_address_is_the_rules_everywhere(version: int, command: str, host: str) -> None:
    """A target sees it, a peer is told it."""

    async def main() -> None:
        for user, expected in (("ann", "127.0.0.9"), ("eve", "127.0.0.1")):
            rules = [Rule(action="allow", users=[user], egress=[ip_address("127.0.0.9")]), Rule(action="allow")]
            async with stage(**OURS, rules=rules) as scene:
                target = scene.target()
                client, answer = await asked(scene, version, command, host, target.port)
                if command == "connect":
                    assert (await target.accept()).other[0] == expected
                elif command == "bind":
                    assert answer.host == expected
                else:
                    other = Datagrams(scene)
                    relay = answer.host, answer.port
                    Associate(scene, client, relay, "127.0.0.1").ask((host, other.place[1]), b"x")
                    assert (await other.receive())[1][0] == expected

    run(main)


@pytest.mark.slow
def test_ten_thousand_rules() -> None:
    """The first that holds is found, wherever it stands."""

    async def main() -> None:
        rules = [Rule(action="deny", users=[f"u{n}"], ports=[n % 60000 + 1]) for n in range(10_000)]
        settings: dict[str, Any] = {"users": {"ann": "open sesame"}, "socks4_userid": True}
        for at, granted in ((0, False), (5_000, False), (10_000, False), (None, True)):
            placed = list(rules)
            if at is not None:
                placed.insert(at, Rule(action="deny", users=["ann"]))
            async with stage(**settings, rules=[*placed, Rule(action="allow")]) as scene:
                for place in ((5, "connect", "127.0.0.1"), (4, "connect", "127.0.0.1"), (5, "associate", "127.0.0.1")):
                    if at is None or place[1] == "connect":
                        assert await passes(scene, *place) == granted

    run(main)


@pytest.mark.parametrize("host", ["127.0.0.1", "two.example"])
def test_a_line_about_an_address_that_cannot_be_left_from_names_it(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "_look_up", lambda _: (ipv4("127.0.0.1"), ipv4("127.0.0.2")))
    rules = [Rule(action="allow", egress=[ip_address("192.0.2.1")])]

    async def main() -> None:
        async with stage(rules=rules) as scene:
            client = await scene.client()
            assert (await client.connect(host, scene.target().port))[1]
            client.close()
            assert (await scene.record()).end.startswith("connect failed: cannot leave from 192.0.2.1: ")

    run(main)
