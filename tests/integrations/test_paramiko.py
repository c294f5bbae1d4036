"""paramiko through a proxy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from paramiko.ssh_exception import NoValidConnectionsError

import hosier
from hosier.integrations.paramiko import connect
from hosier.testing.threaded import ThreadedServer

from .ssh_server import SshServer, ssh_server
from .web import NAME


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    with ssh_server(tmp_path) as running:
        yield running


def hello(proxy: Any, port: int, server: SshServer, host: str = NAME, **how: Any) -> bytes:
    known_hosts = server.key.with_name("known_hosts")
    known_hosts.write_text(f"[{host}]:{port} {server.host_key}\n")
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(known_hosts))
        options = {"username": "ann", "key_filename": str(server.key), "look_for_keys": False, "allow_agent": False}
        connect(proxy, client, host, port, **{**options, **how})
        _, output, _ = client.exec_command("hello")
        return bytes(output.read())


def test_a_command(proxy: ThreadedServer, server: SshServer) -> None:
    assert hello(proxy.url, server.port, server) == b"hello"
    assert hello(proxy.url, server.port, server, timeout=20) == b"hello"


def test_wrong_host_key(proxy: ThreadedServer, server: SshServer) -> None:
    wrong = server._replace(host_key=server.key.with_name("authorized_keys").read_text().strip())
    with pytest.raises(paramiko.BadHostKeyException):
        hello(proxy.url, server.port, wrong)


def test_errors(
    proxy: ThreadedServer, no_proxy: str, strict_proxy: str, silent_proxy: str, server: SshServer, refused_port: int
) -> None:
    rows = (
        (proxy.url, refused_port, hosier.TargetRefused),
        (no_proxy, server.port, hosier.ProxyConnectionError),
        (strict_proxy, server.port, hosier.AuthError),
    )
    for url, port, kind in rows:
        with pytest.raises(NoValidConnectionsError) as raised:
            hello(url, port, server, "127.0.0.1")
        assert isinstance(raised.value.__cause__, kind)
        assert raised.value.errors == {("127.0.0.1", port): raised.value.__cause__}
    with pytest.raises(TimeoutError):
        hello(silent_proxy, server.port, server, timeout=0.2)
