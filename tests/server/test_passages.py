"""What was allowed is remembered, and for nobody and nothing else than the rules have been asked about."""

from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from hosier.auth.passwords import PasswordMethod
from hosier.errors import PolicyDenied
from hosier.policy.facts import Facts
from hosier.policy.rules import Rule, Verdict
from hosier.protocol.address import parse_address
from hosier.protocol.messages import Request
from hosier.server import passages as module
from hosier.server import ruling
from hosier.server.session import Session

from .harness import SUCCESS5, Stage, run, stage
from .test_reviews import reload
from .test_ruling import ALLOW, DENY, LOOPBACK, PASSWORDS, answer5, connects, logged_in


def only(**fields: Any) -> list[Rule]:
    return [Rule(action="allow", **fields), DENY]


def test_a_second_time_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with stage(rules=only(networks=[LOOPBACK])) as scene:
            await scene.joined()
            target = scene.target()
            asked: list[Facts] = []
            rulebook = scene.server.rulebook
            assert rulebook is not None
            decide = rulebook.decide

            def counted(facts: Facts) -> Verdict:
                asked.append(facts)
                return decide(facts)

            monkeypatch.setattr(rulebook, "decide", counted)
            for _ in range(3):
                client = await scene.client()
                assert (await client.connect(target.host, target.port)).startswith(SUCCESS5)
            assert len(asked) == 1
            for record in scene.records:
                assert record.rule == "rule 1"

    run(main)


def test_who_asks_and_for_what_makes_a_difference() -> None:
    async def main() -> None:
        async with stage(users=PASSWORDS, rules=only(users=["ann"])) as scene:
            target, other = scene.target(), scene.target()
            for _ in range(2):
                assert await answer5(await logged_in(scene, "ann"), target.host, target.port) == 0
                assert await answer5(await logged_in(scene, "bob"), target.host, target.port) == 2
            assert await answer5(await logged_in(scene, "ann"), other.host, other.port) == 0
            assert len(scene.server.passages) == 2

    run(main)


@pytest.mark.parametrize("field", ["versions", "clients", "listeners", "methods", "ports", "networks"])
def test_each_condition_tells_two_sessions_apart(field: str) -> None:
    """One of two sessions that differ in nothing else is let through, the other one is not, however often they come."""

    async def main() -> None:
        listeners = ["127.0.0.1:0", "127.0.0.2:0"]
        async with stage(listen=listeners) as scene:
            here, there = listeners
            target, other = scene.target("127.0.0.1"), scene.target("127.0.0.3")
            allowed = {
                "versions": [5],
                "clients": [ip_network("127.0.0.1")],
                "listeners": [here],
                "methods": ["none"],
                "ports": [target.port],
                "networks": [ip_network(target.host)],
            }[field]
            reload(scene, rules=only(**{field: allowed}))
            scene.server.methods = {0: None, 2: PasswordMethod()}
            ours = asking(scene, here, "127.0.0.1", 5, 0, target.host, target.port)
            theirs = {
                "versions": asking(scene, here, "127.0.0.1", 4, None, target.host, target.port),
                "clients": asking(scene, here, "127.0.0.9", 5, 0, target.host, target.port),
                "listeners": asking(scene, there, "127.0.0.1", 5, 0, target.host, target.port),
                "methods": asking(scene, here, "127.0.0.1", 5, 2, target.host, target.port),
                "ports": asking(scene, here, "127.0.0.1", 5, 0, target.host, other.port),
                "networks": asking(scene, here, "127.0.0.1", 5, 0, other.host, target.port),
            }[field]
            for _ in range(2):
                assert ours() is None
                assert "rule 2 denies it" in str(theirs())

    run(main)


def test_clients_that_no_rule_tells_apart_are_one() -> None:
    """Of many clients each would else be judged anew."""

    async def main() -> None:
        rules = [Rule(action="deny", clients=[ip_network("127.0.0.64/26")]), ALLOW]
        async with stage(rules=rules) as scene:
            target = scene.target()
            for number in range(1, 128):
                ask = asking(scene, "127.0.0.1:0", f"127.0.0.{number}", 5, 0, target.host, target.port)
                assert (ask() is None) == (number < 64)
            assert len(scene.server.passages) == 1

    run(main)


def test_the_minute_counts_where_rules_have_times(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with stage(rules=[Rule(action="allow", times=["mon 00:00-00:01"]), DENY]) as scene:
            target = scene.target()
            for minute, code in ((0, 0), (1, 2), (0, 0)):
                monkeypatch.setattr(module, "minute_of_week", lambda minute=minute: minute)
                monkeypatch.setattr(ruling, "minute_of_week", lambda minute=minute: minute)
                assert await connects(scene, 5, target.host, target.port) == code

    run(main)


def test_other_rules_begin_anew() -> None:
    async def main() -> None:
        async with stage(rules=[ALLOW]) as scene:
            target = scene.target()
            assert await connects(scene, 5, target.host, target.port) == 0
            reload(scene, rules=[DENY])
            assert not len(scene.server.passages)
            assert await connects(scene, 5, target.host, target.port) == 2

    run(main)


def test_what_is_explained_is_explained_each_time(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with stage(rules=[Rule(action="allow", log_level="verbose")]) as scene:
            target = scene.target()
            for count in (1, 2, 3):
                assert await connects(scene, 5, target.host, target.port) == 0
                assert caplog.text.count("rule 1 allows it") == count

    run(main)


def test_what_could_become_our_own_is_not_remembered() -> None:
    """The machine may get another address, and the server would listen there, too."""

    async def main() -> None:
        async with stage(listen=["0.0.0.0:0"], open=True, rules=[Rule(action="allow", networks=[LOOPBACK])]) as scene:
            port = scene.server.addresses[0].port
            policy = scene.server.policy
            policy._is_local = lambda _: False
            ask = asking(scene, "0.0.0.0:0", "127.0.0.1", 5, 0, "127.0.0.7", port)
            assert ask() is None
            policy._is_local = lambda _: True
            assert "is this server itself" in str(ask())

    run(main)


def test_each_leaves_from_the_address_of_its_rule() -> None:
    async def main() -> None:
        async with stage(rules=[Rule(action="allow", egress=[ip_address("127.0.0.5")])]) as scene:
            target = scene.target()
            for _ in range(2):
                assert (await (await scene.client()).connect(target.host, target.port)).startswith(SUCCESS5)
                assert (await target.accept()).other[0] == "127.0.0.5"

    run(main)


def test_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)

    async def main() -> None:
        async with stage(rules=[ALLOW]) as scene:
            for _ in range(2):
                for target in [scene.target() for _ in range(5)]:
                    assert await connects(scene, 5, target.host, target.port) == 0
                    assert 0 < len(scene.server.passages) <= 3
            for number in range(1, 9):
                asking(scene, "127.0.0.1:0", f"127.0.0.{number}", 5, 0, "127.0.0.1", 9)()
            assert len(scene.server.passages._kinds) <= 3

    run(main)


# --- asking without a connection ---


def asking(scene: Stage, listener: str, client: str, version: int, method: int | None, host: str, port: int) -> Any:
    """What asks for a target like a session that has come so; called, it returns what was said: None or a refusal."""
    session = Session(scene.server, scene.own(socket.socket()), (client, 1), (), listener)
    session.method = method
    session.request = Request(version, 1, parse_address(host, port), b"")

    def ask() -> PolicyDenied | None:
        assert session.request is not None
        try:
            scene.server.judging(session, session.request.address).vet((session.request.address,))
        except PolicyDenied as denied:
            return denied
        return None

    return ask
