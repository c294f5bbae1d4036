"""What a client's library costs: CPU time per connect and per datagram, beside PySocks and python-socks.

    python benchmarks/client_costs.py                # about four minutes; kept in benchmarks/results
    python benchmarks/client_costs.py --rounds 3 --iterations 300 --no-save

The proxy is another process that gives canned answers. A connect's figure is what it takes beyond a direct one. In each
round every way is measured once, in an order that rotates; Hosier twice, so that the difference (A/A) shows the noise.
Targets and proxies are the same throughout, as in a program that goes to few places. *Limit* is the same system calls
in bare Python, without a time limit or a look at what comes back: less than that is not to be had with two answers.

Everything is measured twice: with the proxy on the core of the program, where to wake it costs little, and on another
core, where it costs an interrupt that every library pays in the same way.
Needs PySocks and python-socks; nothing else should run.
"""

import argparse
import asyncio
import datetime
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import python_socks
import socks
from generator import pin
from python_socks.async_.asyncio import Proxy as AsyncioProxy
from python_socks.sync import Proxy as SyncProxy

import hosier

# Greeting, choice, request, success, and a UDP echo for a relay: headers go back as they came, and runs as runs, as in
# Hosier's own server.
PROXY = """
import asyncio, socket, sys
SEGMENT, GRO = 103, 104
class Proxy(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data):
        if len(data) < 5: self.transport.write(b"\\5\\0")
        else: self.transport.write(b"\\5\\0\\0\\1\\x7f\\0\\0\\1" + relay.getsockname()[1].to_bytes(2, "big"))
def echo():
    data, ancillary, _, peer = relay.recvmsg(65535, 64)
    size = next((int.from_bytes(value, sys.byteorder) for _, kind, value in ancillary if kind == GRO), 0)
    run = [(17, SEGMENT, size.to_bytes(2, sys.byteorder))] if 0 < size < len(data) else []
    relay.sendmsg([data], run, 0, peer)
async def main():
    loop = asyncio.get_running_loop()
    loop.add_reader(relay, echo)
    server = await loop.create_server(Proxy, "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
relay = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
relay.setsockopt(17, GRO, 1)
relay.bind(("127.0.0.1", 0))
asyncio.run(main())
"""
TARGET = ("192.0.2.1", 80)
GREETING = b"\x05\x01\x00"
REQUEST = b"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50"
HEADER = b"\x00\x00\x00\x01\xc0\x00\x02\x01\x00\x50"
PAYLOAD = b"x" * 512
RUN = 32
"""Datagrams that are sent and received together."""

Measure = Callable[[int], float]

HERE = Path(__file__).parent
AGAIN = "hosier again"
LIMIT = "limit"
CORE = 0
PLACES = {"one core": 0, "two cores": 1}
"""Where the proxy runs."""

BLOCKING = "blocking connect, beyond direct"
ASYNCIO = "asyncio open_connection, beyond direct"
SINGLY = "UDP sendto and recvfrom"
IN_RUNS = f"UDP send_many and recv_many, {RUN} together, per datagram"

# Row, beside whom, and how much of that at most.
BARS = (
    (BLOCKING, "PySocks", 0.6),
    (BLOCKING, "python-socks", 0.4),
    (ASYNCIO, "python-socks", 0.5),
    (SINGLY, "PySocks", 0.33),
    (IN_RUNS, "PySocks", 0.33),
)


def blocking(call: Callable[[], socket.socket]) -> Measure:
    def measure(iterations: int) -> float:
        before = time.process_time()
        for _ in range(iterations):
            call().close()
        return (time.process_time() - before) / iterations * 1e6

    return measure


def awaited(
    call: Callable[[], Coroutine[Any, Any, tuple[asyncio.StreamReader, asyncio.StreamWriter]]],
) -> Measure:
    async def measure(iterations: int) -> float:
        before = time.process_time()
        for _ in range(iterations):
            _, writer = await call()
            writer.close()
            await writer.wait_closed()
        return (time.process_time() - before) / iterations * 1e6

    return lambda iterations: asyncio.run(measure(iterations))


