"""What the tests of UDP ASSOCIATE share: clients of associations, targets for datagrams, waits for them."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from typing import Any

from hosier.protocol.address import Address, parse_address
from hosier.protocol.udp import decode_datagram, encode_header
from hosier.server.udp_relay import UdpRelay

from .harness import PATIENCE, Peer, Stage, request5, until

UDP_ASSOCIATE = 3
ZEROS = ("0.0.0.0", 0)

Place = tuple[str, int]


def header(host: str, port: int, fragment: int = 0) -> bytes:
    """RFC 1928 §7; what is no literal is a name."""
    return b"\0\0" + bytes((fragment,)) + encode_header(parse_address(host, port))[3:]


class Datagrams:
    """A UDP socket of a test's."""

    def __init__(self, stage: Stage, host: str = "127.0.0.1", port: int = 0) -> None:
        self._stage = stage
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = stage.own(socket.socket(family, socket.SOCK_DGRAM))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sock.bind((host, port))
        self.sock.setblocking(False)

    @property
    def place(self) -> Place:
        host, port = self.sock.getsockname()[:2]
        return host, port

    def send(self, data: bytes, place: Place) -> None:
        self.sock.sendto(data, place)

    async def receive(self) -> tuple[bytes, Place]:
        try:
            async with asyncio.timeout(PATIENCE):
                data, place = await asyncio.get_running_loop().sock_recvfrom(self.sock, 1 << 17)
        except TimeoutError:
            counts = [relay.counts() for relay in relays(self._stage)]
            raise AssertionError(f"no datagram at {self.place}; the associations have {counts}") from None
        return data, place[:2]

    def has_nothing(self) -> bool:
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        return False


class Associate(Datagrams):
    """The client of one association."""

    def __init__(self, stage: Stage, control: Peer, relay: Place, host: str) -> None:
        super().__init__(stage, host)
        self.control = control
        self.relay = relay

    def ask(self, target: Place, data: bytes, fragment: int = 0) -> None:
        self.send(header(*target, fragment) + data, self.relay)

    async def answer(self) -> tuple[bytes, Place]:
        """The next one, and who it names as its sender."""
        packet, place = await self.receive()
        assert place == self.relay, "not from where we send to"
        fragment, sender, data = decode_datagram(packet, strict=True)
        assert fragment == 0
        return data, (sender.host, sender.port)

    async def proof(self, target: Datagrams) -> None:
        """Whatever was sent before has been dealt with, and the association still works."""
        self.ask(target.place, b"proof")
        while (await target.receive())[0] != b"proof":
            pass


async def associated(
    scene: Stage, announced: Place = ZEROS, *, place: tuple[str, int] | None = None, host: str | None = None
) -> Associate:
    """Opens an association; the client sends from ``host`` (by default, where its control connection comes from)."""
    control = await scene.client(place)
    await control.greet()
    await control.send(request5(*announced, UDP_ASSOCIATE))
    reply = await control.reply5()
    assert reply[:3] == b"\x05\x00\x00", f"reply {reply[1]}"
    return Associate(scene, control, bound(reply), host or control.place[0])


def bound(reply: bytes) -> Place:
    return str(ip_address(reply[4:-2])), int.from_bytes(reply[-2:], "big")


async def refused(scene: Stage, announced: Place = ZEROS) -> int:
    """The code that a request for an association is refused with."""
    control = await scene.client()
    await control.greet()
    await control.send(request5(*announced, UDP_ASSOCIATE))
    reply = await control.reply5()
    control.close()
    return reply[1]


def relays(scene: Stage) -> list[UdpRelay]:
    found = [getattr(task, "relay", None) for task in scene.server.engine.tasks]
    return [relay for relay in found if isinstance(relay, UdpRelay)]


def relay_of(scene: Stage) -> UdpRelay:
    """That of the only association."""
    (relay,) = relays(scene)
    return relay


async def dropped(scene: Stage, reason: str, count: int = 1) -> None:
    """Waits until so many were dropped for that reason by the only association."""
    relay = relay_of(scene)
    await until(lambda: relay.counts().dropped.get(reason, 0) >= count, f"{count} dropped: {reason}; {relay.counts()}")
    assert relay.counts().dropped[reason] == count


def given_back(scene: Stage) -> bool:
    """Whether nothing of an association is left."""
    engine = scene.server.engine
    return not engine.tasks and not scene.server.associations.in_use and not engine.held


def literal(place: Any) -> Address:
    return parse_address(*place[:2])
