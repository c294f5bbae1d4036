"""What each kind of session adds to the counts."""

from __future__ import annotations

import pytest

from hosier.errors import ReplyCode
from hosier.observe.counts import FAMILIES, Counts, place_of, value_of
from hosier.policy.budgets import Budget
from hosier.policy.limits import Caps
from hosier.policy.rules import Rule
from hosier.server import pulse
from hosier.server.meter import _outcome
from hosier.server.settings import Limits

from .datagrams import Datagrams, associated
from .harness import Stage, failing, login, request4, run, stage, until

BUCKETS = {family.name: len(family.bounds) + 1 for family in FAMILIES}


def counted(scene: Stage, name: str, value: str | None = None) -> int:
    return value_of(scene.server.meter.counts.cells, name, value)


def taken(scene: Stage, name: str) -> int:
    """How many a histogram holds."""
    first = place_of(name)
    return sum(scene.server.meter.counts.cells[first : first + BUCKETS[name]])


async def all_ended(scene: Stage, count: int = 1) -> None:
    await until(lambda: len(scene.records) == count, "the sessions end")
    assert counted(scene, "sessions_started") == counted(scene, "sessions_ended") == count
    assert counted(scene, "handshakes") == count
    assert not scene.server.meter.progress


def test_connect() -> None:
    async def main() -> None:
        async with stage(counts=Counts()) as scene:
            client, target = await scene.joined()
            await until(lambda: counted(scene, "replies", "0"), "its answer is counted")
            assert counted(scene, "handshakes", "ok") == 1
            assert taken(scene, "handshake_seconds") == taken(scene, "dial_seconds") == 1
            await client.send(b"x" * 1000)
            await target.exactly(1000)
            await target.send(b"y" * 30)
            client.end()
            target.end()
            await client.rest()
            await all_ended(scene)
            assert (counted(scene, "octets", "up"), counted(scene, "octets", "down")) == (1000, 30)
            assert counted(scene, "sessions_ended", "CONNECT") == 1

    run(main)


def test_a_session_that_lives_is_counted_once_a_second_and_no_octet_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "EVERY", 0.02)

    async def main() -> None:
        async with stage(counts=Counts()) as scene:
            client, target = await scene.joined()
            for number in range(1, 4):
                await client.send(b"x" * 1000)
                await target.exactly(1000)

                def looked(octets: int = number * 1000) -> bool:
                    return counted(scene, "octets", "up") == octets

                await until(looked, "it was looked at")
            await client.send(b"x" * 7)
            client.close()
            await target.rest()
            target.close()
            await all_ended(scene)
            assert counted(scene, "octets", "up") == 3007
            assert taken(scene, "loop_lag_seconds") > 2

    run(main)


def test_refusals() -> None:
    async def main() -> None:
        async with stage(counts=Counts()) as scene:
            scene.server.egress = failing(scene.server, ConnectionRefusedError(111, "refused"))
            client = await scene.client()
            assert (await client.connect("127.0.0.1", 9))[1] == ReplyCode.CONNECTION_REFUSED
            client.close()
            await until(lambda: len(scene.records) == 1, "the session ends")
            client = await scene.client()
            await client.send(request4("127.0.0.1", 9))
            assert (await client.exactly(8))[1] == ReplyCode.SOCKS4_REJECTED
            client.close()
            await all_ended(scene, 2)
            assert counted(scene, "replies", "5") == 2  # SOCKS4 has one word for all; counted is what it stands for
            assert counted(scene, "handshakes", "ok") == 2
            assert taken(scene, "dial_seconds") == 0

    run(main)


def test_a_refusal_after_the_target_was_reached() -> None:
    """As a rule's budget may have it."""
    rules = [Rule(action="allow", budgets=["none"])]

    async def main() -> None:
        async with stage(rules=rules, budgets={"none": Budget(sessions=1)}) as scene:
            await scene.joined()
            target, client = scene.target(), await scene.client()
            assert (await client.connect(target.host, target.port))[1] == ReplyCode.NOT_ALLOWED
            client.close()
            await until(lambda: scene.records, "it has ended")
            assert (counted(scene, "replies", "0"), counted(scene, "replies", "2")) == (1, 1)

    run(main)


