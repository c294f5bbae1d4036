"""Scopes in loops, threads and pools of threads, whoever started those."""

from __future__ import annotations

import _thread
import asyncio
import errno
import socket
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import pytest
import uvloop

import hosier
from hosier.client.socksify.scope import current
from hosier.testing import ScriptedServer, stall

from ..harness import PATIENCE, opening, run, until
from .conftest import Site, Witness

loops = pytest.mark.parametrize("run_in", [run, uvloop.run], ids=["asyncio", "uvloop"])
RunIn = Callable[[Coroutine[Any, Any, Any]], Any]


async def visit(host: str = "web.invalid", **fields: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        _, writer = await asyncio.open_connection(host, 80, **fields)
        writer.close()
        await writer.wait_closed()


@loops
def test_connections(site: Site, run_in: RunIn) -> None:
    async def main() -> None:
        with hosier.socksify(site.url):
            await visit()
            await visit("192.0.2.1")
            await visit("web.invalid", family=socket.AF_INET6)
            if run_in is run:
                await visit("web.invalid", happy_eyeballs_delay=0.1)

    run_in(main())
    assert site.asked[:3] == ["web.invalid:80", "192.0.2.1:80", "web.invalid:80"]


@loops
def test_sock_connect(site: Site, run_in: RunIn) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with hosier.socksify(site.url), socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, ("web.invalid", 80))
            assert sock.getpeername() == site.address
            with pytest.raises(OSError) as caught:
                await loop.sock_connect(sock, ("web.invalid", 80))
            assert caught.value.errno == errno.EISCONN

    run_in(main())
    assert site.asked == ["web.invalid:80"]


@loops
def test_lookups(site: Site, run_in: RunIn) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with hosier.socksify(site.url):
            infos = await loop.getaddrinfo("web.invalid", 80, type=socket.SOCK_STREAM)
            address = (str(infos[0][4][0]), 80)
            assert address[0].startswith("198.18.")
            flags = socket.NI_NUMERICSERV
            assert await loop.getnameinfo(address, flags) == ("web.invalid", "80")

    run_in(main())


@loops
def test_the_loop_is_free_meanwhile(witness: Witness, run_in: RunIn) -> None:
    """A proxy that is silent holds up nobody else; who gives up leaves nothing behind."""

    async def main(proxy: ScriptedServer) -> None:
        with hosier.socksify(proxy.url):
            waiting = asyncio.ensure_future(visit())
            while not proxy.conversations:
                await asyncio.sleep(0.001)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        (conversation,) = proxy.conversations
        async with asyncio.timeout(PATIENCE):
            while conversation.sock.fileno() != -1:
                await asyncio.sleep(0.001)

    with ScriptedServer([stall()]) as proxy, witness(proxy.address):
        run_in(main(proxy))


@loops
def test_errors(witness: Witness, run_in: RunIn) -> None:
    async def main(proxy: str) -> None:
        with hosier.socksify(proxy), pytest.raises(ConnectionRefusedError):
            await visit()
        with hosier.socksify(proxy.replace("5h", "4a")), pytest.raises(OSError, match="IPv6"):
            await visit("2001:db8::1")

    with ScriptedServer(opening(lambda c: c.sock.sendall(b"\x05\x05\x00"))) as proxy, witness(proxy.address):
        run_in(main(proxy.url))


@loops
def test_past_the_proxy(witness: Witness, run_in: RunIn) -> None:
    """Where names that go past it are looked up and connected to as ever."""

    async def main(port: int) -> None:
        with hosier.socksify("192.0.2.7", bypass="localhost, 127.0.0.1"):
            for host in ("localhost", "127.0.0.1"):
                _, writer = await asyncio.open_connection(host, port)
                writer.close()
                await writer.wait_closed()

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with witness(("127.0.0.1", port), ("::1", port)):
            run_in(main(port))


def test_datagrams_are_refused_in_uvloop(site: Site) -> None:
    """Which has no sockets of Python's for them."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with hosier.socksify(site.url), pytest.raises(OSError, match="uvloop") as caught:
            await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=("192.0.2.1", 9))
        assert caught.value.errno == errno.EOPNOTSUPP

    uvloop.run(main())


@loops
def test_pools_of_threads(site: Site, run_in: RunIn) -> None:
    """A pool that is older than the scope works in it for who is in it, and for nobody else."""
    seen: list[object] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, lambda: seen.append(current.get()))
        with hosier.socksify(site.url):
            for sock in (
                await asyncio.to_thread(socket.create_connection, ("web.invalid", 80), PATIENCE),
                await loop.run_in_executor(None, socket.create_connection, ("web.invalid", 80), PATIENCE),
            ):
                sock.close()
            with hosier.socksify(None):
                await loop.run_in_executor(None, lambda: seen.append(current.get()))
        await loop.run_in_executor(None, lambda: seen.append(current.get()))

    run_in(main())
    assert seen == [None] * 3
    assert site.asked == ["web.invalid:80"] * 2


def test_a_pool_begun_within_serves_those_outside(site: Site) -> None:
    with ThreadPoolExecutor(1) as pool:
        with hosier.socksify(site.url):
            assert pool.submit(current.get).result(PATIENCE) is not None
        assert pool.submit(current.get).result(PATIENCE) is None


class OwnExecutor(Executor):
    """One that knows nothing of anything."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def work() -> None:
            with hosier.socksify(None):
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as error:
                    future.set_exception(error)

        threading.Thread(target=work).start()
        return future


def test_lookups_in_any_executor(site: Site) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(OwnExecutor())
        with hosier.socksify(site.url):
            await visit()

    class Loop(asyncio.SelectorEventLoop):
        def set_default_executor(self, executor: Any) -> None:
            self._default_executor = executor

        async def shutdown_default_executor(self, timeout: float | None = None) -> None:
            pass

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())
    assert site.asked == ["web.invalid:80"]


def test_threads_inherit(site: Site) -> None:
    """Whatever kind of thread it is; run() is its own again when it has ended."""
    seen: list[object] = []

    class Own(threading.Thread):
        def run(self) -> None:
            seen.append(current.get())

    with hosier.socksify(site.url):
        threads = [Own(), threading.Thread(target=lambda: seen.append(current.get()))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert None not in seen
    assert len(seen) == 2
    assert not any("run" in vars(thread) for thread in threads)


def test_callbacks_from_threads(site: Site) -> None:
    """What a thread within a scope asks a loop for is done in that scope."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        with hosier.socksify(site.url):
            asyncio.run_coroutine_threadsafe(visit(), loop).result(PATIENCE)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()
    assert site.asked == ["web.invalid:80"]
    until(lambda: not thread.is_alive(), "the loop has ended")


def test_bare_threads_inherit(site: Site) -> None:
    """Those of libraries that have a use of their own for them."""
    seen: SimpleQueue[object] = SimpleQueue()
    with hosier.socksify(site.url):
        scope = current.get()
        for _ in range(2):
            _thread.start_new_thread(lambda word, *, end: seen.put((current.get(), word, end)), ("a",), {"end": "b"})
            assert seen.get(timeout=PATIENCE) == (scope, "a", "b")
            with hosier.socksify(None):
                _thread.start_new_thread(lambda: seen.put(current.get()), ())
                assert seen.get(timeout=PATIENCE) is None
