"""Sessions under way are judged again: what is forbidden now is ended, everything else goes on."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from hosier.auth.scrypt import hash_password
from hosier.auth.users_file import change_user
from hosier.engine.egress import Binding
from hosier.engine.endpoint import Endpoint
from hosier.engine.task import Task, foreign
from hosier.policy.accounts import Account
from hosier.policy.budgets import Budget
from hosier.policy.rules import Rule
from hosier.protocol.address import UNSPECIFIED, Address
from hosier.server import passages, ruling
from hosier.server import reviews as module
from hosier.server.settings import BindSettings, UdpSettings

from .commands.test_bind import arrive, is_listening, joined, reply, waiting
from .datagrams import Datagrams, associated
from .harness import FakeEgress, Peer, Stage, login, request4, request5, run, stage, until
from .test_ruling import ALLOW, DENY, PASSWORDS, allow, answer5, deny, logged_in

LOOPBACK = ip_network("127.0.0.0/8")


def reload(scene: Stage, **fields: Any) -> int:
    """Other settings for the server; how many sessions were ended."""
    return scene.server.switch(scene.server.prepare(replace(scene.server.settings, **fields)))


async def lives(near: Peer, far: Peer) -> None:
    """Octets go through, both ways."""
    for one, other in ((near, far), (far, near)):
        await one.send(b"still here")
        assert await other.exactly(10) == b"still here"


async def is_ended(*peers: Peer) -> None:
    for peer in peers:
        with suppress(ConnectionError):
            assert await peer.rest() == b""


async def through(scene: Stage, user: str) -> tuple[Peer, Peer]:
    target = scene.target()
    client = await logged_in(scene, user)
    assert await answer5(client, target.host, target.port) == 0
    return client, await target.accept()


# --- streams ---


def test_what_rules_forbid_now_is_ended() -> None:
    async def main() -> None:
        async with stage(rules=[ALLOW]) as scene:
            kept = await scene.joined()
            port = kept[1].place[1]
            lost = await scene.joined()
            assert reload(scene, rules=[allow(ports=[port]), deny(name="closed")]) == 1
            await is_ended(*lost)
            await lives(*kept)
            await until(lambda: scene.records, "one has ended")
            assert [record.end for record in scene.records] == [
                "refused: not allowed any more: rule 2 (closed) denies it"
            ]

    run(main)


def test_rules_come_and_go() -> None:
    async def main() -> None:
        async with stage() as scene:
            pair = await scene.joined()
            assert reload(scene, rules=[ALLOW]) == 0
            await lives(*pair)
            assert reload(scene, rules=[]) == 0
            await lives(*pair)
            assert reload(scene, deny=[LOOPBACK]) == 1
            await is_ended(*pair)

    run(main)


def test_users_that_are_gone() -> None:
    async def main() -> None:
        async with stage(users=PASSWORDS) as scene:
            ann, bob = await through(scene, "ann"), await through(scene, "bob")
            assert reload(scene, users={"bob": "another password"}) == 1
            await is_ended(*ann)
            await lives(*bob)

    run(main)


def test_users_of_a_file(tmp_path: Path) -> None:
    path = str(tmp_path / "users")
    for name, password in PASSWORDS.items():
        change_user(path, name.encode(), hash_password(password.encode(), log_n=1, r=1, p=1))

    async def main() -> None:
        async with stage(users_file=path) as scene:
            users = scene.server.users
            ann, bob = await through(scene, "ann"), await through(scene, "bob")
            change_user(path, b"ann", None)
            assert reload(scene) == 1
            assert scene.server.users is users, "and what it has learnt"
            await is_ended(*ann)
            await lives(*bob)

    run(main)


def test_a_method_that_is_not_offered_any_more() -> None:
    async def main() -> None:
        async with stage() as scene:
            five = await scene.joined()
            target = scene.target()
            four = await scene.client()
            await four.send(request4(target.host, target.port))
            assert (await four.exactly(8))[1] == 0x5A
            far = await target.accept()
            assert reload(scene, users=PASSWORDS) == 2
            await is_ended(*five, four, far)

    run(main)


def test_accounts() -> None:
    async def main() -> None:
        async with stage(users=PASSWORDS) as scene:
            ann, bob = await through(scene, "ann"), await through(scene, "bob")
            accounts = {"ann": Account(clients=[ip_network("192.0.2.0/24")]), "bob": Account(clients=[LOOPBACK])}
            assert reload(scene, accounts=accounts) == 1
            await is_ended(*ann)
            await lives(*bob)
            target = scene.target()
            assert await answer5(await logged_in(scene, "ann"), target.host, target.port) == 2
            assert await answer5(await logged_in(scene, "bob"), target.host, target.port) == 0

    run(main)


class Untold:
    """A place to wait at, of an upstream that does not tell who came."""

    def __init__(self, binding: Binding) -> None:
        self._binding = binding
        self.bound = binding.bound

    def expects(self, _: Address) -> bool:
        return True

    async def accept(self, control: Endpoint) -> tuple[Endpoint, Address] | None:
        arrival = await self._binding.accept(control)
        return None if arrival is None else (arrival[0], UNSPECIFIED)

    def close(self) -> None:
        self._binding.close()


class UntoldEgress(FakeEgress):
    async def bind(self, *arguments: Any, **more: Any) -> Binding:
        return Untold(await super().bind(*arguments, **more))


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ([], [ALLOW], 0),
        ([], [], 0),
        ([ALLOW], [], 0),  # without rules there is nothing that could judge who is not known
        ([ALLOW], [ALLOW, DENY], 0),
        ([allow(ports=[1]), ALLOW], [allow(commands=["bind"])], 0),
    ],
)
def test_who_comes_is_judged_by_the_rules_of_that_time(before: list[Rule], after: list[Rule], code: int) -> None:
    """Through an upstream that does not tell who came, too; the rules have come, or have gone, in between."""

    async def nothing(_: Address) -> None:
        pass

    async def main() -> None:
        async with stage(rules=before, bind=BindSettings(anyone=True)) as scene:
            scene.server._make_egress = lambda *_: UntoldEgress(scene.server, nothing)
            scene.server.egress = UntoldEgress(scene.server, nothing)
            client, first = await waiting(scene, 5, "127.0.0.1")
            assert reload(scene, rules=after) == 0
            arrive(scene, first.place)
            assert (await reply(client, 5)).code == code
            assert reload(scene, rules=after) == 0  # nor is it ended later

    run(main)


# --- while time passes ---


@pytest.mark.patient
def test_an_account_expires_under_way() -> None:
    async def main() -> None:
        moment = datetime.now().astimezone() + timedelta(seconds=5)
        async with stage(users=PASSWORDS, accounts={"ann": Account(expires=moment)}) as scene:
            ann, bob = await through(scene, "ann"), await through(scene, "bob")
            await is_ended(*ann)
            assert time.time() >= moment.timestamp()
            await lives(*bob)
            await until(lambda: scene.records, "it has ended")
            assert "the account of 'ann' has expired" in scene.records[0].end

    run(main)


def test_the_times_of_a_rule_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [7]
    for place in (module, passages, ruling):
        monkeypatch.setattr(place, "minute_of_week", lambda: now[0])

    async def main() -> None:
        async with stage(rules=[deny(times=["mon 00:08-00:09"]), ALLOW]) as scene:
            pair = await scene.joined()
            timer = scene.server.reviews._timer
            assert timer is not None
            assert 0 < timer.when() - scene.server.engine.loop.time() <= 60
            now[0] = 8
            scene.server.reviews._time_has_come()
            await is_ended(*pair)
            assert scene.server.reviews._timer is not timer

    run(main)


def test_the_clocks_are_put_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour that there is not may hold the moment at which something is forbidden: at the next quarter of an hour it
    counts what the clock says, however far away that moment seemed."""

    async def main() -> None:
        monkeypatch.setenv("TZ", "XXX0YYY-1,M3.5.0/2,M10.5.0/3")  # at 02:00 of the last Sunday in March it is 03:00
        time.tzset()
        clock = [datetime(2027, 3, 28, 1, 59, 30, tzinfo=UTC).timestamp()]
        monkeypatch.setattr(time, "time", lambda: clock[0])
        monkeypatch.setattr(ruling, "time", lambda: clock[0])
        async with stage(rules=[deny(times=["sun 03:00-04:00"]), ALLOW]) as scene:
            pair = await scene.joined()
            timer = scene.server.reviews._timer
            assert timer is not None
            assert 0 < timer.when() - scene.server.engine.loop.time() <= 30
            clock[0] += 30
            scene.server.reviews._time_has_come()
            await is_ended(*pair)

    try:
        run(main)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_where_time_changes_nothing_nobody_waits_for_it() -> None:
    async def main() -> None:
        async with stage(rules=[ALLOW]) as scene:
            assert scene.server.reviews._timer is None

    run(main)


