"""The assignment on its way to a worker."""

from __future__ import annotations

import asyncio
import pickle
import socket
import threading

import pytest

from hosier.policy.limits import Caps
from hosier.policy.networks import parse_network
from hosier.server.settings import Limits, ServerSettings
from hosier.workers.channel import (
    Assignment,
    packed,
    packed_settings,
    receive_assignment,
    receive_octets,
    receive_value,
    value,
)
from hosier.workers.records import RecordPlan
from hosier.workers.shared import TablePlan

SETTINGS = ServerSettings(
    listen=["127.0.0.1:0"],
    users={"ann": "open sesame"} | {f"user {number}": "x" * 200 for number in range(5000)},
    allow=[parse_network("10.0.0.0/8")],
    limits=Limits(idle=7),
    caps=Caps(sessions=3),
)
MORE = TablePlan(11, 7, 9, 3, b"x"), RecordPlan(12, 5, 7, b"secret")
PLANS = TablePlan(9, 1, 2, 3, b"secret"), TablePlan(10, 0, 9, 3, b""), *MORE
ASSIGNMENT = Assignment(SETTINGS, (7, 8), *PLANS, 1, "json", uvloop=False, verbose=True)


def send(channel: socket.socket, data: bytes) -> None:
    with channel:
        channel.sendall(data)


def received(data: bytes) -> Assignment | None:
    """What arrives of it, followed by the end."""
    ours, theirs = socket.socketpair()
    sender = threading.Thread(target=send, args=(ours, data))
    sender.start()
    with theirs:
        found = receive_assignment(theirs)
        sender.join()
    return found


def test_it_arrives_whole() -> None:
    assert received(packed(ASSIGNMENT)) == ASSIGNMENT


def test_what_follows_stays_for_who_reads_next() -> None:
    ours, theirs = socket.socketpair()
    sender = threading.Thread(target=send, args=(ours, packed(ASSIGNMENT) + b"d"))
    sender.start()
    with theirs:
        assert receive_assignment(theirs) == ASSIGNMENT
        assert theirs.recv(10) == b"d"
    sender.join()


def test_a_supervisor_that_died_meanwhile() -> None:
    data = packed(ASSIGNMENT)
    for size in (0, 3, 4, 100, len(data) - 1):
        assert received(data[:size]) is None


def test_nothing_of_it_shows() -> None:
    assert "open sesame" not in repr(ASSIGNMENT)


def heard(data: bytes) -> object:
    """A value that arrives, followed by the end."""

    async def main() -> object:
        stream = asyncio.StreamReader()
        stream.feed_data(data)
        stream.feed_eof()
        return await receive_value(stream)

    return asyncio.run(main())


def test_a_value_behind_a_word() -> None:
    content = {"users": {"Ä": [1, 2.5, None]}}
    assert heard(value(content)) == content


def test_a_value_of_one_who_died() -> None:
    data = value(["x" * 100])
    for size in (0, 3, 4, len(data) - 1):
        with pytest.raises(EOFError):
            heard(data[:size])


def test_settings_behind_a_word() -> None:
    async def main() -> None:
        stream = asyncio.StreamReader()
        stream.feed_data(packed_settings(ASSIGNMENT.settings, 3))
        assert pickle.loads(await receive_octets(stream)) == (ASSIGNMENT.settings, 3)

    asyncio.run(main())
