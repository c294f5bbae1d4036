"""One client from its first octet to its last: handshakes, strangers, methods of other packages, faults."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hosier.auth.scrypt import ScryptHash, hash_password
from hosier.auth.users_file import change_user
from hosier.observe.access_log import json_line, text_line
from hosier.observe.record import SessionRecord
from hosier.protocol.auth.base import AuthStep, Outcome
from hosier.server.commands import COMMANDS
from hosier.server.settings import Limits

from .harness import (
    FAILURE4,
    NO_AUTH,
    SUCCESS5,
    Peer,
    Stage,
    Target,
    Word,
    WordFraming,
    WordMethod,
    accept,
    failure5,
    install,
    login,
    request4,
    request5,
    run,
    stage,
    until,
    word,
)

ANN = {"ann": "open sesame"}


async def refused(scene: Stage, octets: bytes, answer: bytes) -> SessionRecord:
    """A client that sends the octets, gets the answer and then the end; what was recorded of it."""
    client = await scene.client()
    await client.send(octets)
    assert await client.rest() == answer
    client.close()
    return await scene.record()


# --- the opening ---


def test_no_acceptable_method(caplog: pytest.LogCaptureFixture) -> None:
    """A-02, S5-REQ-15, B-01: both octets arrive, then the end."""
    caplog.set_level("INFO", "hosier")

    async def main() -> None:
        async with stage() as scene:
            record = await refused(scene, b"\x05\x03\x01\x02\x80", b"\x05\xff")
            assert record.end == ("no acceptable method; offered: 01 (GSSAPI), 02 (username/password), 80 (private)")
            assert (record.version, record.method, record.command, record.reply) == (5, "", "", None)
            assert record.target is None
            assert record.client[0] == "127.0.0.1"
            assert f"127.0.0.1:{record.client[1]}: {record.end}" in caplog.text

    run(main)


IN_NO_REQUEST = [
    (
        b"GET / HTTP/1.1\r\n\r\n",
        "the first octet 0x47 is neither SOCKS4 nor SOCKS5; it looks like http; have the client take ",
    ),
    (
        b"CONNECT a:1 HTTP/1.1\r\n\r\n",
        "the first octet 0x43 is neither SOCKS4 nor SOCKS5; it looks like http; have the",
    ),
    (
        b"\x16\x03\x01\x02\x00\x01",
        "the first octet 0x16 is neither SOCKS4 nor SOCKS5; it looks like tls; have the client ",
    ),
    (b"SSH-2.0-x\r\n", "the first octet 0x53 is neither SOCKS4 nor SOCKS5; it looks like ssh"),
    (b"\x03\x01", "the first octet 0x03 is neither SOCKS4 nor SOCKS5"),
]

IN_A_REQUEST = [
    (b"\x05\x09\x00\x01\xc0\x00\x02\x01\x00\x50", "command 0x09 is unknown"),
    (b"\x05\x01\x00\x02", "address type 0x02 is unknown"),
    (b"\x05\x01\x00\x03\x00\x00\x50", "the name is empty or contains a zero octet"),
    (b"\x05\x01\x00\x03\x03a\x00b\x00\x50", "the name is empty or contains a zero octet"),
    (b"\x04\x01\x00\x01\xc0\x00\x02\x01\x00\x50", "version 4 "),
]


@pytest.mark.parametrize(
    ("octets", "why"), [*IN_NO_REQUEST, *((NO_AUTH + octets, why) for octets, why in IN_A_REQUEST)], ids=repr
)
def test_what_is_no_socks_is_explained(octets: bytes, why: str, caplog: pytest.LogCaptureFixture) -> None:
    """As each refusal, where that is wanted; the record has the same reason."""
    caplog.set_level("INFO", "hosier")

    async def main() -> None:
        async with stage() as scene:
            client = await scene.client()
            await client.send(octets)
            await client.rest()
            client.close()
            record = await scene.record()
            (line,) = [found.getMessage() for found in caplog.records if found.name == "hosier"]
            assert line.startswith(f"127.0.0.1:{record.client[1]}: {record.end}")
            assert why in line

    run(main)


def test_no_acceptable_method_and_a_client_that_has_sent_its_request_already() -> None:
    """B-01: the two octets arrive whole though input was left unread."""

    async def main() -> None:
        async with stage() as scene:
            await refused(scene, b"\x05\x01\x02" + login(b"a", b"b") + request5("192.0.2.1", 80), b"\x05\xff")

    run(main)


def test_no_methods_at_all() -> None:
    async def main() -> None:
        async with stage() as scene:
            record = await refused(scene, b"\x05\x00", b"\x05\xff")
            assert record.end == "no acceptable method; offered: none"

    run(main)


def test_octet_by_octet() -> None:
    """S5-REQ-03: however the octets come."""

    async def main() -> None:
        async with stage(users=ANN) as scene:
            target = scene.target()
            client = await scene.client()
            octets = b"\x05\x01\x02" + login(b"ann", b"open sesame") + request5(target.host, target.port)
            for octet in octets:
                await client.send(bytes((octet,)))
                await asyncio.sleep(0)
            assert await client.exactly(2 + 2 + 3) == b"\x05\x02" + b"\x01\x00" + SUCCESS5

    run(main)


HTTP = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
TLS = bytes.fromhex("16030100") + b"\x40\x01" + bytes(64)


def test_http() -> None:
    async def main() -> None:
        async with stage() as scene:
            client = await scene.client()
            await client.send(HTTP)
            answer = await client.rest()
            assert answer.startswith(b"HTTP/1.1 501 ")
            assert b"socks5h://" in answer
            client.close()
            record = await scene.record()
        assert record.end == "the first octet 0x47 is neither SOCKS4 nor SOCKS5; it looks like http"
        assert (record.version, record.method, record.command, record.reply, record.user) == (0, "", "", None, None)

    run(main)


def test_tls() -> None:
    async def main() -> None:
        async with stage() as scene:
            record = await refused(scene, TLS, b"\x15\x03\x01\x00\x02\x02\x46")
            assert record.end == "the first octet 0x16 is neither SOCKS4 nor SOCKS5; it looks like tls"
            assert (record.version, record.reply) == (0, None)

    run(main)


@pytest.mark.parametrize(("octets", "kind"), [(b"SSH-2.0-x\r\n", "; it looks like ssh"), (b"\x00\x01", "")])
def test_other_strangers_get_silence(octets: bytes, kind: str) -> None:
    async def main() -> None:
        async with stage() as scene:
            record = await refused(scene, octets, b"")
            assert record.end == f"the first octet {octets[0]:#04x} is neither SOCKS4 nor SOCKS5{kind}"

    run(main)


# --- users ---


def test_right_password() -> None:
    """NG-REQ-08, S5-REQ-20, S5-REQ-22."""

    async def main() -> None:
        async with stage(users={**ANN, "bob": "other"}) as scene:
            target = scene.target()
            client = await scene.client()
            await client.send(b"\x05\x02\x00\x02")
            assert await client.exactly(2) == b"\x05\x02"
            await client.send(login(b"ann", b"open sesame"))
            assert await client.exactly(2) == b"\x01\x00"
            await client.send(request5(target.host, target.port))
            assert (await client.reply5()).startswith(SUCCESS5)
            client.close()
            (await target.accept()).close()
            record = await scene.record()
        assert (record.user, record.method, record.reply) == ("ann", "02 (username/password)", 0)

    run(main)


@pytest.mark.parametrize(
    ("name", "password"),
    [(b"ann", b"wrong"), (b"nobody", b"open sesame"), (b"ann", b""), (b"bob", b"open sesame"), (b"\xff\n", b"\x00")],
)
def test_wrong_password(name: bytes, password: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """UP-REQ-07, B-03: the status, then the end, though the request is there already."""
    caplog.set_level("INFO", "hosier")

    async def main() -> None:
        async with stage(users={**ANN, "bob": "other"}) as scene:
            target = scene.target()
            octets = b"\x05\x01\x02" + login(name, password) + request5(target.host, target.port)
            record = await refused(scene, octets, b"\x05\x02\x01\x01")
            assert target.was_left_alone()
        assert (record.end, record.user, record.command, record.reply) == ("authentication failed", None, "", None)
        assert record.method == "02 (username/password)"

    run(main)
    assert "authentication failure from=127.0.0.1 user=" in caplog.text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("password", [b"open sesame", b"wrong"])
def test_what_is_read_at_once_makes_no_difference(
    password: bytes, host: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S5-REQ-03: a login and a request in a straight line, where each comes whole and alone, and in pieces of any size
    end in the same answers, the same record and the same line in the log."""
    greeting, credentials = b"\x05\x02\x00\x02", login(b"ann", password)
    outcomes: set[tuple[object, ...]] = set()

    async def one(scene: Stage, target: Target, *, in_turn: bool) -> None:
        client, request = await scene.client(), request5(host, target.port)
        answers = b""
        if in_turn:
            for message in (greeting, credentials):
                await client.send(message)
                answers += await client.exactly(2)
        with suppress(ConnectionError):  # who is refused need not be heard
            await client.send(request if in_turn else greeting + credentials + request)
        if password == b"wrong":
            with suppress(ConnectionError):
                answers += await client.rest()
            client.close()
        else:
            if not in_turn:
                answers += await client.exactly(4)
            answers += (await client.reply5())[:4]  # the port is another one each time
            far = await target.accept()
            client.close()
            assert await far.rest() == b""
            far.close()
        record = await scene.record()
        scene.records.clear()
        lines = [message.partition(": ")[2] for message in caplog.messages]
        caplog.clear()
        outcomes.add((answers, record._replace(client=("", 0), seconds=0), *lines))

    async def main() -> None:
        async with stage(users=ANN, backoff=False) as scene:
            target = scene.target()
            for read in (*range(1, len(greeting + credentials) + 20), 4096):
                monkeypatch.setattr("hosier.server.session._READ", read)
                for in_turn in (True, False):
                    await one(scene, target, in_turn=in_turn)

    run(main)
    assert len(outcomes) == 1, outcomes


