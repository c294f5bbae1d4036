"""The CPU time of one no-auth CONNECT handshake through the protocol core alone. Prints JSON, in µs."""

import json
import time

from hosier.protocol.address import Address
from hosier.protocol.messages import MethodSelected, Reply
from hosier.protocol.server_connection import ServerConnection

HANDSHAKES = 20_000
REPEATS = 9

GREETING = b"\x05\x01\x00"
REQUEST = b"\x05\x01\x00\x01\x5d\xb8\xd8\x22\x00\x50"
BOUND = Address(1, b"\x7f\x00\x00\x01", 40000)


def handshake() -> bytes:
    """What a server does with the core for one session; the octets that it would send last."""
    connection = ServerConnection()
    connection.next_event()
    connection.receive_data(GREETING)
    connection.next_event()
    connection.send(MethodSelected(0))
    connection.next_event()
    connection.receive_data(REQUEST)
    connection.next_event()
    reply = connection.send(Reply(0, BOUND))
    connection.detach()
    return reply


def microseconds() -> float:
    before = time.process_time()
    for _ in range(HANDSHAKES):
        handshake()
    return (time.process_time() - before) / HANDSHAKES * 1e6


if __name__ == "__main__":
    assert handshake()[:2] == b"\x05\x00"
    samples = sorted(microseconds() for _ in range(REPEATS))
    print(json.dumps({"cpu_us_per_handshake": round(samples[len(samples) // 2], 3)}))
