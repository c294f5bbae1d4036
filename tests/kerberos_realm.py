"""A Kerberos realm for tests: a real key distribution centre on loopback, in a folder of its own.

Nothing of the machine's own configuration is read or written: every program is told by its environment where all is.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from .own_ports import own_ports

PATIENCE = 30.0
"""Seconds. Only a hang ever waits that long."""

NAME = "HOSIER.TEST"

_CLIENTS = """\
[libdefaults]
  default_realm = {name}
  dns_lookup_kdc = false
  dns_lookup_realm = false
  dns_canonicalize_hostname = false
  rdns = false
[realms]
  {name} = {{
    kdc = 127.0.0.1:{port}
  }}
[domain_realm]
  localhost = {name}
"""
_CENTRE = """\
[kdcdefaults]
  kdc_listen = 127.0.0.1:{port}
  kdc_tcp_listen = 127.0.0.1:{port}
[realms]
  {name} = {{
    database_name = {folder}/principal
    key_stash_file = {folder}/stash
  }}
[logging]
  kdc = FILE:{folder}/kdc.log
"""


class Realm:
    """The realm HOSIER.TEST: the user ann, and in ``service.keytab`` the keys of socks/localhost and rcmd/localhost."""

    def __init__(self, folder: Path, program: Callable[..., str]) -> None:
        self.folder = folder
        self._program = program
        self.port = _free_port()
        self.environment: Mapping[str, str] = {
            "KRB5_CONFIG": str(folder / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(folder / "kdc.conf"),
            "KRB5RCACHEDIR": str(folder),
            "KRB5CCNAME": f"FILE:{folder / 'ann.tickets'}",
            "KRB5_KTNAME": f"FILE:{folder / 'service.keytab'}",
        }
        self._centre: subprocess.Popen[bytes]

    def __enter__(self) -> Realm:
        facts = {"name": NAME, "port": self.port, "folder": self.folder}
        (self.folder / "krb5.conf").write_text(_CLIENTS.format(**facts), encoding="utf-8")
        (self.folder / "kdc.conf").write_text(_CENTRE.format(**facts), encoding="utf-8")
        self.run("kdb5_util", "-r", NAME, "create", "-s", "-P", "master")
        for principal in ("ann", "socks/localhost", "rcmd/localhost"):
            self.add(principal)
        self.keytab("service.keytab", "socks/localhost", "rcmd/localhost")
        self._centre = subprocess.Popen(
            [self._program("krb5kdc"), "-n"],
            env={**os.environ, **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._await_answer()
            self.tickets("ann")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def add(self, principal: str, *options: str) -> None:
        """A principal with a random key."""
        self.run("kadmin.local", "-q", f"addprinc -randkey {' '.join(options)} {principal}")

    def keytab(self, name: str, *principals: str) -> Path:
        """A file with the keys that the principals have now."""
        path = self.folder / name
        for principal in principals:
            self.run("kadmin.local", "-q", f"ktadd -norandkey -k {path} {principal}")
        return path

    def tickets(self, user: str, *options: str) -> Mapping[str, str]:
        """The environment of a user who has logged in."""
        keys = self.keytab(f"{user}.keytab", user)
        cache = {"KRB5CCNAME": f"FILE:{self.folder / f'{user}.tickets'}"}
        self.run("kinit", *options, "-k", "-t", str(keys), user, environment=cache)
        return {**self.environment, **cache}

    def run(self, program: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        """The output of one of Kerberos' programs."""
        done = subprocess.run(
            [self._program(program), *arguments],
            env={**os.environ, **self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{program} {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _await_answer(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE):
                    return
            except ConnectionRefusedError:
                assert self._centre.poll() is None, (self.folder / "kdc.log").read_text(encoding="utf-8")
                assert time.monotonic() < deadline, "the key distribution centre does not listen"
                time.sleep(0.01)

    def _stop(self) -> None:
        self._centre.kill()  # it has nothing to put away: its folder goes, too
        self._centre.wait()


def _free_port() -> int:
    """For TCP and UDP, from the range that the kernel does not hand out by itself."""
    for port in own_ports():
        try:
            with socket.create_server(("127.0.0.1", port)), socket.socket(type=socket.SOCK_DGRAM) as datagrams:
                datagrams.bind(("127.0.0.1", port))
                return port
        except OSError:
            continue
    raise AssertionError("no free port")