# --- what is not settled yet ---


def test_a_request_that_comes_after_the_reload() -> None:
    """Who authenticated before is asked again who it is."""

    async def main() -> None:
        async with stage(users=PASSWORDS) as scene:
            ann, bob = await logged_in(scene, "ann"), await logged_in(scene, "bob")
            assert reload(scene, users={"bob": "two"}) == 0
            target = scene.target()
            assert await answer5(ann, target.host, target.port) == 2
            assert await answer5(bob, target.host, target.port) == 0

    run(main)


@pytest.mark.parametrize("rules", [[], [ALLOW]])
def test_a_target_that_is_reached_after_the_reload(rules: list[Rule], monkeypatch: pytest.MonkeyPatch) -> None:
    """Judged by what holds then, though it was dialled before."""

    async def main() -> None:
        async with stage(rules=rules) as scene:
            for after, granted in (([DENY], False), ([ALLOW], True)):
                reload(scene, rules=rules)
                straight = scene.server.egress
                dialled, go_on = asyncio.Event(), asyncio.Event()

                class Slow:
                    async def connect(self, *given: Any) -> Any:
                        found = await straight.connect(*given)  # noqa: B023
                        dialled.set()  # noqa: B023
                        try:
                            await go_on.wait()  # noqa: B023
                        except BaseException:
                            found[0].close()
                            raise
                        return found

                scene.server.egress = Slow()  # type: ignore[assignment]
                target = scene.target()
                client = await scene.client()
                await client.greet()
                await client.send(request5(target.host, target.port))
                await dialled.wait()
                assert reload(scene, rules=after) == (0 if granted else 1), "an address can be judged at once"
                go_on.set()
                assert ((await client.reply5())[1] == 0) == granted
                far = await target.accept()
                if granted:
                    await lives(client, far)
                else:
                    client.close()
                    await is_ended(far)

    run(main)


