"""Turns kept results into a Markdown report and a plot, and says which bars are met.

python benchmarks/report.py RESULTS.json             writes RESULTS.md and RESULTS.png beside it
python benchmarks/report.py --readme RESULTS.json    prints the table of the README
"""

# ruff: noqa: RUF001

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Document = dict[str, Any]
TWIN = " (again)"
OURS = ("hosier", "previous")
LIMITS = ("limit", "gathering-limit")


@dataclass(frozen=True)
class Column:
    key: str
    title: str
    digits: int = 1


COST = (
    Column("short_cpu_us", "CPU µs per short session"),
    Column("bulk_down_cpu_s_per_gb", "CPU s per GB down", 3),
    Column("bulk_up_cpu_s_per_gb", "CPU s per GB up", 3),
    Column("rr_cpu_us", "CPU µs per round trip", 2),
    Column("idle_user_kib", "user KiB per idle session", 2),
    Column("idle_kernel_kib", "kernel KiB per idle session", 2),
)
LATENCY = (
    Column("rr_p50_us", "rr p50", 0),
    Column("rr_p99_us", "rr p99", 0),
    Column("rr_p999_us", "rr p99.9", 0),
    Column("mixed_p50_us", "beside bulk p50", 0),
    Column("mixed_p99_us", "beside bulk p99", 0),
    Column("mixed_p999_us", "beside bulk p99.9", 0),
    Column("short_p50_us", "short p50", 0),
    Column("short_p99_us", "short p99", 0),
    Column("short_p999_us", "short p99.9", 0),
)
SPEED = (
    Column("short_per_s", "sessions/s", 0),
    Column("bulk_down_gb_per_s", "GB/s down", 2),
    Column("bulk_up_gb_per_s", "GB/s up", 2),
    Column("mixed_trips_per_s", "mixed: round trips/s", 0),
    Column("mixed_bulk_gb_per_s", "mixed: GB/s", 2),
)
_SHAPES = (("1200x8", "1200 octets × 8"), ("1200x1", "1200 × 1"), ("64x8", "64 × 8"), ("64x1", "64 × 1"))
UDP = (
    *(Column(f"udp_{key}_cpu_us", f"{title}: CPU µs per round trip", 2) for key, title in _SHAPES),
    Column("udp_offload_1200x8_cpu_us", "1200 × 8, joined: CPU µs per round trip", 2),
    Column("udp_idle_user_kib", "user KiB per idle association", 2),
)
UDP_SPEED = (
    *(Column(f"udp_{key}_per_s", f"{title}: round trips/s", 0) for key, title in _SHAPES),
    Column("udp_offload_1200x8_per_s", "1200 × 8, joined: round trips/s", 0),
    Column("udp_1200x8_lost_ppm", "1200 × 8: lost ppm", 1),
    Column("udp_offload_1200x8_lost_ppm", "1200 × 8, joined: lost ppm", 1),
)
ALONE = (
    Column("log_off_cpu_us", "CPU µs per short session, log off"),
    Column("log_text_cpu_us", "CPU µs per short session, log text"),
    Column("core_cpu_us", "CPU µs per handshake through the protocol core", 2),
    Column("callsoon_p50_us", "call_soon delay beside the mixed load, p50 µs", 0),
    Column("callsoon_p99_us", "call_soon delay beside the mixed load, p99 µs", 0),
    Column("callsoon_max_us", "call_soon delay beside the mixed load, max µs", 0),
    Column("callsoon_timer_late_p99_us", "lateness of a 1 ms timer beside it, p99 µs", 0),
    Column("password_off_cpu_us", "CPU µs per short session, no authentication"),
    Column("password_cpu_us", "CPU µs per short session, password of a users file"),
    Column("workers_1_cpu_us", "CPU µs per short session, one worker"),
    Column("workers_2_cpu_us", "CPU µs per short session, two workers"),
    Column("workers_least_share", "share of the worker with less work, per cent of CPU", 0),
    Column("calm_rr_p99_us", "round trip p99 µs", 0),
    Column("unguessed_rr_p99_us", "round trip p99 µs of a user with a password", 0),
    Column("guessed_rr_p99_us", "round trip p99 µs beside a flood of wrong passwords", 0),
    Column("flood_rr_p99_us", "round trip p99 µs beside 20,000 half-open handshakes", 0),
)
README = (COST[0], COST[1], COST[2], COST[3], LATENCY[4], COST[4])
PLOTS = (*README, COST[5], LATENCY[7])


