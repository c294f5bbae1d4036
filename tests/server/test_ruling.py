"""Rules in a server that runs: each condition and action in both directions, at each place where they decide."""

from __future__ import annotations

import logging
import time
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from hosier.errors import ReplyCode
from hosier.policy.budgets import Budget
from hosier.policy.rules import Rule
from hosier.protocol.messages import Command
from hosier.server import passages
from hosier.server import ruling as module
from hosier.server.ruling import COMMAND_NAMES, minute_of_week
from hosier.server.settings import BindSettings

from .commands.test_bind import arrive, ask, reply, waiting
from .datagrams import Datagrams, associated, refused
from .harness import FAILURE4, Peer, Stage, failure5, login, request4, request5, run, stage, until

ALLOW, DENY = Rule(action="allow"), Rule(action="deny")
LOOPBACK = ip_network("127.0.0.0/8")
PASSWORDS = {"ann": "one", "bob": "two"}


def deny(**fields: Any) -> Rule:
    return Rule(action="deny", **fields)


def allow(**fields: Any) -> Rule:
    return Rule(action="allow", **fields)


async def logged_in(scene: Stage, user: str) -> Peer:
    """A client of SOCKS5 that is past its authentication."""
    client = await scene.client()
    await client.send(b"\x05\x01\x02" + login(user.encode(), PASSWORDS[user].encode()))
    assert await client.exactly(4) == b"\x05\x02\x01\x00"
    return client


async def answer5(client: Peer, host: str, port: int, command: int = 1, *, as_name: bool = False) -> int:
    await client.send(request5(host, port, command, as_name=as_name))
    return (await client.reply5())[1]


async def connects(scene: Stage, version: int, host: str, port: int, *, as_name: bool = False) -> int:
    """The reply to a CONNECT of a client without a name; of SOCKS4's 0 for granted."""
    client = await scene.client()
    if version == 4:
        await client.send(request4(host, port, as_name=as_name))
        octets = await client.exactly(8)
        assert octets == FAILURE4 or octets[1] == 0x5A
        client.close()
        return 0 if octets[1] == 0x5A else octets[1]
    await client.greet()
    code = await answer5(client, host, port, as_name=as_name)
    client.close()
    return code


# --- CONNECT, in every version ---


