"""Measures Hosier and its peers: `python benchmarks/run.py`. See README.md in this folder.

The server runs on one core, the load and its target on the other. In every round each server is measured once for every
figure, in an order that rotates, and started anew for each of them. One server is measured twice (A/A): how far the two
differ is the noise. Kept are all samples; the tables show medians and the range.
"""

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import measure
import operating
import report
from generator import HERE, LOAD_CORE, LoadError, Target, build, job, pin
from peers import SERVER_CORE, SOURCE, Command, Hosier, MissingPeer, Peer, Server, all_peers, enter, running

PER_SERVER = ("short", "bulk", "rr", "mixed", "idle", "udp")
ONCE = ("log", "core", "callsoon", "password", "workers", "flood", "guesses", "syscalls")
TWIN = " (again)"
GB = 1_000_000_000


@dataclass
class Sizes:
    """How much work a sample is."""

    warm_up: int = 500
    sessions: int = 20_000
    bulk_bytes: int = 3 * GB
    bulk_streams: int = 4
    trips: int = 50_000
    rr_sessions: int = 50
    mixed_seconds: int = 4
    mixed_bulk: int = 200
    idle_sessions: int = 2_000
    traced_sessions: int = 1_000
    datagrams: int = 200_000
    udp_window: int = 32
    udp_idle: int = 500
    timeout: int = 90

    @classmethod
    def quick(cls) -> "Sizes":
        return cls(
            sessions=5_000,
            bulk_bytes=GB,
            trips=20_000,
            mixed_seconds=2,
            idle_sessions=1_000,
            datagrams=60_000,
            timeout=40,
        )


@dataclass
class Bench:
    sizes: Sizes
    user: str | None
    target: Target
    awake_target: Target  # for CPU per session and round trip: does not sleep while there is work (load.c)
    first_target: Target  # for latency: its echo goes before everything else on the load's core
    direct_kernel: list[float] = field(default_factory=list)

    def load(self, server: Server | str, mode: str, *more: object) -> tuple[object, ...]:
        proxy = server if isinstance(server, str) else server.proxy
        return (mode, "--proxy", proxy, "--timeout", self.sizes.timeout, *more)

    def warm_up(self, server: Server, *more: object) -> None:
        run_short(self, server, self.sizes.warm_up, *more)

    def short_cpu_us(self, server: Server, *more: object) -> float:
        """CPU per short session, after a warm-up."""
        self.warm_up(server, *more)
        before = measure.cpu_ns(server.pid)
        result = run_short(self, server, self.sizes.sessions, *more)
        used: float = (measure.cpu_ns(server.pid) - before) / 1e3 / result["sessions"]
        return used

    def round_trips(self, server: Server, *more: object) -> dict[str, float]:
        """Latencies of small round trips, the load's process going first on its core."""
        more += ("--targets", self.first_target.echo, "--sessions", self.sizes.rr_sessions)
        result, _ = held(server, self.load(server, "rr", *more, "--trips", self.sizes.trips))
        return latency("rr", result)


Figures = dict[str, float]


def run_short(bench: Bench, server: Server, sessions: int, *more: object) -> dict[str, Any]:
    arguments = bench.load(server, "short", "--awake", "--targets", bench.awake_target.echo, "--sessions", sessions)
    with job(*arguments, *more) as running_job:
        result = running_job.line()
    time.sleep(0.05)  # the server's last closes
    if result["failures"]:
        raise LoadError(f"{result['failures']} of {sessions} sessions failed")
    return result


def held(server: Server, arguments: tuple[object, ...]) -> tuple[dict[str, Any], int]:
    """Runs a load that opens its sessions first; returns its result and the CPU time of the work alone."""
    with job(*arguments, "--hold") as running_job:
        running_job.line()
        before = measure.cpu_ns(server.pid)
        running_job.signal()
        result = running_job.line()
        used = measure.cpu_ns(server.pid) - before
        running_job.signal()
    return result, used


