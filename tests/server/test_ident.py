"""SOCKS4 user ids: believed, proved by an ident daemon, or refused (catalogue 1.3)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hosier.auth.scrypt import hash_password
from hosier.auth.users_file import change_user
from hosier.observe.record import SessionRecord
from hosier.protocol.ident import IdentAnswer, decode_query, encode_answer
from hosier.server.settings import Limits

from .harness import FAILURE4, Peer, Stage, needs_ipv6, request4, run, stage, until

USERS = {"me": "secret", "ann": "open sesame"}
GRANTED = b"\x00\x5a"
REFUSED, UNREACHABLE, MISMATCH = FAILURE4, b"\x00\x5c" + bytes(6), b"\x00\x5d" + bytes(6)

Answer = Callable[[int, int], bytes]
"""What the daemon says about a pair of ports; empty: nothing, and it waits."""


def names(user: bytes, system: bytes = b"UNIX") -> Answer:
    return lambda theirs, ours: encode_answer(IdentAnswer(theirs, ours, user, system))


def fails(error: bytes) -> Answer:
    return lambda theirs, ours: encode_answer(IdentAnswer(theirs, ours, None, error=error))


def literally(text: bytes) -> Answer:
    """The text with the right ports in the places of A and B."""
    return lambda theirs, ours: text.replace(b"A", b"%d" % theirs).replace(b"B", b"%d" % ours)


class Daemon:
    """An ident daemon; what it was asked, and from where."""

    def __init__(self, answer: Answer, host: str = "127.0.0.1", *, octet_by_octet: bool = False) -> None:
        self.asked: list[tuple[str, tuple[int, int]]] = []
        self.left = 0
        self._answer = answer
        self._octet_by_octet = octet_by_octet
        self._sock = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.port: int = self._sock.getsockname()[1]

    async def __aenter__(self) -> Daemon:
        self._server = await asyncio.start_server(self._serve, sock=self._sock)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        query = decode_query(await reader.readline())
        assert query is not None
        self.asked.append((writer.get_extra_info("peername")[0], query[0]))
        answer = self._answer(*query[0])
        for piece in (answer[i : i + 1] for i in range(len(answer))) if self._octet_by_octet else (answer,):
            writer.write(piece)
            await asyncio.sleep(0)
        if not answer or answer.endswith(b"\n"):
            await reader.read()  # as real ones do, it waits for more questions
        self.left += 1
        writer.close()


async def answered(scene: Stage, user: bytes, *, name: bool = False) -> tuple[bytes, Peer]:
    target = scene.target()
    client = await scene.client()
    await client.send(request4("localhost" if name else target.host, target.port, user=user, as_name=name))
    reply = await client.exactly(8)
    assert target.was_left_alone() == (reply[1] != 0x5A)
    return reply, client


async def outcome(scene: Stage, user: bytes) -> tuple[bytes, SessionRecord]:
    """The reply, and the record of the session; whatever it is, the connection ends well."""
    reply, client = await answered(scene, user)
    if reply[1] != 0x5A:
        assert await client.rest() == b""  # S4-REQ-18
    client.close()
    return reply, await scene.record()


# --- the daemon's word ---


@pytest.mark.parametrize("users", [{}, USERS], ids=["no users", "users"])
def test_right_user(users: dict[str, str]) -> None:
    """B-24: the ports in the right order; the session is the user's."""

    async def main() -> None:
        async with Daemon(names(b"me")) as daemon, stage(users=users, ident=True, ident_port=daemon.port) as scene:
            reply, record = await outcome(scene, b"me")
            assert reply[:2] == GRANTED
            assert (record.user, record.version, record.method, record.reply) == ("me", 4, "", 0)
            assert daemon.asked == [("127.0.0.1", (record.client[1], scene.place[1]))]
            await until(lambda: daemon.left, "the question's connection is closed")

    run(main)


def test_socks4a() -> None:
    async def main() -> None:
        async with Daemon(names(b"me")) as daemon, stage(ident=True, ident_port=daemon.port) as scene:
            target = scene.target()
            client = await scene.client()
            await client.send(request4("127.0.0.1", target.port, user=b"me", as_name=True))
            assert (await client.exactly(8))[:2] == GRANTED
            (await target.accept()).close()
            client.close()
            assert (await scene.record()).user == "me"

    run(main)