def test_method_00_is_never_chosen_where_there_are_users() -> None:
    async def main() -> None:
        async with stage(users=ANN) as scene:
            record = await refused(scene, NO_AUTH, b"\x05\xff")
            assert record.end == "no acceptable method; offered: 00 (no authentication)"

    run(main)


def test_no_request_before_authentication() -> None:
    async def main() -> None:
        async with stage(users=ANN) as scene:
            target = scene.target()
            client = await scene.client()
            await client.send(b"\x05\x01\x02" + request5(target.host, target.port))
            assert await client.rest() == b"\x05\x02\x01\x01"
            assert target.was_left_alone()
            client.close()
            record = await scene.record()
        assert record.command == ""

    run(main)


@pytest.mark.parametrize("user", [b"", b"ann"])
def test_socks4_is_refused_where_there_are_users(user: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "hosier")

    async def main() -> None:
        async with stage(users=ANN) as scene:
            target = scene.target()
            record = await refused(scene, request4(target.host, target.port, user=user), FAILURE4)
            assert target.was_left_alone()
        assert record.end == "refused: SOCKS4 cannot authenticate, and authentication is required"
        assert (record.version, record.command, record.user, record.reply) == (4, "CONNECT", None, 2)

    run(main)
    assert "authentication is required; use SOCKS5" in caplog.text


