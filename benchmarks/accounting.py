"""What it costs to keep books, and how true a bandwidth limit is. Every figure beside the bare server in the same run.

python benchmarks/accounting.py                 5 rounds, about five minutes; results/DATE-accounting.{json,md}
python benchmarks/accounting.py --quick         one round of a tenth, to see whether it runs

- bulk: CPU seconds per GB of a bare server, of the same once more (A/A), and of one with metrics, accounting of a
  user's octets to a file, and a bandwidth limit that does not bite; 4 streams, down and up.
- limit: octets that a client receives a second under a limit of 1, 10 and 100 MB/s, from second 2 on, as a part of
  the limit; once with one stream, once with 8 that share it.

The options of the second server are in ``SETTINGS``; ``ACCOUNTING`` is the same without limits.
"""

import argparse
import datetime
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import measure
from generator import Target, job
from peers import Hosier, Server, running

from run import commit, keep, machine

GB = 1e9
RATES = (1, 10, 100)  # MB/s
STREAMS = (1, 8)
LATE = 2.0  # seconds after which a limit must be true

SETTINGS = """
usage_file = "{folder}/usage.db"

[admin]
place = "unix:{folder}/admin.sock"

[budgets.accounting]
per = "source"
octets = "900TB"
sessions = 100000
up = "{up}"
down = "{down}"
"""

ACCOUNTING = """
usage_file = "{folder}/usage.db"

[admin]
place = "unix:{folder}/admin.sock"

[budgets.accounting]
per = "user"
"""
"""Metrics, and octets of each user written to a file: for who measures short sessions with everything on."""

NOT_BITING = "900GB"


@contextmanager
def hosier(settings: str = "", **values: str) -> Iterator[Server]:
    """A server with these settings in a file; bare without."""
    if not settings:
        with running(Hosier()) as server:
            yield server
        return
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "hosier.toml"
        path.write_text(settings.format(folder=folder, **values), encoding="utf-8")
        with running(Hosier(options=("--config", str(path)))) as server:
            yield server


def bulk(server: Server, target: Target, direction: str, octets: int) -> float:
    """CPU seconds per GB."""
    port = target.source if direction == "down" else target.sink
    arguments = ("bulk", "--proxy", server.proxy, "--timeout", 120, "--targets", port, "--direction", direction)
    with job(*arguments, "--streams", 4, "--bytes", octets, "--copy") as load:
        before = measure.cpu_ns(server.pid)
        result = load.line()
        used = measure.cpu_ns(server.pid) - before
    return used / 1e9 / (result["bytes"] / GB)


# --- limits ---


class Source:
    """Sends to whoever connects, as fast as they take it."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                guest = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._feed, args=(guest,), daemon=True).start()

    @staticmethod
    def _feed(guest: socket.socket) -> None:
        data = bytes(1 << 18)
        try:
            while True:
                guest.sendall(data)
        except OSError:
            guest.close()


def received(server: Server, port: int, streams: int, seconds: float) -> float:
    """Octets a second that all the streams together receive from second 2 on."""
    counts = [0] * streams
    began = time.monotonic()
    end = began + LATE + seconds

    def fetch(number: int) -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big"))
            for size in (2, 10):
                client.recv(size, socket.MSG_WAITALL)
            buffer = bytearray(1 << 20)
            while (now := time.monotonic()) < end:
                client.settimeout(end - now)
                try:
                    size = client.recv_into(buffer)
                except TimeoutError:
                    return
                if time.monotonic() - began >= LATE:
                    counts[number] += size

    threads = [threading.Thread(target=fetch, args=(number,)) for number in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


# --- rounds ---


def one_round(number: int, target: Target, source: Source, octets: int, seconds: float) -> dict[str, float]:
    """The servers take turns, each round in another order."""
    figures: dict[str, float] = {}
    kinds = [("bare", ""), ("again", ""), ("accounting", SETTINGS)]
    for kind, settings in kinds[number % 3 :] + kinds[: number % 3]:
        with hosier(settings, up=NOT_BITING, down=NOT_BITING) as server:
            bulk(server, target, "down", octets // 20)
            for direction in ("down", "up"):
                figures[f"{kind}_{direction}_cpu_s_per_gb"] = bulk(server, target, direction, octets)
    for rate in RATES:
        for streams in STREAMS:
            with hosier(SETTINGS, up=f"{rate}MB", down=f"{rate}MB") as server:
                got = received(server, source.port, streams, seconds)
                figures[f"limit_{rate}_by_{streams}"] = got / (rate * 1e6)
    return figures


def report(results: dict[str, Any]) -> str:
    rounds = results["figures"]

    def of(key: str) -> list[float]:
        return [one[key] for one in rounds]

    about = results["machine"]
    of_machine = f"{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, Python {about['python']}"
    lines = [
        f"# Accounting and bandwidth limits, {results['date']}",
        "",
        f"Commit {results['commit']}, {results['rounds']} interleaved rounds, on {of_machine}.",
        "",
        "| CPU s per GB | bare | bare again | accounting and a limit that does not bite | ratio, median | bar |",
        "|---|---|---|---|---|---|",
    ]
    for direction in ("down", "up"):
        bare, again, kept = (of(f"{kind}_{direction}_cpu_s_per_gb") for kind in ("bare", "again", "accounting"))
        base = [(one + other) / 2 for one, other in zip(bare, again, strict=True)]
        ratio = statistics.median(ours / theirs for ours, theirs in zip(kept, base, strict=True))
        noise = statistics.median(abs(one / other - 1) for one, other in zip(bare, again, strict=True))
        medians = " | ".join(f"{statistics.median(values):.3f}" for values in (bare, again, kept))
        lines.append(f"| {direction} | {medians} | {ratio:.3f} (A/A {noise:.3f}) | at most 1.05 |")
    lines += [
        "",
        "| limit | streams | received from second 2 on, per cent of it | range | bar |",
        "|---|---|---|---|---|",
    ]
    for rate in RATES:
        for streams in STREAMS:
            parts = [100 * part for part in of(f"limit_{rate}_by_{streams}")]
            spread = f"{min(parts):.1f} to {max(parts):.1f}"
            lines.append(f"| {rate} MB/s | {streams} | {statistics.median(parts):.1f} | {spread} | 97 to 103 |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round of a tenth; nothing is kept")
    parser.add_argument("--no-save", action="store_true", help="only print")
    options = parser.parse_args()
    rounds, octets, seconds = (1, 300_000_000, 1.0) if options.quick else (options.rounds, 3_000_000_000, 4.0)
    target, source = Target(), Source()
    figures = []
    try:
        for number in range(rounds):
            figures.append(one_round(number, target, source, octets, seconds))
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    finally:
        target.close()
        source.listener.close()
    results = {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "machine": machine(),
        "rounds": rounds,
        "figures": figures,
    }
    text = report(results)
    print(text)
    if not (options.no_save or options.quick):
        keep("accounting", results, text)


if __name__ == "__main__":
    main()
