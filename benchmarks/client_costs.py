"""What a client's library costs: CPU time per connect and per datagram, beside PySocks and python-socks.

    python benchmarks/client_costs.py [--iterations N] [--rounds N] [--json]

The proxy is another process that gives canned answers. A connect's figure is what it takes beyond a direct one.
Rounds are interleaved; the median of each library's counts. Needs PySocks and python-socks.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import python_socks
import socks
from python_socks.async_.asyncio import Proxy as AsyncioProxy
from python_socks.sync import Proxy as SyncProxy

import hosier

# Greeting, choice, request, success, and a UDP echo for a relay: headers go back as they came.
PROXY = """
import asyncio, socket
class Proxy(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data):
        if len(data) < 5: self.transport.write(b"\\5\\0")
        else: self.transport.write(b"\\5\\0\\0\\1\\x7f\\0\\0\\1" + relay.getsockname()[1].to_bytes(2, "big"))
def echo():
    data, peer = relay.recvfrom(65535)
    relay.sendto(data, peer)
async def main():
    loop = asyncio.get_running_loop()
    loop.add_reader(relay, echo)
    server = await loop.create_server(Proxy, "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
relay = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
relay.bind(("127.0.0.1", 0))
asyncio.run(main())
"""
TARGET = ("192.0.2.1", 80)
PAYLOAD = b"x" * 512

Measure = Callable[[int], float]


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
    return {"hosier": datagrams(ours), "PySocks": datagrams(theirs)}


def medians(ways: dict[str, Measure], iterations: int, rounds: int) -> dict[str, float]:
    for measure in ways.values():
        measure(max(iterations // 10, 1))
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, measure in ways.items():
            samples[name].append(measure(iterations))
    found = {name: statistics.median(values) for name, values in samples.items()}
    direct = found.pop("direct", 0.0)
    return {name: round(value - direct, 2) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=700)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with subprocess.Popen([sys.executable, "-c", PROXY], stdout=subprocess.PIPE, text=True) as proxy:
        try:
            assert proxy.stdout is not None
            port = int(proxy.stdout.readline())
            figures = {
                name: medians(ways, options.iterations, options.rounds)
                for name, ways in (
                    ("blocking connect, beyond direct", blocking_ways(port)),
                    ("asyncio open_connection, beyond direct", awaited_ways(port)),
                    ("UDP send and receive", datagram_ways(port)),
                )
            }
        finally:
            proxy.terminate()
    if options.json:
        print(json.dumps({"cpu_us": figures, "versions": versions(), "cpus": os.cpu_count()}, indent=1))
    else:
        print(table(figures))


def versions() -> dict[str, str]:
    return {"python": sys.version.split()[0], "PySocks": socks.__version__, "python-socks": python_socks.__version__}


def table(figures: dict[str, dict[str, float]]) -> str:
    lines = ["| CPU µs | hosier | PySocks | python-socks |", "|---|---|---|---|"]
    for name, row in figures.items():
        ours = row["hosier"]
        others = (row.get(one) for one in ("PySocks", "python-socks"))
        cells = (f"{other} (ours: {ours / other:.2f} of it)" if other else "-" for other in others)
        lines.append(f"| {name} | {ours} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
