"""Who comes in: caps, places, the oldest handshake that makes room."""

from __future__ import annotations

import errno
import os
from typing import Any, cast

import pytest

from hosier.policy.limits import Caps, Refusal
from hosier.server.settings import Limits

from .harness import (
    Peer,
    login,
    request5,
    run,
    stage,
    until,
)


def test_caps_are_complete_after_the_start() -> None:
    async def main() -> None:
        async with stage(caps=Caps(handshakes=7)) as scene:
            caps = scene.server.caps
            assert caps.handshakes == 7
            assert caps.sessions
            assert caps.sessions_per_source == 0  # on loopback all clients come from one place

    run(main)


async def is_refused(peer: Peer) -> bool:
    """Whether the server closed the connection without a word."""
    try:
        return await peer.receive() == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("caps", [Caps(sessions=2), Caps(sessions_per_source=2)])
def test_one_session_too_many(caps: Caps, caplog: pytest.LogCaptureFixture) -> None:
    """Closed at once; those inside do not notice, and one who leaves makes room."""

    async def main() -> None:
        async with stage(caps=caps) as scene:
            first, far = await scene.joined()
            second, its_far = await scene.joined()
            for _ in range(3):
                late = await scene.client()
                await late.send(b"\x05")
                assert await is_refused(late)
            await first.send(b"here")
            assert await far.exactly(4) == b"here"
            second.close()
            its_far.close()
            await until(lambda: scene.server.sessions == 1, "the second ends")
            await scene.joined()
            assert scene.server.sessions_served == 1

    run(main)
    name = "sessions" if caps.sessions else "sessions-per-source"
    assert [record.getMessage() for record in caplog.records] == [
        f"127.0.0.1: closed; the cap {name}=2 is reached; --cap {name}=N changes it"
    ]


def test_the_oldest_handshake_makes_room(caplog: pytest.LogCaptureFixture) -> None:
    """Half-open connections that hold all places keep nobody out."""

    async def main() -> None:
        async with stage(caps=Caps(handshakes=2)) as scene:
            old = []
            for _ in range(2):
                old.append(await scene.client())
                await old[-1].send(b"\x05")
                await until(lambda: scene.server.sessions == len(old), "it waits for more")
            client, far = await scene.joined()
            assert await is_refused(old[0])
            await until(lambda: scene.records, "the oldest has ended")
            assert [record.end for record in scene.records] == ["handshakes limit"]
            await old[1].send(b"\x01\x00")  # the next one is still here, and may go on
            assert await old[1].exactly(2) == b"\x05\x00"
            await client.send(b"x")
            assert await far.exactly(1) == b"x"

    run(main)
    assert [record.getMessage() for record in caplog.records] == [
        "127.0.0.1: the oldest handshake was ended; the cap handshakes=2 is reached; --cap handshakes=N changes it"
    ]


def test_half_open_connections_hold_no_session_s_place() -> None:
    """Also where sessions are full: who has begun to work stays, who only began to ask makes room."""

    async def main() -> None:
        async with stage(caps=Caps(sessions=2)) as scene:
            first, far = await scene.joined()
            old = await scene.client()
            await old.send(b"\x05")
            await until(lambda: scene.server.sessions == 2, "it waits for more")
            await scene.joined()
            assert await is_refused(old)
            late = await scene.client()
            await late.send(b"\x05")
            assert await is_refused(late)
            await first.send(b"x")
            assert await far.exactly(1) == b"x"

    run(main)


def test_handshakes_of_others_cannot_be_pushed_out() -> None:
    """Where other processes hold all places, nobody here can make room."""

    async def main() -> None:
        async with stage(caps=Caps(handshakes=1)) as scene:
            scene.server.entrance.admission.enter("192.0.2.1")
            client = await scene.client()
            await client.send(b"\x05")
            assert await is_refused(client)

    run(main)


