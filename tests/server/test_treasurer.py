"""Budgets of a server: who draws on which purse, what that costs, and what is written down."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from hosier.errors import ConfigError
from hosier.observe.counts import beats, value_of
from hosier.policy import purses
from hosier.policy.bucket import Bucket
from hosier.policy.budgets import Budget
from hosier.policy.rules import Rule
from hosier.server import ledger as ledger_module
from hosier.server import pulse, treasurer
from hosier.server.ledger import Entry, Ledger
from hosier.server.settings import BindSettings, ServerSettings, UdpSettings

from .commands.test_bind import waiting
from .datagrams import UDP_ASSOCIATE, Datagrams, associated, dropped
from .harness import PATIENCE, SUCCESS5, Peer, Stage, failure5, login, request5, run, stage, until

DENIED = failure5(2)
USERS = {"ann": "open sesame", "bob": "close sesame"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "EVERY", 0.02)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "usage.db"


def written(file: Path) -> dict[tuple[str, str], int]:
    with closing(sqlite3.connect(file)) as connection:
        return {(budget, key): octets for budget, key, _, octets in connection.execute("SELECT * FROM usage")}


def give_back(file: Path) -> None:
    """As ``hosier usage --reset`` does it."""
    with closing(sqlite3.connect(file)) as other, other:
        other.execute("DELETE FROM usage")


def hits(scene: Stage, limit: str) -> int:
    return value_of(scene.server.meter.counts.cells, "limits_hit", limit)


async def joined_as(scene: Stage, user: str) -> tuple[Peer, Peer]:
    target, client = scene.target(), await scene.client()
    password = USERS[user].encode()
    await client.send(b"\x05\x01\x02" + login(user.encode(), password) + request5("127.0.0.1", target.port))
    assert (await client.exactly(14))[4:7] == SUCCESS5
    return client, await target.accept()


async def denied_as(scene: Stage, user: str) -> str:
    """That the user gets reply 2; why."""
    client = await scene.client()
    before = len(scene.records)
    password = USERS[user].encode()
    await client.send(b"\x05\x01\x02" + login(user.encode(), password) + request5("127.0.0.1", 9))
    assert (await client.rest())[4:] == DENIED
    client.close()
    await until(lambda: len(scene.records) > before, "it has ended")
    return scene.records[-1].end


async def all_read(peer: Peer) -> int:
    """How many octets come up to the end, whichever kind of end it is."""
    count = 0
    with suppress(ConnectionError):
        while data := await peer.receive():
            count += len(data)
    return count


# --- who has a purse of their own ---


@pytest.mark.parametrize(
    ("per", "bob"),
    [("user", True), ("source", False), ("listener", False), ("all", False), ("group", True)],
)
def test_whose_a_budget_is(per: Any, bob: bool) -> None:
    async def main() -> None:
        async with stage(users=USERS, groups={"staff": ["ann"]}, budgets={"one": Budget(per=per, sessions=1)}) as scene:
            client, target = await joined_as(scene, "ann")
            assert "allows 1 sessions at the same time" in await denied_as(scene, "ann")
            assert hits(scene, "budget sessions") == 1
            if bob:
                await joined_as(scene, "bob")
            else:
                await denied_as(scene, "bob")
            client.close()
            target.close()
            await until(lambda: scene.records and scene.records[-1].end == "client closed", "ann has ended")
            await joined_as(scene, "ann")

    run(main)


def test_without_a_name_each_source_is_a_user() -> None:
    async def main() -> None:
        async with stage(budgets={"one": Budget(sessions=1)}) as scene:
            await scene.joined()
            client = await scene.client()
            assert await client.connect("127.0.0.1", 9) == DENIED
            assert [key for _, key in scene.server.treasurer._purses] == ["source 127.0.0.1"]

    run(main)


def test_all_or_none_of_several() -> None:
    async def main() -> None:
        budgets = {"many": Budget(sessions=2), "few": Budget(sessions=1)}
        async with stage(users=USERS, budgets=budgets) as scene:
            await joined_as(scene, "ann")
            for _ in range(3):  # who is refused by one has no place in the other
                assert "budget 'few'" in await denied_as(scene, "ann")

    run(main)


def test_sessions_a_second() -> None:
    async def main() -> None:
        async with stage(budgets={"slow": Budget(rate=0.001)}) as scene:
            await scene.joined()
            client = await scene.client()
            assert await client.connect("127.0.0.1", 9) == DENIED
            assert hits(scene, "budget rate") == 1
            assert "new sessions a second" in (await scene.record()).end if not scene.server.sessions else True

    run(main)


def test_where_there_is_no_room_for_another_purse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purses, "MOST", 1)

    async def main() -> None:
        async with stage(users=USERS, budgets={"fair": Budget(sessions=5)}) as scene:
            await joined_as(scene, "ann")
            assert "no room" in await denied_as(scene, "bob")
            await joined_as(scene, "ann")
            assert hits(scene, "table") == 1

    run(main)


def test_purses_that_nobody_uses_are_forgotten() -> None:
    async def main() -> None:
        async with stage(budgets={"fair": Budget(rate=50.0, down="1MB")}) as scene:
            client, target = await scene.joined()
            assert len(scene.server.treasurer) == 1
            client.close()
            target.close()
            await until(lambda: not len(scene.server.treasurer), "it is forgotten")

    run(main)


# --- bandwidth ---


@pytest.mark.patient
def test_bandwidth_each_way() -> None:
    async def main() -> None:
        async with stage(budgets={"fair": Budget(up="1MB", down="2MB")}) as scene:
            client, target = await scene.joined()
            for sender, receiver, size in ((client, target, 600_000), (target, client, 1_200_000)):
                began = monotonic()
                _, data = await asyncio.gather(sender.send(b"x" * size), receiver.exactly(size))
                assert len(data) == size
                assert monotonic() - began > 0.49

    run(main)


@pytest.mark.patient
def test_all_sessions_of_a_user_share_it() -> None:
    async def main() -> None:
        async with stage(users=USERS, budgets={"fair": Budget(down="1MB")}) as scene:
            pairs = [await joined_as(scene, user) for user in ("ann", "ann", "bob")]
            began = monotonic()

            async def fetch(client: Peer, target: Peer) -> float:
                await asyncio.gather(target.send(b"x" * 300_000), client.exactly(300_000))
                return monotonic() - began

            first, second, bob = await asyncio.gather(*(fetch(*pair) for pair in pairs))
            assert 0.19 < bob < max(first, second)
            assert max(first, second) > 0.49

    run(main)


def test_datagrams_that_come_too_fast_are_dropped() -> None:
    async def main() -> None:
        async with stage(budgets={"fair": Budget(up="1k", down="1k")}, udp=UdpSettings()) as scene:
            client = await associated(scene)
            target = Datagrams(scene)
            for _ in range(10):
                client.ask(target.place, b"x" * 20_000)
            for _ in range(3):  # a burst of 64 KiB
                data, outer = await target.receive()
                assert len(data) == 20_000
            for _ in range(10):
                target.send(b"y" * 20_000, outer)
            for _ in range(3):
                assert len((await client.answer())[0]) == 20_000
            await until(
                lambda: value_of(scene.server.meter.counts.cells, "datagrams_dropped", "bandwidth") == 14, "drops"
            )
            assert target.has_nothing()
            assert client.has_nothing()

    run(main)


# --- octets ---


def test_octets_end_the_session_to_the_octet(file: Path) -> None:
    async def main() -> None:
        budgets = {"much": Budget(octets="1MB", period="ever")}
        async with stage(users=USERS, budgets=budgets, usage_file=file) as scene:
            client, target = await joined_as(scene, "ann")
            await client.send(b"x" * 100_000)
            await target.exactly(100_000)
            sending = asyncio.ensure_future(target.send(b"y" * 3_000_000))
            assert await all_read(client) == 900_000
            await until(lambda: scene.records, "the session ends")
            assert "octets" in scene.records[0].end
            sending.cancel()
            assert (scene.records[0].sent, scene.records[0].received) == (100_000, 900_000)
            assert "are used up" in await denied_as(scene, "ann")
            await joined_as(scene, "bob")
            await until(lambda: written(file).get(("much", "user ann")) == 1_000_000, "it is written down")
        # Also for the next server.
        async with stage(users=USERS, budgets=budgets, usage_file=file) as scene:
            await denied_as(scene, "ann")
            assert hits(scene, "budget octets") == 1

    run(main)


def test_an_idle_session_ends_too(file: Path) -> None:
    """One that another one of the same user has used up the octets of."""

    async def main() -> None:
        budgets = {"much": Budget(octets="1MB")}
        async with stage(users=USERS, budgets=budgets, usage_file=file) as scene:
            idle, _ = await joined_as(scene, "ann")
            client, target = await joined_as(scene, "ann")
            sending = asyncio.ensure_future(target.send(b"y" * 3_000_000))
            assert await all_read(client) == 1_000_000
            assert await all_read(idle) == 0
            sending.cancel()

    run(main)


def test_a_budget_that_expires_ends_its_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import UTC, datetime

    async def main() -> None:
        expires = datetime.now(UTC).replace(microsecond=0)
        now = expires.timestamp() - 5
        monkeypatch.setattr(treasurer, "time", lambda: now)
        async with stage(budgets={"trial": Budget(expires=expires)}) as scene:
            client, _ = await scene.joined()
            now = expires.timestamp()
            assert await all_read(client) == 0
            assert "has expired" in (await scene.record()).end
            client = await scene.client()
            assert await client.connect("127.0.0.1", 9) == DENIED
            assert hits(scene, "budget expired") == 2

    run(main)


def test_a_new_period_while_the_server_runs(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        now = 1_800_000_000.0 // 3600 * 3600 + 1800
        monkeypatch.setattr(treasurer, "time", lambda: now)
        async with stage(users=USERS, budgets={"much": Budget(octets="1k", period="hour")}, usage_file=file) as scene:
            client, target = await joined_as(scene, "ann")
            await client.send(b"x" * 1000)
            await target.exactly(1000)
            await all_read(client)
            await denied_as(scene, "ann")
            now += 3600
            client, target = await joined_as(scene, "ann")
            await client.send(b"x" * 10)
            await target.exactly(10)
            await until(lambda: written(file).get(("much", "user ann")) == 10, "it is written down")

    run(main)


def test_what_others_write_counts(file: Path) -> None:
    async def main() -> None:
        budgets = {"much": Budget(octets="1MB", period="ever")}
        async with stage(users=USERS, budgets=budgets, usage_file=file) as scene:
            client, target = await joined_as(scene, "ann")
            await client.send(b"x")
            await target.exactly(1)
            await until(lambda: written(file), "it is written down")
            with closing(sqlite3.connect(file)) as other, other:
                other.execute("UPDATE usage SET octets = octets + 2000000")
            assert await all_read(client) == 0
            give_back(file)
            await until(lambda: not scene.server.treasurer._known, "it is learnt")
            await joined_as(scene, "ann")

    run(main)


def test_octets_that_are_given_back_at_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After they were written down, and before the file is read again."""
    add = Ledger.add

    def add_and_give_back(ledger: Ledger, used: Mapping[tuple[str, str], Entry]) -> dict[tuple[str, str], Entry]:
        found = add(ledger, used)
        give_back(file)
        return found

    async def main() -> None:
        budgets = {"much": Budget(octets="1kB", period="ever")}
        async with stage(users=USERS, budgets=budgets, usage_file=file) as scene:
            monkeypatch.setattr(Ledger, "add", add_and_give_back)
            client, target = await joined_as(scene, "ann")
            await client.send(b"x" * 1000)
            await target.exactly(1000)
            assert await all_read(client) == 0
            purse = scene.server.treasurer._purses["much", "user ann"]
            await until(lambda: purse.usage.left == 1000, "it is learnt")
            await joined_as(scene, "ann")

    run(main)