# --- BIND ---


@pytest.mark.parametrize("version", [4, 5])
def test_bind(version: int) -> None:
    async def main() -> None:
        async with stage(bind=BindSettings(anyone=True)) as scene:
            pair = await joined(scene, version)
            assert reload(scene, rules=[allow(networks=[LOOPBACK]), DENY]) == 0
            await lives(*pair)
            assert reload(scene, rules=[deny(commands=["bind"]), ALLOW]) == 1
            await is_ended(*pair)

    run(main)


def test_bind_that_waits_for_its_peer() -> None:
    async def main() -> None:
        async with stage(bind=BindSettings(anyone=True)) as scene:
            one, first = await waiting(scene, 5, "0.0.0.0")
            other, second = await waiting(scene, 5, "127.0.0.2")
            assert reload(scene, rules=[deny(commands=["bind"], networks=[ip_network("127.0.0.1/32")]), ALLOW]) == 0
            far = arrive(scene, first.place)
            assert (await reply(one, 5)).code == 2
            assert reload(scene, rules=[deny(commands=["bind"]), ALLOW]) == 1
            assert (await reply(other, 5)).code == 2
            await until(lambda: not is_listening(second.place), "nobody listens any more")
            far.close()
            one.close()
            other.close()

    run(main)


# --- datagrams ---


def test_datagrams_are_judged_anew() -> None:
    """The association stays, and what it may reach is what the rules say now; answers of the others still come."""

    async def main() -> None:
        async with stage() as scene:
            friend, enemy = Datagrams(scene), Datagrams(scene, "127.0.0.3")
            client = await associated(scene)
            sources = []
            for target in (friend, enemy):
                client.ask(target.place, b"x")
                sources.append((await target.receive())[1])
                target.send(b"y", sources[-1])
                assert await client.answer() == (b"y", target.place)
            assert reload(scene, rules=[deny(networks=[ip_network("127.0.0.3/32")]), ALLOW]) == 0
            enemy.send(b"no", sources[1])
            friend.send(b"yes", sources[0])
            assert await client.answer() == (b"yes", friend.place)
            client.ask(enemy.place, b"no")
            await client.proof(friend)
            assert enemy.has_nothing()
            assert reload(scene, rules=[]) == 0
            client.ask(enemy.place, b"again")
            assert (await enemy.receive())[0] == b"again"

    run(main)


