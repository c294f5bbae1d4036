"""The usual connect in one straight line: a SOCKS5 proxy at an address, without authentication, that answers as almost
all do.

Octets are compared instead of parsed, and nothing is made that is not needed. Whatever else arrives is given, from the
first octet on, to the full handshake, which judges it and goes on; so this file knows one good case and no rule.
"""

import errno
import os
import socket
from typing import Final

from ..protocol.client_connection import ClientHandshake
from ..protocol.messages import Command, Request
from .dial import finish_connect
from .journey import Journey
from .lookup import Place4or6, literal
from .methods import WITHOUT_AUTHENTICATION
from .proxy import Proxy
from .quick import connect_request, target_address
from .readiness import when_readable
from .steps import converse, raise_from

__all__ = ("connect_straight",)

_GREETING: Final = b"\x05\x01\x00"
_CHOICE: Final = b"\x05\x00"
_GRANTED_IPV4: Final = b"\x05\x00\x00\x01"
_CHOICE_AND_REPLY: Final = 12

_STREAM: Final = int(socket.SOCK_STREAM)
_BORN_NON_BLOCKING: Final = int(getattr(socket, "SOCK_NONBLOCK", 0))
"""Linux: saves a call; elsewhere nothing."""

_BEGUN: Final = (0, errno.EINPROGRESS, errno.EWOULDBLOCK)
_NOT_YET: Final = (errno.EAGAIN, errno.ENOTCONN)


def connect_straight(chain: tuple[Proxy, ...], host: str, port: int, timeout: float | None) -> socket.socket | None:
    """As :func:`hosier.connect`, whose arguments and errors it has; None, and nothing done, for another case."""
    proxy = chain[0]
    if len(chain) > 1 or not _is_usual(proxy):
        return None
    place = literal(proxy.host, proxy.port)
    address = target_address(host, port)
    if place is None or (address.is_name and not proxy.remote_dns):
        return None
    journey = Journey(chain, Command.CONNECT, address, timeout)
    journey.step = "connect"
    try:
        sock = socket.socket(place.family, _STREAM if timeout is None else _STREAM | _BORN_NON_BLOCKING)
        try:
            _greet(sock, place, journey)
            _talk(sock, journey, connect_request(address))
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        raise_from(journey, error)
    return sock


# --- private ---


def _is_usual(proxy: Proxy) -> bool:
    return (
        proxy.protocol == "socks5"
        and proxy.methods == WITHOUT_AUTHENTICATION
        and not proxy.tls
        and proxy.path is None
        and proxy.source_address is None
    )


def _greet(sock: socket.socket, place: Place4or6, journey: Journey) -> None:
    """Connects and sends the greeting, which tells whether the connection stands, as on one machine it does at once."""
    if journey.timeout is None:
        sock.connect(place.sockaddr)
    else:
        if not _BORN_NON_BLOCKING:
            sock.setblocking(False)
        number = sock.connect_ex(place.sockaddr)
        if number not in _BEGUN:
            raise OSError(number, os.strerror(number))
        try:
            sock.send(_GREETING)
        except OSError as error:
            if error.errno not in _NOT_YET:
                raise
        else:
            return
        finish_connect(sock, journey.left)
    sock.sendall(_GREETING)


def _talk(sock: socket.socket, journey: Journey, request: bytes) -> None:
    """Up to the reply, reading nothing that comes behind it."""
    wait = None
    if journey.timeout is not None:
        wait, left = when_readable(sock), journey.left
    asked = False
    received = b""
    try:
        journey.step = "method"
        while wait and not wait((left() or 0) * 1000):
            pass
        received = sock.recv(2)
        if received == _CHOICE:
            journey.step = "reply"
            sock.sendall(request)
            asked = True
            while wait and not wait((left() or 0) * 1000):
                pass
            reply = sock.recv(8)  # not more: the shortest reply with a name ends there
            received += reply
            if reply.startswith(_GRANTED_IPV4) and len(reply) == 8:
                received += sock.recv(2)
                if len(received) == _CHOICE_AND_REPLY:
                    return
    except BlockingIOError:
        pass  # the rest comes later
    handshake = ClientHandshake(Request(5, Command.CONNECT, journey.destination))
    handshake.start()
    journey.go_on_with(handshake)
    out = handshake.feed(received) if received else b""
    converse(sock, journey, handshake, b"" if asked else out)