def test_too_many_handshakes_of_one_source() -> None:
    """They cost its own clients their places, and nobody else's."""

    async def main() -> None:
        async with stage(caps=Caps(handshakes_per_source=1)) as scene:
            first = await scene.client()
            await first.send(b"\x05")
            await until(lambda: scene.server.sessions, "it waits for more")
            second = await scene.client()
            await second.send(b"\x05")
            assert await is_refused(second)
            await first.send(b"\x01\x00" + request5("127.0.0.1", scene.target().port))
            assert (await first.exactly(12))[3] == 0
            third, _ = await scene.joined()
            assert third.has_nothing()

    run(main)


def test_too_many_sessions_of_one_user(caplog: pytest.LogCaptureFixture) -> None:
    """After the login the refusal is a reply: the user is one of ours, and should know."""

    async def main() -> None:
        users = {"ann": "pw", "bob": "pw"}
        async with stage(users=users, caps=Caps(sessions_per_user=1)) as scene:
            target = scene.target()

            async def enter(user: bytes) -> tuple[Peer, int]:
                client = await scene.client()
                await client.send(b"\x05\x01\x02" + login(user, b"pw") + request5("127.0.0.1", target.port))
                return client, (await client.exactly(14))[5]

            first, code = await enter(b"ann")
            assert code == 0
            far = await target.accept()
            assert (await enter(b"bob"))[1] == 0
            for _ in range(2):
                late, code = await enter(b"ann")
                assert code == 2
                late.close()
            first.close()
            far.close()
            await until(lambda: [record for record in scene.records if record.reply == 0], "the first ends")
            assert (await enter(b"ann"))[1] == 0
            await until(lambda: len(scene.records) == 3, "those who were refused are gone")
            ends = [record.end for record in scene.records if record.reply == 2]
            assert ends == ["refused: this user has 1 sessions already"] * 2

    run(main)
    assert [record.getMessage() for record in caplog.records] == [
        "user 'ann': refused; the cap sessions-per-user=1 is reached; --cap sessions-per-user=N changes it"
    ]


def test_every_end_gives_its_place_back() -> None:
    """Whatever happens to a session, it is counted out as often as in."""

    async def main() -> None:
        async with stage(caps=Caps(sessions_per_source=10), limits=Limits(handshake=1)) as scene:
            target = scene.target()
            garbage = await scene.client()
            await garbage.send(b"GET / HTTP/1.1\r\n\r\n")
            await garbage.rest()
            silent = await scene.client()
            await silent.send(b"\x05")
            await silent.rest()
            left = await scene.client()
            await left.send(b"\x05\x01")
            left.reset()
            asked = await scene.client()
            await asked.connect(target.host, 0)
            bind = await scene.client()
            await bind.greet()
            await bind.send(request5("127.0.0.1", 1, 2))
            done, far = await scene.joined()
            for peer in (garbage, silent, asked, bind, done, far):
                peer.close()
            await until(lambda: len(scene.records) == 6 and not scene.server.sessions, "all have ended")
            places = [scene.server.entrance.admission.enter("127.0.0.1") for _ in range(11)]
            assert [isinstance(place, Refusal) for place in places] == [False] * 10 + [True]
            everybody = cast(Any, scene.server.entrance)._tallies.all
            assert (everybody.sessions, everybody.handshakes) == (10, 10)

    run(main)


def test_a_connection_that_the_engine_cannot_watch_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a shortage that is over would leave a server that lets nobody in."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def main() -> None:
        async with stage(caps=Caps(sessions=2)) as scene:
            with monkeypatch.context() as patch:
                patch.setattr("hosier.server.session.Endpoint", full)
                for _ in range(3):
                    assert await (await scene.client()).rest() == b""
            assert len(scene.crashes) == 3
            scene.crashes.clear()
            await scene.joined()

    run(main)


def test_descriptors_run_out(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with stage() as scene:
            scene.server.entrance.exhausted(OSError(errno.EMFILE, "Too many open files"))

    run(main)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == "cannot accept: Too many open files; raise the limit of open files (ulimit -n)"
