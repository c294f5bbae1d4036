"""A thread inside, whose process is outside."""

from __future__ import annotations

import errno
import os
import select
import socket

import pytest

from hosier.run.doorman import Doorman

from .inside import Inside
from .test_doors import close

pytestmark = [pytest.mark.linux, pytest.mark.usefixtures("namespaces")]


def ask() -> str:
    with socket.socket(type=socket.SOCK_DGRAM) as program:
        program.settimeout(10)
        program.bind(("192.0.0.8", 5000))
        program.sendto(b"ready", ("198.51.100.1", 443))
        return program.recv(99).decode()


def test_it_opens_sockets_inside() -> None:
    inside = Inside()
    doors = inside.start(ask)
    here = os.readlink("/proc/self/ns/net")
    doorman = Doorman(doors.network)
    sock = doorman.open(("198.51.100.1", 443), ("192.0.0.8", 5000), 65536)
    inside.go()
    assert select.select([sock], [], [], 10)[0]
    assert sock.recv(99) == b"ready"
    sock.send(b"through the door")
    assert inside.result() == "through the door"
    assert os.readlink("/proc/self/ns/net") == here
    with pytest.raises(OSError, match=r"Address family not supported|Invalid argument|not known"):
        doorman.open(("not an address", 443), ("192.0.0.8", 5000), 65536)
    sock.close()
    doorman.close()
    close(doors)


def test_a_namespace_that_it_cannot_enter() -> None:
    reading, writing = os.pipe()
    doorman = Doorman(reading)
    with pytest.raises(OSError, match="setns") as caught:
        doorman.open(("198.51.100.1", 443), ("192.0.0.8", 5000), 65536)
    assert caught.value.errno == errno.EINVAL
    doorman.close()
    os.close(reading)
    os.close(writing)
