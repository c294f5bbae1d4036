"""The server inside a program: listening, draining, closing, methods, hooks."""

from __future__ import annotations

import asyncio
import os
import re
import select
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import hosier
from hosier.engine.poller import Engine
from hosier.engine.portable import PortableEngine
from hosier.errors import ConfigError, LocalProtocolError
from hosier.observe.record import SessionRecord
from hosier.policy.budgets import Budget
from hosier.policy.limits import LocalTallyBook
from hosier.server.listening import listening_sockets
from hosier.server.settings import Limits, ServerSettings, parse_listen

from .harness import (
    PLATFORM,
    SUCCESS5,
    WordMethod,
    accept,
    failure5,
    has_ipv6,
    install,
    needs_ipv6,
    run,
    stage,
    until,
)

# --- listening ---


def test_port_0_is_any_free_one() -> None:
    async def main() -> None:
        async with hosier.Server(listen=["127.0.0.1:0", "127.0.0.1:0"]) as server:
            first, second = server.addresses
            assert first.host == second.host == "127.0.0.1"
            assert first.port
            assert second.port
            assert first.port != second.port

    run(main)


@needs_ipv6
def test_both_families() -> None:
    async def main() -> None:
        async with stage(listen=["127.0.0.1:0", "[::1]:0"]) as scene:
            target = scene.target()
            for address in scene.server.addresses:
                client = await scene.client(address)
                assert (await client.connect(target.host, target.port)).startswith(SUCCESS5)
            assert [address.host for address in scene.server.addresses] == ["127.0.0.1", "::1"]

    run(main)


def test_two_servers_in_one_program() -> None:
    """Also one through the other."""

    async def main() -> None:
        async with stage() as scene, hosier.Server(listen=["127.0.0.1:0"], users={"ann": "pw"}) as second:
            host, port = second.addresses[0]
            client = await scene.client()
            assert (await client.connect(host, port)).startswith(SUCCESS5)
            await client.send(b"\x05\x01\x02")
            assert await client.exactly(2) == b"\x05\x02"
            await client.send(b"\x01\x03ann\x02pw")
            assert await client.exactly(2) == b"\x01\x00"
            assert (scene.server.sessions, second.sessions) == (1, 1)
            client.close()
            await until(lambda: not scene.server.sessions and not second.sessions, "both sessions end")
            assert (scene.server.sessions_served, second.sessions_served) == (1, 1)

    run(main)


def test_again_in_another_loop() -> None:
    async def main() -> None:
        async with stage() as scene:
            await scene.joined()

    run(main)
    run(main)


# --- settings and methods ---


def test_keywords_replace_single_fields() -> None:
    settings = ServerSettings(listen=["127.0.0.1:0"], strict=True)
    server = hosier.Server(settings, limits=Limits(idle=7))
    assert server.settings.limits.idle == 7
    assert server.settings.strict
    assert settings.limits.idle == 3600


def test_unknown_keywords_and_contradictions() -> None:
    with pytest.raises(ConfigError, match=r"^there is no setting 'lissten'; did you mean 'listen'\?$"):
        hosier.Server(lissten=["127.0.0.1:0"])
    with pytest.raises(ConfigError, match=r"^settings: expected keywords or hosier.*ServerSettings, found str$"):
        hosier.Server("127.0.0.1:0")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"^on_session_end: expected what can be called, found str$"):
        hosier.Server(on_session_end="print")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="open proxy"):
        hosier.Server(listen=["*:0"])
    with pytest.raises(ConfigError, match="there is no method 'nonsense'; known: gssapi, none, password"):
        hosier.Server(methods=["nonsense"])


