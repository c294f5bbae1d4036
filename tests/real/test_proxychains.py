"""proxychains: programs that know nothing of SOCKS, made to use it; and a chain of two servers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import PASSWORD, USER, every_engine
from .harness import Hosier, run
from .target import Target

pytestmark = [pytest.mark.real, every_engine]


def chain(directory: Path, *proxies: str) -> Path:
    path = directory / "proxychains.conf"
    path.write_text("strict_chain\nproxy_dns\nquiet_mode\n[ProxyList]\n" + "".join(f"{line}\n" for line in proxies))
    return path


def through(program: Callable[..., str], config: Path, url: str, status: int | None = 0) -> bytes:
    curl = [program("curl"), "-q", "--silent", "--show-error", "--fail", url]
    return run([program("proxychains4"), "-f", config, *curl], status=status).stdout


@pytest.mark.parametrize(("kind", "version"), [("socks4", 4), ("socks5", 5)])
def test_address(
    program: Callable[..., str], tmp_path: Path, hosier: Hosier, target: Target, kind: str, version: int
) -> None:
    config = chain(tmp_path, f"{kind} {hosier.host} {hosier.port}")
    assert json.loads(through(program, config, target.url("127.0.0.1")))["peer"] == "127.0.0.1"
    hosier.sessions(target.at("127.0.0.1"), version)
    assert len(target.connections) == 1


@pytest.mark.parametrize(("kind", "version"), [("socks4", 4), ("socks5", 5)])
def test_name_is_looked_up_by_the_server(
    program: Callable[..., str], tmp_path: Path, hosier: Hosier, kind: str, version: int
) -> None:
    """A name nobody has: it arrives at the server as a name (SOCKS4a, or SOCKS5's own kind), and fails there."""
    config = chain(tmp_path, f"{kind} {hosier.host} {hosier.port}")
    assert through(program, config, "http://no-such-host.invalid:8080/", status=None) == b""
    hosier.sessions("no-such-host.invalid:8080", version)


def test_password(program: Callable[..., str], tmp_path: Path, guarded: Hosier, target: Target) -> None:
    config = chain(tmp_path, f"socks5 {guarded.host} {guarded.port} {USER} {PASSWORD}")
    through(program, config, target.url("127.0.0.1"))
    [session] = guarded.sessions(target.at("127.0.0.1"), 5)
    assert session["user"] == USER


def test_two_servers_in_a_row(
    program: Callable[..., str], tmp_path: Path, hosier: Hosier, guarded: Hosier, target: Target
) -> None:
    last = f"socks5 {guarded.host} {guarded.port} {USER} {PASSWORD}"
    config = chain(tmp_path, f"socks4 {hosier.host} {hosier.port}", last)
    assert len(through(program, config, target.url("127.0.0.1", "/stream/3000000"))) == 3_000_000
    hosier.sessions(str(guarded.address), 4)
    guarded.sessions(target.at("127.0.0.1"), 5)
    assert len(target.connections) == 1
