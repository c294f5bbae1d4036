"""Active FTP: the server connects to the client, through BIND.

Everything is on one machine, where a client could go round the proxy unnoticed: each test counts the BINDs in the
access log. The FTP server has an address of its own, so that a peer that was not checked would show.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .ftp import ftp_server
from .harness import Address, Hosier, Session, run

pytestmark = pytest.mark.real

SIZE = 300_000
HOST = "127.0.0.2"

# How the client tells the server where to connect: of the FTP standard, or of RFC 2428 for both families.
WAYS = pytest.mark.parametrize("way", ["PORT", "EPRT"])
VERSIONS = pytest.mark.parametrize("version", [4, 5])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the FTP server serves: a file to get, and room to put one."""
    path = tmp_path / "served"
    (path / "up").mkdir(parents=True)
    (path / "get.bin").write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def server(program: Callable[..., str], folder: Path) -> Iterator[Address]:
    with ftp_server(program, folder, HOST) as address:
        yield address


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    path = tmp_path / "put.bin"
    path.write_bytes(os.urandom(SIZE))
    return path


def socksified(program: Callable[..., str], directory: Path, hosier: Hosier, version: int) -> dict[str, str]:
    """The environment in which Dante's socksify leads everything through the server, also what is local."""
    program("socksify")
    config = directory / "socks.conf"
    config.write_text(
        f"""\
logoutput: {directory}/socksify.log
resolveprotocol: fake
route {{
  from: 0.0.0.0/0 to: 0.0.0.0/0 via: {hosier.host} port = {hosier.port}
  protocol: tcp
  proxyprotocol: socks_v{version}
  method: none
  command: bind connect bindreply
}}
"""
    )
    return {"SOCKS_CONF": str(config), "SOCKS_AUTOADD_LANROUTES": "no"}


def check(hosier: Hosier, version: int) -> None:
    """One BIND for the file each way, and no more."""
    for session in binds(hosier, 2):
        assert session["version"] == version
        assert session["reply"] == 0, session
        assert session["target"].partition(":")[0] == HOST
        assert session["dialled"].partition(":")[0] == HOST
        assert session["bound"].partition(":")[0] == "127.0.0.1"


def binds(hosier: Hosier, count: int) -> list[Session]:
    return hosier.sessions_of("BIND", count)


@VERSIONS
@WAYS
def test_tnftp(
    program: Callable[..., str],
    tmp_path: Path,
    hosier: Hosier,
    server: Address,
    folder: Path,
    sent: Path,
    version: int,
    way: str,
) -> None:
    commands = [
        "user anonymous me@example.com",
        *(["epsv4"] if way == "PORT" else []),  # switches RFC 2428 off, which is on
        "binary",
        f"get get.bin {tmp_path}/got.bin",
        f"put {sent} up/put.bin",
        "quit",
    ]
    environment = socksified(program, tmp_path, hosier, version)
    tnftp = [program("socksify"), program("tnftp"), "-n", "-A", "-v", "-d", HOST, str(server.port)]
    done = run(tnftp, env=environment, data="".join(f"{line}\n" for line in commands).encode())
    talk = done.stdout + done.stderr
    assert talk.count(way.encode() + b" ") >= 2, talk
    assert (tmp_path / "got.bin").read_bytes() == (folder / "get.bin").read_bytes()
    assert (folder / "up" / "put.bin").read_bytes() == sent.read_bytes()
    check(hosier, version)


@VERSIONS
@WAYS
def test_curl(
    program: Callable[..., str],
    tmp_path: Path,
    hosier: Hosier,
    server: Address,
    folder: Path,
    sent: Path,
    version: int,
    way: str,
) -> None:
    environment = socksified(program, tmp_path, hosier, version)
    curl: list[str | Path] = [program("socksify"), program("curl"), "-q", "--silent", "--show-error", "--verbose"]
    curl += ["--ftp-port", "-", *(["--disable-eprt"] if way == "PORT" else [])]
    got = run([*curl, f"ftp://{server}/get.bin"], env=environment)
    put = run([*curl, "--upload-file", sent, f"ftp://{server}/up/put.bin"], env=environment)
    for done in (got, put):
        assert f"> {way} ".encode() in done.stderr, done.stderr
    assert got.stdout == (folder / "get.bin").read_bytes()
    assert (folder / "up" / "put.bin").read_bytes() == sent.read_bytes()
    check(hosier, version)


def test_ports_that_a_firewall_lets_through(
    program: Callable[..., str], tmp_path: Path, server: Address, folder: Path
) -> None:
    """The FTP server connects to a port of the range, which it learns from the client."""
    with Hosier("--ports=30500-30599", "--advertise=192.0.2.77") as hosier:
        environment = socksified(program, tmp_path, hosier, 5)
        curl = [program("socksify"), program("curl"), "-q", "--silent", "--verbose", "--disable-eprt"]
        done = run([*curl, "--ftp-port", "-", f"ftp://{server}/get.bin"], env=environment)
        assert done.stdout == (folder / "get.bin").read_bytes()
        # curl announces the address of its control connection, and only the port that the reply told.
        announced = re.search(rb"> PORT 127,0,0,1,(\d+),(\d+)", done.stderr)
        assert announced is not None, done.stderr
        port = int(announced[1]) << 8 | int(announced[2])
        assert 30_500 <= port <= 30_599
        [session] = binds(hosier, 1)
        assert session["bound"] == f"192.0.2.77:{port}"
