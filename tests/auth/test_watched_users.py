"""Users of a file: one hash for each user's first login, a file that changes, and the same answer for nobody."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from hosier.auth import watched_users as module
from hosier.auth.digests import PasswordDigests
from hosier.auth.hashing import HashingPool
from hosier.auth.scrypt import ScryptHash, hash_password
from hosier.auth.users import Users
from hosier.auth.users_file import change_user, read_users
from hosier.auth.watched_users import WatchedUsers
from hosier.errors import ConfigError, PolicyDenied
from hosier.protocol.auth.password import Credentials

ANN = Credentials(b"ann", b"open sesame")
BOB = Credentials(b"bob", b"other")
EVE = Credentials(b"eve", b"always there")


def cheap(password: bytes, log_n: int = 1) -> ScryptHash:
    return hash_password(password, log_n=log_n, r=1, p=1)


class Lab:
    """A users file, the users of it, what was told, and each hash that was computed."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = folder / "users"
        self.told: list[str] = []
        self.hashed: list[tuple[int, bytes]] = []
        self.may_hash = threading.Event()
        self.may_hash.set()
        self.may_read = threading.Event()
        self.may_read.set()
        self.reads = 0
        matches, read = ScryptHash.matches, read_users

        def observed_matches(stored: ScryptHash, password: bytes) -> bool:
            self.hashed.append((stored.log_n, password))
            assert threading.current_thread() is not threading.main_thread(), "never in the loop"
            assert self.may_hash.wait(20)
            return matches(stored, password)

        def observed_read(path: str) -> dict[bytes, ScryptHash]:
            self.reads += 1
            assert self.may_read.wait(20)
            return read(path)

        monkeypatch.setattr(ScryptHash, "matches", observed_matches)
        monkeypatch.setattr(module, "read_users", observed_read)

    def put(self, credentials: Credentials, log_n: int = 1) -> None:
        change_user(str(self.path), credentials.username, cheap(credentials.password, log_n))

    def users(
        self, *, look: float = 0.0, pool: HashingPool | None = None, shared: set[bytes] | None = None
    ) -> WatchedUsers:
        """With ``look`` 0, each check looks whether the file has changed."""
        fixed = PasswordDigests({EVE.username: EVE.password})
        return WatchedUsers(str(self.path), fixed, self.told.append, look=look, pool=pool, shared=shared)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    lab = Lab(tmp_path, monkeypatch)
    lab.put(ANN)
    return lab


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await main()

    asyncio.run(bounded())


async def verify(users: Users, credentials: Credentials) -> bool:
    """As a session does it."""
    verdict = users.verify_at_once(credentials)
    return await users.verify(credentials) if verdict is None else verdict


def wrong(credentials: Credentials) -> Credentials:
    return credentials._replace(password=credentials.password + b"?")


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


# --- the first login and the others ---


def test_one_hash_for_each_user(lab: Lab) -> None:
    """The first right password costs a hash; from then on it is told at once."""

    async def main() -> None:
        users = lab.users()
        assert await verify(users, ANN)
        assert lab.hashed == [(1, ANN.password)]
        for _ in range(3):
            assert users.verify_at_once(ANN) is True
        assert len(lab.hashed) == 1
        users.close()

    run(main)


def test_what_one_process_has_hashed_another_need_not(lab: Lab) -> None:
    """Until the user's line changes: then what was shared is worth nothing, though the password be the same."""

    async def main() -> None:
        shared: set[bytes] = set()
        here, there = lab.users(shared=shared), lab.users(shared=shared)
        assert await verify(here, ANN)
        assert len(lab.hashed) == 1
        assert there.verify_at_once(ANN) is True
        assert there.verify_at_once(wrong(ANN)) is None
        assert there.verify_at_once(BOB) is None
        assert not await verify(there, wrong(ANN))
        assert not await verify(there, BOB)
        shared.clear()
        assert there.verify_at_once(ANN) is True  # it knows by itself now
        lab.hashed.clear()
        lab.put(ANN)
        await until(lambda: here.verify_at_once(ANN) is None)
        assert await verify(here, ANN)
        assert len(lab.hashed) == 1
        assert len(shared) == 1
        assert lab.users(shared=shared).verify_at_once(ANN) is True
        lab.put(ANN)
        assert lab.users(shared=shared).verify_at_once(ANN) is None
        here.close()
        there.close()

    run(main)