@pytest.mark.parametrize("listen", ["127.0.0.3:0", "0.0.0.0:0"])
def test_asked_from_the_accepted_address(listen: str) -> None:
    """B-24, ID-REQ-02: daemons know connections by both addresses."""

    async def main() -> None:
        async with (
            Daemon(names(b"me")) as daemon,
            stage(listen=[listen], open=True, ident=True, ident_port=daemon.port) as scene,
        ):
            client = await scene.client(("127.0.0.3", scene.place[1]))
            assert client.place[0] == "127.0.0.1"
            await client.send(request4("127.0.0.1", 1, user=b"me"))
            await client.exactly(8)
            assert daemon.asked == [("127.0.0.3", (client.place[1], scene.place[1]))]

    run(main)


@needs_ipv6
def test_over_ipv6() -> None:
    """ID-REQ-22."""

    async def main() -> None:
        async with (
            Daemon(names(b"me"), "::1") as daemon,
            stage(listen=["[::1]:0"], ident=True, ident_port=daemon.port) as scene,
        ):
            reply, record = await outcome(scene, b"me")
            assert reply[:2] == GRANTED
            assert daemon.asked == [("::1", (record.client[1], scene.place[1]))]

    run(main)


@pytest.mark.parametrize(
    "answer",
    [
        literally(b"A , B : USERID : UNIX :me\r\n"),
        literally(b"A,B:USERID:UNIX:me\n"),
        literally(b"A , B : USERID : UNIX, UTF-8 :  \tme\r\n"),  # ID-REQ-14
    ],
)
@pytest.mark.parametrize("octet_by_octet", [False, True])
def test_ways_to_say_it(answer: Answer, octet_by_octet: bool) -> None:
    async def main() -> None:
        async with (
            Daemon(answer, octet_by_octet=octet_by_octet) as daemon,
            stage(ident=True, ident_port=daemon.port) as scene,
        ):
            assert (await outcome(scene, b"me"))[0][:2] == GRANTED

    run(main)


def test_the_longest_user_id() -> None:
    """ID-REQ-10, as far as a USERID may be long."""
    user = b"u" * 255

    async def main() -> None:
        async with Daemon(names(user)) as daemon, stage(ident=True, ident_port=daemon.port) as scene:
            reply, record = await outcome(scene, user)
            assert reply[:2] == GRANTED
            assert record.user == user.decode()

    run(main)


@pytest.mark.parametrize(
    ("answer", "user"),
    [
        (names(b"you"), b"me"),
        (names(b"ME"), b"me"),  # ID-REQ-19
        (names(b"me"), b""),
        (names(b"me "), b"me"),
        (names(b"me", b"OTHER"), b"me"),  # ID-REQ-08
    ],
)
def test_another_user(answer: Answer, user: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """ID-REQ-17: 93, and a line that says so."""

    async def main() -> None:
        async with Daemon(answer) as daemon, stage(ident=True, ident_port=daemon.port) as scene:
            reply, record = await outcome(scene, user)
            assert reply == MISMATCH
            assert (record.user, record.reply) == (None, 0x5D)
            assert record.end == "refused: the client's ident daemon names another user than the request"

    run(main)
    assert f"from=127.0.0.1 user={user.decode()} method=ident version=4 reason=ident-mismatch" in caplog.text


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (fails(b"NO-USER"), "ident daemon answered NO-USER"),
        (fails(b"HIDDEN-USER"), "ident daemon answered HIDDEN-USER"),
        (literally(b"B, A : USERID : UNIX :me\r\n"), "ident daemon answered for other ports"),  # ID-REQ-07
        (literally(b"A, B : USERID : UNIX :me"), "ident daemon closed before the end of its answer"),  # ID-REQ-13
        (literally(b"\x00"), "ident daemon closed before the end of its answer"),
        (literally(b"hello\r\n"), "ident answer has fewer than three fields"),
        (literally(b"A, B : USERID : UNIX :" + b"m" * 600 + b"\r\n"), "ident answer carries no user id"),
        (literally(b"A, B : USERID : UNIX :" + b"m" * 3000), "ident line is longer than 1000 octets"),  # ID-REQ-11
    ],
)
def test_no_identity(answer: Answer, why: str, caplog: pytest.LogCaptureFixture) -> None:
    """ID-REQ-18: 92."""

    async def main() -> None:
        async with Daemon(answer) as daemon, stage(ident=True, ident_port=daemon.port) as scene:
            reply, record = await outcome(scene, b"me")
            assert reply == UNREACHABLE
            assert (record.user, record.reply) == (None, 0x5C)
            assert record.end.startswith(f"refused: no identity from the client's ident daemon: {why}")
            await until(lambda: daemon.left, "the question's connection is closed")

    run(main)
    assert "from=127.0.0.1 user=me method=ident version=4 reason=ident-unreachable wait=0" in caplog.text


