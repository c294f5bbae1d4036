"""What `hosier run` costs, beside `hosier serve` and proxychains4.

    python benchmarks/run_costs.py [--rounds N] [--connections N] [--gigabytes N] [--no-save]

Needs Linux, two cores, root, a C compiler, curl, nftables, iproute2 and setpriv; proxychains4 if it is to stand beside.

Everything happens in a network namespace that this program makes for itself, in which one address more exists; the
programs under `hosier run` belong to an ordinary user. Rounds are interleaved; tables have the median and the range.

- Short connections: 64 at a time, 100 octets there and back (`load.c`). `serve`: CPU of the server per session.
  `run`: CPU of the gateway, the one process that runs beside the program. The server dials the target itself; the
  gateway's proxy is the C limit, whose CPU is nobody's. proxychains4 works within the program: its figure is the
  load's CPU with it, less that without.
- Bulk: gigabytes down in four streams, CPU and throughput; curl in `hosier run` beside curl's own `--socks5-hostname`.
  `run` stands before a proxy, so the server that it is compared with stands there, too: `hosier serve --upstream`
  before the same proxy. That is measured before a proxy that copies, and before one that splices: on one machine, what
  the latter passes on arrives as references to many small pages, and whoever splices next pays for each of them; over
  a cable nobody does. `serve` straight before the target is in the table, too: there the server shares its core with
  nobody, and more of what it sends is delivered at the receiver's expense.
- Start: wall time of `hosier run -- true` less that of `true`, beside a Python that imports asyncio and
  `unshare -Urn true`.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import measure
from generator import HERE, Target, build
from peers import CopyingLimit, Hosier, Limit, Server, running

HOST = "203.0.113.10"
USER = 65534
GB = 1_000_000_000
STARTS = 15
WARM = 20_000_000
Figures = dict[str, float]
Transfer = Callable[..., object]
"""Gets the words of the load generator, and is over when the load is."""

AS_USER = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
OWN = str(Path(sys.executable).with_name("hosier"))


def enter_namespace() -> None:
    """Starts this program again, where the host is."""
    set_up = f'ip link set lo up && ip addr add {HOST}/32 dev lo && exec "$@"'
    os.execvp("unshare", ["unshare", "-n", "sh", "-c", set_up, "sh", sys.executable, *sys.argv, "--inside"])


def load(*arguments: object) -> list[str]:
    return [str(build("load.c")), *map(str, arguments)]


class Shell:
    """`hosier run -- sh`, so that the gateway outlives what is measured."""

    def __init__(self, proxy: str, user: bool = True) -> None:
        before = gateways()
        self._process = subprocess.Popen(
            [*(AS_USER if user else []), OWN, "run", f"--proxy=socks5h://{proxy}", "--", "sh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self("true")
        while not (found := gateways() - before):
            time.sleep(0.01)
        (self.gateway,) = found
        with suppress(OSError):
            os.sched_setaffinity(self.gateway, {0})

    def __call__(self, *command: str) -> str:
        """Runs it on the load's core; its first line, and everything waits until it has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"taskset -c 1 {' '.join(command)} </dev/null; echo end\n")
        self._process.stdin.flush()
        lines = []
        while (line := self._process.stdout.readline()) not in ("end\n", ""):
            lines.append(line)
        return lines[0] if lines else ""

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def shell(proxy: str) -> Iterator[Shell]:
    opened = Shell(proxy)
    try:
        yield opened
    finally:
        opened.close()


def gateways() -> set[int]:
    """Those of this namespace."""
    found = set()
    here = os.readlink("/proc/self/ns/net")
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (path / "comm").read_text() == "hosier-gateway\n" and os.readlink(path / "ns/net") == here:
                found.add(int(path.name))
    return found


