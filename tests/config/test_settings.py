"""The command's own settings."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest

from hosier.config.settings import ServeSettings
from hosier.errors import ConfigError
from hosier.observe.access_log import FORMATS
from hosier.server.server import Server
from hosier.server.settings import ServerSettings


def test_defaults_are_the_server_s() -> None:
    settings = ServeSettings()
    assert (settings.log, settings.uvloop, settings.verbose) == ("text", False, False)
    assert all(getattr(settings, name) == getattr(ServerSettings(), name) for name in ServerSettings.__slots__)


def test_logs_are_those_that_there_are() -> None:
    assert get_args(get_type_hints(ServeSettings)["log"]) == (*FORMATS, "off")


def test_workers() -> None:
    for number in (1, 256, "auto"):
        assert ServeSettings(workers=number).workers == number
    for number in (0, 257):
        with pytest.raises(ConfigError, match=f"^there cannot be {number} workers"):
            ServeSettings(workers=number)


def test_the_server_s_own_checks_are_made() -> None:
    with pytest.raises(ConfigError, match="no address to listen on"):
        ServeSettings(listen=())


def test_a_server_takes_them() -> None:
    settings = ServeSettings(strict=True, log="off")
    assert Server(settings).settings is not None
