"""Secrets come from where the file says, and are told to nobody."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hosier.config.secrets import MAX_OCTETS, Secret, may_be_secret, read_option, read_secret
from hosier.errors import ConfigError


@dataclass
class Inner:
    password: str


def test_text() -> None:
    assert read_secret("open sesame") == "open sesame"


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANN", " open sesame ")
    assert read_secret({"env": "ANN"}) == " open sesame "


@pytest.mark.parametrize("value", [None, ""])
def test_environment_without_it(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANN", raising=False)
    if value is not None:
        monkeypatch.setenv("ANN", value)
    with pytest.raises(ConfigError, match=r"^the environment variable ANN is not set, or empty$"):
        read_secret({"env": "ANN"})


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_file(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes("a b\nü ".encode() + end)
    assert read_secret({"file": path}) == "a b\nü "


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff", "is not valid UTF-8"), (b"x" * (MAX_OCTETS + 1), f"holds more than {MAX_OCTETS} octets")],
)
def test_file_that_holds_no_secret(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^{re.escape(str(path))} {message}") as caught:
        read_secret({"file": path})
    assert "x" * 10 not in str(caught.value)


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^cannot read .*/nothing: No such file or directory$"):
        read_secret({"file": tmp_path / "nothing"})


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (Secret, True),
        (Mapping[str, Secret], True),
        (list[Secret] | None, True),
        (Inner, True),
        (str, False),
        (Mapping[str, str], False),
        (list[int] | None, False),
    ],
)
def test_what_may_be_one(hint: Any, expected: bool) -> None:
    assert may_be_secret(hint) is expected


def test_options_point_to_secrets_or_are_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GATE", "socks5h://gate.example")
    (tmp_path / "gate").write_text("socks5h://file.example\n", encoding="utf-8")
    assert read_option("env:GATE") == "socks5h://gate.example"
    assert read_option(f"file:{tmp_path / 'gate'}") == "socks5h://file.example"
    assert read_option("socks5h://ann:sesame@gate.example") == "socks5h://ann:sesame@gate.example"
    with pytest.raises(ConfigError, match="GATES is not set"):
        read_option("env:GATES")