async def logged_in(scene: Stage, name: bytes, password: bytes) -> bytes:
    """The answer to a login, and then the end."""
    client = await scene.client()
    await client.send(b"\x05\x01\x02" + login(name, password))
    assert await client.exactly(2) == b"\x05\x02"
    answer = await client.exactly(2)
    client.end()
    assert await client.rest() == b""
    client.close()
    return answer


def test_users_of_a_file(tmp_path: Path) -> None:
    """They log in like others, and those given at the start beside them."""
    path = str(tmp_path / "users")
    change_user(path, b"zo\xc3\xab", hash_password(b"\x00", log_n=1, r=1, p=1))

    async def main() -> None:
        async with stage(users=ANN, users_file=path) as scene:
            for _ in range(2):
                assert await logged_in(scene, b"zo\xc3\xab", b"\x00") == b"\x01\x00"
                assert await logged_in(scene, b"zo\xc3\xab", b"") == b"\x01\x01"
            assert await logged_in(scene, b"ann", b"open sesame") == b"\x01\x00"
            assert {record.user for record in scene.records} == {"zo\xeb", "ann", None}

    run(main)


@pytest.fixture
def standing_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """For who must wait: however slow the machine is, nobody has waited long enough."""
    monkeypatch.setattr("hosier.server.doorkeeper.monotonic", lambda: 1000.0)


