"""asyncssh through a proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

import hosier
from hosier.integrations.asyncssh import connect
from hosier.testing.threaded import ThreadedServer

from ..client.tls import Certificate, door
from .ssh_server import SshServer, ssh_server
from .web import NAME


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    with ssh_server(tmp_path) as running:
        yield running


def hello(proxy: Any, port: int, server: SshServer, host: str = NAME, **how: Any) -> str:
    known = f"[{host}]:{port} {server.host_key}".encode()

    async def main() -> str:
        options: dict[str, Any] = {
            "username": "ann",
            "client_keys": [str(server.key)],
            "known_hosts": known,
            "config": None,
        }
        async with await connect(proxy, host, port, **options, **how) as connection:
            done = await connection.run("hello", check=True)
        return str(done.stdout)

    return asyncio.run(main())


def test_a_command(proxy: ThreadedServer, server: SshServer) -> None:
    assert hello(proxy.url, server.port, server) == "hello"
    assert hello(proxy.url, server.port, server, timeout=20) == "hello"


def test_proxy_with_tls(proxy: ThreadedServer, server: SshServer, certificate: Certificate) -> None:
    with door(certificate, proxy.address) as (host, port):
        outer = hosier.Proxy(f"socks5h+tls://{host}:{port}", ssl_context=certificate.client)
        assert hello(outer, server.port, server) == "hello"


def test_wrong_host_key(proxy: ThreadedServer, server: SshServer) -> None:
    """The host is checked by the name that was asked for; the socket does not stay open."""
    wrong = server._replace(host_key=server.key.with_name("authorized_keys").read_text().strip())
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        hello(proxy.url, server.port, wrong)


def test_errors(
    proxy: ThreadedServer, no_proxy: str, strict_proxy: str, silent_proxy: str, server: SshServer, refused_port: int
) -> None:
    with pytest.raises(ConnectionRefusedError) as refused:
        hello(proxy.url, refused_port, server, "127.0.0.1")
    assert isinstance(refused.value, hosier.TargetRefused)
    with pytest.raises(hosier.ProxyConnectionError):
        hello(no_proxy, server.port, server)
    with pytest.raises(hosier.AuthError):
        hello(strict_proxy, server.port, server)
    with pytest.raises(TimeoutError):
        hello(silent_proxy, server.port, server, timeout=0.2)