def latency(prefix: str, result: dict[str, Any]) -> Figures:
    values = result["latency_us"]
    return {f"{prefix}_{key.replace('.', '')}_us": values[key] for key in ("p50", "p90", "p99", "p99.9")}


def short(bench: Bench, server: Server) -> Figures:
    bench.warm_up(server)
    before = measure.cpu_ns(server.pid)
    result = run_short(bench, server, bench.sizes.sessions)
    used = measure.cpu_ns(server.pid) - before
    per_second = result["sessions"] / result["seconds"]
    return {"short_cpu_us": used / 1e3 / result["sessions"], "short_per_s": per_second} | latency("short", result)


def bulk(bench: Bench, server: Server) -> Figures:
    figures: Figures = {}
    for direction, port in (("down", bench.target.source), ("up", bench.target.sink)):
        size = ("--streams", bench.sizes.bulk_streams, "--bytes", bench.sizes.bulk_bytes, "--copy")
        more = ("--targets", port, "--direction", direction, *size)
        result, used = held(server, bench.load(server, "bulk", *more))
        figures[f"bulk_{direction}_cpu_s_per_gb"] = used / 1e9 / (result["bytes"] / GB)
        figures[f"bulk_{direction}_gb_per_s"] = result["bytes"] / GB / result["seconds"]
    return figures


def rr(bench: Bench, server: Server) -> Figures:
    bench.warm_up(server)
    more = ("--awake", "--targets", bench.awake_target.echo)
    more += ("--sessions", bench.sizes.rr_sessions, "--trips", bench.sizes.trips)
    result, used = held(server, bench.load(server, "rr", *more))
    return {"rr_cpu_us": used / 1e3 / result["round_trips"]} | latency("rr", result)


def mixed_arguments(bench: Bench, server: Server | str) -> tuple[object, ...]:
    target = bench.first_target
    sizes = ("--sessions", bench.sizes.rr_sessions, "--bulk", bench.sizes.mixed_bulk)
    more = ("--targets", target.echo, "--source", target.source, *sizes, "--seconds", bench.sizes.mixed_seconds)
    return bench.load(server, "mixed", *more)


def mixed(bench: Bench, server: Server) -> Figures:
    bench.warm_up(server)
    with job(*mixed_arguments(bench, server)) as running_job:
        result = running_job.line()
    per_second = {
        "mixed_bulk_gb_per_s": result["bulk_bytes"] / GB / result["seconds"],
        "mixed_trips_per_s": result["round_trips"] / result["seconds"],
    }
    return per_second | latency("mixed", result)


def udp_trips(bench: Bench, server: Server, associations: int, payload: int, *, offload: bool = False) -> Figures:
    """Round trips of datagrams; losses are part of the result, but not all may be lost."""
    target = bench.awake_target.joined_datagrams if offload else bench.awake_target.datagrams
    size = ("--sessions", associations, "--payload", payload, "--window", bench.sizes.udp_window)
    more = ("--awake", "--targets", target, *size, "--trips", bench.sizes.datagrams, *(["--offload"] * offload))
    result, used = held(server, bench.load(server, "udp", *more))
    name = f"udp{'_offload' if offload else ''}_{payload}x{associations}"
    trips = result["round_trips"]
    if not trips:
        raise LoadError("every datagram was lost")
    return {
        f"{name}_cpu_us": used / 1e3 / trips,
        f"{name}_per_s": trips / result["seconds"],
        f"{name}_lost_ppm": result["lost"] / (trips + result["lost"]) * 1e6,
    }


def udp(bench: Bench, server: Server) -> Figures:
    """Both sizes, alone and beside others, once with segmentation offload, and what an idle association costs."""
    figures: Figures = {}
    for associations in (8, 1):
        for payload in (1200, 64):
            figures |= udp_trips(bench, server, associations, payload)
    figures |= udp_trips(bench, server, 8, 1200, offload=True)
    measure.settle()
    before = measure.user_memory(server.pid)
    more = ("--targets", bench.target.datagrams, "--sessions", bench.sizes.udp_idle)
    with job(*bench.load(server, "udp-idle", *more)) as running_job:
        running_job.line()
        growth = measure.user_memory(server.pid) - before
    return figures | {"udp_idle_user_kib": growth / 1024 / bench.sizes.udp_idle}