@pytest.mark.usefixtures("standing_clock")
def test_who_fails_too_often_is_refused_unheard(caplog: pytest.LogCaptureFixture) -> None:
    """UP-REQ-17: the same answer as for a wrong password, also to the right one; a line for each failure that was
    checked, and none for those that were not."""

    async def main() -> None:
        async with stage(users=ANN) as scene:
            for _ in range(20):
                assert await logged_in(scene, b"bob", b"guess") == b"\x01\x01"
            assert await logged_in(scene, b"ann", b"open sesame") == b"\x01\x01"
            await until(lambda: len(scene.records) == 21, "all have ended")
            heard = [record.end for record in scene.records].count("authentication failed")
            assert heard == caplog.text.count("authentication failure from=127.0.0.1 user=bob method=password") == 9
            assert scene.records[-1].end.startswith("refused: too many failures to authenticate: wait ")

    run(main)


@pytest.mark.usefixtures("standing_clock")
@pytest.mark.parametrize("guessable", [True, False])
def test_only_who_can_guess_must_wait(
    guessable: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method says whether its proofs can be guessed. If not, an old ticket in a loop locks nobody out; its lines are
    there all the same."""

    async def main() -> None:
        async with stage(methods=["word"]) as scene:
            for text in [b"no"] * 20 + [b"yes"]:
                client = await scene.client()
                await client.send(b"\x05\x01\x90" + word(text))
                wanted = b"\x05\x90" + (word(b"ok") if text == b"yes" and not guessable else b"\x02no")
                assert await client.exactly(len(wanted)) == wanted
                client.close()
            await until(lambda: len(scene.records) == 21, "all have ended")

    def step(said: Word | None) -> AuthStep:
        return accept() if said == Word(b"yes") else AuthStep(None, Outcome(None))

    install(monkeypatch, WordMethod(lambda: step, guessable=guessable))
    run(main)
    assert caplog.text.count("authentication failure from=127.0.0.1 user=- method=word") == (9 if guessable else 20)


def test_backoff_can_be_switched_off() -> None:
    async def main() -> None:
        async with stage(users=ANN, backoff=False) as scene:
            for _ in range(20):
                assert await logged_in(scene, b"ann", b"guess") == b"\x01\x01"
            assert await logged_in(scene, b"ann", b"open sesame") == b"\x01\x00"

    run(main)


@pytest.mark.usefixtures("standing_clock")
def test_a_flood_of_guesses_does_not_touch_who_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One hash is under way and will not end; hundreds of guesses wait behind it. Who has logged in before does so
    again at once, and once the hash ends, few of the guesses are worth one."""
    path = str(tmp_path / "users")
    change_user(path, b"ann", hash_password(b"open sesame", log_n=1, r=1, p=1))
    hashed: list[bytes] = []
    go_on = threading.Event()
    matches = ScryptHash.matches

    def slow(stored: ScryptHash, password: bytes) -> bool:
        hashed.append(password)
        if password == b"guess":
            assert go_on.wait(20)
        return matches(stored, password)

    monkeypatch.setattr(ScryptHash, "matches", slow)

    async def main() -> None:
        async with stage(users_file=path) as scene:
            assert await logged_in(scene, b"ann", b"open sesame") == b"\x01\x00"
            flood = [await scene.client() for _ in range(200)]
            for number, client in enumerate(flood):
                await client.send(b"\x05\x01\x02" + login(b"user%d" % number, b"guess"))
                assert await client.exactly(2) == b"\x05\x02"
            await until(lambda: len(hashed) == 2, "a guess is being checked")
            assert await logged_in(scene, b"ann", b"open sesame") == b"\x01\x00"
            assert len(hashed) == 2
            go_on.set()
            for client in flood:
                assert await client.exactly(2) == b"\x01\x01"
                client.close()
            assert len(hashed) == 1 + 9

    run(main)


@pytest.mark.patient
def test_a_client_that_waits_for_its_check_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit for handshakes ends it; the check is over for the next one all the same."""
    path = str(tmp_path / "users")
    change_user(path, b"ann", hash_password(b"open sesame", log_n=1, r=1, p=1))
    go_on = threading.Event()
    matches = ScryptHash.matches

    def slow(stored: ScryptHash, password: bytes) -> bool:
        assert go_on.wait(20)
        return matches(stored, password)

    monkeypatch.setattr(ScryptHash, "matches", slow)

    async def main() -> None:
        async with stage(users_file=path, limits=Limits(handshake=4)) as scene:  # time for the second client
            await refused(scene, b"\x05\x01\x02" + login(b"ann", b"open sesame"), b"\x05\x02")
            assert scene.records[0].end == "handshake limit"
            go_on.set()
            assert await logged_in(scene, b"ann", b"open sesame") == b"\x01\x00"

    run(main)


def test_secrets_stay_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the right nor a wrong password is in a record, a line of a log, or a repr."""
    caplog.set_level("DEBUG")
    secrets = ("open sesame", "close sesame", "sesame")

    async def main() -> None:
        async with stage(users=ANN) as scene:
            target = scene.target()
            for password, answer in ((b"open sesame", b"\x05\x02\x01\x00"), (b"close sesame", b"\x05\x02\x01\x01")):
                client = await scene.client()
                await client.send(b"\x05\x01\x02" + login(b"ann", password))
                assert await client.exactly(4) == answer
                if answer[-1] == 0:
                    (session,) = scene.server.engine.tasks
                    seen = repr((session, scene.server.settings, scene.server.methods))
                    await client.send(request5(target.host, target.port))
                    await client.reply5()
                    (await target.accept()).close()
                client.close()
            await until(lambda: len(scene.records) == 2, "both sessions end")
            seen += repr(scene.records) + "".join(
                write(record, "") for record in scene.records for write in (text_line, json_line)
            )
        for secret in secrets:
            assert secret not in seen
            assert secret not in caplog.text

    run(main)


# --- requests ---


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (bytes.fromhex("05 09 00 01 c0000201 0050"), 7),
        (bytes.fromhex("05 01 00 02 c0000201 0050"), 8),
        (bytes.fromhex("04 01 00 01 c0000201 0050"), 1),
    ],
)
def test_requests_that_make_no_sense(request_: bytes, code: int) -> None:
    """A-05, A-06, S5-REQ-04, 37."""

    async def main() -> None:
        async with stage() as scene:
            record = await refused(scene, NO_AUTH + request_, b"\x05\x00" + failure5(code))
            assert (record.reply, record.command, record.method) == (code, "", "00 (no authentication)")
            assert record.end

    run(main)


