"""An SSH server that says hello to whoever has the key."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import asyncssh


class SshServer(NamedTuple):
    port: int
    key: Path
    """The user's."""
    host_key: str
    """A line for known_hosts, without the name."""


@contextmanager
def ssh_server(folder: Path) -> Iterator[SshServer]:
    """On loopback, in a thread."""
    key, host_key = asyncssh.generate_private_key("ssh-rsa"), asyncssh.generate_private_key("ssh-rsa")
    key.write_private_key(folder / "key", "pkcs1-pem")
    key.write_public_key(folder / "authorized_keys")
    loop = asyncio.new_event_loop()
    ready: list[int] = []
    opened, closing = threading.Event(), asyncio.Event()

    connections: list[asyncssh.SSHServerConnection] = []

    class Server(asyncssh.SSHServer):
        def connection_made(self, connection: asyncssh.SSHServerConnection) -> None:
            connections.append(connection)

    def hello(process: asyncssh.SSHServerProcess[str]) -> None:
        process.stdout.write("hello")
        process.exit(0)

    async def main() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        ready.append(listener.getsockname()[1])
        server = await asyncssh.listen(
            sock=listener,
            server_host_keys=[host_key],
            authorized_client_keys=str(folder / "authorized_keys"),
            process_factory=hello,
            server_factory=Server,
        )
        opened.set()
        await closing.wait()
        server.close()
        await server.wait_closed()
        for connection in connections:
            connection.abort()
            await connection.wait_closed()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), name="ssh server", daemon=True)
    thread.start()
    assert opened.wait(30)
    public = host_key.export_public_key().decode().strip()
    yield SshServer(ready[0], folder / "key", public)
    loop.call_soon_threadsafe(closing.set)
    thread.join(30)
    loop.close()
