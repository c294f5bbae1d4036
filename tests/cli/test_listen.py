"""``hosier listen``: a proxy waits for a peer."""

from __future__ import annotations

import socket

from hosier.server.settings import BindSettings, Limits
from hosier.testing import ScriptedServer, ThreadedServer, stall

from ..real.harness import free_port
from .harness import PATIENCE, ran, running


def test_peer_comes() -> None:
    with ThreadedServer() as proxy, running("listen", "--proxy", proxy.url, "127.0.0.1") as process:
        host, port = process.stdout.readline().split()
        with socket.create_connection((host, int(port)), PATIENCE) as peer:
            peer.sendall(b"hello")
            assert process.stdout.read(5) == b"hello"
            process.stdin.write(b"answer")
            process.stdin.close()
            assert peer.recv(6) == b"answer"
            assert peer.recv(1) == b""
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == b""


def test_nobody_comes_or_it_may_not_be() -> None:
    with ThreadedServer(limits=Limits(bind=0.1)) as proxy:
        status, output, said = ran("listen", "--proxy", proxy.url, "127.0.0.1")
        assert (status, len(output.split())) == (1, 2)
        assert "TTL expired (reply 6)" in said
    with ThreadedServer() as proxy:
        status, output, said = ran("listen", "--proxy", proxy.url, "127.0.0.1", "--wait", "0.01")
        assert (status, len(output.split()), said) == (1, 2, "hosier: nobody came within 0.01 s\n")
    with ScriptedServer([stall()]) as silent:
        url = f"socks5://127.0.0.1:{silent.address[1]}"
        status, output, said = ran("listen", "--proxy", url, "127.0.0.1", "--timeout", "0.1")
        assert (status, output, "no result within 0.1 s" in said) == (3, b"", True)
    with ThreadedServer(bind=BindSettings(enabled=False)) as proxy:
        status, output, said = ran("listen", "--proxy", proxy.url, "127.0.0.1")
        assert (status, output, "reply 2" in said) == (1, b"", True)
        assert ran("listen", "--proxy", proxy.url, "127.0.0.1", "65536")[0] == 2


def test_wished_port() -> None:
    port = free_port()
    with (
        ThreadedServer(bind=BindSettings(anyone=True)) as proxy,
        running("listen", "--proxy", proxy.url, "0.0.0.0", str(port)) as process,
    ):
        assert process.stdout.readline().split()[1] == str(port).encode()