def test_strict() -> None:
    """S5-REQ-06, A-04: a reserved octet that is not zero."""
    octets = NO_AUTH + bytes.fromhex("05 01 01 01 7f000001 0000")

    async def main() -> None:
        async with stage(strict=True) as scene:
            record = await refused(scene, octets, b"\x05\x00" + failure5(1))
            assert record.reply == 1
        async with stage() as scene:
            record = await refused(scene, octets, b"\x05\x00" + failure5(2))
            assert record.end == "refused: port 0 is no target"

    run(main)


# --- clients that leave, and slow ones ---


@pytest.mark.parametrize("octets", [b"\x05", NO_AUTH, NO_AUTH + b"\x05\x01\x00", b"\x04\x01"])
def test_client_leaves_in_the_handshake(octets: bytes) -> None:
    async def main() -> None:
        async with stage() as scene:
            client = await scene.client()
            await client.send(octets)
            client.end()
            await client.rest()
            record = await scene.record()
        assert (record.end, record.reply, record.command) == ("client left in the handshake", None, "")
        assert record.version == octets[0]

    run(main)


def test_client_breaks_off_in_the_handshake() -> None:
    async def main() -> None:
        async with stage() as scene:
            client = await scene.client()
            await client.greet()
            client.reset()
            record = await scene.record()
        assert record.end == "client lost: Connection reset by peer"

    run(main)


@pytest.mark.patient
@pytest.mark.parametrize("octets", [b"\x05", NO_AUTH, NO_AUTH + b"\x05\x01\x00", b"\x04\x01"])
def test_silent_clients_are_cut_off(octets: bytes) -> None:
    """B-19."""

    async def main() -> None:
        async with stage(limits=Limits(handshake=0.3)) as scene:
            client = await scene.client()
            await client.send(octets)
            await client.rest()
            record = await scene.record()
        assert (record.end, record.reply) == ("handshake limit", None)

    run(main)


