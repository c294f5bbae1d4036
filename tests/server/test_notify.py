"""sd_notify(3), as whoever started us hears it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosier.server.notify import Notifier

PLACES = ("file", "abstract")


@pytest.fixture(params=PLACES)
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify") if request.param == "file" else f"\0hosier-test-{os.getpid()}")
        sock.settimeout(10)
        yield sock


def environment(manager: socket.socket, **more: str) -> dict[str, str]:
    name = manager.getsockname()
    place = name if isinstance(name, str) else "@" + name[1:].decode()
    return {"NOTIFY_SOCKET": place, **more}


def test_states(manager: socket.socket) -> None:
    notifier = Notifier(environment(manager))
    notifier.ready()
    notifier.ready("serving")
    notifier.reloading()
    notifier.stopping()
    assert manager.recv(100) == b"READY=1"
    assert manager.recv(100) == b"READY=1\nSTATUS=serving"
    first, second = manager.recv(100).split(b"\n")
    assert first == b"RELOADING=1"
    assert second.startswith(b"MONOTONIC_USEC=")
    assert int(second[15:]) > 0
    assert manager.recv(100) == b"STOPPING=1"


def test_who_stops_is_not_ready_any_more(manager: socket.socket) -> None:
    """A reload that ends meanwhile, refused or not, takes nothing back."""
    notifier = Notifier(environment(manager))
    notifier.stopping()
    notifier.reloading()
    notifier.ready()
    assert manager.recv(100) == b"STOPPING=1"
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(100)


def test_without_anybody_who_wants_to_know(tmp_path: Path) -> None:
    for place in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "relative"}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}):
        notifier = Notifier(place)
        notifier.ready()
        notifier.stopping()


def test_the_watchdog_hears_of_us_while_we_live(manager: socket.socket) -> None:
    alive = True

    async def main() -> None:
        nonlocal alive
        watched = environment(manager, WATCHDOG_USEC="40000", WATCHDOG_PID=str(os.getpid()))
        watching = asyncio.ensure_future(Notifier(watched).watch(lambda: alive))
        manager.setblocking(False)
        for _ in range(3):
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(manager, 100), 10) == b"WATCHDOG=1"
        alive = False
        await asyncio.sleep(0.03)
        while True:
            try:
                manager.recv(100)
            except BlockingIOError:
                break
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.get_running_loop().sock_recv(manager, 100), 0.2)
        watching.cancel()

    asyncio.run(main())


@pytest.mark.parametrize(
    "more", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}]
)
def test_without_a_watchdog(manager: socket.socket, more: dict[str, str]) -> None:
    asyncio.run(asyncio.wait_for(Notifier(environment(manager, **more)).watch(lambda: True), 5))
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(100)


def test_without_a_socket_the_watchdog_is_nobody_s() -> None:
    asyncio.run(asyncio.wait_for(Notifier({"WATCHDOG_USEC": "1000"}).watch(lambda: True), 5))