def children_cpu(work: Callable[[], Any]) -> tuple[Any, float]:
    """What came of it, and the seconds of CPU of the children that ended meanwhile."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return result, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Bench:
    def __init__(self, target: Target, awake: Target, connections: int, gigabytes: int, folder: Path) -> None:
        self.target = target
        self.awake = awake
        self.connections = connections
        self.octets = gigabytes * GB
        self.folder = folder

    # --- short connections ---

    def short(self) -> Figures:
        words = ("short", "--targets", self.awake.echo, "--sessions", self.connections, "--host", HOST)
        with running(Hosier()) as server:
            proxy = ("--proxy", f"127.0.0.1:{server.port}")
            self._sessions(load(*words[:-4], "--sessions", 500, "--host", HOST, *proxy))
            before = measure.cpu_ns(server.pid)
            self._sessions(load(*words, "--awake", *proxy))
            serve = (measure.cpu_ns(server.pid) - before) / 1e3 / self.connections
        with running(Limit()) as limit, shell(f"127.0.0.1:{limit.port}") as inside:
            warm = load("short", "--targets", self.awake.echo, "--sessions", 500, "--host", HOST, "--direct")
            inside(*warm)
            before = measure.cpu_ns(inside.gateway)
            result = json.loads(inside(*load(*words, "--awake", "--direct")))
            run = (measure.cpu_ns(inside.gateway) - before) / 1e3 / self.connections
            per_second = result["sessions"] / result["seconds"]
        figures = {"short_serve_us": serve, "short_run_us": run, "short_run_per_s": per_second}
        figures["short_failed"] = result["failures"]
        return figures | {"short_ratio": run / serve} | self._proxychains(words)

    def _proxychains(self, words: Sequence[object]) -> Figures:
        if shutil.which("proxychains4") is None:
            return {}
        with running(Limit()) as limit:
            config = self.folder / "proxychains.conf"
            config.write_text(f"strict_chain\nquiet_mode\n[ProxyList]\nsocks5 127.0.0.1 {limit.port}\n")
            direct = load(*words, "--direct")
            _, without = children_cpu(lambda: self._sessions(direct))
            _, within = children_cpu(lambda: self._sessions(["proxychains4", "-f", str(config), *direct]))
        return {"short_proxychains_us": (within - without) * 1e6 / self.connections}

    def _sessions(self, command: list[str]) -> dict[str, Any]:
        done = subprocess.run(["taskset", "-c", "1", *command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
        return result

    # --- much data ---

    def bulk(self) -> Figures:
        with running(Hosier()) as server:
            figures = {"bulk_plain_s": self._per_gigabyte(server.pid, self._served(server))}
        for name, kind in (("spliced", Limit), ("copied", CopyingLimit)):
            with running(kind()) as proxy:
                with running(Hosier(options=(f"--upstream=socks5h://{proxy.proxy}",))) as server:
                    serve = self._per_gigabyte(server.pid, self._served(server))
                with shell(proxy.proxy) as inside:
                    begin = time.perf_counter()
                    run = self._per_gigabyte(inside.gateway, lambda *words: inside(*load(*words, "--direct")))
                    speed = (self.octets + WARM) / GB / (time.perf_counter() - begin)
            figures |= {f"bulk_serve_{name}_s": serve, f"bulk_run_{name}_s": run, f"bulk_ratio_{name}": run / serve}
            figures |= {f"bulk_run_{name}_gb_s": speed}
        return figures | self._curl()

    def _served(self, server: Server) -> Transfer:
        return lambda *words: self._sessions(load(*words, "--proxy", server.proxy))

    def _per_gigabyte(self, pid: int, transfer: Transfer) -> float:
        """CPU seconds of the process. What it does once, such as its imports, is done before."""
        words = (
            "bulk",
            "--targets",
            self.target.source,
            "--direction",
            "down",
            "--streams",
            4,
            "--copy",
            "--host",
            HOST,
        )
        transfer(*words, "--bytes", WARM)
        before = measure.cpu_ns(pid)
        transfer(*words, "--bytes", self.octets)
        return (measure.cpu_ns(pid) - before) / 1e9 / (self.octets / GB)

    def _curl(self) -> Figures:
        """One stream, as a program has it."""
        write = "-w '%{speed_download}\\n' -sS -o /dev/null"
        with web(self.octets) as port, running(Limit()) as limit, shell(f"127.0.0.1:{limit.port}") as inside:
            url = f"http://{HOST}:{port}/"
            run = float(inside("curl", write, url))
            own = subprocess.run(
                ["sh", "-c", f"taskset -c 1 curl {write} --socks5-hostname 127.0.0.1:{limit.port} {url}"],
                capture_output=True,
                text=True,
                check=True,
            )
        return {"curl_run_gb_s": run / GB, "curl_own_gb_s": float(own.stdout) / GB}

    # --- the beginning ---

    def start(self) -> Figures:
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        python = str(Path(sys.executable))
        commands = {
            "true": ["true"],
            "run": [OWN, "run", "--proxy=socks5h://127.0.0.1:9", "--", "true"],
            "asyncio": [python, "-c", "import asyncio"],
            "unshare": ["unshare", "-Urn", "true"],
            "proxychains": ["proxychains4", "-q", "true"],
        }
        if shutil.which("proxychains4") is None:
            del commands["proxychains"]
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(STARTS):
            for name, command in commands.items():
                begin = time.perf_counter()
                subprocess.run([*AS_USER, *command], check=True, **quiet)  # type: ignore[call-overload]
                times[name].append(time.perf_counter() - begin)
            wait_until_alone()
        median = {name: statistics.median(values) * 1e3 for name, values in times.items()}
        nothing = median.pop("true")
        added = {f"start_{name}_ms": value - nothing for name, value in median.items()}
        return added | {"start_ratio": added["start_run_ms"] / (added["start_asyncio_ms"] + added["start_unshare_ms"])}


def wait_until_alone() -> None:
    """The gateways of what has just ended are still ending; they must not disturb what comes next."""
    deadline = time.monotonic() + 10
    while gateways() and time.monotonic() < deadline:
        time.sleep(0.005)


@contextmanager
def web(octets: int) -> Iterator[int]:
    """Sends so many octets to whoever connects, and closes."""
    with socket.create_server((HOST, 0)) as server, tempfile.TemporaryFile(dir="/dev/shm") as file:
        file.truncate(octets)
        head = f"HTTP/1.0 200 OK\r\nContent-Length: {octets}\r\n\r\n".encode()

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client, suppress(OSError):
                    client.recv(4096)
                    client.sendall(head)
                    offset = 0
                    while offset < octets:
                        offset += os.sendfile(client.fileno(), file.fileno(), offset, octets - offset)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


ROWS = (
    ("CPU µs per short session, `hosier serve`", "short_serve_us", 1, None),
    ("CPU µs per short connection added by `hosier run`", "short_run_us", 1, None),
    ("… times `serve`'s", "short_ratio", 2, 1.5),
    ("CPU µs per short connection added by proxychains4", "short_proxychains_us", 1, None),
    ("short connections per second, `hosier run`", "short_run_per_s", 0, None),
    ("connections that failed", "short_failed", 0, None),
    ("CPU s per GB, `hosier serve` before the target", "bulk_plain_s", 3, None),
    ("CPU s per GB, `hosier serve` before a proxy that copies", "bulk_serve_copied_s", 3, None),
    ("CPU s per GB added by `hosier run` before the same", "bulk_run_copied_s", 3, None),
    ("… times `serve`'s", "bulk_ratio_copied", 2, 1.2),
    ("GB/s in 4 streams, `hosier run` before a proxy that copies", "bulk_run_copied_gb_s", 2, None),
    ("CPU s per GB, `hosier serve` before a proxy that splices", "bulk_serve_spliced_s", 3, None),
    ("CPU s per GB added by `hosier run` before the same", "bulk_run_spliced_s", 3, None),
    ("… times `serve`'s", "bulk_ratio_spliced", 2, 1.2),
    ("GB/s in 4 streams, `hosier run` before a proxy that splices", "bulk_run_spliced_gb_s", 2, None),
    ("GB/s, curl in `hosier run`", "curl_run_gb_s", 2, None),
    ("GB/s, curl `--socks5-hostname`", "curl_own_gb_s", 2, None),
    ("start: ms of `hosier run -- true` less `true`", "start_run_ms", 1, None),
    ("start: ms of a Python that imports asyncio", "start_asyncio_ms", 1, None),
    ("start: ms of `unshare -Urn true`", "start_unshare_ms", 1, None),
    ("… `run`'s times both together", "start_ratio", 2, 2.0),
    ("start: ms of `proxychains4 true`", "start_proxychains_ms", 1, None),
)


def markdown(document: dict[str, Any]) -> str:
    lines = [
        f"# What hosier run costs, {document['date']}",
        "",
        f"{document['machine']}; {document['rounds']} interleaved rounds; median (range).",
        "Made by `benchmarks/run_costs.py`.",
        "",
        "| figure | value | bar |",
        "|---|---|---|",
    ]
    for title, key, digits, bar in ROWS:
        values = document["figures"].get(key)
        if not values:
            continue
        middle = statistics.median(values)
        spread = f"{middle:.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
        verdict = "" if bar is None else f"at most {bar}: {'met' if middle <= bar else 'missed'}"
        lines.append(f"| {title} | {spread} | {verdict} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=8_000)
    parser.add_argument("--gigabytes", type=int, default=2)
    parser.add_argument("--figures", default="short,bulk,start", help="those to measure")
    parser.add_argument("--no-save", action="store_true")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.inside:
        enter_namespace()
    Limit().prepare()
    target, awake = Target("--host", HOST), Target("--awake", "--host", HOST)
    figures: dict[str, list[float]] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(target, awake, arguments.connections, arguments.gigabytes, Path(folder))
            for number in range(arguments.rounds):
                for name in arguments.figures.split(","):
                    for key, value in getattr(bench, name)().items():
                        figures.setdefault(key, []).append(round(value, 4))
                print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
    finally:
        target.close()
        awake.close()
    document = {
        "date": time.strftime("%Y-%m-%d-%H%M", time.gmtime()),
        "machine": f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "rounds": arguments.rounds,
        "figures": figures,
    }
    text = markdown(document)
    print(text)
    if not arguments.no_save:
        path = HERE / "results" / f"{document['date']}-run"
        path.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
        path.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
