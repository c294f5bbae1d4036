from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from typing import Any

import pytest

from hosier.engine import dial as module
from hosier.engine.dial import dial, dial_from, interleaved
from hosier.engine.endpoint import Endpoint
from hosier.engine.task import Task
from hosier.errors import ReplyCode, reply_code_for
from hosier.protocol.address import IPV4, IPV6, Address

from .harness import Lab, Run, Story, descriptors, until

NEVER = 3600.0


def at(host: str, port: int = 1) -> Address:
    octets = ip_address(host).packed
    return Address(IPV4 if len(octets) == 4 else IPV6, octets, port)


class Dialled:
    """Every socket that was made, in order, and what connecting it was made to return."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.codes: dict[str, int] = {}
        """Errors that stand in for the kernel's."""


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> Dialled:
    log = Dialled()

    class Logging(socket.SocketType):
        known = False

        def connect_ex(self, address: Any, /) -> int:
            if not self.known:  # on the loopback the kernel is asked twice
                self.known = True
                log.addresses.append(address[0])
            code = log.codes.get(address[0])
            if code is None:
                return super().connect_ex(address)
            if not code:  # connected before connect() returns
                self.setblocking(True)
                super().connect(address)
                self.setblocking(False)
            return code

    monkeypatch.setattr(module, "SocketType", Logging)
    return log


