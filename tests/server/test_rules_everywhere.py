"""Each condition of a rule, both ways, at each place where a rule decides: CONNECT, the peer of BIND, a datagram; in
SOCKS4, 4a and 5. A keyword means the same wherever it is valid."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from hosier.policy.rules import Rule

from .commands.test_bind import reply
from .datagrams import Associate, Datagrams, bound
from .harness import Peer, Stage, login, request4, request5, run, stage

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
    number = {"connect": 1, "bind": BIND}[command]
    port = scene.target().port if command == "connect" else 0
    client = await scene.client()
    if version == 4:
        await client.send(request4(host, port, number, b"ann", as_name=host == "localhost"))
    else:
        await log_in(client)
        await client.send(request5(host, port, number, as_name=host == "localhost"))
    code = (await reply(client, version)).code
    client.close()
    assert code in (0, 2, 0x5B)
    return code == 0


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
    settings: dict[str, Any] = {
        "listen": ["127.0.0.1:0", "127.0.0.2:0"],
        "users": {"ann": "open sesame"},
        "socks4_userid": True,
        "groups": {"staff": ["ann"], "others": ["bob"]},
    }
    proof = Rule(action="allow", commands=["associate"], networks=[ip_network("127.0.0.9/32")])

    async def main() -> None:
        for action, otherwise in (("allow", "deny"), ("deny", "allow")):
            for fields, expected in ((holds, action), (fails, otherwise)):
                rules = [proof, Rule(action=action, **fields), Rule(action=otherwise)]  # type: ignore[arg-type]
                async with stage(**settings, rules=rules) as scene:
                    assert await passes(scene, version, command, host) == (expected == "allow"), (action, fields)

    run(main)


@pytest.mark.parametrize(("version", "command", "host"), PLACES)
def test_names_and_commands(version: int, command: str, host: str) -> None:
    settings: dict[str, Any] = {"users": {"ann": "open sesame"}, "socks4_userid": True}
    named = host == "localhost"
    proof = Rule(action="allow", commands=["associate"], networks=[ip_network("127.0.0.9/32")])

    async def main() -> None:
        for rule, granted in (
            (Rule(action="deny", names=["LOCALHOST."]), not named),
            (Rule(action="deny", names=["127.*"]), True),
            (Rule(action="deny", commands=[command]), False),  # type: ignore[list-item]
            (Rule(action="deny", versions=[version]), False),  # type: ignore[list-item]
            (Rule(action="deny", versions=[9 - version]), True),  # type: ignore[list-item]
        ):
            async with stage(**settings, rules=[proof, rule, Rule(action="allow")]) as scene:
                assert await passes(scene, version, command, host) == granted, rule

    run(main)


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
