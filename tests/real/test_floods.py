"""Crowds that mean no good: half-open handshakes, garbage, no descriptors left. A real client gets through."""

from __future__ import annotations

import contextlib
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from .census import census
from .harness import PATIENCE, Address, Hosier, command, run, wait_until
from .target import Target
from .test_workers import says_hello, workers
from .wire import echo_server, socks5

HALF_OPEN = 20_000
FLOODERS = 4
GARBAGE = 100_000

# Each connection comes from one of 250 addresses: from one alone there are not enough ports.
FLOODER = """
import resource, socket, sys
host, port, number, count = sys.argv[1], *map(int, sys.argv[2:])
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
held = []
for index in range(count):
    sock = socket.socket()
    sock.bind((f"127.0.{number + 1}.{index % 250 + 1}", 0))
    sock.connect((host, port))
    sock.send(b"\\x05")  # one octet: the kernel hands the connection over, and the server waits for the second
    held.append(sock)
print("all", flush=True)
sys.stdin.read()
"""

LITTER = """
import contextlib, random, socket, sys
host, port, number, count = sys.argv[1], *map(int, sys.argv[2:])
random.seed(number)
http, tls, none, late = b"GET / HTTP/1.1\\r\\n\\r\\n", b"\\x16\\x03\\x01\\x02\\x00\\x01", b"\\x05\\x00", b"\\x04\\x09"
command, family = b"\\x05\\x01\\x00\\x05\\x09\\x00\\x03", b"\\x05\\x01\\x00\\x05\\x01\\x00\\x07"
pieces = [http, tls, none, late, command, family, b"\\x00", b"\\x05\\xff" + bytes(255), random.randbytes(700)]
for index in range(count):
    sock = socket.socket()
    sock.bind((f"127.0.{number + 1}.{index % 250 + 1}", 0))
    sock.connect((host, port))
    with contextlib.suppress(ConnectionError):
        sock.send(random.choice(pieces))
        if index % 3:
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1000)
    if index % 5 == 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")
    sock.close()
print("all", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def flood(program: str, server: Address, count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Several processes of strangers; they end with the block."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, server.host, *map(str, (server.port, number, count // FLOODERS))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(FLOODERS)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.communicate()


def all_there(processes: list[subprocess.Popen[str]], meanwhile: Callable[[], object]) -> int:
    """Does something again and again until the flood is there; how often."""
    arrived = threading.Event()

    def wait() -> None:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "all\n"
        arrived.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    count = 0
    while not arrived.is_set() and waiting.is_alive():
        meanwhile()
        count += 1
    waiting.join(PATIENCE)
    assert arrived.is_set()
    return count


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("count", [1, 2])
def test_half_open_handshakes(program: Callable[..., str], target: Target, count: int) -> None:
    """Twenty thousand, more than the server has descriptors for. They push each other out, and nobody else."""
    curl = program("curl")
    with Hosier(f"--workers={count}", "--timeout=handshake=170", "--cap=sessions=9000") as hosier:
        serving = workers(hosier.pid) if count > 1 else [hosier.pid]
        idle = [census(pid).sockets for pid in serving]

        def fetch() -> None:
            run([curl, "-q", "--silent", "--fail", "--proxy", f"socks5h://{hosier.address}", target.url("127.0.0.1")])

        with flood(FLOODER, hosier.address, HALF_OPEN) as processes:
            assert all_there(processes, fetch) > 0
            for _ in range(20):
                fetch()
            held = sum(census(pid).sockets for pid in serving) - sum(idle)
            assert 8000 < held <= 9000 + 2
        wait_until(lambda: [census(pid).sockets for pid in serving] == idle, "all are gone")
        wait_until(lambda: hosier.logged >= HALF_OPEN + 20, "one line for each of them in the access log")
    assert 1 <= hosier.messages.count("the oldest handshake was ended") <= 4 * count  # not one per connection
    assert "cannot accept" not in hosier.messages


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_garbage() -> None:
    """A hundred thousand connections that are no SOCKS: each is told so or dropped, and nothing stays behind."""
    with Hosier(keep=10) as hosier, echo_server() as target:
        with socks5(hosier.address, target) as witness:
            before = census(hosier.pid)
            with flood(LITTER, hosier.address, GARBAGE) as processes:
                all_there(processes, lambda: says_hello(witness) or pytest.fail("the session is lost"))
            wait_until(lambda: hosier.logged == GARBAGE, "one line for each")
            wait_until(lambda: census(hosier.pid).sockets == before.sockets, "all are gone")
            assert census(hosier.pid).resident - before.resident < 64 << 20
            assert says_hello(witness)
        socks5(hosier.address, target).close()


@pytest.mark.parametrize("count", [1, 2])
def test_no_descriptors_left(count: int) -> None:
    """It says so, once; who is inside stays, who waits is served when others leave."""
    with (
        Hosier(
            f"--workers={count}", "--cap=sessions=1000", "--cap=handshakes=1000", "--timeout=handshake=60"
        ) as hosier,
        echo_server() as target,
    ):
        serving = workers(hosier.pid) if count > 1 else [hosier.pid]
        with socks5(hosier.address, target) as inside:
            for pid in serving:
                _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (40, hard))
            clients = [socket.create_connection(hosier.address, PATIENCE) for _ in range(120)]
            for client in clients:
                client.sendall(b"\x05")
            wait_until(lambda: hosier.messages.count("cannot accept") == count, "it says so")
            assert says_hello(inside)
            for client in clients[:100]:
                client.close()
            for client in clients[100:]:  # they have waited in the kernel's queue, or inside
                client.sendall(b"\x01\x00")
                assert client.recv(2) == b"\x05\x00"
                client.close()
            with socks5(hosier.address, target) as late:
                assert says_hello(late)
        assert hosier.messages.count("cannot accept: Too many open files") == count


def test_the_derived_cap_leaves_descriptors_for_those_inside() -> None:
    """Where descriptors are few, the server turns clients away before sessions under way lack one."""
    with echo_server() as target:
        server = subprocess.Popen(
            ["/bin/sh", "-c", 'ulimit -n 164; exec "$@"', "sh", *command("serve", "--listen=127.0.0.1:0", "--log=off")],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stderr is not None
            lines = [server.stderr.readline() for _ in range(3)]
            assert "room for 50 sessions, 50 handshakes" in lines[2]
            place = Address("127.0.0.1", int(lines[0].split("127.0.0.1:")[1].split()[0]))
            inside = []
            for _ in range(100):
                with contextlib.suppress(ConnectionError):
                    inside.append(socks5(place, target))
            assert len(inside) == 50
            assert all(says_hello(client) for client in inside)
            for client in inside:
                client.close()
        finally:
            server.terminate()
            _, rest = server.communicate(timeout=PATIENCE)
        assert "closed; the cap sessions=50 is reached" in rest
        assert "cannot accept" not in rest