@pytest.fixture
def no_stagger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a failure starts the next attempt."""
    monkeypatch.setattr(module, "STAGGER", NEVER)


@pytest.fixture
def short_stagger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STAGGER", 0.001)


def listening(lab: Lab, host: str = "127.0.0.1", port: int = 0) -> Address:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return at(host, lab.own(socket.create_server((host, port), family=family)).getsockname()[1])


@contextmanager
def silent(lab: Lab, host: str, port: int = 0) -> Iterator[Address]:
    """A listener whose queue is full: the kernel drops what comes, so a connect goes on for a long time."""
    listener = lab.own(socket.create_server((host, port), backlog=0))
    for _ in range(4):
        lab.own(socket.socket()).connect_ex(listener.getsockname())
    yield at(host, listener.getsockname()[1])


@contextmanager
def refusing(host: str = "127.0.0.1") -> Iterator[Address]:
    with socket.socket() as reserved:
        reserved.bind((host, 0))  # nobody else gets the port, and nobody listens
        yield at(host, reserved.getsockname()[1])


def dialling(lab: Lab, *addresses: Address) -> Story:
    """Its result: what was dialled, and the peer that the kernel knows."""

    async def work(task: Task) -> tuple[Address, Any]:
        endpoint, address = await dial(task, lab.engine, addresses)
        try:
            assert isinstance(endpoint, Endpoint)
            assert endpoint.owner is task
            assert endpoint.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert not endpoint.sock.getblocking()
            assert lab.engine.sockets <= 1, "losers are closed"
            await endpoint.send_all(b"it is connected indeed")
            return address, endpoint.sock.getpeername()
        finally:
            endpoint.close()

    return lab.story(work)


async def outcome(lab: Lab, *addresses: Address) -> Address:
    """The address that won; whatever comes of it, no descriptor stays behind."""
    before = descriptors()
    story = dialling(lab, *addresses)
    await until(lambda: story.ended, "dialling ends")
    await lab.settle()
    assert descriptors() == before
    assert lab.engine.sockets == 0
    if story.error is not None:
        raise story.error
    address: Address = story.result[0]
    assert story.result[1][:2] == address.sockaddr
    return address


# --- order ---


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", ""),
        ("a", "a"),
        ("abc", "abc"),
        ("AB", "AB"),
        ("ABab", "AaBb"),
        ("abAB", "aAbB"),
        ("aABC", "aABC"),
        ("ABCa", "AaBC"),
        ("AaBbC", "AaBbC"),
        ("abcA", "aAbc"),
    ],
)
def test_families_take_turns(given: str, expected: str) -> None:
    """Small letters are IPv4, large ones IPv6."""

    def addresses(names: str) -> list[Address]:
        return [
            Address(IPV4, bytes(3) + name.encode(), 1)
            if name.islower()
            else Address(IPV6, bytes(15) + name.encode(), 1)
            for name in names
        ]

    assert interleaved(addresses(given)) == addresses(expected)


# --- one address ---


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_one_address(run: Run, host: str) -> None:
    async def main(lab: Lab) -> None:
        address = listening(lab, host)
        assert await outcome(lab, address) == address

    run(main)


def test_one_address_connected_at_once(run: Run, dialled: Dialled) -> None:
    dialled.codes["127.0.0.1"] = 0

    async def main(lab: Lab) -> None:
        address = listening(lab)
        assert await outcome(lab, address) == address

    run(main)


@pytest.mark.parametrize("code", [errno.ENETUNREACH, errno.EACCES, errno.ECONNREFUSED, errno.EADDRNOTAVAIL])
def test_one_address_fails_at_once(run: Run, dialled: Dialled, code: int) -> None:
    dialled.codes["192.0.2.1"] = code

    async def main(lab: Lab) -> None:
        with pytest.raises(OSError, match=os.strerror(code)) as caught:
            await outcome(lab, at("192.0.2.1"))
        assert caught.value.errno == code

    run(main)
    assert dialled.addresses == ["192.0.2.1"]


def test_one_address_refuses(run: Run) -> None:
    async def main(lab: Lab) -> None:
        with refusing() as address, pytest.raises(ConnectionRefusedError):
            await outcome(lab, address)

    run(main)


def out_of_descriptors(*_: Any) -> Any:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.mark.parametrize("count", [1, 3])
def test_no_descriptor_for_it(run: Run, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(module, "SocketType", out_of_descriptors)

    async def main(lab: Lab) -> None:
        with pytest.raises(OSError, match="Too many open files") as caught:
            await outcome(lab, *(at(f"192.0.2.{n}") for n in range(count)))
        assert caught.value.errno == errno.EMFILE

    run(main)


@pytest.mark.parametrize("error", [TimeoutError("connect limit"), asyncio.CancelledError()], ids=["limit", "cancelled"])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.usefixtures("short_stagger")
def test_interrupted_under_way(run: Run, dialled: Dialled, count: int, error: BaseException) -> None:
    """Every attempt is closed at once."""

    async def main(lab: Lab) -> None:
        with silent(lab, "127.0.0.1") as first, silent(lab, "127.0.0.2") as second, silent(lab, "127.0.0.3") as third:
            before = descriptors()
            story = dialling(lab, *(first, second, third)[:count])
            await until(lambda: lab.engine.sockets == count, "all attempts are under way")
            assert not story.ended
            story.interrupt(error)
            assert story.error is error
            assert lab.engine.sockets == 0
            assert descriptors() == before

    run(main)
    assert len(dialled.addresses) == count


# --- races ---


@pytest.mark.usefixtures("no_stagger")
def test_first_that_connects_at_once_is_the_only_one(run: Run, dialled: Dialled) -> None:
    dialled.codes["127.0.0.1"] = 0

    async def main(lab: Lab) -> None:
        address = listening(lab)
        assert await outcome(lab, address, at("127.0.0.2"), at("::1")) == address

    run(main)
    assert dialled.addresses == ["127.0.0.1"]


@pytest.mark.usefixtures("no_stagger")
def test_first_of_several_connects(run: Run, dialled: Dialled) -> None:
    async def main(lab: Lab) -> None:
        address = listening(lab)
        assert await outcome(lab, address, at("127.0.0.2")) == address

    run(main)
    assert dialled.addresses == ["127.0.0.1"]


@pytest.mark.usefixtures("no_stagger")
def test_next_starts_as_soon_as_one_fails(run: Run, dialled: Dialled) -> None:
    """At once or after a while, an IPv6 one in between."""
    dialled.codes["192.0.2.1"] = errno.ENETUNREACH

    async def main(lab: Lab) -> None:
        address = listening(lab, "127.0.0.4")
        with refusing("127.0.0.2") as refused:
            assert await outcome(lab, at("192.0.2.1"), refused, address, at("::1")) == address

    run(main)
    assert dialled.addresses == ["192.0.2.1", "::1", "127.0.0.2", "127.0.0.4"]


@pytest.mark.usefixtures("short_stagger")
def test_next_starts_when_one_is_silent(run: Run, dialled: Dialled) -> None:
    async def main(lab: Lab) -> None:
        with silent(lab, "127.0.0.1") as first, silent(lab, "127.0.0.2") as second:
            address = listening(lab, "127.0.0.3")
            assert await outcome(lab, first, second, address) == address

    run(main)
    assert dialled.addresses == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]


@pytest.mark.usefixtures("no_stagger")
def test_nothing_starts_before_its_time(run: Run, dialled: Dialled) -> None:
    async def main(lab: Lab) -> None:
        with silent(lab, "127.0.0.1") as first:
            story = dialling(lab, first, listening(lab, "127.0.0.2"))
            await lab.settle()
            assert dialled.addresses == ["127.0.0.1"]
            story.interrupt(asyncio.CancelledError())

    run(main)


@pytest.mark.patient
def test_slow_one_may_still_win(run: Run, dialled: Dialled, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first address is silent until its queue has room; the kernel asks again after a second."""
    monkeypatch.setattr(module, "STAGGER", 0.001)

    async def main(lab: Lab) -> None:
        with silent(lab, "127.0.0.1") as first, silent(lab, "127.0.0.2") as second:
            story = dialling(lab, first, second)
            await until(lambda: lab.engine.sockets == 2, "both are under way")
            listener = next(sock for sock in lab._sockets if sock.fileno() >= 0 and is_at(sock, first))
            await drain(lab, listener, story)
            assert story.result[0] == first

    run(main)


def is_at(sock: socket.socket, address: Address) -> bool:
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)) and sock.getsockname() == address.sockaddr


async def drain(lab: Lab, listener: socket.socket, story: Story) -> None:
    """Accepts all that come until the story has ended."""

    def accepted() -> bool:
        with suppress(BlockingIOError):
            lab.own(listener.accept()[0])
        return story.ended

    await until(accepted, "the slow one connects")


