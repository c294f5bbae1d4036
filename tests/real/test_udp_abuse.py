"""UDP ASSOCIATE under abuse: strangers, forged answers, floods of targets and fragments, associations held for ever.

Nothing is relayed that should not be, what others do goes on, and the server's memory stays bounded.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from hosier.protocol.address import parse_address
from hosier.protocol.udp import encode_header

from .harness import PATIENCE, Hosier, wait_until

pytestmark = pytest.mark.real

MEGABYTE = 1 << 20


def resident(server: Hosier) -> int:
    """Octets of the server's memory that are its own."""
    rollup = Path(f"/proc/{server.pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) << 10 for line in rollup.splitlines() if line.startswith("Private_Dirty:"))


def header(place: tuple[str, int], fragment: int = 0) -> bytes:
    return b"\0\0" + bytes((fragment,)) + encode_header(parse_address(*place))[3:]


class Association:
    """A client, plain and blocking."""

    def __init__(self, server: Hosier) -> None:
        self.control = socket.create_connection(server.address, timeout=PATIENCE)
        self.control.sendall(b"\x05\x01\x00\x05\x03\x00\x01" + bytes(6))
        reply = b""
        while len(reply) < 12:
            reply += self.control.recv(12 - len(reply))
        if reply[3]:
            self.control.close()
            raise ConnectionRefusedError(f"reply {reply[3]}")
        self.relay = socket.inet_ntoa(reply[6:10]), int.from_bytes(reply[10:], "big")
        self.sock = datagrams("127.0.0.1")

    def ask(self, place: tuple[str, int], data: bytes, fragment: int = 0) -> None:
        self.sock.sendto(header(place, fragment) + data, self.relay)

    def proof(self, target: socket.socket) -> tuple[str, int]:
        """There and back; whatever was sent before has been dealt with. Gives the relay's place on the other side."""
        self.ask(target.getsockname(), b"proof")
        data, outer = target.recvfrom(1 << 16)
        assert data == b"proof"
        target.sendto(b"yes", outer)
        assert self.sock.recv(1 << 16) == header(target.getsockname()) + b"yes"
        place: tuple[str, int] = outer
        return place

    def close(self) -> None:
        self.control.close()
        self.sock.close()


def datagrams(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.settimeout(PATIENCE)
    sock.bind((host, 0))
    return sock


@contextmanager
def scene(server: Hosier, count: int = 1) -> Iterator[tuple[list[Association], socket.socket]]:
    """Associations, and a target that answers when it is told to."""
    with ExitStack() as stack:
        target = stack.enter_context(datagrams("127.0.0.1"))
        associations = [Association(server) for _ in range(count)]
        for association in associations:
            stack.callback(association.close)
        yield associations, target


def has_nothing(sock: socket.socket) -> bool:
    sock.settimeout(0)
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    finally:
        sock.settimeout(PATIENCE)
    return False


def ends(server: Hosier, associations: list[Association]) -> list[dict[str, int]]:
    """Ends them; what each had dropped."""
    for association in associations:
        association.close()
    sessions = server.sessions_of("UDP_ASSOCIATE", len(associations))
    return [dict(session["datagrams"]["dropped"]) for session in sessions]


def test_strangers_and_forgers(hosier: Hosier) -> None:
    """B-12, A-15: another address first, another port, answers by somebody who was not asked."""
    with scene(hosier) as ([client], target), datagrams("127.0.0.2") as stranger:
        for _ in range(100):
            stranger.sendto(header(target.getsockname()) + b"stranger", client.relay)
        outer = client.proof(target)
        with datagrams("127.0.0.1") as other_port:
            other_port.sendto(header(target.getsockname()) + b"other port", client.relay)
            client.proof(target)
        for _ in range(100):
            stranger.sendto(b"forged", outer)
        client.proof(target)
        assert has_nothing(target)
        assert has_nothing(client.sock)
        assert has_nothing(stranger)
        [dropped] = ends(hosier, [client])
    assert dropped.pop("stranger", 0) >= 100
    assert dropped.pop("unexpected sender") == 100
    assert not dropped


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_hundred_thousand_targets(hosier: Hosier) -> None:
    """Addresses and names that do not exist; memory does not grow with them."""
    with scene(hosier, 2) as ([client, neighbour], target):

        def flood(targets: range) -> None:
            for number in targets:
                octets = number.to_bytes(3, "big")
                client.ask((f"127.{octets[0] + 1}.{octets[1]}.{octets[2]}", 9), b"x")
                if not number % 20:
                    client.ask((f"n{number}.invalid", 9), b"x")
                if not number % 100:
                    client.proof(target)

        flood(range(10_000))
        before = resident(hosier)
        flood(range(10_000, 100_000))
        assert resident(hosier) - before < MEGABYTE
        neighbour.proof(target)
        assert has_nothing(target)
        ends(hosier, [client, neighbour])


def test_floods_of_fragments(hosier: Hosier) -> None:
    """S5-REQ-97: from many associations at once, none of them ever complete."""
    with scene(hosier, 50) as (clients, target):

        def flood(rounds: int) -> None:
            for number in range(rounds):
                for client in clients:
                    for position in range(1, 4):
                        client.ask(target.getsockname(), bytes(20_000), position)
                    client.ask(target.getsockname(), b"", 1 + number % 127)
                    client.proof(target)

        flood(3)
        before = resident(hosier)
        flood(20)
        assert resident(hosier) - before < 8 * MEGABYTE
        ends(hosier, clients)


def test_garbage_in_bulk(hosier: Hosier) -> None:
    """B-13."""
    with scene(hosier, 2) as ([client, neighbour], target):
        for number in range(20_000):
            client.sock.sendto(number.to_bytes(4, "big") * (number % 30), client.relay)
            if not number % 100:
                client.proof(target)
                neighbour.proof(target)
        dropped = ends(hosier, [client, neighbour])
    assert max(found.get("malformed", 0) for found in dropped) > 0


def test_held_for_ever() -> None:
    """An association that nobody uses ends, one that is used does not; nobody gets more than the quota."""
    with Hosier("--udp=idle=4", "--udp=per_user=10") as server, scene(server, 10) as (clients, target):
        with pytest.raises(ConnectionRefusedError, match="reply 1"):
            Association(server)
        used = clients[0]
        silent = clients[1:]

        def only_one_lives() -> bool:
            used.proof(target)
            return server.logged >= 1 + len(silent)

        wait_until(only_one_lives, "the silent ones to end")
        for client in silent:
            assert client.control.recv(1) == b""
        for client in silent:
            client.close()
        Association(server).close()


@pytest.mark.parametrize("how", ["half", "reset"])
def test_the_control_connection_goes(hosier: Hosier, how: str) -> None:
    """B-11: half of it is enough; then nothing passes in either direction."""
    with scene(hosier) as ([client], target):
        outer = client.proof(target)
        if how == "half":
            client.control.shutdown(socket.SHUT_WR)
        else:
            client.control.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            client.control.close()
        hosier.sessions_of("UDP_ASSOCIATE", 1)
        client.ask(target.getsockname(), b"too late")
        target.sendto(b"too late", outer)
        # The ports are free again: whoever has them now gets what was sent too late, or nobody.
        for place in (client.relay, outer):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
                free.bind(("127.0.0.1", place[1]))
        assert has_nothing(target)
        assert has_nothing(client.sock)


def test_many_come_and_go(hosier: Hosier) -> None:
    """Descriptors and memory are given back."""

    def crowd() -> None:
        with scene(hosier, 200) as (clients, target):
            for client in clients:
                client.proof(target)

    def open_files() -> int:
        return len(list(Path(f"/proc/{hosier.pid}/fd").iterdir()))

    files = open_files()
    for _ in range(3):
        crowd()
    wait_until(lambda: open_files() == files, "every descriptor is given back")
    before = resident(hosier)
    for _ in range(5):
        crowd()
    wait_until(lambda: open_files() == files, "every descriptor is given back")
    assert resident(hosier) - before < MEGABYTE
