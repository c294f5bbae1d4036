"""The sockets inside: what reaches them, and that they arrive outside."""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

from hosier.run.doors import Doors, flow_socket, open_doors, receive_doors, send_doors
from hosier.run.network import DOOR_PORT, OWN_IPV4
from hosier.run.packets import parse_syn, released

from .inside import Inside, enter, forked

pytestmark = [pytest.mark.linux, pytest.mark.usefixtures("namespaces")]

PATIENCE = 20.0


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


# --- a segment that arrives while its handshake ends (decision 0039) ---


@pytest.mark.parametrize(("target", "own"), [("198.51.100.1", "192.0.0.8"), ("2001:db8::1", "100:0:0:1::1")])
def test_a_young_connection_that_is_not_found_is_not_reset(target: str, own: str) -> None:
    """Its first segment is sent again. Once it is no longer young, a reset is a reset."""

    def work() -> list[object]:
        client, accepted = stand(target)
        vanish(accepted)
        young(client, "add")
        client.send(b"lost")
        while not retransmissions(client):
            time.sleep(0.01)
        young(client, "delete")
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        return [client.getsockname()[0]]

    assert forked(work) == [own]


@pytest.mark.parametrize("target", ["198.51.100.1", "2001:db8::1"])
def test_our_own_resets_arrive_however_young_the_connection_is(target: str) -> None:
    def work() -> list[object]:
        client, accepted = stand(target)
        young(client, "add")
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        return [retransmissions(client)]

    assert forked(work) == [0]


def stand(target: str) -> tuple[socket.socket, socket.socket]:
    """A connection to the target, held and let go, in a network of this process: the program's end and ours."""
    enter()
    doors = open_doors(ipv6=True, held=True, end=os.pipe()[0])
    side = doors.sides[":" in target]
    client = socket.socket(side.streams.family)
    client.settimeout(PATIENCE)
    thread = threading.Thread(target=client.connect, args=((target, 80),))
    thread.start()
    assert doors.gate is not None
    select.select([doors.gate], [], [], PATIENCE)
    syn = parse_syn(doors.gate.recv(256))
    assert syn is not None
    side.raw.sendto(released(syn.packet), (target, 0))
    thread.join(PATIENCE)
    select.select([side.streams], [], [], PATIENCE)
    return client, side.streams.accept()[0]


def vanish(sock: socket.socket) -> None:
    """The kernel forgets the connection and tells nobody (TCP_REPAIR), so what comes for it finds no socket."""
    sock.setsockopt(socket.IPPROTO_TCP, 19, 1)
    sock.close()


def young(client: socket.socket, verb: str) -> None:
    """Lets the connection be young for an hour from now, or no longer."""
    (host, port), (target, target_port) = client.getsockname()[:2], client.getpeername()[:2]
    name, key = f"young{int(':' in host)}", f"{host} . {port} . {target} . {target_port}"
    subprocess.run(["nft", f"delete element inet hosier {name} {{ {key} }}"], stderr=subprocess.DEVNULL, check=False)
    if verb == "add":
        subprocess.run(["nft", f"add element inet hosier {name} {{ {key} timeout 1h }}"], check=True)


def retransmissions(sock: socket.socket) -> int:
    """Of the connection so far (tcpi_total_retrans)."""
    return int.from_bytes(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[100:], sys.byteorder)