def datagrams(sock: Any) -> Measure:
    def measure(iterations: int) -> float:
        before = time.process_time()
        for _ in range(iterations):
            sock.sendto(PAYLOAD, TARGET)
            sock.recvfrom(65_535)
        return (time.process_time() - before) / iterations * 1e6

    return measure


def runs(sock: hosier.ProxiedDatagramSocket) -> Measure:
    """Per datagram, too."""
    payloads = [PAYLOAD] * RUN

    def measure(iterations: int) -> float:
        before = time.process_time()
        for _ in range(iterations):
            sock.send_many(payloads, TARGET)
            missing = RUN
            while missing > 0:
                missing -= len(sock.recv_many())
        return (time.process_time() - before) / iterations / RUN * 1e6

    return measure


def bare_connect(port: int) -> socket.socket:
    """The limit of a connect."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.connect(("127.0.0.1", port))
    sock.send(GREETING)
    sock.recv(2)
    sock.send(REQUEST)
    sock.recv(10)
    return sock


def bare_datagrams(relay: tuple[str, int]) -> Measure:
    """The limit of a datagram there and back: with its header, which is taken off."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(relay)

    def measure(iterations: int) -> float:
        before = time.process_time()
        for _ in range(iterations):
            sock.send(HEADER + PAYLOAD)
            sock.recv(65_535)[len(HEADER) :]
        return (time.process_time() - before) / iterations * 1e6

    return measure


def blocking_ways(port: int) -> dict[str, Measure]:
    ours = hosier.Proxy(f"socks5h://127.0.0.1:{port}")
    theirs = SyncProxy.from_url(f"socks5://127.0.0.1:{port}")
    return {
        "direct": blocking(lambda: socket.create_connection(("127.0.0.1", port), 10)),
        "hosier": blocking(lambda: hosier.connect(ours, *TARGET, timeout=10)),
        "PySocks": blocking(
            lambda: socks.create_connection(
                TARGET, timeout=10, proxy_type=socks.SOCKS5, proxy_addr="127.0.0.1", proxy_port=port
            )
        ),
        "python-socks": blocking(lambda: theirs.connect(*TARGET, timeout=10)),
        LIMIT: blocking(lambda: bare_connect(port)),
    }


def awaited_ways(port: int) -> dict[str, Measure]:
    proxies: dict[asyncio.AbstractEventLoop, AsyncioProxy] = {}
    ours = hosier.Proxy(f"socks5h://127.0.0.1:{port}")

    async def through_theirs() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        theirs = proxies.get(asyncio.get_running_loop())
        if theirs is None:  # it belongs to one loop
            theirs = proxies[asyncio.get_running_loop()] = AsyncioProxy.from_url(f"socks5://127.0.0.1:{port}")
        return await asyncio.open_connection(sock=await theirs.connect(*TARGET, timeout=10))

    return {
        "direct": awaited(lambda: asyncio.open_connection("127.0.0.1", port)),
        "hosier": awaited(lambda: hosier.aio.open_connection(*TARGET, proxy=ours, timeout=10)),
        "python-socks": awaited(through_theirs),
    }


def datagram_ways(port: int) -> dict[str, Measure]:
    ours = hosier.associate(f"socks5h://127.0.0.1:{port}")
    theirs = socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM)
    theirs.set_proxy(socks.SOCKS5, "127.0.0.1", port)
    theirs.bind(("127.0.0.1", 0))
    return {"hosier": datagrams(ours), "PySocks": datagrams(theirs), LIMIT: bare_datagrams(ours.relay)}


def run_ways(port: int) -> dict[str, Measure]:
    return {"hosier": runs(hosier.associate(f"socks5h://127.0.0.1:{port}"))}


