"""A real server beside a test without a loop."""

from __future__ import annotations

import pytest

import hosier
from hosier.testing import ScriptedServer, ThreadedServer, stall


def test_server() -> None:
    with ScriptedServer([stall()]) as target, ThreadedServer() as server:
        assert server.url == f"socks5h://127.0.0.1:{server.address[1]}"
        hosier.connect(server.url, *target.address, timeout=20).close()
    assert [record.target.port for record in server.records if record.target] == [target.address[1]]


def test_settings_that_contradict_each_other() -> None:
    with pytest.raises(hosier.ConfigError), ThreadedServer(listen=["0.0.0.0:0"]):
        pass