def test_a_wrong_password_is_hashed_each_time(lab: Lab) -> None:
    """Also where the right one is known already: its time tells nothing."""

    async def main() -> None:
        users = lab.users()
        assert not await verify(users, wrong(ANN))
        assert await verify(users, ANN)
        assert not await verify(users, wrong(ANN))
        assert not await verify(users, wrong(ANN))
        assert len(lab.hashed) == 4
        assert users.verify_at_once(ANN) is True
        users.close()

    run(main)


def test_fixed_users_need_no_hash(lab: Lab) -> None:
    async def main() -> None:
        users = lab.users()
        assert users.verify_at_once(EVE) is True
        assert not lab.hashed
        users.close()

    run(main)


@pytest.mark.parametrize("name", [b"ann", b"eve", b"nobody", b"", b"\x00", b"n" * 255])
def test_every_wrong_answer_costs_the_same(lab: Lab, name: bytes) -> None:
    """UP-REQ-13: a hash of the cost that the file's lines have, whether the user is in it, fixed, or unknown."""

    async def main() -> None:
        users = lab.users()
        for password in (b"", b"wrong", b"\x00" * 255):
            lab.hashed.clear()
            assert await verify(users, Credentials(name, password)) is False
            assert lab.hashed == [(1, password)]
        users.close()

    run(main)


def test_unknown_names_cost_what_known_ones_do(lab: Lab) -> None:
    """Where lines differ in cost, so do names that are not there, and each is true to its own."""
    lab.put(BOB, log_n=2)

    async def main() -> None:
        users = lab.users()
        for _ in range(2):
            for number in range(64):
                await verify(users, Credentials(b"%d" % number, b"wrong"))
        costs = [cost for cost, _ in lab.hashed]
        assert set(costs) == {1, 2}
        assert costs[:64] == costs[64:]
        users.close()

    run(main)


