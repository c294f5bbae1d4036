"""Programs that are fed a text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hosier.errors import ConfigError
from hosier.run.tools import PACKAGES, Tool, find_tool

pytestmark = pytest.mark.linux


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program 'ip' of our own, the first one that is found."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    path = tmp_path / "ip"
    path.touch(0o755)
    return path


def test_it_gets_its_text_and_arguments(script: Path, tmp_path: Path) -> None:
    script.write_text(f'#!/bin/sh\n(echo "$@"; cat) > {tmp_path}/got\n')
    Tool("ip", ("-batch", "-"), "link set lo up\n").wait()
    assert (tmp_path / "got").read_text() == "-batch -\nlink set lo up\n"


@pytest.mark.parametrize(
    ("body", "line"),
    [("echo first >&2; echo second >&2; exit 1", "ip: first"), ("exit 3", "ip: ended with status 768")],
)
def test_the_first_line_of_a_failure(script: Path, body: str, line: str) -> None:
    script.write_text(f"#!/bin/sh\n{body}\n")
    tool = Tool("ip", (), "")
    with pytest.raises(OSError, match=line):
        tool.wait()


def test_its_descriptors_are_given_back(script: Path) -> None:
    script.write_text("#!/bin/sh\n")
    before = len(os.listdir("/proc/self/fd"))
    Tool("ip", (), "").wait()
    script.write_bytes(b"\x00")
    with pytest.raises(OSError, match="Exec format error"):
        Tool("ip", (), "")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_missing_program_is_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("hosier.run.tools._SBIN", ())
    for name, package in PACKAGES.items():
        with pytest.raises(ConfigError, match=package.partition(" ")[0]):
            find_tool(name)


def test_cve_2015_3887_nothing_is_looked_for_in_the_current_folder(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """proxychains-ng loaded its library from there, so whoever could write to it had its code run by others."""
    here = tmp_path / "here"
    here.mkdir()
    (here / "ip").touch(0o755)
    monkeypatch.chdir(here)
    for path in ("", ".", "../here", ":", ".::../here"):
        monkeypatch.setenv("PATH", f"{path}:{tmp_path}")
        assert find_tool("ip") == str(script)