def test_octets_that_are_given_back_while_their_user_comes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks again and again meets each moment, also the one between the reading of the file and its end."""
    news, is_reading, has_come = Ledger.news, threading.Event(), threading.Event()

    def slow_news(ledger: Ledger) -> dict[tuple[str, str], Entry] | None:
        is_reading.set()
        has_come.wait(PATIENCE)
        return news(ledger)

    async def main() -> None:
        budgets = {"much": Budget(octets="1kB", period="ever")}
        async with stage(users=USERS, budgets=budgets, usage_file=file) as scene:
            client, target = await joined_as(scene, "ann")
            await client.send(b"x" * 1000)
            await target.exactly(1000)
            await until(lambda: not scene.server.treasurer._purses, "it is written down, and nobody draws on it")
            monkeypatch.setattr(Ledger, "news", slow_news)
            await until(is_reading.is_set, "the file is read")
            give_back(file)
            await denied_as(scene, "ann")
            has_come.set()
            await until(lambda: not scene.server.treasurer._known, "it is learnt")
            await joined_as(scene, "ann")

    run(main)


# --- trouble ---


def test_a_file_that_cannot_be_written_stops_nobody(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Locked for long: sessions come and go, one line says so, and nothing of what was counted is lost."""
    monkeypatch.setattr(ledger_module, "WAIT", 0.01)

    async def main() -> None:
        async with stage(users=USERS, budgets={"much": Budget(octets="1MB")}, usage_file=file) as scene:
            other = sqlite3.connect(file, isolation_level=None)
            other.execute("BEGIN EXCLUSIVE")
            with caplog.at_level(logging.WARNING, "hosier"):
                for _ in range(5):
                    client, target = await joined_as(scene, "ann")
                    await client.send(b"x" * 1000)
                    await target.exactly(1000)
                    client.close()
                    target.close()
                await until(lambda: caplog.messages, "a line")
                await until(lambda: len(scene.records) == 5, "all have ended")
                await asyncio.sleep(0.2)
            (line,) = caplog.messages
            assert line.startswith("cannot write usage: ")
            assert line.endswith("database is locked; it is kept in memory until that works again")
            other.execute("ROLLBACK")
            other.close()
            await until(lambda: written(file).get(("much", "user ann")) == 5000, "it is made up for")

    run(main)