def test_handshakes_that_fail() -> None:
    async def main() -> None:
        limits = Limits(handshake=1, linger=0.1)
        async with stage(counts=Counts(), users={"ann": "open sesame"}, limits=limits) as scene:
            for octets in (
                b"\x05\x01\x02" + login(b"ann", b"close sesame"),
                b"\x05\x01\x00",
                b"GET / HTTP/1.0\r\n\r\n",
                b"\x05\x01",
            ):
                client = await scene.client()
                await client.send(octets)
                client.end()
                await client.rest()
                client.close()
            idler = await scene.client()
            await idler.send(b"\x05")
            await all_ended(scene, 5)
            for outcome in (
                *("authentication failed", "client left", "no acceptable method", "protocol error", "time limit"),
            ):
                assert counted(scene, "handshakes", outcome) == 1, outcome
            assert counted(scene, "limits_hit", "handshake") == 1
            assert counted(scene, "sessions_ended", "none") == 5

    run(main)


def test_caps() -> None:
    async def main() -> None:
        async with stage(counts=Counts(), caps=Caps(sessions_per_source=1)) as scene:
            await scene.joined()
            client = await scene.client()
            await client.send(b"\x05\x01\x00")
            await until(lambda: counted(scene, "limits_hit", "sessions_per_source") == 1, "it is turned away")
            assert counted(scene, "sessions_started") == 1

    run(main)


def test_pushed_out() -> None:
    async def main() -> None:
        async with stage(counts=Counts(), caps=Caps(handshakes=1)) as scene:
            idler = await scene.client()
            await idler.send(b"\x05\x01\x00")
            assert await idler.exactly(2) == b"\x05\x00"
            other = await scene.client()
            await other.greet()
            await until(lambda: scene.records, "the idler ends")
            assert counted(scene, "handshakes", "pushed out") == counted(scene, "limits_hit", "handshakes") == 1

    run(main)


def test_datagrams_of_an_association_that_lives_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "EVERY", 0.02)

    async def main() -> None:
        async with stage(counts=Counts()) as scene:
            client = await associated(scene)
            target = Datagrams(scene)
            client.ask(target.place, b"one")
            _, outer = await target.receive()
            target.send(b"answer", outer)
            await client.answer()
            client.send(b"\0\0\0\x09", client.relay)
            await until(lambda: counted(scene, "datagrams_dropped", "malformed") == 1, "it was looked at")
            assert (counted(scene, "datagrams", "up"), counted(scene, "datagrams", "down")) == (1, 1)
            assert (counted(scene, "octets", "up"), counted(scene, "octets", "down")) == (3, 6)
            await client.proof(target)
            client.control.close()
            await all_ended(scene)
            assert counted(scene, "datagrams", "up") == 2
            assert counted(scene, "datagrams_dropped") == 1
            assert counted(scene, "sessions_ended", "UDP_ASSOCIATE") == 1
            assert counted(scene, "octets", "up") == 8

    run(main)


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        ("client lost: Connection reset by peer", "client left"),
        ("refused: too many failures to authenticate: wait 3 s", "refused"),
        ("server stopped", "server stopped"),
        ("auth limit", "time limit"),
        ("handshakes limit", "pushed out"),
        ("not a version of SOCKS", "protocol error"),
    ],
)
def test_every_end_has_its_outcome(end: str, outcome: str) -> None:
    assert _outcome(end) == outcome


def test_what_nobody_wants_to_know_is_not_counted() -> None:
    async def main() -> None:
        async with stage() as scene:
            client, target = await scene.joined()
            client.close()
            target.close()
            await until(lambda: scene.records, "the session ends")
            assert not any(scene.server.meter.counts.cells)

    run(main)
