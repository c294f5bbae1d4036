"""The sockets inside: what reaches them, and that they arrive outside."""

from __future__ import annotations

import os
import socket

import pytest

from hosier.run.doors import Doors, flow_socket, open_doors, receive_doors, send_doors
from hosier.run.network import DOOR_PORT, OWN_IPV4

from .inside import Inside, enter, forked

pytestmark = [pytest.mark.linux, pytest.mark.usefixtures("namespaces")]


def close(doors: Doors) -> None:
    for side in doors.sides:
        for sock in vars(side).values():
            sock.close()
    if doors.gate is not None:
        doors.gate.close()
    os.close(doors.network)
    os.close(doors.end)


@pytest.mark.parametrize("held", [True, False])
def test_they_arrive_as_what_they_are(held: bool) -> None:
    inside = Inside(held=held)
    doors = inside.start(lambda: "done")
    assert [side.streams.family for side in doors.sides] == [socket.AF_INET, socket.AF_INET6]
    for side in doors.sides:
        assert {sock.type for sock in (side.streams, side.long_questions)} == {socket.SOCK_STREAM}
        assert {sock.type for sock in (side.datagrams, side.questions)} == {socket.SOCK_DGRAM}
        assert side.raw.type == socket.SOCK_RAW
        assert not any(sock.getblocking() or sock.get_inheritable() for sock in vars(side).values())
        assert side.questions.getsockname()[1] == side.long_questions.getsockname()[1] == 53
    assert doors.sides[0].streams.getsockname() == (OWN_IPV4, DOOR_PORT)
    assert (doors.gate is not None) is held
    inside.go()
    assert inside.result() == "done"
    close(doors)


def test_nothing_comes_from_who_ended() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        assert receive_doors(ours) is None


def test_without_ipv6() -> None:
    def work() -> list[int]:
        enter()
        ours, theirs = socket.socketpair()
        send_doors(ours, open_doors(ipv6=False, held=True, end=os.pipe()[0]))
        doors = receive_doors(theirs)
        assert doors is not None
        return [len(doors.sides), doors.gate is not None]

    assert forked(work) == [1, True]


@pytest.mark.parametrize(("place", "own"), [("198.51.100.1", "192.0.0.8"), ("2001:db8::1", "100:0:0:1::1")])
def test_a_flow_s_socket_speaks_for_the_target(place: str, own: str) -> None:
    def work() -> list[object]:
        enter()
        family = socket.AF_INET6 if ":" in place else socket.AF_INET
        program = socket.socket(family, socket.SOCK_DGRAM)
        program.settimeout(10)
        program.bind((own, 5000))
        flow = flow_socket((place, 443), (own, 5000), 65536)
        again = flow_socket((place, 443), (own, 5001), 65536)  # another program's, to the same place
        again.close()
        flow.send(b"answer")
        data, sender = program.recvfrom(99)
        program.sendto(b"question", (place, 443))
        return [data.decode(), sender[0], sender[1], flow.recv(99).decode()]

    assert forked(work) == ["answer", place, 443, "question"]
