"""The doorkeeper: who is admitted, turns, and the line of each failure."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest

from hosier.errors import PolicyDenied
from hosier.policy.backoff import PER_SOURCE, Allowance, Backoff
from hosier.protocol.auth.base import AuthStep, Outcome
from hosier.server.doorkeeper import Claim, Doorkeeper, failure_line

from .harness import run, until

ANN = Claim("192.0.2.1", b"ann", "password", 5)
YES, NO, MORE = AuthStep(None, Outcome("ann")), AuthStep(None, Outcome(None)), AuthStep(b"go on")


class Door(Doorkeeper):
    def __init__(self, free: int = 0, *, backoff: bool = True) -> None:
        self.told: list[str] = []
        allowance = Allowance(free, 1e9)
        super().__init__(Backoff(per_source=allowance, per_user=allowance) if backoff else None, self.told.append)

    def is_open(self, claim: Claim) -> bool:
        try:
            self.admit(claim)
        except PolicyDenied:
            return False
        return True


def test_failures_close_it() -> None:
    door = Door(free=1)
    for _ in range(2):
        assert door.is_open(ANN)
        assert door.heed(ANN, NO) is NO
    with pytest.raises(PolicyDenied, match="too many failures to authenticate: wait 1 s"):
        door.admit(ANN)
    assert not door.is_open(ANN._replace(user=b"bob")), "the source waits, not the name alone"
    assert door.told[-1].endswith("reason=credentials wait=1")


def test_one_network_is_one_source() -> None:
    """IPv6 clients choose among 2**64 addresses of their own."""
    door = Door()
    door.heed(ANN._replace(host="2001:db8::1"), NO)
    assert not door.is_open(ANN._replace(host="2001:db8::2", user=b"bob"))
    assert door.is_open(ANN._replace(host="2001:db8:0:1::1", user=b"bob"))


def test_only_outcomes_count() -> None:
    door = Door()
    assert door.heed(ANN, MORE) is MORE
    assert door.heed(ANN, YES) is YES
    assert door.heed(ANN._replace(user=None), YES) is YES
    assert door.is_open(ANN)
    assert not door.told


def test_success_makes_welcome() -> None:
    door = Door()
    door.heed(ANN, YES)
    door.heed(ANN._replace(user=b"bob"), NO)
    assert door.is_open(ANN)
    assert not door.is_open(ANN._replace(user=b"carol"))


def test_what_is_nobody_s_fault_is_told_and_not_counted() -> None:
    door = Door()
    door.failed(ANN, "ident-unreachable", counts=False)
    assert door.is_open(ANN)
    assert door.told == [
        "authentication failure from=192.0.2.1 user=ann method=password version=5 reason=ident-unreachable wait=0"
    ]


def test_what_cannot_be_guessed_is_told_and_not_counted() -> None:
    """Nor does it wait for the failures of those who guess."""
    door = Door()
    ticket = Claim("192.0.2.1", None, "gssapi", 5, guessable=False)
    for _ in range(100):
        assert door.is_open(ticket)
        door.heed(ticket, NO)
    assert door.is_open(ANN)
    assert set(door.told) == {
        "authentication failure from=192.0.2.1 user=- method=gssapi version=5 reason=credentials wait=0"
    }
    door.heed(ANN, NO)
    assert not door.is_open(ANN)
    assert door.is_open(ticket)


def test_without_backoff_failures_are_told_all_the_same() -> None:
    door = Door(backoff=False)
    for _ in range(100):
        door.admit(ANN)
        door.heed(ANN, NO)
    assert door.heed(ANN, YES) is YES
    assert len(door.told) == 100


# --- turns ---


def check(outcome: AuthStep, begun: list[str], go_on: asyncio.Event) -> Callable[[str], Awaitable[AuthStep]]:
    async def work(name: str) -> AuthStep:
        begun.append(name)
        await go_on.wait()
        return outcome

    return work


def test_one_check_at_a_time_for_each_source() -> None:
    """A source that guesses in parallel has one check under way; another source does not wait for it."""

    async def main() -> None:
        door, begun, go_on = Door(free=100), list[str](), asyncio.Event()
        work = check(NO, begun, go_on)
        flood = [asyncio.ensure_future(door.in_turn(ANN, work(f"flood {number}"))) for number in range(50)]
        other = asyncio.ensure_future(door.in_turn(ANN._replace(host="192.0.2.2"), work("other")))
        await until(lambda: len(begun) == 2, "one of each source")
        assert begun == ["flood 0", "other"]
        go_on.set()
        assert await asyncio.gather(*flood, other) == [NO] * 51
        assert len(door._turns) == 0, "nobody waits, nothing is kept"

    run(main)


def test_guessing_all_at_once_gains_nothing() -> None:
    """Exactly as many are checked as were free; the others are refused when their turn comes."""

    async def main() -> None:
        door, begun, go_on = Door(free=PER_SOURCE.free), list[str](), asyncio.Event()
        work = check(NO, begun, go_on)
        go_on.set()
        claims = [ANN._replace(user=b"%d" % number) for number in range(200)]
        done = await asyncio.gather(*(door.in_turn(claim, work("guess")) for claim in claims), return_exceptions=True)
        assert len(begun) == PER_SOURCE.free + 1 == done.count(NO)
        assert sum(isinstance(one, PolicyDenied) for one in done) == 200 - len(begun)

    run(main)


def test_a_client_that_leaves_makes_room() -> None:
    async def main() -> None:
        door, begun, go_on = Door(free=9), list[str](), asyncio.Event()
        work = check(YES, begun, go_on)
        first = asyncio.ensure_future(door.in_turn(ANN, work("first")))
        gone = asyncio.ensure_future(door.in_turn(ANN, work("gone")))
        last = asyncio.ensure_future(door.in_turn(ANN, work("last")))
        await until(lambda: begun == ["first"], "the first begins")
        gone.cancel()
        first.cancel()
        await until(lambda: begun == ["first", "last"], "the last begins")
        go_on.set()
        assert await last == YES

    run(main)


def test_methods_without_names_need_no_turn() -> None:
    """Rounds with a far-away authority take long, and are no guesses."""

    async def main() -> None:
        door, begun, go_on = Door(), list[str](), asyncio.Event()
        work = check(NO, begun, go_on)
        nameless = ANN._replace(user=None, method="token")
        rounds = [asyncio.ensure_future(door.in_turn(nameless, work("round"))) for _ in range(3)]
        await until(lambda: len(begun) == 3, "all run")
        go_on.set()
        assert await asyncio.gather(*rounds) == [NO] * 3
        assert len(door.told) == 3
        assert " user=- method=token " in door.told[0]

    run(main)


def test_awaitables_that_are_no_coroutines() -> None:
    async def main() -> None:
        future: asyncio.Future[AuthStep] = asyncio.get_running_loop().create_future()
        future.set_result(YES)
        assert await Door().in_turn(ANN, future) == YES

    run(main)


# --- the line ---

LINE = re.compile(r"authentication failure from=\S+ user=\S* method=\S+ version=[45] reason=[a-z-]+ wait=\d+")


def test_the_line() -> None:
    assert failure_line(ANN, "credentials", 0) == (
        "authentication failure from=192.0.2.1 user=ann method=password version=5 reason=credentials wait=0"
    )
    assert " from=2001:db8::1 user=- method=token " in failure_line(
        Claim("2001:db8::1", None, "token", 5), "credentials", 7
    )
    assert " user= method=" in failure_line(ANN._replace(user=b""), "credentials", 0)


@pytest.mark.parametrize(
    "user",
    [
        b"a b",
        b"x from=198.51.100.1 user=root",
        b"x\nhosier: authentication failure from=198.51.100.1",
        b"\r\x1b[2J",
        b"\xff\x00",
        "Zo\u2028ë".encode(),
        b'"\\"',
        b"n" * 255,
    ],
)
def test_a_name_cannot_forge_a_line(user: bytes) -> None:
    """However it is written, the line has as many words as ever, and one `from=`."""
    line = failure_line(ANN._replace(user=user), "credentials", 0)
    assert LINE.fullmatch(line)
    assert len(line.split()) == len(line.split(" ")) == 8
    assert line.split(" ")[2] == "from=192.0.2.1"
    assert line.isprintable()
