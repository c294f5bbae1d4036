"""In and out of scopes: one in the other, side by side, in tasks and threads, and nothing left at the end."""

from __future__ import annotations

import _socket
import asyncio
import gc
import socket
import threading
from asyncio.base_events import BaseEventLoop
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import uvloop

import hosier
from hosier.client.names import FakeNames

from ..harness import PATIENCE, run, until
from .conftest import Site, Witness

OWNERS = (socket, _socket, socket.socket, threading.Thread, ThreadPoolExecutor, BaseEventLoop, BaseSelectorEventLoop)


def state() -> list[dict[str, Any]]:
    """What the stand-ins take the place of, and all else around it."""
    gc.collect()
    return [dict(vars(owner)) for owner in (*OWNERS, uvloop.Loop)]


@pytest.fixture
def two_sites(witness: Witness) -> Iterator[tuple[Site, Site]]:
    with Site() as one, Site() as other, witness(one.address, other.address):
        yield one, other


def visit(host: str = "web.invalid") -> None:
    socket.create_connection((host, 80), PATIENCE).close()


def test_undone_on_exit(site: Site) -> None:
    """Everything is as it was, also after an error."""
    before = state()
    with hosier.socksify(site.url):
        assert state() != before
        visit()
    assert state() == before
    with pytest.raises(KeyError), hosier.socksify(site.url):
        raise KeyError
    assert state() == before


def test_nested(two_sites: tuple[Site, Site]) -> None:
    """The innermost counts, and None goes straight."""
    one, other = two_sites
    with hosier.socksify(one.url):
        visit("first.invalid")
        with hosier.socksify(other.url):
            visit("second.invalid")
        visit("third.invalid")
        with hosier.socksify(None), socket.create_connection(other.address, PATIENCE) as sock:
            assert sock.getpeername() == other.address
        visit("fourth.invalid")
    assert one.asked == ["first.invalid:80", "third.invalid:80", "fourth.invalid:80"]
    assert other.asked == ["second.invalid:80"]


def test_as_a_decorator(site: Site) -> None:
    @hosier.socksify(site.url)
    def work() -> None:
        visit()

    before = state()
    work()
    work()
    assert site.asked == ["web.invalid:80"] * 2
    assert state() == before


def test_tasks_have_their_own(two_sites: tuple[Site, Site]) -> None:
    """Many tasks at once in two scopes: none goes the other's way."""
    one, other = two_sites

    async def work(proxy: str, name: str) -> None:
        with hosier.socksify(proxy):
            for _ in range(3):
                await asyncio.sleep(0)
                _, writer = await asyncio.open_connection(name, 80)
                writer.close()
                await writer.wait_closed()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(work(one.url, "one.invalid"))
                group.create_task(work(other.url, "other.invalid"))

    before = state()
    run(main())
    assert one.asked == ["one.invalid:80"] * 15
    assert other.asked == ["other.invalid:80"] * 15
    assert state() == before


def test_threads_have_their_own(two_sites: tuple[Site, Site]) -> None:
    one, other = two_sites
    ready = threading.Barrier(2)

    def work(proxy: str, name: str) -> None:
        with hosier.socksify(proxy):
            ready.wait(PATIENCE)
            for _ in range(5):
                visit(name)

    threads = [
        threading.Thread(target=work, args=(site.url, name))
        for site, name in ((one, "one.invalid"), (other, "other.invalid"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert (one.asked, other.asked) == (["one.invalid:80"] * 5, ["other.invalid:80"] * 5)


def test_what_was_begun_within_stays_within(site: Site) -> None:
    """A thread that outlives the block does not go straight all of a sudden; when it ends, the stand-ins go."""
    before = state()
    left = threading.Event()

    def work() -> None:
        assert left.wait(PATIENCE)
        visit()

    with hosier.socksify(site.url):
        thread = threading.Thread(target=work)
        thread.start()
    left.set()
    thread.join(PATIENCE)
    assert site.asked == ["web.invalid:80"]
    until(lambda: state() == before, "all is undone")


def test_names_are_shared(two_sites: tuple[Site, Site]) -> None:
    """An address that was asked for in one scope means the same in another."""
    one, other = two_sites
    with hosier.socksify(one.url):
        address = socket.gethostbyname("web.invalid")
    with hosier.socksify(other.url):
        visit(address)
    assert other.asked == ["web.invalid:80"]


def test_own_names(site: Site) -> None:
    names = FakeNames(ipv4_pool="240.0.0.0/8")
    with hosier.socksify(site.url, names=names):
        assert socket.gethostbyname("web.invalid") == "240.0.0.1"


def test_bypass_is_text_or_a_list() -> None:
    for bypass in ("near.invalid, 10.0.0.0/8", ["near.invalid", "10.0.0.0/8"]):
        with hosier.socksify("proxy", bypass=bypass), pytest.raises(socket.gaierror):
            socket.gethostbyname("near.invalid")


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("socks4+gssapi://proxy", "no proxy scheme"),
        ([], "at least one"),
        ("gopher://proxy", "no proxy scheme"),
    ],
)
def test_mistakes(proxy: Any, words: str) -> None:
    before = state()
    with pytest.raises(hosier.ConfigError, match=words), hosier.socksify(proxy):
        pass
    assert state() == before


def test_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where sockets are no descriptors it is refused: a loop of Windows' would go straight."""
    monkeypatch.setattr("hosier.client.socksify.entrance._SOCKETS_ARE_DESCRIPTORS", False)
    with pytest.raises(hosier.ConfigError, match="Linux, macOS"), hosier.socksify("proxy"):
        pass


def test_chain(two_sites: tuple[Site, Site]) -> None:
    """The nearest proxy is asked for the next; names travel on."""
    one, _ = two_sites
    with hosier.socksify([one.url, "socks5h://second.invalid"]), pytest.raises(hosier.ProxyConnectionError):
        socket.create_connection(("web.invalid", 80), 2)
    assert one.asked == ["second.invalid:1080"]


def test_everything_at_once(two_sites: tuple[Site, Site]) -> None:
    """Threads, threads of theirs and loops of theirs, in scopes that come and go: nobody goes the other's way."""
    before = state()
    letters = dict(zip("ab", two_sites, strict=True))
    failures: list[BaseException] = []

    async def awaited(name: str) -> None:
        _, writer = await asyncio.open_connection(name, 80)
        writer.close()
        await writer.wait_closed()

    def work(seed: int) -> None:
        try:
            for turn in range(9):
                letter = "ab"[(seed + turn) % 2]
                with hosier.socksify(letters[letter].url):
                    if turn % 3 == 0:
                        visit(f"{letter}.invalid")
                    elif turn % 3 == 1:
                        asyncio.run(awaited(f"{letter}.invalid"))
                    else:
                        thread = threading.Thread(target=visit, args=(f"{letter}.invalid",))
                        thread.start()
                        thread.join(PATIENCE)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert failures == []
    assert {letter: set(site.asked) for letter, site in letters.items()} == {
        "a": {"a.invalid:80"},
        "b": {"b.invalid:80"},
    }
    assert sum(len(site.asked) for site in two_sites) == 72
    until(lambda: state() == before, "all is undone")