def rounds_of(ways: dict[str, Measure], iterations: int, rounds: int) -> dict[str, list[float]]:
    """What each way took, per call in microseconds, round by round."""
    names = [*ways, AGAIN]
    measures = {**ways, AGAIN: ways["hosier"]}
    for measure in ways.values():
        measure(max(iterations // 10, 1))
    samples: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            samples[name].append(measures[name](iterations))
    direct = samples.pop("direct", [0.0])
    beyond = statistics.median(direct)
    return {name: [value - beyond for value in values] for name, values in samples.items()}


def measured(iterations: int, rounds: int, core: int) -> dict[str, dict[str, list[float]]]:
    """All rows, beside a proxy on that core."""
    with subprocess.Popen(
        [sys.executable, "-c", PROXY], stdout=subprocess.PIPE, text=True, preexec_fn=pin(core)
    ) as proxy:
        try:
            assert proxy.stdout is not None
            port = int(proxy.stdout.readline())
            found = {
                BLOCKING: rounds_of(blocking_ways(port), iterations, rounds),
                ASYNCIO: rounds_of(awaited_ways(port), iterations, rounds),
                SINGLY: rounds_of(datagram_ways(port), iterations * 2, rounds),
                IN_RUNS: rounds_of(run_ways(port), iterations // 4, rounds),
            }
        finally:
            proxy.terminate()
    found[IN_RUNS]["PySocks"] = found[SINGLY]["PySocks"]  # which has no other verbs
    return found


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), "PySocks": socks.__version__, "python-socks": python_socks.__version__}


def commit() -> str:
    git = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=10"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def report(results: dict[str, Any]) -> str:
    """The same as Markdown: what is asked, what was found, whether it is enough."""
    lines = [
        f"# What the client costs, {results['date']}",
        "",
        f"Commit {results['commit']}; {results['machine']}, {results['cpus']} cores; "
        + ", ".join(f"{name} {version}" for name, version in results["versions"].items())
        + f"; {results['rounds']} interleaved rounds. CPU \u00b5s, median (smallest\u2013largest).",
        "",
        "Limit: the same system calls in bare Python. To wake a proxy on another core costs an interrupt, which is no "
        "library's doing.",
    ]
    for place, figures in results["cpu_us"].items():
        lines += ["", f"## Program and proxy on {place}", "", *table(figures)]
    return "\n".join(lines) + "\n"


def table(figures: dict[str, dict[str, list[float]]]) -> list[str]:
    names = (LIMIT, "hosier", AGAIN, "PySocks", "python-socks")
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for row, found in figures.items():
        lines.append(f"| {row} | {' | '.join(cell(found.get(name)) for name in names)} |")
    lines += ["", "| bar | found | limit | |", "|---|---|---|---|"]
    for row, other, allowed in BARS:
        middle = {name: statistics.median(values) for name, values in figures[row].items()}
        ratio = middle["hosier"] / middle[other]
        limit = f"{middle[LIMIT] / middle[other]:.2f} \u00d7" if LIMIT in middle else "\u2013"
        verdict = "met" if ratio <= allowed else "missed"
        lines.append(f"| {row}: at most {allowed} \u00d7 {other} | {ratio:.2f} \u00d7 | {limit} | {verdict} |")
    return lines


def cell(values: list[float] | None) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}\u2013{max(values):.2f})" if values else "\u2013"


def machine() -> str:
    with open("/proc/cpuinfo", encoding="ascii") as file:
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "?")
    return f"{model}, Linux {platform.release()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--no-save", action="store_true", help="only print")
    options = parser.parse_args()
    pin(CORE)()
    results = {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "machine": machine(),
        "cpus": os.cpu_count(),
        "versions": versions(),
        "rounds": options.rounds,
        "iterations": options.iterations,
        "cpu_us": {place: measured(options.iterations, options.rounds, core) for place, core in PLACES.items()},
    }
    text = report(results)
    print(text)
    if not options.no_save:
        name = f"{results['date']}-client"
        (HERE / "results" / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        (HERE / "results" / f"{name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
