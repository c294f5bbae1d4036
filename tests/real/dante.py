"""Dante with GSSAPI, both roles: Debian's package has none, so scripts/build-dante builds it from the same source."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from .harness import Address, end_program, free_port, wait_until

FOLDER = Path(__file__).parents[1] / "build" / "dante"
LEVELS = {0: "clear", 1: "integrity", 2: "confidentiality"}


def built() -> Path:
    """Where it is; like a program that is not installed, it must be there where peers are required."""
    if not (FOLDER / "sbin" / "sockd").exists():
        message = "Dante with GSSAPI is not built; scripts/build-dante tests/build/dante builds it"
        if os.environ.get("HOSIER_REQUIRE_PEERS") == "1":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return FOLDER


def socksified(directory: Path, proxy: Address, level: int) -> Mapping[str, str]:
    """The environment in which Dante's client leads everything through the proxy, with GSSAPI, also what is local."""
    config = directory / "socks.conf"
    config.write_text(
        f"""\
logoutput: {directory}/socksify.log
resolveprotocol: fake
route {{
  from: 0.0.0.0/0 to: 0.0.0.0/0 via: localhost port = {proxy.port}
  protocol: tcp udp
  proxyprotocol: socks_v5
  command: bind connect udpassociate bindreply udpreply
  method: gssapi
  gssapi.servicename: socks
  gssapi.enctype: {LEVELS[level]}
}}
"""
    )
    return {
        "LD_PRELOAD": str(built() / "lib" / "libdsocks.so"),
        "SOCKS_CONF": str(config),
        "SOCKS_AUTOADD_LANROUTES": "no",
        "SOCKS_DIRECTROUTE_FALLBACK": "no",
    }


@contextmanager
def sockd(directory: Path, keytab: Path, environment: Mapping[str, str]) -> Iterator[tuple[Address, Path]]:
    """Dante's server on a free port, with its log; it takes GSSAPI at every level that it knows."""
    address = Address("127.0.0.1", free_port())
    config, log = directory / "sockd.conf", directory / "sockd.log"
    # Not nobody, who may not read the folder of a test.
    users = "user.privileged: root\nuser.unprivileged: root\n" if os.geteuid() == 0 else ""
    config.write_text(
        f"""\
logoutput: {log}
internal: {address.host} port = {address.port}
external: {address.host}
socksmethod: gssapi
clientmethod: none
{users}client pass {{ from: 0/0 to: 0/0
  gssapi.keytab: FILE:{keytab}
  gssapi.servicename: socks/localhost
  gssapi.enctype: clear integrity confidentiality
  log: error connect disconnect }}
socks pass {{ from: 0/0 to: 0/0
  command: bind connect udpassociate bindreply udpreply
  socksmethod: gssapi
  log: error connect disconnect }}
"""
    )
    arguments = [str(built() / "sbin" / "sockd"), "-f", str(config), "-p", str(directory / "sockd.pid")]
    process = subprocess.Popen(
        arguments,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: process.poll() is not None or (log.exists() and "running" in log.read_text()), "sockd is up")
        assert process.poll() is None, log.read_text()
        yield address, log
    finally:
        end_program(process)