@pytest.mark.patient
def test_slow_clients_are_cut_off() -> None:
    """B-19: an octet now and then does not put the limit off."""

    async def main() -> None:
        async with stage(limits=Limits(handshake=0.3)) as scene:
            client = await scene.client()
            await client.send(b"\x04\x01\x00\x50\x00\x00\x00\x01")
            with suppress(OSError):
                for _ in range(200):
                    await client.send(b"x")  # a user id that could go on
                    await asyncio.sleep(0.01)
                    if scene.records:
                        break
            record = await scene.record()
        assert record.end == "handshake limit"

    run(main)


# --- methods of other packages ---


async def through(scene: Stage, target: Target, method: int, *words: bytes, answers: tuple[bytes, ...]) -> Peer:
    """A client that authenticates with words and connects."""
    client = await scene.client()
    await client.send(bytes((5, 1, method)))
    assert await client.exactly(2) == bytes((5, method))
    for text, answer in zip(words, answers, strict=True):
        await client.send(word(text))
        assert await client.exactly(1 + len(answer)) == word(answer)
    await client.send(request5(target.host, target.port))
    assert (await client.reply5()).startswith(SUCCESS5)
    return client


def test_steps_that_are_coroutines(monkeypatch: pytest.MonkeyPatch) -> None:
    """They run in an asyncio task of their own: time-outs, task groups and contexts work."""

    async def ask(text: bytes) -> bytes:
        async with asyncio.timeout(PATIENT), asyncio.TaskGroup() as group:
            halves = [group.create_task(later(part)) for part in (text[:1], text[1:])]
        return b"".join(half.result() for half in halves)

    async def later(text: bytes) -> bytes:
        await asyncio.sleep(0)
        return text.upper()

    async def step(message: Word | None) -> AuthStep:
        assert message is not None
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.get_running_loop().create_future()
        assert asyncio.current_task() is not None
        answer = await ask(message.text)
        return AuthStep(Word(answer), Outcome("Ann Other") if message.text == b"end" else None)

    install(monkeypatch, WordMethod(lambda: step))

    async def main() -> None:
        async with stage(methods=["word"]) as scene:
            target = scene.target()
            client = await through(scene, target, 0x90, b"first", b"end", answers=(b"FIRST", b"END"))
            far = await target.accept()
            await client.send(b"payload")
            assert await far.exactly(7) == b"payload"
            client.close()
            far.close()
            record = await scene.record()
        assert (record.user, record.method) == ("Ann Other", "90 (private)")

    run(main)


PATIENT = 20


def test_a_method_whose_server_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    def begin() -> Any:
        def step(message: Word | None) -> AuthStep:
            if message is None:
                return AuthStep(Word(b"who?"))
            return AuthStep(Word(b"ok"), Outcome(message.text.decode()))

        return step

    install(monkeypatch, WordMethod(begin, server_speaks_first=True))

    async def main() -> None:
        async with stage(methods=["word"]) as scene:
            target = scene.target()
            client = await scene.client()
            await client.send(b"\x05\x01\x90")
            assert await client.exactly(2 + 5) == b"\x05\x90" + word(b"who?")
            await client.send(word(b"bob") + request5(target.host, target.port))
            assert await client.exactly(3 + 3) == word(b"ok") + SUCCESS5
            client.close()
            (await target.accept()).close()
            record = await scene.record()
        assert record.user == "bob"

    run(main)


@pytest.mark.parametrize(("reason", "end"), [("", ""), ("it is too late", ": it is too late")])
def test_a_method_that_refuses(monkeypatch: pytest.MonkeyPatch, reason: str, end: str) -> None:
    """Why is for our own side alone."""

    async def step(_: Word | None) -> AuthStep:
        return AuthStep(Word(b"sorry"), Outcome(None, reason=reason))

    install(monkeypatch, WordMethod(lambda: step))

    async def main() -> None:
        async with stage(methods=["word"]) as scene:
            octets = b"\x05\x01\x90" + word(b"please") + request5("192.0.2.1", 80)
            record = await refused(scene, octets, b"\x05\x90" + word(b"sorry"))
            assert (record.end, record.method) == (f"authentication failed{end}", "90 (private)")

    run(main)


