"""Who is here, and what is told of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hosier.observe.counts import Counts
from hosier.server import pulse
from hosier.server import snapshot as module
from hosier.server.snapshot import merged, snapshot

from .harness import SUCCESS5, login, request5, run, stage, until


def test_sessions_and_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "EVERY", 0.02)

    async def main() -> None:
        async with stage(users={"ann": "open sesame"}, counts=Counts()) as scene:
            target = scene.target()
            client = await scene.client()
            await client.send(b"\x05\x01\x02" + login(b"ann", b"open sesame") + request5("127.0.0.1", target.port))
            assert (await client.exactly(14))[4:7] == SUCCESS5
            far = await target.accept()
            await far.send(b"x" * 5000)
            newcomer = await scene.client()
            await newcomer.send(b"\x05\x01\x02")
            assert await newcomer.exactly(2) == b"\x05\x02"

            def told() -> dict[str, Any]:
                return snapshot(scene.server)

            await until(lambda: told()["busiest"][0]["down"] == 5000, "it was looked at")
            busiest, other = told()["busiest"]
            assert busiest["client"] == f"127.0.0.1 {client.place[1]}"
            assert (busiest["user"], busiest["command"], busiest["target"]) == ("ann", "CONNECT", str(target))
            assert (busiest["up"], busiest["down"]) == (0, 5000)
            assert 0 < busiest["seconds"] < 60
            assert (other["user"], other["command"], other["target"], other["down"]) == (None, None, None, 0)
            assert told()["sessions"] == 2
            assert told()["users"]["ann"]["down"] == 5000
            assert told()["users"]["-"]["sessions"] == 1
            assert "sesame" not in json.dumps(told())

    run(main)


def one(**sums: float) -> dict[str, float]:
    return {"sessions": 1, "up": 0, "down": 0, "up_rate": 0.0, "down_rate": 0.0, **sums}


def test_several_processes() -> None:
    ann = one(down=1), one(up=4, up_rate=1.0)
    first = {"sessions": 2, "busiest": [one(up_rate=5.0), one()], "users": {"ann": one(up=3, sessions=2)}}
    other = {"sessions": 2, "busiest": [one(down_rate=7.0)], "users": {"bob": ann[0], "ann": ann[1]}}
    assert merged([first, other]) == {
        "sessions": 4,
        "busiest": [one(down_rate=7.0), one(up_rate=5.0), one()],
        "users": {"ann": one(sessions=3, up=7, up_rate=1.0), "bob": one(down=1)},
    }
    assert merged([]) == {"sessions": 0, "busiest": [], "users": {}}


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    users = {f"user {number}": one(up_rate=float(number)) for number in range(10)}
    told = merged([{"sessions": 10, "busiest": list(users.values()), "users": users}])
    assert told["sessions"] == 10
    assert list(told["users"]) == ["user 9", "user 8", "user 7"]
    assert len(told["busiest"]) == 3
