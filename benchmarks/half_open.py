"""Holds handshakes half open: half_open.py HOST:PORT COUNT NUMBER.

Prints {"open": COUNT} once that many have been opened. A connection that the server ends is opened again, a hundred of
them a second at most, until the standard input ends or a signal comes; after ten minutes in any case.
"""

import json
import resource
import select
import socket
import sys
import time

BOUND = 600  # seconds
AGAIN = 100  # a second
GREETING = b"\x05\x01"  # half of one: the server cannot answer yet


def opened(proxy: tuple[str, int], source: str) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
    sock.bind((source, 0))
    sock.settimeout(30)
    sock.connect(proxy)
    sock.sendall(GREETING)
    sock.setblocking(False)
    return sock


def main() -> None:
    host, _, port = sys.argv[1].partition(":")
    count, number = int(sys.argv[2]), int(sys.argv[3])
    proxy = host, int(port)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    epoll = select.epoll()
    epoll.register(sys.stdin.fileno(), select.EPOLLIN)
    held: dict[int, socket.socket] = {}
    made = 0

    def one_more() -> None:
        nonlocal made
        made += 1
        source = f"127.{10 + number}.{made >> 8 & 0xFF}.{1 + made % 250}"
        sock = opened(proxy, source)
        held[sock.fileno()] = sock
        epoll.register(sock.fileno(), select.EPOLLIN)

    for _ in range(count):
        one_more()
    print(json.dumps({"open": count}), flush=True)
    end = time.monotonic() + BOUND
    while time.monotonic() < end:
        for fd, _ in epoll.poll(1, 1):  # never the list of all that were ended: it would take longer than they do
            if fd == sys.stdin.fileno():
                return
            epoll.unregister(fd)
            held.pop(fd).close()
            one_more()
        time.sleep(1 / AGAIN)


main()