def idle_growth(bench: Bench, pid: int, arguments: tuple[object, ...]) -> tuple[float, float]:
    """User and kernel memory that open sessions cost, in KiB per session."""
    measure.settle()
    user, kernel = measure.user_memory(pid), measure.kernel_memory()
    with job(*arguments, "--targets", bench.target.echo, "--sessions", bench.sizes.idle_sessions) as running_job:
        running_job.line()
        measure.settle()
        user, kernel = measure.user_memory(pid) - user, measure.kernel_memory() - kernel
    per_session = 1024 * bench.sizes.idle_sessions
    return user / per_session, kernel / per_session


def idle(bench: Bench, server: Server) -> Figures:
    """A session through the proxy has four sockets. The outer two, and what the load and the target need for them, are
    what a direct connection costs: that is measured the same way and subtracted."""
    bench.warm_up(server)
    user, kernel = idle_growth(bench, server.pid, bench.load(server, "idle"))
    direct = idle_growth(bench, server.pid, bench.load(server, "idle", "--direct"))[1]
    bench.direct_kernel.append(direct)
    return {"idle_user_kib": user, "idle_kernel_kib": kernel - direct}


MEASURES: dict[str, Callable[[Bench, Server], Figures]] = {
    "short": short,
    "bulk": bulk,
    "rr": rr,
    "mixed": mixed,
    "idle": idle,
    "udp": udp,
}


# ---- figures of Hosier alone ----


def log_cost(bench: Bench, results: "Results") -> None:
    """Short sessions with a log line each, and without, one after the other."""
    for name, kind in (("log_off_cpu_us", "off"), ("log_text_cpu_us", "text")):
        peer = Hosier("hosier", log=kind)
        with running(peer, bench.user) as server:
            results.add("hosier", {name: short(bench, server)["short_cpu_us"]})
        path = peer.output()
        if path is not None:
            written = path.read_bytes().count(b"\n")
            path.unlink()
            if written < bench.sizes.sessions:
                results.error("log", "hosier", f"only {written} log lines for {bench.sizes.sessions} sessions")


def script(name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(HERE / name)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=Hosier().environment(),
        preexec_fn=lambda: enter(SERVER_CORE, None),
    )


def answer(process: subprocess.Popen[str], name: str) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise LoadError(f"{name} failed (its message is above)")
    result: dict[str, Any] = json.loads(line)
    return result


def core_cost(bench: Bench, results: "Results") -> None:
    if not (HERE / "core_handshake.py").exists():
        raise MissingPeer("core_handshake.py does not exist yet")
    process = script("core_handshake.py")
    try:
        result = answer(process, "core_handshake.py")
        results.add("hosier", {"core_cpu_us": float(result["cpu_us_per_handshake"])})
    finally:
        process.communicate(timeout=60)


def callsoon(bench: Bench, results: "Results") -> None:
    process = script("callsoon_latency.py")
    try:
        ready = answer(process, "callsoon_latency.py")
        with job(*mixed_arguments(bench, f"{ready['host']}:{ready['port']}"), "--hold") as running_job:
            running_job.line()
            assert process.stdin is not None
            running_job.signal()
            time.sleep(0.5)
            process.stdin.write("start\n")
            process.stdin.flush()
            running_job.line()
            process.stdin.write("stop\n")
            process.stdin.flush()
            result = answer(process, "callsoon_latency.py")
        keys = ("p50_us", "p99_us", "max_us", "timer_late_p99_us")
        results.add("hosier", {f"callsoon_{key}": float(result[key]) for key in keys})
    finally:
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def syscalls(bench: Bench, peer: Peer) -> dict[str, float]:
    """System calls per short session, counted by strace."""
    with running(peer, bench.user) as server, tempfile.TemporaryDirectory() as folder:
        bench.warm_up(server)
        output = Path(folder) / "strace"
        tracer = subprocess.Popen(
            ["strace", "-c", "-f", "-qq", "-p", str(server.pid), "-o", str(output)], stderr=subprocess.DEVNULL
        )
        time.sleep(0.5)
        try:
            run_short(bench, server, bench.sizes.traced_sessions)
        finally:
            tracer.send_signal(2)
            tracer.wait(10)
        counts: dict[str, float] = {}
        for line in output.read_text().splitlines():
            words = re.fullmatch(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)(?:\s+\d+)?\s+(\w+)", line)
            if words and words[2] != "total":
                counts[words[2]] = int(words[1]) / bench.sizes.traced_sessions
        return counts