@pytest.mark.parametrize(
    ("methods", "offered", "chosen"),
    [
        (["word", "none"], b"\x00\x90", 0x90),
        (["word", "none"], b"\x90\x00", 0x90),
        (["word", "none"], b"\x00", 0x00),
        (["none", "word"], b"\x90\x00", 0x00),
        (["none", "word"], b"\x90", 0x90),
        (["other", "word"], b"\x90\x00\x91", 0x91),
        (["other", "word"], b"\x00\x90", 0x90),
        (["other", "word"], b"\x00\x02", 0xFF),
        (["other", "word"], b"\xff", 0xFF),
    ],
)
def test_the_server_s_order_of_methods_counts(
    methods: list[str], offered: bytes, chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S5-REQ-17: the client's order means nothing."""
    install(monkeypatch, WordMethod(lambda: accept), WordMethod(lambda: accept, 0x91, "other"))

    async def main() -> None:
        async with stage(methods=methods) as scene:
            assert scene.server.admits_socks4 == ("none" in methods)
            client = await scene.client()
            await client.send(bytes((5, len(offered))) + offered)
            assert await client.exactly(2) == bytes((5, chosen))

    run(main)


def test_users_and_another_method(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, WordMethod(lambda: accept))
    server = hosier.Server(methods=["word", "password"], users={"ann": "pw"})
    assert list(server.methods) == [0x90, 0x02]
    assert list(server.framings) == [0x90, 0x02]
    assert not server.admits_socks4


def test_two_methods_of_one_number(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, WordMethod(lambda: accept), WordMethod(lambda: accept, 0x90, "other"))
    with pytest.raises(ConfigError, match=r"^the methods 'word' and 'other' take the same number$"):
        hosier.Server(methods=["word", "other"])


# --- what it tells ---


def test_nothing_is_explained_unless_somebody_listens(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with stage() as scene:
            client = await scene.client()
            assert await client.connect("127.0.0.1", 0) == failure5(2)

    caplog.set_level("WARNING", "hosier")
    run(main)
    assert not caplog.records
    caplog.set_level("INFO", "hosier")
    run(main)
    (record,) = caplog.records
    assert re.fullmatch(r"127\.0\.0\.1:\d+ 127\.0\.0\.1:0: port 0 is no target", record.getMessage())


@needs_ipv6
def test_clients_over_ipv6_are_told_apart_from_their_port(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with stage(listen=["[::1]:0"]) as scene:
            client = await scene.client()
            assert await client.connect("127.0.0.1", 0) == failure5(2)

    caplog.set_level("INFO", "hosier")
    run(main)
    assert re.match(r"\[::1\]:\d+ 127\.0\.0\.1:0: ", caplog.records[0].getMessage())


def test_hostile_names_cannot_forge_an_explanation(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    monkeypatch.setattr("hosier.engine.resolve._look_up", lambda name: failure)

    async def main() -> None:
        async with stage() as scene:
            client = await scene.client()
            assert await client.connect("a\nhosier: all is well \x1b[2J", 80) == failure5(4)

    caplog.set_level("INFO", "hosier")
    run(main)
    (record,) = caplog.records
    assert record.getMessage().isprintable()
    assert len(record.getMessage().splitlines()) == 1


def test_totals_are_told_before_the_place_is_free() -> None:
    """Who sees that nobody is here any more knows what all have done."""
    told: list[tuple[int, int, int]] = []
    tallies = LocalTallyBook()

    def tell(served: int, octets: int) -> None:
        told.append((served, octets, tallies.all.sessions))  # type: ignore[attr-defined]

    async def main() -> None:
        async with stage(on_totals=tell, tallies=tallies) as scene:
            for number in (1, 2):
                client, far = await scene.joined()
                await client.send(b"hello")
                assert await far.exactly(5) == b"hello"
                client.close()
                far.close()
                await until(lambda number=number: len(told) == number, "its end")  # type: ignore[misc]

    run(main)
    assert told == [(1, 5, 1), (2, 10, 1)]


def test_one_record_for_each_session() -> None:
    async def main() -> None:
        async with stage() as scene:
            for number in range(1, 6):
                client, far = await scene.joined()
                client.close()
                far.close()
                await until(lambda number=number: len(scene.records) == number, "its record")  # type: ignore[misc]
            await until(lambda: not scene.server.sessions, "all end")
            assert scene.server.sessions_served == 5
            assert len({record.client for record in scene.records}) == 5

    run(main)


def test_a_hook_that_crashes_is_reported_and_harmless() -> None:
    crashes: list[dict[str, Any]] = []

    def hook(_: SessionRecord) -> None:
        raise ZeroDivisionError("a bug of the hook")

    async def main() -> None:
        async with stage() as scene:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: crashes.append(context))
            scene.server._on_session_end = hook
            client, far = await scene.joined()
            client.close()
            assert await far.rest() == b""
            far.close()
            await until(lambda: crashes, "the crash is reported")
            assert scene.server.sessions == 0
            client, far = await scene.joined()
            await client.send(b"x")
            assert await far.exactly(1) == b"x"
            scene.server._on_session_end = None

    run(main)
    assert [type(crash["exception"]) for crash in crashes] == [ZeroDivisionError]


# --- the end ---


def test_drain_without_sessions() -> None:
    async def main() -> None:
        async with stage() as scene:
            place = scene.place
            assert await scene.server.drain()
            assert scene.server.addresses == []
            with pytest.raises(ConnectionRefusedError):
                await scene.client(place)

    run(main)


def test_drain_waits_for_sessions() -> None:
    async def main() -> None:
        async with stage() as scene:
            place = scene.place
            client, far = await scene.joined()
            other, other_far = await scene.joined()
            draining = asyncio.ensure_future(scene.server.drain())
            await asyncio.sleep(0)
            with pytest.raises(ConnectionRefusedError):
                await scene.client(place)
            other.close()
            other_far.close()
            await until(lambda: scene.server.sessions == 1, "one of them ends")
            await client.send(b"still")
            assert await far.exactly(5) == b"still"
            assert not draining.done()
            client.close()
            far.close()
            assert await draining
            # Both sides ended at once: whose end is seen first is anybody's guess.
            assert [record.end.partition(" ")[2] for record in scene.records] == ["closed"] * 2

    run(main)


def test_drain_gives_up_at_its_limit() -> None:
    async def main() -> None:
        async with stage(limits=Limits(drain=0.1)) as scene:
            client, far = await scene.joined()
            assert not await scene.server.drain()
            assert scene.server.sessions == 1
            await client.send(b"still")
            assert await far.exactly(5) == b"still"

    run(main)


def test_close_ends_running_sessions() -> None:
    """In the handshake, while connecting, in the relay: each is recorded."""

    async def main() -> None:
        async with stage() as scene:
            early = await scene.client()
            await early.greet()
            client, far = await scene.joined()
            await until(lambda: scene.server.sessions == 2, "both run")
            await scene.server.close()
            assert scene.server.sessions == 0
            for peer in (early, client, far):
                with suppress(ConnectionResetError):
                    assert await peer.rest() == b""
            assert [record.end for record in scene.records] == ["server stopped"] * 2
            assert sorted(record.command for record in scene.records) == ["", "CONNECT"]

    run(main)


def test_close_cancels_a_step_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled: list[bool] = []
    begun: list[bool] = []

    async def step(_: object) -> None:
        begun.append(True)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.append(True)

    install(monkeypatch, WordMethod(lambda: step))

    async def main() -> None:
        async with stage(methods=["word"]) as scene:
            client = await scene.client()
            await client.send(b"\x05\x01\x90\x00")
            await until(lambda: begun, "the step begins")
            await scene.server.close()
            await until(lambda: cancelled, "the step is cancelled")
            assert [record.end for record in scene.records] == ["server stopped"]

    run(main)


def test_it_is_started_once_until_it_is_closed() -> None:
    async def main() -> None:
        server = hosier.Server(listen=["127.0.0.1:0"], engine=PLATFORM.engine)
        assert await server.drain()
        for _ in range(2):
            await server.start()
            (place,) = server.addresses
            with pytest.raises(LocalProtocolError, match=r"has been started: close\(\) it"):
                await server.start()
            reader, writer = await asyncio.open_connection(*place)
            writer.write(b"\x05\x01\x00")
            assert await reader.readexactly(2) == b"\x05\x00"
            draining = asyncio.create_task(server.drain())
            await until(lambda: not server.addresses, "it drains")
            assert not draining.done(), "a session is under way"
            writer.close()
            assert await draining
            await server.close()
            assert not server.sessions

    run(main)


def descriptors() -> int:
    """How many are open, where the system tells."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@pytest.mark.parametrize("step", ["Ledger", "make_engine", "Resolver", "Listener", "DirectEgress"])
def test_a_start_that_fails_leaves_nothing_open(step: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And it may be tried again."""

    async def main() -> None:
        server = hosier.Server(
            listen=["127.0.0.1:0", "127.0.0.2:0"],
            engine=PLATFORM.engine,
            budgets={"month": Budget(octets="1000")},
            usage_file=tmp_path / "usage.db",
        )

        def fails(*_: object, **__: object) -> None:
            raise OSError("no more of these")

        before = descriptors()
        with monkeypatch.context() as patched:
            patched.setattr(f"hosier.server.server.{step}", fails)
            with pytest.raises(OSError, match="no more of these"):
                await server.start()
        assert descriptors() == before
        async with server:
            assert len(server.addresses) == 2

    run(main)


def test_close_twice() -> None:
    """As in a program that closes inside ``async with``."""

    async def main() -> None:
        async with stage() as scene:
            await scene.server.close()
            await scene.server.close()

    run(main)


def test_it_gives_everything_back() -> None:
    async def main() -> None:
        before = len(os.listdir("/proc/self/fd"))
        async with stage(listen=["127.0.0.1:0", *(["[::1]:0"] if has_ipv6() else [])]) as scene:
            await scene.joined()
            await (await scene.client()).greet()
        assert len(os.listdir("/proc/self/fd")) == before

    run(main)


def test_an_error_in_the_program_closes_it() -> None:
    async def main() -> None:
        place: list[tuple[str, int]] = []

        async def program() -> None:
            async with stage() as scene:
                place.append(scene.place)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await program()
        with pytest.raises(ConnectionRefusedError), socket.create_connection(place[0]):
            pass

    run(main)


def test_sockets_that_are_ready() -> None:
    """Given sockets are served, and others who hold one too can go on with it."""

    async def main() -> None:
        ((sock, *_),) = [listening_sockets(parse_listen("127.0.0.1:0"))]
        with sock, socket.create_connection(sock.getsockname()) as waiting:
            waiting.sendall(b"\x05\x01\x00")
            server = hosier.Server()
            await server.start([sock.dup()])
            assert server.addresses == [sock.getsockname()]
            assert await asyncio.to_thread(waiting.recv, 2) == b"\x05\x00"
            edges = server.engine._epoll
            waiting.close()
            assert await server.drain()
            with socket.create_connection(sock.getsockname()) as late:
                late.sendall(b"\x05\x01\x00")
                await asyncio.to_thread(select.select, [sock], [], [])
                assert edges.poll(0, 1) == []  # its own engine hears of it no more
            await server.close()


# --- the engine ---


@pytest.mark.linux
@pytest.mark.parametrize(("name", "kind"), [("auto", Engine), ("epoll", Engine), ("portable", PortableEngine)])
def test_the_engine_that_was_chosen(name: str, kind: type[Engine]) -> None:
    async def main() -> None:
        async with stage(engine=name) as scene:
            assert type(scene.server.engine) is kind

    run(main)


def test_no_name_can_forge_what_is_explained(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with stage() as scene:
            client = await scene.client()
            await client.greet()
            (session,) = scene.server.living()
            scene.server.explain(session, "eve\n127.0.0.1: all is well\x1b[2J")
            client.close()

    caplog.set_level("INFO", "hosier")
    run(main)
    assert caplog.records[0].getMessage().endswith(": eve\\n127.0.0.1: all is well\\x1b[2J")
