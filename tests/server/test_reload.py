"""Other settings for a server that runs: all of them, or none."""

from __future__ import annotations

import errno
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hosier.errors import ConfigError
from hosier.server.reload import Reload
from hosier.server.settings import Limits, ServerSettings
from hosier.server.terms import Terms

from .harness import SUCCESS5, run, stage
from .test_reviews import lives, reload
from .test_ruling import ALLOW


def test_settings_hold_from_then_on() -> None:
    async def main() -> None:
        async with stage() as scene:
            pair = await scene.joined()
            assert reload(scene, limits=Limits(linger=1.0), strict=True) == 0
            assert scene.server.settings.limits.linger == 1.0
            client = await scene.client()
            await client.send(b"\x05\x01\x00\x05\x01\x01\x01\x7f\x00\x00\x01\x00\x50")
            assert (await client.exactly(4))[2:] == b"\x05\x01", "strict now: RSV is not zero"
            await lives(*pair)

    run(main)


def test_what_is_wrong_changes_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(rules=[ALLOW]) as scene:
            before = scene.server.settings, scene.server.rulebook, scene.server.addresses
            wrong: list[dict[str, Any]] = [
                {"users_file": tmp_path / "nothing"},
                {"methods": ["no-such-method"]},
                {"listen": [*before[0].listen, "192.0.2.1:0"]},
            ]
            for fields in wrong:
                with pytest.raises(ConfigError):
                    scene.server.prepare(replace(scene.server.settings, **fields))
            assert (scene.server.settings, scene.server.rulebook, scene.server.addresses) == before
            await lives(*await scene.joined())

    run(main)


def test_listeners_come_and_go() -> None:
    """Those that stay are not touched; sessions of those that go stay."""

    async def main() -> None:
        async with stage(listen=["127.0.0.1:0", "127.0.0.2:0"]) as scene:
            first, second = scene.server.addresses
            pair = await scene.joined()
            target = scene.target()
            going = await scene.client(second)
            assert (await going.connect(target.host, target.port)).startswith(SUCCESS5)
            far = await target.accept()
            reload(scene, listen=["127.0.0.1:0", "127.0.0.3:0"])
            assert [address.host for address in scene.server.addresses] == ["127.0.0.1", "127.0.0.3"]
            assert first in scene.server.addresses
            client = await scene.client(scene.server.addresses[1])
            assert (await client.connect(target.host, target.port)).startswith(SUCCESS5)
            with socket.socket() as probe:
                assert probe.connect_ex(second) != 0
            await lives(going, far)
            await lives(*pair)
            assert (await client_refused(scene, *scene.server.addresses[1])) == 2, "its own listeners are no targets"

    run(main)


def test_where_the_system_refuses_another_listener_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with stage(listen=["127.0.0.1:0"]) as scene:
            server = scene.server
            before = server.settings, server.rulebook, server.addresses
            pair = await scene.joined()
            wanted = replace(server.settings, listen=["127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0"], rules=[ALLOW])
            prepared = server.prepare(wanted)
            watch, seen = server.engine.watch, list[int]()

            def watches_one(fd: int, *more: Any) -> None:
                seen.append(fd)
                if len(seen) > 1:
                    raise OSError(errno.ENOSPC, "No space left on device")
                watch(fd, *more)

            with monkeypatch.context() as patched:
                patched.setattr(server.engine, "watch", watches_one)
                with pytest.raises(ConfigError, match="on another socket: No space left"):
                    server.switch(prepared)
            assert (server.settings, server.rulebook, server.addresses) == before
            assert [sock.fileno() for sock in prepared.sockets] == [-1, -1]
            await lives(*pair)
            assert server.switch(server.prepare(wanted)) == 0, "the next attempt finds everything free"
            assert len(server.addresses) == 3
            await lives(*await scene.joined())

    run(main)


async def client_refused(scene: Any, host: str, port: int) -> int:
    client = await scene.client()
    code: int = (await client.connect(host, port))[1]
    client.close()
    return code


def test_what_needs_a_restart_stays() -> None:
    terms = Terms(ServerSettings())
    found = Reload(
        terms, ServerSettings(engine="portable", backoff=False, strict=True), terms.settings.listen_addresses
    )
    assert found.kept == ["backoff", "engine"]
    settings = found.terms.settings
    assert (settings.engine, settings.backoff, settings.strict) == ("auto", True, True)


def test_what_is_abandoned_leaves_nothing_open() -> None:
    terms = Terms(ServerSettings(listen=["127.0.0.1:0"]))
    found = Reload(terms, ServerSettings(listen=["127.0.0.1:0", "127.0.0.2:0"]), terms.settings.listen_addresses)
    (sock,) = found.sockets
    assert sock.getsockname()[0] == "127.0.0.2"
    found.abandon()
    assert sock.fileno() == -1