# ---- results ----


class Results:
    """All samples, and what went wrong."""

    def __init__(self) -> None:
        self.samples: dict[str, dict[str, list[float]]] = {}
        self.errors: list[dict[str, str]] = []
        self.syscalls: dict[str, dict[str, float]] = {}

    def add(self, server: str, figures: Figures) -> None:
        for key, value in figures.items():
            self.samples.setdefault(key, {}).setdefault(server, []).append(round(value, 4))

    def error(self, figure: str, server: str, message: str) -> None:
        self.errors.append({"figure": figure, "server": server, "message": message})
        print(f"  {figure} {server}: {message}", file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def keep(name: str, results: dict[str, Any], text: str) -> None:
    """Puts the figures of a benchmark and the report of them with the others."""
    path = HERE / "results" / f"{results['date']}-{name}"
    path.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(text, encoding="utf-8")


def commit() -> str:
    git = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "none"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py", description="Measure Hosier and its peers.")
    parser.add_argument("--rounds", type=int, default=5, help="at least 5 for results that are kept (default 5)")
    parser.add_argument("--figures", default=",".join(PER_SERVER + ONCE), help="default: %(default)s")
    parser.add_argument("--peers", help=f"default: {','.join(all_peers())}")
    parser.add_argument(
        "--command", action="append", default=[], metavar="NAME=LINE", help="another server; {port} is its port"
    )
    parser.add_argument("--previous", metavar="PYTHON", help="an interpreter with another Hosier to compare with")
    parser.add_argument("--twice", metavar="NAME", help="the server of the A/A pair (default: the first one)")
    parser.add_argument("--quick", action="store_true", help="less work per sample")
    parser.add_argument("--streams", type=int, default=4, help="streams of the bulk figures (default 4)")
    parser.add_argument("--as-user", metavar="NAME", help="run the servers as this user")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the results")
    parser.add_argument("--name", help="name of the result files (default: the date)")
    parser.add_argument("--no-save", action="store_true", help="only print")
    options = parser.parse_args(arguments)
    options.figures = options.figures.split(",")
    for figure in options.figures:
        if figure not in PER_SERVER + ONCE:
            parser.error(f"unknown figure {figure}; known: {', '.join(PER_SERVER + ONCE)}")
    return options


def choose_peers(options: argparse.Namespace) -> tuple[list[Peer], dict[str, dict[str, str]]]:
    """The peers that can run here, and the state of all that were wanted."""
    known = all_peers()
    for word in options.command:
        name, _, line = word.partition("=")
        known[name] = Command(name, line)
    if options.previous:
        known["previous"] = Hosier("previous", python=options.previous)
    extra = [word.partition("=")[0] for word in options.command] + (["previous"] if options.previous else [])
    wanted = [*options.peers.split(","), *extra] if options.peers else list(known)
    chosen: list[Peer] = []
    states: dict[str, dict[str, str]] = {}
    for name in dict.fromkeys(filter(None, wanted)):
        if name not in known:
            raise SystemExit(f"unknown peer {name}; known: {', '.join(known)}")
        try:
            known[name].prepare()
            with running(known[name], options.as_user):
                states[name] = {"version": known[name].version()}
            if isinstance(known[name], Command):
                states[name] = {"version": "added by --command", "extra": "yes"}
            chosen.append(known[name])
        except (MissingPeer, OSError) as problem:
            states[name] = {"missing": str(problem)}
            print(f"{name} is left out: {problem}", file=sys.stderr)
    return chosen, states


def one_sample(bench: Bench, results: Results, figure: str, peer: Peer, label: str) -> None:
    try:
        with running(peer, bench.user) as server:
            started = time.monotonic()
            figures = MEASURES[figure](bench, server)
    except (LoadError, MissingPeer, OSError) as problem:
        results.error(figure, label, str(problem))
        return
    results.add(label, figures)
    key = next(iter(figures))
    print(f"  {figure:6} {label:24} {key} {figures[key]:10.3f}  ({time.monotonic() - started:.1f} s)", flush=True)


def measure_all(options: argparse.Namespace, bench: Bench, peers: list[Peer], results: Results) -> str | None:
    runs = [(peer, peer.name) for peer in peers]
    twice = next((peer for peer in peers if peer.name == options.twice), peers[0] if peers else None)
    if twice is not None:
        runs.append((twice, twice.name + TWIN))
    names = [peer.name for peer in peers]
    alone: dict[str, Callable[[Bench, Results], None]] = {
        "log": log_cost,
        "core": core_cost,
        "callsoon": callsoon,
        "password": operating.password,
        "workers": operating.workers,
        "flood": operating.flood,
        "guesses": operating.guesses,
    }
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", flush=True)
        turn = number % len(runs) if runs else 0
        for figure in options.figures:
            if figure in MEASURES:
                for peer, label in runs[turn:] + runs[:turn]:
                    if figure == "udp" and not peer.udp:
                        continue
                    one_sample(bench, results, figure, peer, label)
            elif figure in alone and "hosier" in names:
                try:
                    alone[figure](bench, results)
                except (LoadError, MissingPeer, OSError, ValueError, KeyError) as problem:
                    results.error(figure, "hosier", str(problem))
    if "syscalls" in options.figures:
        for peer in peers:
            if peer.name in ("limit", "hosier") or isinstance(peer, Command):
                try:
                    results.syscalls[peer.name] = syscalls(bench, peer)
                except (LoadError, MissingPeer, OSError, subprocess.TimeoutExpired) as problem:
                    results.error("syscalls", peer.name, str(problem))
    return twice.name if twice is not None else None


def main() -> int:
    options = parse()
    build("load.c")
    if not SOURCE.is_dir():
        print("there is no src folder: Hosier itself cannot be measured", file=sys.stderr)
    peers, states = choose_peers(options)
    if not peers:
        raise SystemExit("there is no server to measure")
    pin(LOAD_CORE)()
    sizes = Sizes.quick() if options.quick else Sizes()
    sizes.bulk_streams = options.streams
    started = datetime.datetime.now(datetime.UTC)
    results = Results()
    targets = Target("--copy"), Target("--awake"), Target("--realtime")
    bench = Bench(sizes, options.as_user, *targets)
    try:
        twin = measure_all(options, bench, peers, results)
    finally:
        for target in targets:
            target.close()
    document = {
        "date": started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": round((datetime.datetime.now(datetime.UTC) - started).total_seconds()),
        "commit": commit(),
        "machine": machine(),
        "user": options.as_user or "the user of the runner",
        "quick": options.quick,
        "rounds": options.rounds,
        "sizes": vars(sizes),
        "servers": states,
        "twin": twin,
        "samples": results.samples,
        "direct_kernel_kib": [round(value, 3) for value in bench.direct_kernel],
        "syscalls": results.syscalls,
        "errors": results.errors,
    }
    print()
    print(report.markdown(document))
    if not options.no_save:
        name = options.name or started.strftime("%Y-%m-%d-%H%M")
        options.out.mkdir(parents=True, exist_ok=True)
        path = options.out / f"{name}.json"
        path.write_text(json.dumps(document, indent=1) + "\n")
        report.write(path)
        print(f"kept in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
