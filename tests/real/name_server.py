"""A private nsd for one test, which knows www.example.test."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .harness import Address, end_program, free_port, wait_until

ZONE = """\
$TTL 60
@    SOA  ns.example.test. root.example.test. 1 60 60 60 60
@    NS   ns
ns   A    127.0.0.1
www  A    192.0.2.7
www  AAAA 2001:db8::7
"""


@contextmanager
def name_server(program: Callable[..., str], folder: Path) -> Iterator[Address]:
    """Runs one on a free port of 127.0.0.1."""
    for _ in range(20):
        address = Address("127.0.0.1", free_port())
        with _running(program("nsd"), folder, address) as ready:
            if ready:
                yield address
                return
    raise AssertionError("no free port for nsd")


def configured(folder: Path, host: str, port: int) -> Path:
    """The file that tells nsd of its one zone."""
    (folder / "example.test").write_text(ZONE)
    config = folder / "nsd.conf"
    config.write_text(
        f"""\
server:
  ip-address: {host}@{port}
  username: ""
  chroot: ""
  zonesdir: "{folder}"
  pidfile: ""
  xfrdfile: ""
  zonelistfile: "{folder}/zones"
  server-count: 1
remote-control:
  control-enable: no
zone:
  name: example.test
  zonefile: example.test
"""
    )
    return config


@contextmanager
def _running(binary: str, folder: Path, address: Address) -> Iterator[bool]:
    """nsd on this port; False when somebody else took the port in the meantime."""
    config = configured(folder, address.host, address.port)
    log = folder / "nsd.log"
    with log.open("wb") as output:
        process = subprocess.Popen([binary, "-d", "-c", config], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        wait_until(lambda: process.poll() is not None or b"nsd started" in log.read_bytes(), "nsd is up")
        ready = process.poll() is None
        assert ready or b"in use" in log.read_bytes(), log.read_text()
        yield ready
    finally:
        end_program(process)