@pytest.mark.parametrize(
    "change", [{"rules": [deny(commands=["associate"]), ALLOW]}, {"users": PASSWORDS}], ids=["rule", "method"]
)
def test_an_association_is_ended(change: dict[str, Any]) -> None:
    async def main() -> None:
        async with stage() as scene:
            client = await associated(scene)
            assert reload(scene, **change) == 1
            await is_ended(client.control)

    run(main)


def test_commands_that_are_switched_off() -> None:
    async def main() -> None:
        async with stage() as scene:
            client = await associated(scene)
            pair = await joined(scene, 5)
            kept = await scene.joined()
            assert reload(scene, udp=UdpSettings(enabled=False), bind=BindSettings(enabled=False)) == 2
            await is_ended(client.control, *pair)
            await lives(*kept)

    run(main)


def test_who_is_still_being_asked_who_it_is_is_not_judged_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ident daemon's answer is awaited: until then it is nobody, and that is not its fault."""

    async def main() -> None:
        asked, go_on = asyncio.Event(), asyncio.Event()

        async def identify(session: Any, request: Any) -> None:
            asked.set()
            await go_on.wait()
            session.user = request.user_id.decode()

        monkeypatch.setattr("hosier.server.session.identify", identify)
        async with stage(ident=True) as scene:
            target = scene.target()
            client = await scene.client()
            await client.send(request4(target.host, target.port, user=b"ann"))
            await asked.wait()
            assert reload(scene, rules=[allow(users=["ann"]), DENY]) == 0
            go_on.set()
            assert (await client.exactly(8))[1] == 0x5A

    run(main)


def test_a_greeting_that_comes_after_the_reload() -> None:
    """Is answered by what holds then."""

    async def main() -> None:
        async with stage() as scene:
            early, other = await scene.client(), await scene.client()
            for client in (early, other):
                await client.send(b"\x05")  # the server has it in its hands
            await until(lambda: scene.server.sessions == 2, "both are here")
            assert reload(scene, users=PASSWORDS) == 0
            await early.send(b"\x01\x02" + login(b"ann", b"one"))
            assert await early.exactly(4) == b"\x05\x02\x01\x00"
            target = scene.target()
            assert await answer5(early, target.host, target.port) == 0
            await other.send(b"\x01\x00")
            assert await other.rest() == b"\x05\xff"

    run(main)


def test_a_method_that_goes_while_it_is_at_work() -> None:
    async def main() -> None:
        async with stage(users=PASSWORDS) as scene:
            client = await scene.client()
            await client.send(b"\x05\x01\x02")
            assert await client.exactly(2) == b"\x05\x02"
            assert reload(scene, users={}) == 0
            await client.send(login(b"ann", b"one"))
            assert await client.exactly(2) == b"\x01\x01"
            client.close()
            assert (await scene.record()).end == "refused: its method of authentication is not offered any more"

    run(main)


class JudgedBefore(FakeEgress):
    """Everything is judged before it waits, and not again."""

    async def connect(self, task: Task, target: Address, vet: Any, sources: Any = None) -> tuple[Endpoint, Address]:
        passing = vet((target,))
        return await FakeEgress.connect(self, task, target, lambda _: passing, sources)


def test_who_gets_through_after_a_change_draws_on_the_budgets_of_the_new_rules() -> None:
    """Those of the rule that let it begin may be gone."""

    async def main() -> None:
        rules = {name: [allow(name=name, budgets=[name])] for name in ("before", "after")}
        async with stage(rules=rules["before"], budgets={"before": Budget(sessions=9)}) as scene:
            asked, changed = asyncio.Event(), asyncio.Event()

            async def wait(_: Address) -> None:
                asked.set()
                await foreign(asyncio.get_running_loop(), changed.wait())

            scene.server.egress = JudgedBefore(scene.server, wait)
            target, client = scene.target(), await scene.client()
            await client.greet()
            await client.send(request5(target.host, target.port))
            await asked.wait()
            assert reload(scene, rules=rules["after"], budgets={"after": Budget(sessions=9)}) == 0
            changed.set()
            assert (await client.reply5())[1] == 0
            (session,) = scene.server.living()
            assert [purse.name for purse in session.purses] == ["after"]
            assert session.verdict is not None
            assert session.verdict.rule == "rule 1 (after)"
            (await target.accept()).close()
            client.close()

    run(main)
