"""ssh, scp and sftp through a ProxyCommand: OpenBSD's nc, and ncat."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import PASSWORD, USER, every_engine
from .harness import Address, Hosier, run
from .sshd import client_config, sshd
from .target import stream

pytestmark = [pytest.mark.real, every_engine]


@pytest.fixture
def server(program: Callable[..., str], tmp_path: Path) -> Iterator[Address]:
    with sshd(program, tmp_path) as address:
        yield address


@pytest.mark.parametrize(
    ("version", "host", "target"),
    [(5, "127.0.0.1", "127.0.0.1"), (5, "localhost", "localhost"), (4, "127.0.0.1", "127.0.0.1")],
)
def test_command_through_nc(
    program: Callable[..., str], tmp_path: Path, hosier: Hosier, server: Address, version: int, host: str, target: str
) -> None:
    proxy_command = f"{program('nc.openbsd')} -X {version} -x {hosier.address} %h %p"
    config = client_config(tmp_path, server, host, proxy_command)
    done = run([program("ssh"), "-F", config, "target", "cat; echo done; exit 7"], data=b"hello\n" * 1000, status=7)
    assert done.stdout == b"hello\n" * 1000 + b"done\n"
    hosier.sessions(f"{target}:{server.port}", version)


def test_command_through_ncat(program: Callable[..., str], tmp_path: Path, guarded: Hosier, server: Address) -> None:
    proxy = f"--proxy {guarded.address} --proxy-type socks5 --proxy-auth {USER}:{PASSWORD}"
    config = client_config(tmp_path, server, "127.0.0.1", f"{program('ncat')} {proxy} %h %p")
    assert run([program("ssh"), "-F", config, "target", "echo done"]).stdout == b"done\n"
    [session] = guarded.sessions(str(server), 5)
    assert session["user"] == USER


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("protocol", ["scp", "sftp"])
def test_copy_20_megabytes(
    program: Callable[..., str], tmp_path: Path, hosier: Hosier, server: Address, version: int, protocol: str
) -> None:
    proxy_command = f"{program('nc.openbsd')} -X {version} -x {hosier.address} %h %p"
    config = client_config(tmp_path, server, "127.0.0.1", proxy_command)
    here, there, back = tmp_path / "here", tmp_path / "there", tmp_path / "back"
    here.write_bytes(b"".join(stream(20_000_000)))
    if protocol == "scp":
        run([program("scp"), "-q", "-F", config, here, f"target:{there}"])
        run([program("scp"), "-q", "-F", config, f"target:{there}", back])
    else:
        batch = f"put {here} {there}\nget {there} {back}\n".encode()
        run([program("sftp"), "-q", "-b", "-", "-F", config, "target"], data=batch)
    sums = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (here, there, back)}
    assert len(sums) == 1
    sessions = hosier.sessions(str(server), version, count=2 if protocol == "scp" else 1)
    assert sum(session["sent"] for session in sessions) > 20_000_000
    assert sum(session["received"] for session in sessions) > 20_000_000