@pytest.mark.parametrize(("version", "as_name"), [(4, False), (4, True), (5, False), (5, True)])
@pytest.mark.parametrize(
    ("holds", "fails"),
    [
        ({"networks": [ip_network("127.0.0.1/32")]}, {"networks": [ip_network("127.0.0.2/32")]}),
        ({"clients": [LOOPBACK]}, {"clients": [ip_network("192.0.2.0/24")]}),
        ({"commands": ["connect"]}, {"commands": ["bind", "associate"]}),
        ({"methods": ["none"]}, {"methods": ["password"]}),
        ({"listeners": ["127.0.0.1:0"]}, {"users": ["ann"]}),
        ({"times": ["mon-sun"]}, {"groups": ["staff"]}),
        ({"ports": ["1-65535"]}, {"ports": [1]}),
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_connect(version: int, as_name: bool, holds: dict[str, Any], fails: dict[str, Any]) -> None:
    async def main() -> None:
        for rules, granted in (
            ([deny(**holds), ALLOW], False),
            ([deny(**fails), ALLOW], True),
            ([allow(**holds), DENY], True),
            ([allow(**fails), DENY], False),
        ):
            async with stage(rules=rules, groups={"staff": ["ann"]}) as scene:
                target = scene.target()
                code = await connects(scene, version, "127.0.0.1", target.port, as_name=as_name)
                assert code == (0 if granted else 2 if version == 5 else 0x5B)
                assert target.was_left_alone() != granted

    run(main)


@pytest.mark.parametrize("version", [4, 5])
def test_versions(version: int) -> None:
    async def main() -> None:
        async with stage(rules=[deny(versions=[version]), ALLOW]) as scene:
            target = scene.target()
            for other in (4, 5):
                assert (await connects(scene, other, target.host, target.port) == 0) == (other != version)

    run(main)


@pytest.mark.parametrize("version", [4, 5])
def test_names(version: int) -> None:
    """A literal in a name's place is no name; whatever way a name is written in, it is the same name."""

    async def main() -> None:
        no = 2 if version == 5 else 0x5B
        async with stage(rules=[deny(names=[".localhost", "evil.*"]), ALLOW]) as scene:
            target = scene.target()
            for name in ("localhost", "LocalHost", "localhost.", "a.localhost", "evil.example", "EVIL.example."):
                assert await connects(scene, version, name, target.port, as_name=True) == no
            assert await connects(scene, version, "127.0.0.1", target.port, as_name=True) == 0
        async with stage(rules=[allow(names=["localhost"]), DENY]) as scene:
            target = scene.target()
            assert await connects(scene, version, "localhost.", target.port, as_name=True) == 0
            assert await connects(scene, version, "127.0.0.1", target.port, as_name=True) == no

    run(main)


def test_a_name_that_resolvers_read_in_another_way() -> None:
    """``\\108`` is an "l" for them."""

    async def main() -> None:
        async with stage(rules=[deny(names=["localhost"]), ALLOW]) as scene:
            target = scene.target()
            assert await connects(scene, 5, "\\108ocalhost", target.port, as_name=True) == 2
            assert await connects(scene, 5, "loca\\lhost", target.port, as_name=True) == 2
            assert target.was_left_alone()

    run(main)


def test_a_denied_name_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def main() -> None:
        rules = [allow(groups=["staff"], networks=[LOOPBACK]), deny(names=[".example"]), ALLOW]
        async with stage(rules=rules, groups={"staff": ["ann"]}) as scene:

            async def resolve(name: bytes, port: int, source: object) -> Any:
                asked.append(name)
                raise AssertionError

            monkeypatch.setattr(scene.server._resolver, "resolve", resolve)
            assert await connects(scene, 5, "a.example", 80) == 2
        assert asked == []

    run(main)


@pytest.mark.parametrize("host", ["127.0.0.1", "::ffff:127.0.0.1", "127.1", "0x7f.1", "localhost"])
def test_no_spelling_gets_past_a_network(host: str) -> None:
    """Judged is what is dialled."""

    async def main() -> None:
        async with stage(rules=[deny(networks=[LOOPBACK, ip_network("::1/128")]), ALLOW]) as scene:
            target = scene.target()
            assert await connects(scene, 5, host, target.port, as_name=True) == 2
            assert target.was_left_alone()
        async with stage(rules=[allow(networks=[LOOPBACK]), DENY]) as scene:
            target = scene.target()
            assert await connects(scene, 5, host, target.port, as_name=True) == 0

    run(main)


def test_users_groups_and_methods() -> None:
    async def main() -> None:
        rules = [allow(users=["ann"]), allow(groups=["night"], methods=["password"]), deny(reply="host-unreachable")]
        async with stage(users=PASSWORDS, rules=rules, groups={"night": ["bob"], "day": ["ann"]}) as scene:
            target = scene.target()
            for user in ("ann", "bob"):
                assert await answer5(await logged_in(scene, user), target.host, target.port) == 0
        async with stage(users=PASSWORDS, rules=[allow(groups=["day"]), DENY], groups={"day": ["ann"]}) as scene:
            target = scene.target()
            assert await answer5(await logged_in(scene, "ann"), target.host, target.port) == 0
            assert await answer5(await logged_in(scene, "bob"), target.host, target.port) == 2

    run(main)


def test_a_socks4_name_that_nothing_proves() -> None:
    async def main() -> None:
        for methods, granted in ((["userid"], True), (["ident", "password", "none"], False)):
            rules = [allow(methods=methods, users=["ann"]), DENY]
            async with stage(users=PASSWORDS, socks4_userid=True, rules=rules) as scene:
                target = scene.target()
                client = await scene.client()
                await client.send(request4(target.host, target.port, user=b"ann"))
                assert ((await client.exactly(8))[1] == 0x5A) == granted

    run(main)


def test_ports_and_listeners() -> None:
    async def main() -> None:
        listen = ["127.0.0.1:0", "127.0.0.2:0"]
        async with stage(listen=listen, rules=[allow(listeners=["127.0.0.2:0"], ports=["1-65535"]), DENY]) as scene:
            target = scene.target()
            for index, code in ((0, 2), (1, 0)):
                host, port = scene.server.addresses[index]
                client = await scene.client((host, port))
                assert (await client.connect(target.host, target.port))[1] == code

    run(main)


def test_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at when it counts, not when the session began."""
    now = [0]
    for place in (module, passages):
        monkeypatch.setattr(place, "minute_of_week", lambda: now[0])

    async def main() -> None:
        async with stage(rules=[allow(times=["mon 00:00-08:00"]), DENY]) as scene:
            target = scene.target()
            assert await connects(scene, 5, target.host, target.port) == 0
            now[0] = 8 * 60
            assert await connects(scene, 5, target.host, target.port) == 2

    run(main)


def test_the_minute_of_the_week() -> None:
    now = time.localtime()
    assert minute_of_week() // 1440 in (now.tm_wday, (now.tm_wday + 1) % 7)
    assert sorted(COMMAND_NAMES) == [Command.CONNECT, Command.BIND, Command.UDP_ASSOCIATE]


@pytest.mark.parametrize("word", ["general-failure", "host-unreachable", "ttl-expired", "connection-refused"])
def test_the_reply_is_the_rules(word: Any) -> None:
    async def main() -> None:
        async with stage(rules=[deny(reply=word)]) as scene:
            client = await scene.client()
            code = ReplyCode[word.upper().replace("-", "_")]
            assert await client.connect("192.0.2.1", 80) == failure5(code)
            client.close()
            assert (await scene.record()).end == "refused: rule 1 denies it"

    run(main)


# --- what is the case besides ---


def test_what_no_rule_holds_for() -> None:
    """On loopback it is allowed, as without rules; where others can reach the server it is denied."""

    async def main() -> None:
        rule = allow(users=["ann"])
        async with stage(rules=[rule]) as scene:
            target = scene.target()
            assert await connects(scene, 5, target.host, target.port) == 0
        async with stage(listen=["0.0.0.0:0"], open=True, rules=[rule], allow=[LOOPBACK]) as scene:
            target = scene.target()
            assert await connects(scene, 5, target.host, target.port) == 2
            assert (await scene.record()).end == "refused: no rule holds for it"

    run(main)


@pytest.mark.parametrize(
    ("rule", "settings", "granted"),
    [
        (ALLOW, {}, False),
        (allow(networks=[ip_network("0.0.0.0/0")]), {}, False),
        (allow(networks=[LOOPBACK]), {}, True),
        (allow(networks=[ip_network("127.0.0.1/32")]), {}, True),
        (allow(names=["localhost"]), {}, False),
        (ALLOW, {"allow": [LOOPBACK]}, True),
        (allow(networks=[LOOPBACK]), {"deny": [LOOPBACK]}, False),
    ],
)
def test_protected_networks(rule: Rule, settings: dict[str, Any], granted: bool) -> None:
    """Rules come behind what nothing opens, and open what is protected only by naming it."""

    async def main() -> None:
        async with stage(listen=["0.0.0.0:0"], open=True, rules=[rule], **settings) as scene:
            target = scene.target()
            code = await connects(scene, 5, "localhost" if rule.names else target.host, target.port)
            assert (code == 0) == granted
            assert target.was_left_alone() != granted

    run(main)


def test_the_server_itself_is_never_a_target() -> None:
    async def main() -> None:
        async with stage(rules=[allow(networks=[LOOPBACK])]) as scene:
            assert await connects(scene, 5, *scene.place) == 2

    run(main)


# --- where it leaves from ---


def test_egress_address() -> None:
    async def main() -> None:
        rules = [
            allow(egress=[ip_address("127.0.0.9")], commands=["connect"], users=["ann"]),
            allow(egress=[ip_address("127.0.0.8"), ip_address("::1")]),
        ]
        async with stage(users=PASSWORDS, rules=rules) as scene:
            target = scene.target()
            for user, source in (("ann", "127.0.0.9"), ("bob", "127.0.0.8")):
                client = await logged_in(scene, user)
                assert await answer5(client, target.host, target.port) == 0
                assert (await target.accept()).other[0] == source

    run(main)


def test_a_family_without_an_egress_address() -> None:
    """Is not reached, rather than from an address that was not meant."""

    async def main() -> None:
        async with stage(rules=[allow(egress=[ip_address("127.0.0.9")])]) as scene:
            assert await connects(scene, 5, "2001:db8::1", 80) == ReplyCode.NETWORK_UNREACHABLE
            assert (await scene.record()).end.startswith("refused: rule 1 has no address of its family")

    run(main)


def test_an_egress_address_that_is_not_ours() -> None:
    async def main() -> None:
        async with stage(rules=[allow(egress=[ip_address("192.0.2.1")])]) as scene:
            target = scene.target()
            assert await connects(scene, 5, target.host, target.port) == ReplyCode.GENERAL_FAILURE
            assert "Cannot assign requested address" in (await scene.record()).end

    run(main)


# --- BIND: its peer ---


@pytest.mark.parametrize("version", [4, 5])
def test_bind_is_judged_by_its_peer(version: int) -> None:
    async def main() -> None:
        no = 2 if version == 5 else 0x5B
        rules = [deny(networks=[ip_network("127.0.0.7/32")]), deny(ports=["1-65535"]), ALLOW]
        async with stage(rules=rules, bind=BindSettings(anyone=True)) as scene:
            client = await ask(scene, version, "127.0.0.7")
            assert (await reply(client, version)).code == no
            for source, code in (("127.0.0.7", no), ("127.0.0.8", 0)):
                client, first = await waiting(scene, version, "0.0.0.0")
                far = arrive(scene, first.place, source)
                second = await reply(client, version)
                assert (second.code, second.place if version == 5 else far.place) == (code, far.place)

    run(main)


@pytest.mark.parametrize("version", [4, 5])
def test_bind_as_a_command_and_by_name(version: int) -> None:
    async def main() -> None:
        no = 2 if version == 5 else 0x5B
        async with stage(rules=[deny(commands=["bind"]), ALLOW]) as scene:
            assert (await reply(await ask(scene, version, "127.0.0.1"), version)).code == no
            target = scene.target()
            assert await connects(scene, version, target.host, target.port) == 0
        async with stage(rules=[deny(names=["localhost"]), ALLOW]) as scene:
            assert (await reply(await ask(scene, version, "localhost", as_name=True), version)).code == no
            await waiting(scene, version, "127.0.0.1")

    run(main)


def test_bind_at_the_egress_address() -> None:
    async def main() -> None:
        async with stage(rules=[allow(egress=[ip_address("127.0.0.9")])], bind=BindSettings(anyone=True)) as scene:
            for host in ("127.0.0.1", "0.0.0.0"):
                client, first = await waiting(scene, 5, host)
                assert first.place[0] == "127.0.0.9"
                arrive(scene, first.place)
                assert (await reply(client, 5)).code == 0

    run(main)


# --- UDP: each datagram ---


def test_datagrams_are_judged_one_by_one() -> None:
    """What one target allows opens no other; the association itself stays."""

    async def main() -> None:
        rules = [deny(networks=[ip_network("127.0.0.3/32")], commands=["associate"]), deny(names=["localhost"]), ALLOW]
        async with stage(rules=rules) as scene:
            friend, enemy = Datagrams(scene), Datagrams(scene, "127.0.0.3")
            client = await associated(scene)
            port = friend.place[1]
            for place in (friend.place, enemy.place, ("localhost", port), ("LOCALHOST.", port), enemy.place):
                client.ask(place, b"x")
            assert (await friend.receive())[0] == b"x"
            await client.proof(friend)
            assert enemy.has_nothing()
            assert friend.has_nothing()
            target = scene.target("127.0.0.3")
            assert await connects(scene, 5, target.host, target.port) == 0
            client.control.close()
            await until(lambda: any(record.datagrams for record in scene.records), "the association ends")
            (counts,) = [record.datagrams for record in scene.records if record.datagrams]
            assert counts.dropped == {"refused target": 4}

    run(main)


def test_ports_of_datagrams() -> None:
    async def main() -> None:
        async with stage() as first:
            allowed, other = Datagrams(first), Datagrams(first)
            async with stage(rules=[allow(ports=[allowed.place[1]]), DENY]) as scene:
                client = await associated(scene)
                client.ask(other.place, b"no")
                await client.proof(allowed)
                assert other.has_nothing()

    run(main)


def test_an_association_that_no_rule_could_serve() -> None:
    async def main() -> None:
        async with stage(rules=[deny(commands=["associate"], reply="command-not-supported"), ALLOW]) as scene:
            assert await refused(scene) == ReplyCode.COMMAND_NOT_SUPPORTED
        async with stage(rules=[allow(commands=["associate"], networks=[ip_network("192.0.2.0/24")]), DENY]) as scene:
            await associated(scene)
            target = scene.target()
            assert await connects(scene, 5, target.host, target.port) == 2

    run(main)


def test_datagrams_leave_from_the_egress_address() -> None:
    async def main() -> None:
        rules = [
            allow(networks=[ip_network("127.0.0.3/32")], egress=[ip_address("127.0.0.9")]),
            allow(names=["localhost"], egress=[ip_address("127.0.0.8")]),
            ALLOW,
        ]
        async with stage(rules=rules) as scene:
            plain, other = Datagrams(scene), Datagrams(scene, "127.0.0.3")
            client = await associated(scene)
            client.ask(other.place, b"one")
            data, source = await other.receive()
            assert (data, source[0]) == (b"one", "127.0.0.9")
            other.send(b"answer", source)
            assert await client.answer() == (b"answer", other.place)
            client.ask(("localhost", plain.place[1]), b"two")
            data, source = await plain.receive()
            assert (data, source[0]) == (b"two", "127.0.0.8")
            client.ask(plain.place, b"three")
            data, source = await plain.receive()
            assert (data, source[0]) == (b"three", "127.0.0.1")

    run(main)


# --- what is written about it ---


def test_log_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    async def main() -> None:
        rules = [
            allow(users=["ann"], log_level="silent"),
            allow(users=["bob"], log_level="verbose", name="bob's"),
        ]
        async with stage(users=PASSWORDS, rules=rules) as scene:
            target = scene.target()
            for user in ("ann", "bob"):
                client = await logged_in(scene, user)
                assert await answer5(client, target.host, target.port) == 0
                (await target.accept()).close()
                client.close()
            await until(lambda: len(scene.records) == 2, "both end")
            found = {record.user: (record.rule, record.log_level) for record in scene.records}
            assert found == {"ann": ("rule 1", "silent"), "bob": ("rule 2 (bob's)", "verbose")}
            (line,) = [line for line in caplog.messages if "allows it" in line]
            assert line.endswith(f"{target}: rule 2 (bob's) allows it")

    run(main)


def test_a_refusal_names_its_rule(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def main() -> None:
        async with stage(rules=[deny(name="no mail", ports=[25]), ALLOW]) as scene:
            assert await connects(scene, 5, "192.0.2.1", 25) == 2

    run(main)
    assert any("192.0.2.1:25: rule 1 (no mail) denies it" in line for line in caplog.messages)


def test_budgets_reach_those_who_keep_them() -> None:
    async def main() -> None:
        async with stage(rules=[allow(budgets=["slow"])], budgets={"slow": Budget(sessions=9)}) as scene:
            await scene.joined()
            (session,) = scene.server.living()
            assert session.verdict is not None
            assert session.verdict.budgets == ("slow",)

    run(main)
