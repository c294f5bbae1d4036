"""``python -m tests.real.two_families_client GATEWAY PORT LAST``: a client that asks for every target in every way.

It prints a JSON object: what came of each case, by its name. Only the wire's own octets are used, so that text of an
address can stand in a name's place.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial

from hosier.errors import ReplyError
from hosier.protocol.address import NAME, UNSPECIFIED, Address, parse_address
from hosier.protocol.client_connection import ClientHandshake
from hosier.protocol.messages import Command, Reply, Request
from hosier.protocol.udp import decode_datagram, encode_header

from .two_families import PORT, SERVERS

PATIENCE = 10.0


class Client:
    """One request at the gateway."""

    def __init__(self, gateway: tuple[str, int], command: int, target: Address) -> None:
        self.sock = socket.create_connection(gateway, PATIENCE)
        self.handshake = ClientHandshake(Request(5, command, target))
        self.sock.sendall(self.handshake.start())
        while not self.handshake.done and self.handshake.first_reply is None:
            self._turn()

    def peer_came(self) -> Reply:
        """BIND's second reply."""
        while not self.handshake.done:
            self._turn()
        assert self.handshake.reply is not None
        return self.handshake.reply

    @property
    def bound(self) -> Address:
        reply = self.handshake.first_reply or self.handshake.reply
        assert reply is not None
        return reply.bound

    def line(self, text: str = "") -> str:
        if text:
            self.sock.sendall(text.encode() + b"\n")
        with self.sock.makefile("rb") as lines:
            return lines.readline().decode().strip()

    def _turn(self) -> None:
        if out := self.handshake.feed(self.sock.recv(self.handshake.owed)):
            self.sock.sendall(out)


def connect(gateway: tuple[str, int], target: Address) -> dict[str, str]:
    """Whom the server sees, and where the gateway says that it comes from."""
    client = Client(gateway, Command.CONNECT, target)
    return {"seen": client.line("peer"), "bound": client.bound.host}


def bind(gateway: tuple[str, int], target: Address, server: Address) -> dict[str, str]:
    """Where the server is to call, who the gateway says came, and what the server said."""
    control = Client(gateway, Command.CONNECT, target)
    waiting = Client(gateway, Command.BIND, target._replace(port=0))
    control.sock.sendall(f"call {waiting.bound.host} {waiting.bound.port}\n".encode())
    came = waiting.peer_came()
    return {"bound": waiting.bound.host, "came": came.bound.host, "said": waiting.line(), "server": server.host}


def associate(gateway: tuple[str, int], target: Address) -> dict[str, str]:
    """Whom the server sees, and whom the gateway names as its sender."""
    control = Client(gateway, Command.UDP_ASSOCIATE, UNSPECIFIED)
    with socket.socket(control.sock.family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.connect((control.bound.host, control.bound.port))
        sock.send(encode_header(target) + b"question")
        fragment, sender, data = decode_datagram(sock.recv(65_535))
        assert fragment == 0
        seen, _, payload = data.decode().partition(" ")
        return {"seen": seen, "sender": f"{sender.host} {sender.port}", "payload": payload}


def forms(family: int, last: str) -> dict[str, Address]:
    """The ways to say where a server is."""
    return {
        "name": parse_address(f"server{family}.{last}", PORT),
        "address": parse_address(SERVERS[family], PORT),
        "text": Address(NAME, SERVERS[family].encode(), PORT),
    }


def every_case(gateway: tuple[str, int], last: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Its name, and what is to be done."""
    for family in (4, 6):
        server = parse_address(SERVERS[family], PORT)
        for form, target in forms(family, last).items():
            yield f"connect {family} {form}", partial(connect, gateway, target)
            yield f"bind {family} {form}", partial(bind, gateway, target, server)
            yield f"associate {family} {form}", partial(associate, gateway, target)
    for command in (Command.CONNECT, Command.BIND):
        yield f"unknown name {command.name}", partial(Client, gateway, command, parse_address(f"nobody.{last}", PORT))
    yield "both", partial(connect, gateway, parse_address(f"both.{last}", PORT))


def main(host: str, port: str, last: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for case, work in every_case((host, int(port)), last):
        try:
            found[case] = work()
        except ReplyError as error:
            found[case] = error.code
        except (OSError, AssertionError) as error:
            found[case] = repr(error)
    return found


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