def test_no_daemon() -> None:
    """ID-REQ-16."""

    async def main() -> None:
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            async with stage(ident=True, ident_port=reserved.getsockname()[1]) as scene:
                reply, record = await outcome(scene, b"me")
        assert reply == UNREACHABLE
        assert record.end == "refused: no identity from the client's ident daemon: Connection refused"

    run(main)


def test_a_silent_daemon() -> None:
    """ID-REQ-15, 18: its own limit, and not the handshake's, which is shorter here."""

    async def main() -> None:
        limits = Limits(handshake=1, ident=2)
        async with (
            Daemon(literally(b"")) as daemon,
            stage(ident=True, ident_port=daemon.port, limits=limits) as scene,
        ):
            reply, record = await outcome(scene, b"me")
            assert reply == UNREACHABLE
            assert record.end == "refused: no identity from the client's ident daemon: ident limit"
            assert record.seconds > limits.handshake
            await until(lambda: daemon.left, "the question's connection is closed")

    run(main)


def test_the_server_stops_meanwhile() -> None:
    async def main() -> None:
        async with Daemon(literally(b"")) as daemon:
            async with stage(ident=True, ident_port=daemon.port) as scene:
                client = await scene.client()
                await client.send(request4("127.0.0.1", 1, user=b"me"))
                await until(lambda: daemon.asked, "the daemon is asked")
            await until(lambda: daemon.left, "the question's connection is closed")
            assert scene.records[0].end == "server stopped"

    run(main)


def test_socks5_clients_are_not_asked_about() -> None:
    async def main() -> None:
        async with Daemon(names(b"me")) as daemon, stage(ident=True, ident_port=daemon.port) as scene:
            client, far = await scene.joined()
            client.close()
            far.close()
            assert (await scene.record()).user is None
            assert not daemon.asked

    run(main)


def test_guessing_users_against_a_daemon_has_an_end() -> None:
    """Who is named wrongly again and again is refused without a question."""

    async def main() -> None:
        async with Daemon(names(b"me")) as daemon, stage(ident=True, ident_port=daemon.port) as scene:
            replies = [(await answered(scene, b"you"))[0] for _ in range(15)]
            assert replies.count(MISMATCH) == len(daemon.asked) < 15
            assert replies[-1] == REFUSED

    run(main)


# --- which users ---


@pytest.mark.parametrize("fields", [{"users": USERS}, {"users": USERS, "methods": ["password"]}])
def test_socks4_is_refused_where_nothing_proves_a_user(fields: dict[str, Any]) -> None:
    async def main() -> None:
        async with stage(**fields) as scene:
            reply, record = await outcome(scene, b"me")
            assert reply == REFUSED
            assert record.end == "refused: SOCKS4 cannot authenticate, and authentication is required"

    run(main)


@pytest.mark.parametrize("proof", ["ident", "userid"])
@pytest.mark.parametrize(("user", "granted"), [(b"me", True), (b"you", False), (b"", False)])
def test_it_must_be_one_of_the_users(user: bytes, granted: bool, proof: str, caplog: pytest.LogCaptureFixture) -> None:
    """Who is proved or believed must still be known: an identity is no permission."""

    async def main() -> None:
        async with Daemon(names(user or b"?")) as daemon:
            fields = {"ident": True, "ident_port": daemon.port} if proof == "ident" else {"socks4_userid": True}
            async with stage(users=USERS, **fields) as scene:
                reply, record = await outcome(scene, user)
        if granted:
            assert reply[:2] == GRANTED
            assert record.user == "me"
        elif proof == "ident" and not user:
            assert reply == MISMATCH
        else:
            assert reply == REFUSED
            assert record.end == "refused: the SOCKS4 user id is no user's"
            assert record.user is None
            assert f"user={user.decode()} method={proof} version=4 reason=unknown-user" in caplog.text

    run(main)


def test_users_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "users"
    change_user(str(path), b"me", hash_password(b"secret", log_n=1, r=1, p=1))

    async def main() -> None:
        async with stage(users_file=str(path), socks4_userid=True) as scene:
            reply, client = await answered(scene, b"me")
            assert reply[:2] == GRANTED
            client.close()
            assert (await answered(scene, b"you"))[0] == REFUSED

    run(main)


def test_believed_names_open_no_other_door() -> None:
    """A SOCKS4 name that nobody proved does not make its source welcome for guesses at the password."""

    async def main() -> None:
        async with stage(users=USERS, socks4_userid=True) as scene:
            (await answered(scene, b"me"))[1].close()
            assert not scene.server.doorkeeper._failures._welcome  # type: ignore[union-attr]

    run(main)
