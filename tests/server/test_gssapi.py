"""What a server can be told about GSSAPI, and the method that is made of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hosier.errors import ConfigError
from hosier.protocol.auth.gssapi import MAX_ROUNDS, GssapiFraming, ServerNegotiation
from hosier.protocol.auth.gssapi_layer import Level
from hosier.server.gssapi import GssapiSettings, gssapi_method

from ..kerberos_realm import Realm
from .harness import run, stage


def test_defaults_are_safe() -> None:
    settings = GssapiSettings()
    assert not settings.enabled
    assert tuple(settings.levels) == (2, 1)
    assert not settings.nec


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"enabled": False, "service": "rcmd"}, "GSSAPI has settings but is not enabled: add --gssapi"),
        ({"levels": ()}, "the GSSAPI levels are some of 2, 1, 3 and 0, each once"),
        ({"levels": (2, 2)}, "the GSSAPI levels are some of 2, 1, 3 and 0, each once"),
        ({"levels": (2, 4)}, "the GSSAPI levels are some of 2, 1, 3 and 0, each once"),
        ({"sealed_up_to": -1}, "sealed_up_to cannot be -1"),
        ({"sealed_up_to": 65536}, "sealed_up_to cannot be 65536"),
        ({"service": ""}, "not a name such as socks"),
        ({"service": "so\ncks"}, "not a name such as socks"),
    ],
)
def test_mistakes_about_kerberos(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        GssapiSettings(**{"enabled": True, **fields})


class Undecided:
    """A context that always wants another token, as no mechanism of ours does."""

    complete = False

    def __init__(self) -> None:
        self.taken: list[bytes | None] = []

    def step(self, token: bytes | None) -> bytes:
        self.taken.append(token)
        return b"and then?"


def test_a_context_without_end(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Each token is answered, until there were too many: then 01 FF, and the log says why."""
    context: Any = Undecided()

    class Method:
        name = "gssapi"
        framing = GssapiFraming()

        @staticmethod
        def server_exchange() -> ServerNegotiation:
            return ServerNegotiation(context, (Level.CONFIDENTIALITY,), identify=str)

    monkeypatch.setattr("hosier.server.terms.gssapi_method", lambda _: Method)

    async def main() -> None:
        async with stage(gssapi=GssapiSettings(enabled=True)) as scene:
            client = await scene.client()
            await client.send(b"\x05\x01\x01")
            assert await client.exactly(2) == b"\x05\x01"
            for number in range(MAX_ROUNDS):
                token = b"token %2d" % number
                await client.send(b"\x01\x01\x00" + bytes((len(token),)) + token)
                assert await client.exactly(4 + 9) == b"\x01\x01\x00\x09and then?"
            await client.send(b"\x01\x01\x00\x01x")
            assert await client.rest() == b"\x01\xff"
            client.close()
            record = await scene.record()
        assert record.end == f"authentication failed: more than {MAX_ROUNDS} tokens and no end"

    run(main)
    assert context.taken == [b"token %2d" % number for number in range(MAX_ROUNDS)]
    assert "method=gssapi version=5 reason=credentials" in caplog.text


@pytest.mark.real
def test_method(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRB5_CONFIG", realm.environment["KRB5_CONFIG"])
    method = gssapi_method(GssapiSettings(enabled=True, keytab=realm.folder / "service.keytab"))
    assert (method.name, method.framing.code) == ("gssapi", 1)
    assert isinstance(method.framing, GssapiFraming)
    with pytest.raises(ConfigError, match="no key for 'imap'"):
        gssapi_method(GssapiSettings(enabled=True, keytab=realm.folder / "service.keytab", service="imap"))
    with pytest.raises(ConfigError, match="/nonexistent"):
        gssapi_method(GssapiSettings(enabled=True, keytab=Path("/nonexistent")))