@pytest.mark.usefixtures("short_stagger")
def test_failure_of_one_under_way_does_not_end_the_race(run: Run, dialled: Dialled) -> None:
    async def main(lab: Lab) -> None:
        address = listening(lab, "127.0.0.3")
        with silent(lab, "127.0.0.1") as first, refusing("127.0.0.2") as second:
            assert await outcome(lab, first, second, address) == address

    run(main)


# --- all fail ---


@pytest.mark.usefixtures("no_stagger")
def test_all_refuse(run: Run) -> None:
    async def main(lab: Lab) -> None:
        with refusing("127.0.0.1") as first, refusing("127.0.0.2") as second, pytest.raises(ConnectionRefusedError):
            await outcome(lab, first, second)

    run(main)


@pytest.mark.usefixtures("no_stagger")
def test_all_fail_for_the_same_reason_at_once(run: Run, dialled: Dialled) -> None:
    """The reason is the reply's: two errors that mean the same to a client are one."""
    dialled.codes = {"192.0.2.1": errno.ENETUNREACH, "192.0.2.2": errno.ENETDOWN, "2001:db8::1": errno.ENETUNREACH}

    async def main(lab: Lab) -> None:
        with pytest.raises(OSError) as caught:
            await outcome(lab, *map(at, dialled.codes))
        assert reply_code_for(caught.value) == ReplyCode.NETWORK_UNREACHABLE

    run(main)
    assert dialled.addresses == ["192.0.2.1", "2001:db8::1", "192.0.2.2"]


@pytest.mark.usefixtures("no_stagger")
def test_all_fail_for_several_reasons(run: Run, dialled: Dialled) -> None:
    dialled.codes = {"192.0.2.1": errno.ENETUNREACH, "2001:db8::1": errno.EACCES, "192.0.2.2": errno.ENETUNREACH}

    async def main(lab: Lab) -> None:
        with refusing() as refused, pytest.raises(OSError) as caught:
            await outcome(lab, *map(at, dialled.codes), refused)
        assert caught.value.errno == errno.EHOSTUNREACH
        for code in (errno.ENETUNREACH, errno.EACCES, errno.ECONNREFUSED):
            assert str(caught.value).count(os.strerror(code)) == 1

    run(main)


def test_no_addresses_at_all(run: Run) -> None:
    """A name may stand for nothing that we can dial."""

    async def main(lab: Lab) -> None:
        with pytest.raises(OSError) as caught:
            await outcome(lab)
        assert reply_code_for(caught.value) == ReplyCode.HOST_UNREACHABLE

    run(main)


# --- from a given address ---


def dialling_from(lab: Lab, local: tuple[Any, ...], remote: tuple[Any, ...]) -> Story:
    """Its result: where the connection comes from, and where it leads."""

    async def work(task: Task) -> tuple[Any, Any]:
        endpoint = await dial_from(task, lab.engine, local, remote)
        try:
            await endpoint.send_all(b"it is connected indeed")
            return endpoint.sock.getsockname(), endpoint.sock.getpeername()
        finally:
            endpoint.close()

    return lab.story(work)


@pytest.mark.parametrize(("local", "host"), [("127.0.0.5", "127.0.0.1"), ("::1", "::1")])
def test_from_an_address(local: str, host: str, run: Run) -> None:
    async def main(lab: Lab) -> None:
        address = listening(lab, host)
        remote = lab.own(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
        remote.bind((local, 0))
        story = dialling_from(lab, remote.getsockname(), address.sockaddr)
        await until(lambda: story.ended, "dialling ends")
        assert story.error is None
        assert story.result[0][0] == local
        assert story.result[0][1] != remote.getsockname()[1], "the port is any free one"
        assert story.result[1][:2] == (host, address.port)

    run(main)


@pytest.mark.parametrize("local", ["127.0.0.1", "192.0.2.1"])
def test_from_an_address_in_vain(local: str, run: Run) -> None:
    """Nobody listens, or the address is not one of this machine's; either way nothing stays open."""

    async def main(lab: Lab) -> None:
        with refusing() as address:
            before = descriptors()
            story = dialling_from(lab, (local, 0), address.sockaddr)
            await until(lambda: story.ended, "dialling ends")
            await lab.settle()
            assert descriptors() == before
            assert isinstance(story.error, OSError)
            assert story.error.errno in (errno.ECONNREFUSED, errno.EADDRNOTAVAIL)

    run(main)


def test_from_an_address_interrupted(run: Run) -> None:
    async def main(lab: Lab) -> None:
        with silent(lab, "127.0.0.1") as address:
            before = descriptors()
            story = dialling_from(lab, ("127.0.0.1", 0), address.sockaddr)
            await until(lambda: story.waiting is not None, "it waits")
            story.interrupt(TimeoutError("enough"))
            await lab.settle()
            assert descriptors() == before
            assert isinstance(story.error, TimeoutError)

    run(main)