def test_a_file_that_is_taken_away_is_made_again(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With what was known of all who ever came, and a line that says so."""
    monkeypatch.setattr(treasurer, "AGAIN", 0.01)

    async def main() -> None:
        async with stage(users=USERS, budgets={"much": Budget(octets="1MB")}, usage_file=file) as scene:
            client, target = await joined_as(scene, "ann")
            await client.send(b"x" * 1000)
            await target.exactly(1000)
            await until(lambda: written(file).get(("much", "user ann")) == 1000, "it is written")
            for name in ("-wal", "-shm", ""):
                file.with_name(file.name + name).unlink(missing_ok=True)
            with caplog.at_level(logging.WARNING, "hosier"):
                await until(file.exists, "there is another one")
                await until(lambda: caplog.messages, "a line")
            assert caplog.messages == [f"the usage file {file} was taken away: there is a new one, with what was known"]
            await client.send(b"x" * 500)
            await target.exactly(500)
            await until(lambda: written(file).get(("much", "user ann")) == 1500, "it goes on")

    run(main)


def test_the_last_second_is_written_when_the_server_stops(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "EVERY", 1000.0)

    async def main() -> None:
        async with stage(users=USERS, budgets={"much": Budget(octets="1MB")}, usage_file=file) as scene:
            client, target = await joined_as(scene, "ann")
            await client.send(b"x" * 1000)
            await target.exactly(1000)
        assert written(file) == {("much", "user ann"): 1000}

    run(main)


def test_what_is_over_is_taken_out_of_the_file(file: Path) -> None:
    async def main() -> None:
        async with stage(budgets={"much": Budget(octets="1MB", period="day")}, usage_file=file):
            pass
        with closing(sqlite3.connect(file)) as other, other:
            other.execute("INSERT INTO usage VALUES ('much', 'user carol', 1000, 5)")
        async with stage(budgets={"much": Budget(octets="1MB", period="day")}, usage_file=file) as scene:
            await scene.joined()
            await until(lambda: ("much", "user carol") not in written(file), "it is taken out")

    run(main)


def test_who_moves_nothing_makes_no_row_and_the_file_is_bounded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(treasurer, "MOST_KNOWN", 1)

    async def main() -> None:
        async with stage(users=USERS, budgets={"much": Budget(octets="1MB")}, usage_file=file) as scene:
            client, target = await joined_as(scene, "bob")
            client.close()
            target.close()
            await until(lambda: not len(scene.server.treasurer), "bob is forgotten")
            assert written(file) == {}
            scene.server.treasurer._known.clear()
            client, target = await joined_as(scene, "ann")
            await client.send(b"x" * 10)
            await target.exactly(10)
            client.close()
            target.close()
            await until(lambda: not len(scene.server.treasurer), "ann is forgotten")
            assert written(file) == {("much", "user ann"): 10}
            assert "no room" in await denied_as(scene, "bob")
            await joined_as(scene, "ann")

    run(main)


def test_nothing_more_is_kept_than_is_written(file: Path) -> None:
    """Without a file nothing is remembered of who is gone."""

    async def main() -> None:
        async with stage(budgets={"fair": Budget(sessions=5)}) as scene:
            client, target = await scene.joined()
            client.close()
            target.close()
            await until(lambda: not len(scene.server.treasurer), "it is forgotten")
            assert not scene.server.treasurer._known
        assert not file.exists()

    run(main)


# --- rules, and changes ---


def test_a_rule_gives_budgets_to_its_sessions_and_to_no_others() -> None:
    """Per user of the rule, and for the rule as a whole; refused like by any rule, before anything is relayed."""
    rules = [
        Rule(action="allow", name="slow", users=["ann"], budgets=["own", "shared"]),
        Rule(action="allow", users=["bob"]),
    ]
    budgets = {"own": Budget(sessions=1), "shared": Budget(per="rule", sessions=5)}

    async def main() -> None:
        async with stage(users=USERS, rules=rules, budgets=budgets) as scene:
            client, target = await joined_as(scene, "ann")
            keys = {key for _, key in scene.server.treasurer._purses}
            assert {key.split()[0] for key in keys} == {"user", "rule"}
            assert "allows 1 sessions" in await denied_by(scene, "ann")
            for _ in range(3):
                await joined_as(scene, "bob")
            client.close()
            target.close()
            await until(lambda: scene.records[-1].end == "client closed", "ann has ended")
            await joined_as(scene, "ann")

    run(main)


async def denied_by(scene: Stage, user: str) -> str:
    """The same as ``denied_as``, where a target is reached before the rule is known."""
    client, target = await scene.client(), scene.target()
    before = len(scene.records)
    await client.send(b"\x05\x01\x02" + login(user.encode(), USERS[user].encode()))
    await client.send(request5("127.0.0.1", target.port))
    assert (await client.rest())[4:] == DENIED
    client.close()
    await until(lambda: len(scene.records) > before, "it has ended")
    return scene.records[-1].end


def test_a_rule_holds_datagrams_to_its_budgets() -> None:
    rules = [Rule(action="allow", commands=["associate"], budgets=["slow"]), Rule(action="allow")]

    async def main() -> None:
        async with stage(rules=rules, budgets={"slow": Budget(up="1k")}) as scene:
            client = await associated(scene)
            target = Datagrams(scene)
            for _ in range(10):
                client.ask(target.place, b"x" * 20_000)
            cells = scene.server.meter.counts.cells
            await until(lambda: value_of(cells, "datagrams_dropped", "bandwidth") == 7, "drops")

    run(main)


def test_budgets_change_while_the_server_runs(file: Path) -> None:
    """New sessions come under the new one, what was used stays used, and nothing is counted twice."""

    async def main() -> None:
        first = {"much": Budget(octets="1MB", sessions=1), "gone": Budget(per="all", sessions=1)}
        async with stage(users=USERS, budgets=first, usage_file=file) as scene:
            client, target = await joined_as(scene, "ann")
            await client.send(b"x" * 1000)
            await target.exactly(1000)
            await denied_as(scene, "ann")
            settings = replace(scene.server.settings, budgets={"much": Budget(octets="2k", sessions=2, down="1MB")})
            assert scene.server.switch(scene.server.prepare(settings)) == 0
            other, far = await joined_as(scene, "ann")
            await denied_as(scene, "ann")
            await client.send(b"x" * 500)
            await target.exactly(500)
            sending = asyncio.ensure_future(far.send(b"y" * 100_000))
            assert await all_read(other) == 500
            sending.cancel()
            await until(lambda: written(file).get(("much", "user ann")) == 2000, "all of it is written down")
            await until(lambda: not len(scene.server.treasurer), "all are forgotten")

    run(main)


def test_a_first_budget_while_the_server_runs() -> None:
    async def main() -> None:
        async with stage(users=USERS) as scene:
            await joined_as(scene, "ann")
            settings = replace(scene.server.settings, budgets={"few": Budget(sessions=1)})
            assert scene.server.switch(scene.server.prepare(settings)) == 0
            await joined_as(scene, "ann")  # the first one draws on nothing
            await denied_as(scene, "ann")

    run(main)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"rules": [Rule(action="allow", budgets=["x"])]}, "a rule names the budget 'x', which there is not: add"),
        ({"budgets": {"x": Budget(per="rule")}}, "the budget 'x' is per rule, and no rule names it"),
        ({"budgets": {"a\nb": Budget()}}, "the budget 'a\\nb': a name has no characters that cannot be printed"),
        ({"budgets": {"x": Budget(per="group")}}, "the budget 'x' is per group, and there are no groups"),
        (
            {"budgets": {"x": Budget(octets="1MB")}},
            "the octets of budget 'x' must be written down somewhere: add usage_file",
        ),
    ],
)
def test_mistakes(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ServerSettings(**fields)
    assert str(caught.value).startswith(complaint)


def test_who_is_being_refused_is_ended_once(file: Path) -> None:
    """Whoever lingers, so that its client can read why, is not told again at the next beat."""

    async def main() -> None:
        budgets = {"much": Budget(per="all", octets="1k", period="ever")}
        async with stage(budgets=budgets, usage_file=file, bind=BindSettings(anyone=True)) as scene:
            near, far = await scene.joined()
            client, _ = await waiting(scene, 5)
            await near.send(b"x" * 1000)
            await far.exactly(1000)
            assert (await client.reply5())[1] == 2
            assert await client.receive() == b""
            cells = scene.server.meter.counts.cells
            before = beats(cells)
            await until(lambda: beats(cells) > before + 2, "further beats")
            client.close()
            await until(lambda: len(scene.records) == 2, "all have ended")
            assert hits(scene, "budget octets") == 1

    run(main)


def test_news_that_cannot_be_read_count_nothing_twice(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(_: Ledger) -> None:
        raise OSError("no news")

    async def main() -> None:
        budgets = {"much": Budget(octets="1MB", period="ever")}
        async with stage(users=USERS, budgets=budgets, usage_file=file) as scene:
            monkeypatch.setattr(Ledger, "news", unreadable)
            client, target = await joined_as(scene, "ann")
            await client.send(b"x" * 1000)
            await target.exactly(1000)
            await until(lambda: written(file).get(("much", "user ann")) == 1000, "it is written down")
            await client.send(b"x")
            await target.exactly(1)
            await until(lambda: written(file)["much", "user ann"] > 1000, "more is written down")
            assert written(file)["much", "user ann"] == 1001

    run(main)


def test_an_association_draws_on_the_budgets_of_whichever_rule_lets_its_datagrams_pass(file: Path) -> None:
    """The first rule that might hold, which it begins with, need not be the one that does."""
    rules = [Rule(action="allow", ports=[9]), Rule(action="allow", budgets=["much", "slow"])]
    budgets = {"much": Budget(octets="1k", period="ever"), "slow": Budget(down="1MB")}

    async def main() -> None:
        async with stage(rules=rules, budgets=budgets, usage_file=file) as scene:
            target, client = Datagrams(scene), await associated(scene)
            (session,) = scene.server.living()
            assert not session.purses
            await client.proof(target)
            drawn = session.purses
            assert {purse.name for purse in drawn} == {"much", "slow"}
            changed = {**budgets, "slow": Budget(down="2MB")}
            server = scene.server
            server.switch(server.prepare(replace(server.settings, budgets=changed)))
            await client.proof(target)
            assert session.purses == drawn, "once, and as it came"
            (bucket,) = next(purse.down for purse in drawn if purse.name == "slow")
            assert isinstance(bucket, Bucket)
            assert bucket.rate == 2_000_000
            left = next(purse.usage.left for purse in drawn if purse.name == "much")
            client.ask(target.place, b"x" * int(left))
            assert "are used up" in (await scene.record()).end
            client = await associated(scene)
            client.ask(target.place, b"x")
            await dropped(scene, "refused target")

    run(main)


def test_an_association_pays_for_no_rule_that_lets_none_of_its_datagrams_pass() -> None:
    """A rule about other ports does not count it, does not refuse it and does not name it, nor take its line out of the
    log; one that holds whatever the target counts it from the beginning."""
    rules = [
        Rule(action="allow", name="dns", ports=[9], budgets=["few"], log_level="silent"),
        Rule(action="deny", name="mail", ports=[25]),
        Rule(action="allow", name="all", commands=["associate"], budgets=["some"]),
    ]
    budgets = {"few": Budget(per="all", sessions=1), "some": Budget(per="all", sessions=2)}

    async def main() -> None:
        async with stage(rules=rules, budgets=budgets) as scene:
            target, clients = Datagrams(scene), [await associated(scene) for _ in range(3)]
            for client in clients[:2]:
                await client.proof(target)
            drawn = sorted([purse.name for purse in session.purses] for session in scene.server.living())
            assert drawn == [[], ["some"], ["some"]]
            clients[2].ask(target.place, b"x")
            await until(lambda: hits(scene, "budget sessions") == 1, "the third is too many")
            for client in clients:
                client.control.close()
            await until(lambda: len(scene.records) == 3, "they have ended")
            assert sorted(record.rule for record in scene.records) == ["", "rule 3 (all)", "rule 3 (all)"]
            assert {record.log_level for record in scene.records} == {"normal"}

    run(main)


def test_a_rule_that_holds_for_every_target_counts_an_association_at_once() -> None:
    rules = [Rule(action="deny", ports=[25]), Rule(action="allow", budgets=["one"]), Rule(action="allow", ports=[9])]

    async def main() -> None:
        async with stage(rules=rules, budgets={"one": Budget(per="all", sessions=1)}) as scene:
            await associated(scene)
            client = await scene.client()
            await client.greet()
            await client.send(request5("0.0.0.0", 0, UDP_ASSOCIATE))
            assert await client.reply5() == DENIED
            assert hits(scene, "budget sessions") == 1

    run(main)


def test_a_budget_that_is_used_up_for_a_moment_closes_no_target() -> None:
    """A session more than there may be now is refused; once the other has gone, the next datagram passes."""
    rules = [Rule(action="allow", ports=[9]), Rule(action="allow", budgets=["one"])]

    async def main() -> None:
        async with stage(rules=rules, budgets={"one": Budget(per="all", sessions=1)}) as scene:
            target, first, second = Datagrams(scene), await associated(scene), await associated(scene)
            await first.proof(target)
            second.ask(target.place, b"x")
            await until(lambda: hits(scene, "budget sessions") == 1, "the second is too many")
            first.control.close()
            await until(lambda: len(scene.records) == 1, "the first has ended")
            await second.proof(target)

    run(main)


def test_a_name_that_is_allowed_late_is_paid_for(file: Path) -> None:
    rules = [Rule(action="allow", ports=[9]), Rule(action="allow", budgets=["much"])]
    budgets = {"much": Budget(octets="1MB", period="ever")}

    async def main() -> None:
        async with stage(rules=rules, budgets=budgets, usage_file=file) as scene:
            target, client = Datagrams(scene), await associated(scene)
            client.ask(("localhost", target.place[1]), b"x" * 1000)
            await target.receive()
            await until(lambda: written(file), "it is written down")
            assert sum(written(file).values()) == 1000

    run(main)


def test_a_rule_keeps_its_budget_where_another_comes_before_it(file: Path) -> None:
    """By its name: nobody gets more by a reload, and no rule what another has used."""
    rules = [Rule(action="allow", name="guests", budgets=["much"])]

    async def main() -> None:
        budgets = {"much": Budget(per="rule", octets="1k", period="ever")}
        async with stage(rules=rules, budgets=budgets, usage_file=file) as scene:
            near, far = await scene.joined()
            await near.send(b"x" * 1000)
            await far.exactly(1000)
            await scene.record()
            server = scene.server
            server.switch(server.prepare(replace(server.settings, rules=[Rule(action="deny", ports=[9]), *rules])))
            client = await scene.client()
            assert await client.connect("127.0.0.1", scene.target().port) == DENIED
        assert written(file) == {("much", "rule 'guests'"): 1000}

    run(main)