def test_a_file_without_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody is unknown, at the ordinary cost, and the operator is told."""
    lab = Lab(tmp_path, monkeypatch)
    lab.path.write_text("# nobody yet\n")
    lab.path.chmod(0o600)

    async def main() -> None:
        users = lab.users()
        users.open()
        assert lab.told == [f"the users file {lab.path} has no users: add one with hosier passwd {lab.path} NAME"]
        assert not await verify(users, ANN)
        assert lab.hashed == [(15, ANN.password)]
        users.close()

    run(main)


def test_waiting_for_the_same_hash_pays_once(lab: Lab) -> None:
    """Checks that were made before the first was done, and run after it, need no hash of their own."""

    async def main() -> None:
        users = lab.users()
        assert users.verify_at_once(ANN) is None
        assert users.verify_at_once(ANN) is None
        assert await users.verify(ANN)
        assert await users.verify(ANN)
        assert len(lab.hashed) == 1
        users.close()

    run(main)


def test_a_crowd_of_first_logins_pays_once(lab: Lab) -> None:
    """Many programs of one user come at once, as after a restart of the server."""

    async def main() -> None:
        users = lab.users(pool=HashingPool(threads=1))
        lab.may_hash.clear()
        crowd = [asyncio.ensure_future(users.verify(ANN)) for _ in range(20)]
        await until(lambda: lab.hashed)
        lab.may_hash.set()
        assert all(await asyncio.gather(*crowd))
        assert len(lab.hashed) == 1
        users.close()

    run(main)


def test_a_full_queue_turns_away(lab: Lab) -> None:
    """Those who have logged in before notice nothing."""

    async def main() -> None:
        users = lab.users(pool=HashingPool(threads=1, pending=1))
        assert await verify(users, ANN)
        lab.may_hash.clear()
        flood = asyncio.ensure_future(verify(users, wrong(ANN)))
        await until(lambda: len(lab.hashed) == 2)
        with pytest.raises(PolicyDenied, match="too many passwords"):
            await verify(users, Credentials(b"another", b"guess"))
        assert users.verify_at_once(ANN) is True
        lab.may_hash.set()
        assert not await flood
        users.close()

    run(main)


# --- the file changes ---


def test_added_changed_deleted(lab: Lab) -> None:
    async def main() -> None:
        users = lab.users()
        assert await verify(users, ANN)
        assert not await verify(users, BOB)
        lab.put(BOB)
        assert await verify(users, BOB)
        changed = ANN._replace(password=b"changed")
        lab.put(changed)
        assert not await verify(users, ANN), "though it was right before"
        assert await verify(users, changed)
        change_user(str(lab.path), b"bob", None)
        assert not await verify(users, BOB)
        assert lab.told == [f"the users file {lab.path} has changed: {count} users now" for count in (2, 2, 1)]
        users.close()

    run(main)


def test_who_did_not_change_is_still_known(lab: Lab) -> None:
    """One line changes: a thousand others do not come for a hash all at once."""
    lab.put(BOB)

    async def main() -> None:
        users = lab.users()
        assert await verify(users, ANN)
        assert await verify(users, BOB)
        lab.put(BOB)  # the same password, another salt
        assert await verify(users, ANN)
        assert len(lab.hashed) == 2
        assert users.verify_at_once(ANN) is True
        assert await verify(users, BOB)
        assert len(lab.hashed) == 3
        users.close()

    run(main)


def test_a_broken_file_changes_nothing(lab: Lab) -> None:
    """It is told once, and the next good one counts."""

    async def main() -> None:
        users = lab.users()
        lab.path.write_text("nonsense\n")
        for _ in range(3):
            assert await verify(users, ANN)
        assert lab.told == [
            f"{lab.path}, line 1: a user is NAME:HASH; make one with hosier passwd; the users stay as they were"
        ]
        lab.path.unlink()
        assert await verify(users, ANN)
        assert "No such file or directory; the users stay as they were" in lab.told[1]
        lab.put(BOB)
        assert await verify(users, BOB)
        assert not await verify(users, ANN)
        assert len(lab.told) == 3
        users.close()

    run(main)


def test_no_half_of_a_file_is_ever_seen(lab: Lab) -> None:
    """Replaced again and again while checks run: each finds one file or another, whole."""
    lab.put(BOB)

    async def main() -> None:
        users = lab.users()
        for number in range(30):
            lab.put(Credentials(b"new%d" % number, b"x"))
            assert await verify(users, ANN)
            assert await verify(users, BOB)
        assert all(line.endswith("users now") for line in lab.told)
        users.close()

    run(main)


def test_it_looks_now_and_then(lab: Lab) -> None:
    """Not at each check: a look at the file each time would cost more than the check."""

    async def main() -> None:
        users = lab.users(look=3600)
        assert await verify(users, ANN)
        change_user(str(lab.path), b"ann", None)
        assert users.verify_at_once(ANN) is True
        assert lab.reads == 1
        users._next_look = 0.0  # the hour is over
        assert not await verify(users, ANN)
        assert lab.reads == 2
        users.close()

    run(main)


def test_a_deleted_user_is_out_at_the_first_check(lab: Lab) -> None:
    """However long nobody came: the check that finds the file changed waits for the new users."""

    async def main() -> None:
        users = lab.users()
        assert await verify(users, ANN)
        change_user(str(lab.path), b"ann", None)
        assert users.verify_at_once(ANN) is None
        assert not await users.verify(ANN)
        users.close()

    run(main)


def test_read_once_for_all_who_wait(lab: Lab) -> None:
    async def main() -> None:
        users = lab.users()
        assert await verify(users, ANN)
        lab.put(BOB)
        lab.may_read.clear()
        waiting = [asyncio.ensure_future(verify(users, one)) for one in (ANN, BOB, ANN, EVE)]
        known = asyncio.ensure_future(users.knows(b"bob"))
        await until(lambda: lab.reads == 2)
        lab.may_read.set()
        assert all([await one for one in waiting])
        assert await known
        assert lab.reads == 2
        users.close()

    run(main)


def test_a_client_that_gives_up_does_not_stop_the_reading(lab: Lab) -> None:
    async def main() -> None:
        users = lab.users()
        lab.put(BOB)
        lab.may_read.clear()
        gone, stays = (asyncio.ensure_future(verify(users, BOB)) for _ in range(2))
        await until(lambda: lab.reads == 2)
        gone.cancel()
        await until(lambda: lab.reads == 3)
        lab.may_read.set()
        assert await stays
        users.close()

    run(main)


def test_a_change_during_a_hash(lab: Lab) -> None:
    """A password that was right when the hash began, and is not any more, lets nobody in."""

    async def main() -> None:
        users = lab.users()
        lab.may_hash.clear()
        begun = asyncio.ensure_future(verify(users, ANN))
        await until(lambda: lab.hashed)
        change_user(str(lab.path), b"ann", None)
        assert not await users.knows(b"ann")
        lab.may_hash.set()
        assert not await begun
        assert not await verify(users, ANN)
        users.close()

    run(main)


def test_known_names(lab: Lab) -> None:
    async def main() -> None:
        users = lab.users()
        assert await users.knows(b"ann")
        assert await users.knows(b"eve")
        assert not await users.knows(b"bob")
        lab.put(BOB)
        assert await users.knows(b"bob")
        assert not lab.hashed
        users.close()

    run(main)


# --- what the operator is told ---


def test_a_file_that_is_wrong_at_the_start(lab: Lab) -> None:
    lab.path.write_text("nonsense\n")
    with pytest.raises(ConfigError, match="line 1: a user is NAME:HASH"):
        lab.users()


def test_a_user_in_both_places(lab: Lab) -> None:
    """At the start a mistake; later the old users stay."""

    async def main() -> None:
        users = lab.users()
        lab.put(EVE._replace(password=b"another"))
        assert await verify(users, EVE)
        assert await verify(users, ANN)
        assert lab.told == [
            f"user 'eve' has a password of its own and is in {lab.path}: take one away; the users stay as they were"
        ]
        users.close()
        with pytest.raises(ConfigError, match="user 'eve' has a password of its own"):
            lab.users()

    run(main)


def test_a_file_that_everybody_can_read(lab: Lab) -> None:
    lab.path.chmod(0o644)
    users = lab.users()
    assert not lab.told, "a server that is only tried out says nothing"
    users.open()
    users.close()
    assert lab.told == [f"everybody on this machine can read the users file {lab.path}: chmod o-r {lab.path}"]


def test_secrets_do_not_show(lab: Lab) -> None:
    """UP-REQ-13: neither password nor hash; what is remembered is worth nothing elsewhere."""

    async def main() -> None:
        users = lab.users()
        assert await verify(users, ANN)
        assert repr(users) == f"<WatchedUsers: 1 in {lab.path}, 1 fixed>"
        everything = repr(vars(users))
        line = os.fsdecode(lab.path.read_bytes())
        for secret in ("open sesame", "always there", line.strip().rpartition("$")[2]):
            assert secret not in everything
        users.close()

    run(main)


def test_read_at_once_and_taken_over_later(lab: Lab) -> None:
    """Between the two, nothing has changed; what is wrong is said by the reading."""
    lab.put(ANN)

    async def main() -> None:
        users = lab.users()
        assert await verify(users, ANN)
        lab.put(BOB)
        take = users.read_now()
        assert [users.has(name) for name in ("ann", "bob", "eve", "dan")] == [True, False, True, False]
        take()
        assert [users.has(name) for name in ("ann", "bob", "eve", "dan")] == [True, True, True, False]
        reads = lab.reads
        assert await verify(users, BOB)
        assert users.verify_at_once(ANN), "and still known"
        assert lab.reads == reads
        lab.put(EVE)
        with pytest.raises(ConfigError, match="has a password of its own"):
            users.read_now()
        users.close()

    run(main)