def test_a_step_that_never_ends_meets_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is the one for many rounds, and the coroutine is cancelled."""
    cancelled: list[bool] = []

    async def step(_: Word | None) -> AuthStep:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        raise AssertionError

    install(monkeypatch, WordMethod(lambda: step))

    async def main() -> None:
        async with stage(methods=["word"], limits=Limits(auth=0.2)) as scene:
            client = await scene.client()
            await client.send(b"\x05\x01\x90" + word(b"x"))
            assert await client.exactly(2) == b"\x05\x90"
            assert await client.rest() == b""
            record = await scene.record()
            await until(lambda: cancelled, "the coroutine is cancelled")
        assert record.end == "auth limit"

    run(main)


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_crash_ends_that_session_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """NG-REQ-06: it is reported to the loop's exception handler, with its traceback."""

    def broken_step(message: Word | None) -> AuthStep:
        if message is not None and message.text == b"crash":
            raise ZeroDivisionError("a bug of the method")
        return accept()

    async def broken_coroutine(message: Word | None) -> AuthStep:
        return broken_step(message)

    install(monkeypatch, WordMethod(lambda: broken_step if kind == "plain" else broken_coroutine))

    async def main() -> None:
        async with stage(methods=["word"]) as scene:
            target = scene.target()
            other = await through(scene, target, 0x90, b"fine", answers=(b"ok",))
            far = await target.accept()

            client = await scene.client()
            await client.send(b"\x05\x01\x90" + word(b"crash"))
            assert await client.exactly(2) == b"\x05\x90"
            assert await client.rest() == WordFraming.refusal
            client.close()
            await until(lambda: scene.crashes, "the crash is reported")
            (crash,) = scene.crashes
            scene.crashes.clear()
            assert isinstance(crash["exception"], ZeroDivisionError)
            assert "a session crashed" in crash["message"]
            assert "in broken_step" in "".join(traceback.format_exception(crash["exception"]))
            (record,) = scene.records
            assert record.end == "a fault of the server's: ZeroDivisionError"

            await other.send(b"still here")
            assert await far.exactly(10) == b"still here"
            await through(scene, target, 0x90, b"fine", answers=(b"ok",))

    run(main)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"\x05\x01\x00" + b"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50", b"\x05\x00" + b"\x05\x01\x00\x01" + bytes(6)),
        (b"\x04\x01\x00\x50\xc0\x00\x02\x01\x00", b"\x00\x5b" + bytes(6)),
    ],
    ids=["SOCKS5", "SOCKS4"],
)
def test_a_crash_of_a_command_is_answered(sent: bytes, answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """General failure: the client need not guess (S5-REQ-47)."""

    async def broken(session: Any, request: Any) -> bytes:
        raise ZeroDivisionError("a bug of the command")

    monkeypatch.setitem(COMMANDS, 1, broken)

    async def main() -> None:
        async with stage() as scene:
            client = await scene.client()
            await client.send(sent)
            assert await client.rest() == answer
            client.close()
            await until(lambda: scene.crashes, "the crash is reported")
            scene.crashes.clear()

    run(main)


def test_each_session_has_its_own_context(monkeypatch: pytest.MonkeyPatch) -> None:
    variable: contextvars.ContextVar[bytes] = contextvars.ContextVar("variable")

    def begin() -> Any:
        def step(message: Word | None) -> AuthStep:
            assert message is not None
            before = variable.get(b"none")
            variable.set(message.text)
            return AuthStep(Word(before), Outcome("somebody") if message.text.endswith(b"end") else None)

        return step

    install(monkeypatch, WordMethod(begin))

    async def main() -> None:
        variable.set(b"outer")
        async with stage(methods=["word"]) as scene:
            clients = [await scene.client() for _ in range(3)]
            for client in clients:
                await client.send(b"\x05\x01\x90")
                assert await client.exactly(2) == b"\x05\x90"
            firsts = []
            for number, client in enumerate(clients):
                await client.send(word(b"%d" % number))
                firsts.append(await client.exactly((await client.exactly(1))[0]))
            assert firsts in ([b"outer"] * 3, [b"none"] * 3)
            for number, client in enumerate(clients):
                await client.send(word(b"%d end" % number))
                assert await client.exactly(2) == word(b"%d" % number)
        assert variable.get() == b"outer"

    run(main)
