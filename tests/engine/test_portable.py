"""What the other tests of the engine do not see; they all run with it, too."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from hosier.engine.endpoint import Endpoint
from hosier.engine.poller import Engine
from hosier.engine.portable import PortableEngine
from hosier.engine.task import Task

from .harness import Joined, Lab, Platform, check, feed, make_bulk, run_lab

ROOT = Path(__file__).parents[2]


def test_bulk_is_copied() -> None:
    """There is no pipe, and nobody asks for one."""
    size = 2 << 20

    async def main(lab: Lab) -> None:
        assert isinstance(lab.engine, PortableEngine)
        assert lab.engine.pipes.take() is None
        joined = Joined(lab)
        make_bulk(joined.relay.up)
        await asyncio.gather(feed(joined.client, 1, size), check(joined.target, 1, size))
        assert lab.engine.pipes.open == 0
        joined.client.close()
        joined.target.close()
        await joined.ended()

    run_lab(main, platform=Platform(PortableEngine))


def test_a_socket_is_handed_on_as_it_came() -> None:
    """While it is watched another stands in its place, which serves the engine only."""

    async def main(lab: Lab) -> None:
        _, inner = lab.pair()
        endpoint = Endpoint(lab.engine, inner, Task(lab.engine))
        endpoint.register()
        assert endpoint.sock is not inner
        assert endpoint.release() is endpoint.sock is inner
        inner.close()

    run_lab(main, platform=Platform(PortableEngine))


def test_nothing_more_than_elsewhere() -> None:
    """One interface: whoever has an engine need not know which."""
    assert {name for name in vars(PortableEngine) if not name.startswith("_")} <= set(dir(Engine))


SESSION = """
from tests.bare import BareLoop, bare

with bare():
    import asyncio, importlib, pkgutil, sys
    import hosier

    async def session():
        loop = asyncio.get_running_loop()
        target = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = target.sockets[0].getsockname()[1]
        async with hosier.Server(listen=["127.0.0.1:0"]) as server, target:
            assert type(server.engine).__name__ == "PortableEngine"
            reader, writer = await asyncio.open_connection(*server.addresses[0])
            writer.write(b"\\5\\1\\0")
            assert await reader.readexactly(2) == b"\\5\\0"
            writer.write(b"\\5\\1\\0\\1\\x7f\\0\\0\\1" + port.to_bytes(2, "big"))
            assert (await reader.readexactly(10))[:3] == b"\\5\\0\\0"
            writer.write(bytes(5_000_000))
            writer.write_eof()
            assert await reader.read() == b"5000000"
            writer.close()
            await writer.wait_closed()
            while server.sessions:
                await asyncio.sleep(0.001)
        assert (server.sessions_served, server.octets_relayed) == (1, 5_000_007)

    async def answer(reader, writer):
        writer.write(b"%d" % len(await reader.read()))
        writer.close()

    for module in pkgutil.walk_packages(hosier.__path__, "hosier."):
        # Workers and ``hosier run`` need Linux, and say so.
        if not module.name.startswith(("hosier.__main__", "hosier.workers", "hosier.run")):
            importlib.import_module(module.name)
    from hosier.engine.choice import ENGINES
    assert ENGINES == ("auto", "portable")
    with asyncio.Runner(loop_factory=BareLoop) as runner:
        runner.run(asyncio.wait_for(session(), 40))
    assert "hosier.engine.portable" in sys.modules
print("well")
"""


def test_a_whole_session_where_the_names_were_never_there() -> None:
    """Every module loads, and a client reaches its target, on a system that has what Windows has and no more."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SESSION],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "well\n", "")
