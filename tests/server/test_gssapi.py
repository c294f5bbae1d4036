"""What a server can be told about GSSAPI, and the method that is made of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hosier.errors import ConfigError
from hosier.protocol.auth.gssapi import GssapiFraming
from hosier.server.gssapi import GssapiSettings, gssapi_method

from ..kerberos_realm import Realm


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
