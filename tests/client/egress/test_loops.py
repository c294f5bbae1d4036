"""Chains that lead back are found by asking, and others are left alone."""

from __future__ import annotations

import errno

import pytest

import hosier
from hosier.client.egress import Upstreams
from hosier.client.egress.loops import MANY, SECONDS, LoopGuard
from hosier.client.proxy import chain_of
from hosier.engine.egress import Egress
from hosier.engine.poller import Engine
from hosier.engine.resolve import Resolver
from hosier.protocol.address import Address, parse_address
from hosier.testing import ThreadedServer

from ...server.harness import failure5, request5, run, stage, until

TARGET = parse_address("192.0.2.7", 80)
OTHER = parse_address("192.0.2.8", 80)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guard(clock: Clock) -> LoopGuard:
    return LoopGuard(clock)


def crowd(guard: LoopGuard, target: Address = TARGET) -> Address:
    """The question that so many raise."""
    for _ in range(MANY):
        assert guard.enter(target) is None
    question = guard.enter(target)
    assert question is not None
    return question


def test_many_for_one_target_raise_a_question(guard: LoopGuard) -> None:
    question = crowd(guard)
    assert question.host.endswith(".loop.invalid")
    assert guard.enter(TARGET) is None  # one is enough
    assert guard.enter(OTHER) is None


def test_as_many_one_after_the_other_do_not(guard: LoopGuard) -> None:
    for _ in range(3 * MANY):
        assert guard.enter(TARGET) is None
        guard.leave(TARGET)


def test_question_that_never_came_back(guard: LoopGuard, clock: Clock) -> None:
    first = crowd(guard)
    guard.answered()
    assert guard.enter(TARGET) is None
    clock.now += SECONDS
    second = guard.enter(TARGET)
    assert second not in (None, first)


def test_question_that_came_back(guard: LoopGuard, clock: Clock) -> None:
    question = crowd(guard)
    guard.refuse_question(parse_address("other.loop.invalid", 9))
    with pytest.raises(OSError, match="lead back"):
        guard.refuse_question(question)
    with pytest.raises(OSError, match="lead back") as caught:
        guard.answered()
    assert caught.value.errno == errno.ELOOP
    with pytest.raises(OSError, match="lead back"):
        guard.enter(OTHER)
    clock.now += SECONDS
    assert guard.enter(OTHER) is None  # whoever runs the other gateway may have mended it


# --- gateways that lead to each other ---


class Later:
    """The way through upstreams that are not known yet when the server is made."""

    def __init__(self) -> None:
        self.engine: Engine
        self.resolver: Resolver

    def __call__(self, engine: Engine, resolver: Resolver) -> Egress:
        self.engine, self.resolver = engine, resolver
        return Upstreams(chain_of("socks5h://127.0.0.1:9"))(engine, resolver)

    def lead_to(self, url: str) -> Egress:
        return Upstreams(chain_of(url))(self.engine, self.resolver)


@pytest.mark.parametrize("target", ["192.0.2.7", "target.example"])
def test_two_that_lead_to_each_other(target: str) -> None:
    async def main() -> None:
        back = Later()
        async with stage(egress=back) as scene:
            host, port = scene.place
            with ThreadedServer(egress=Upstreams(chain_of(f"socks5h://{host}:{port}"))) as other:
                scene.server.egress = back.lead_to(other.url)
                for _ in range(2):
                    client = await scene.client()
                    assert await client.connect(target, 80) == failure5(1)
                    client.close()
                await until(lambda: not scene.server.sessions, "all of them end")
                assert any("lead back" in record.end for record in scene.records)
                assert len(scene.records) < 4 * MANY

    run(main)


def test_one_that_leads_to_itself_with_datagrams() -> None:
    """NG-REQ-27."""

    async def main() -> None:
        back = Later()
        async with stage(egress=back) as scene:
            scene.server.egress = back.lead_to("socks5h://{}:{}".format(*scene.place))
            client = await scene.client()
            await client.greet()
            await client.send(request5("0.0.0.0", 0, 3))
            assert await client.reply5() == failure5(1)

    run(main)


def test_crowd_that_is_no_loop() -> None:
    async def main() -> None:
        async with hosier.Server(listen=["127.0.0.1:0"]) as upstream:
            (place,) = upstream.addresses
            async with stage(egress=Upstreams(chain_of(f"socks5h://{place}"))) as scene:
                target = scene.target()
                clients = [await scene.client() for _ in range(4 * MANY)]
                for client in clients:
                    await client.greet()
                for client in clients:
                    await client.send(request5(target.host, target.port))
                assert {(await client.reply5())[1] for client in clients} == {0}

    run(main)
