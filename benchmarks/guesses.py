"""Guesses passwords of a user, each time from another address: guesses.py HOST:PORT USER.

Prints {"open": 1} after the first answer, and goes on, a few at a time, until the standard input ends or a signal
comes; after ten minutes in any case.
"""

import itertools
import json
import select
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

BOUND = 600  # seconds
AT_ONCE = 16


def guess(proxy: tuple[str, int], user: bytes, number: int) -> bytes:
    password = b"guess %d" % number
    with socket.socket() as sock:
        sock.settimeout(30)
        sock.bind((f"127.{20 + number // 62_500 % 100}.{number // 250 % 250}.{1 + number % 250}", 0))
        sock.connect(proxy)
        credentials = b"\x01" + bytes((len(user),)) + user + bytes((len(password),)) + password
        sock.sendall(b"\x05\x01\x02" + credentials)
        answer = b""
        while piece := sock.recv(64):
            answer += piece
        return answer


def main() -> None:
    host, _, port = sys.argv[1].partition(":")
    proxy, user = (host, int(port)), sys.argv[2].encode()
    end = time.monotonic() + BOUND
    numbers = itertools.count()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while time.monotonic() < end and not select.select([sys.stdin], [], [], 0)[0]:
            done = list(pool.map(lambda number: guess(proxy, user, number), itertools.islice(numbers, AT_ONCE)))
            if done[0][:1] == b"\x05":
                print(json.dumps({"open": 1}), flush=True)


main()