def samples(document: Document, key: str, server: str) -> list[float]:
    values: list[float] = document["samples"].get(key, {}).get(server, [])
    return values


def median(document: Document, key: str, server: str) -> float | None:
    values = samples(document, key, server)
    return statistics.median(values) if values else None


def measured(document: Document) -> list[str]:
    """The servers that were measured, the twin after its original."""
    names: list[str] = []
    for name, state in document["servers"].items():
        if "missing" not in state:
            names.append(name)
            if name == document.get("twin"):
                names.append(name + TWIN)
    return names


def rivals(document: Document) -> list[str]:
    """The peers: everybody but Hosier, its earlier self, the limits, and what was added by --command."""
    extra = {name for name, state in document["servers"].items() if "extra" in state}
    return [name for name in measured(document) if name not in {*OURS, *LIMITS, *extra} and not name.endswith(TWIN)]


def cell(document: Document, column: Column, server: str, *, spread: bool = True) -> str:
    values = samples(document, column.key, server)
    if not values:
        return "–"
    text = f"{statistics.median(values):.{column.digits}f}"
    if spread and len(values) > 1:
        text += f" ({min(values):.{column.digits}f}–{max(values):.{column.digits}f})"
    return text


def table(document: Document, columns: tuple[Column, ...], servers: list[str], *, spread: bool = True) -> list[str]:
    columns = tuple(column for column in columns if column.key in document["samples"])
    if not columns:
        return []
    lines = ["| server | " + " | ".join(column.title for column in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for server in servers:
        cells = (cell(document, column, server, spread=spread) for column in columns)
        lines.append(f"| {server} | " + " | ".join(cells) + " |")
    return [*lines, ""]


# ---- the bars ----


@dataclass(frozen=True)
class Bar:
    what: str
    value: float | None
    limit: float | None
    strict: bool = False

    @property
    def verdict(self) -> str:
        if self.value is None or self.limit is None:
            return "not measured"
        return "met" if (self.value < self.limit if self.strict else self.value <= self.limit) else "MISSED"


def best_peer(document: Document, key: str) -> float | None:
    values = [value for name in rivals(document) if (value := median(document, key, name)) is not None]
    return min(values, default=None)


def times(factor: float, value: float | None) -> float | None:
    return None if value is None else factor * value


def busier(share: float | None) -> float | None:
    return None if share is None else 100 - share


def bars(document: Document) -> list[Bar]:
    def ours(key: str) -> float | None:
        return median(document, key, "hosier")

    def limit(key: str) -> float | None:
        return median(document, key, "limit")

    def best(key: str) -> float | None:
        return best_peer(document, key)

    result = [
        Bar("short session: CPU at most the best peer's", ours("short_cpu_us"), best("short_cpu_us")),
        Bar("short session: CPU at most 1.35 × the limit", ours("short_cpu_us"), times(1.35, limit("short_cpu_us"))),
        Bar(
            "short session with the log on: at most 1.2 × off",
            ours("log_text_cpu_us"),
            times(1.2, ours("log_off_cpu_us")),
        ),
    ]
    for way in ("down", "up"):
        key = f"bulk_{way}_cpu_s_per_gb"
        result += [
            Bar(f"bulk {way}: CPU at most 1.1 × the limit", ours(key), times(1.1, limit(key))),
            Bar(f"bulk {way}: CPU at most 0.7 × the best peer", ours(key), times(0.7, best(key))),
        ]
    datagram = "udp_1200x8_cpu_us"
    dante = median(document, datagram, "dante")
    joined = ours("udp_offload_1200x8_cpu_us")
    lost, dante_lost = ours("udp_1200x8_lost_ppm"), median(document, "udp_1200x8_lost_ppm", "dante")
    core_limit = times(0.1, limit("short_cpu_us"))
    return [
        *result,
        Bar("round trip: CPU less than every peer's", ours("rr_cpu_us"), best("rr_cpu_us"), strict=True),
        Bar("round trip: CPU at most 1.35 × the limit", ours("rr_cpu_us"), times(1.35, limit("rr_cpu_us"))),
        Bar("round trip beside 200 downloads: p99 at most the best peer's", ours("mixed_p99_us"), best("mixed_p99_us")),
        Bar("call_soon beside the mixed load: p99 below 5 ms", ours("callsoon_p99_us"), 5000.0, strict=True),
        Bar("protocol core: at most 0.1 × the limit's short session", ours("core_cpu_us"), core_limit),
        Bar("idle session: at most 2 KiB of user memory", ours("idle_user_kib"), 2.0),
        Bar(
            "password: at most 1.25 × no authentication",
            ours("password_cpu_us"),
            times(1.25, ours("password_off_cpu_us")),
        ),
        Bar("two workers: CPU at most 1.1 × one", ours("workers_2_cpu_us"), times(1.1, ours("workers_1_cpu_us"))),
        Bar("two workers: the busier at most 65 %", busier(ours("workers_least_share")), 65.0),
        Bar(
            "flood of wrong passwords: others' p99 at most 2 × without",
            ours("guessed_rr_p99_us"),
            times(2, ours("unguessed_rr_p99_us")),
        ),
        Bar("20,000 half-open: p99 at most 2 × without", ours("flood_rr_p99_us"), times(2, ours("calm_rr_p99_us"))),
        Bar("UDP round trip, 1200 octets: CPU at most 0.55 × Dante's", ours(datagram), times(0.55, dante)),
        Bar("UDP with segmentation offload: CPU at most 0.2 × ours without", joined, times(0.2, ours(datagram))),
        Bar("UDP: no more datagrams lost than by Dante (ppm)", lost, dante_lost),
        Bar("idle association: at most 8 KiB of user memory", ours("udp_idle_user_kib"), 8.0),
    ]


def bars_table(document: Document) -> list[str]:
    def show(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}" if value < 10 else f"{value:.1f}"

    lines = ["| bar | hosier | allowed | |", "|---|---|---|---|"]
    for bar in bars(document):
        lines.append(f"| {bar.what} | {show(bar.value)} | {show(bar.limit)} | {bar.verdict} |")
    return [*lines, ""]


# ---- the report ----


def noise(document: Document) -> list[str]:
    """How far the two halves of the A/A pair differ, per figure of cost."""
    name = document.get("twin") or ""
    parts: list[str] = []
    for column in (*COST, LATENCY[4]):
        one, two = median(document, column.key, name), median(document, column.key, f"{name}{TWIN}")
        if one and two:
            parts.append(f"{column.title} {(two / one - 1) * 100:+.1f} %")
    return [f"A/A, {name} measured twice: " + "; ".join(parts) + ".", ""] if parts else []


def syscall_table(document: Document) -> list[str]:
    counts: dict[str, dict[str, float]] = document["syscalls"]
    if not counts:
        return []
    names = sorted({call for per_server in counts.values() for call in per_server})
    names = [name for name in names if any(per_server.get(name, 0) >= 0.005 for per_server in counts.values())]
    lines = ["| system call | " + " | ".join(counts) + " |", "|---" * (len(counts) + 1) + "|"]
    for name in names:
        lines.append(
            f"| {name} | " + " | ".join(f"{per_server.get(name, 0):.2f}" for per_server in counts.values()) + " |"
        )
    totals = (f"**{sum(per_server.values()):.2f}**" for per_server in counts.values())
    return [*lines, "| **all** | " + " | ".join(totals) + " |", ""]


def markdown(document: Document) -> str:
    box = document["machine"]
    servers = measured(document)
    size = document["sizes"]
    lines = [
        f"# Benchmark of {document['date'][:10]}",
        "",
        f"Commit {document['commit']}; {box['cpu']}, {box['cores']} cores, Linux {box['kernel']}, "
        f"Python {box['python']}; {document['rounds']} rounds{', quick' if document['quick'] else ''}; "
        f"servers run by {document['user']}. Median (smallest–largest) of all rounds.",
        "",
        "## Bars",
        "",
        *bars_table(document),
        "## Cost",
        "",
        f"Bulk: {size['bulk_streams']} streams, {size['bulk_bytes'] / 1e9:.0f} GB each way.",
        "",
        *table(document, COST, servers),
        *noise(document),
        "## Latency, µs",
        "",
        f"rr: {size['rr_sessions']} sessions, 1000 octets there and back, each asks again at once; "
        f"beside bulk: the same while {size['mixed_bulk']} downloads run; short: a whole session, 64 at a time.",
        "",
        *table(document, LATENCY, servers),
        "## Speed",
        "",
        *table(document, SPEED, servers),
    ]
    if any(samples(document, column.key, name) for column in UDP for name in servers):
        lines += ["## UDP", "", "Octets of payload × associations, each with 32 datagrams under way.", ""]
        able = [name for name in servers if any(samples(document, column.key, name) for column in UDP)]
        lines += [*table(document, UDP, able), *table(document, UDP_SPEED, able)]
    alone = [column for column in ALONE if samples(document, column.key, "hosier")]
    if alone:
        lines += ["## Hosier alone", "", "| figure | |", "|---|---|"]
        lines += [f"| {column.title} | {cell(document, column, 'hosier')} |" for column in alone] + [""]
    if document["syscalls"]:
        lines += ["## System calls per short session", "", *syscall_table(document)]
    lines += ["## Servers", ""]
    for name, state in document["servers"].items():
        lines.append(f"- {name}: " + (f"missing, {state['missing']}" if "missing" in state else state["version"]))
    if document["errors"]:
        lines += ["", "## Failures", ""]
        lines += [f"- {error['figure']}, {error['server']}: {error['message']}" for error in document["errors"]]
    return "\n".join(lines) + "\n"


def readme_table(document: Document) -> str:
    unnamed = {"previous", "gathering-limit"}
    servers = [name for name in measured(document) if name not in unnamed and not name.endswith(TWIN)]
    return "\n".join(table(document, README, servers, spread=False))


def plot(document: Document, path: Path) -> bool:
    try:
        import matplotlib
    except ImportError:
        print("matplotlib is not installed: no plot", file=sys.stderr)
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = [column for column in PLOTS if column.key in document["samples"]]
    if not columns:
        return False
    servers = [name for name in measured(document) if not name.endswith(TWIN)]
    rows = (len(columns) + 1) // 2
    height: Callable[[int], float] = lambda count: 0.9 + 0.28 * count  # noqa: E731
    figure, axes = pyplot.subplots(rows, 2, figsize=(11, rows * height(len(servers))), squeeze=False)
    for axis, column in zip(axes.flat, columns, strict=False):
        found = [(value, name) for name in servers if (value := median(document, column.key, name)) is not None]
        found.sort(reverse=True)
        colours = ["#c8553d" if name == "hosier" else "#444444" if name in LIMITS else "#9db4c0" for _, name in found]
        drawn = axis.barh([name for _, name in found], [value for value, _ in found], color=colours)
        axis.bar_label(drawn, fmt=f"%.{column.digits}f", padding=3, fontsize=8)
        axis.set_title(column.title + (" (µs)" if column in LATENCY else ""), fontsize=10, loc="left")
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.tick_params(axis="x", bottom=False, labelbottom=False)
        axis.tick_params(axis="y", length=0, labelsize=9)
        axis.margins(x=0.15)
    for axis in list(axes.flat)[len(columns) :]:
        axis.set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return True


def write(path: Path) -> None:
    """RESULTS.md and RESULTS.png beside RESULTS.json."""
    document = json.loads(path.read_text())
    text = markdown(document)
    if plot(document, path.with_suffix(".png")):
        text += f"\n![bar charts of the key figures]({path.with_suffix('.png').name})\n"
    path.with_suffix(".md").write_text(text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="report.py", description="Report kept benchmark results.")
    parser.add_argument("results", type=Path, help="a JSON file written by run.py")
    parser.add_argument("--readme", action="store_true", help="print the table of the README")
    options = parser.parse_args()
    if options.readme:
        print(readme_table(json.loads(options.results.read_text())))
    else:
        write(options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
