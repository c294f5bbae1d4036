"""The report of gssapi.py: which bars are met, and all medians with their range."""

import statistics
from collections.abc import Iterator
from typing import Any

# ruff: noqa: RUF001

Document = dict[str, Any]

SESSION_US = 60
DELAY_US = 5000
TWIN = "hosier (again)"


def markdown(document: Document) -> str:
    machine = document["machine"]
    lines = [
        f"# GSSAPI, {document['date'][:10]}",
        "",
        f"Commit {document['commit']}; {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, Python "
        f"{machine['python']}, MIT Kerberos {document['kerberos']}, {document['enctype']}; {document['rounds']} "
        f"rounds, {document['sizes']['megabytes']} MB per transfer, {document['seconds']} s. "
        "Median (smallest–largest).",
        "",
        "## Bars",
        "",
        "| bar | hosier | allowed | |",
        "|---|---|---|---|",
        *bars(document),
        "",
        "## CPU s per GB, relaying to a plain target",
        "",
        "| server | level 1 down | level 1 up | level 2 down | level 2 up |",
        "|---|---|---|---|---|",
    ]
    keys = [f"level_{level}_{way}_cpu_s_per_gb" for level in (1, 2) for way in ("down", "up")]
    lines += [
        f"| {server} | " + " | ".join(cell(document, key, server, 3) for key in keys) + " |"
        for server in ("hosier", TWIN, "dante")
    ]
    lines += ["", "## Hosier alone", "", "| figure | |", "|---|---|"]
    lines += [
        f"| {title.format(**document['sizes'])} | {cell(document, key, 'hosier', 1)} |" for key, title in ALONE.items()
    ]
    lines += ["", "## Servers", "", *(f"- {name}: {version}" for name, version in document["servers"].items())]
    return "\n".join(lines) + "\n"


ALONE = {
    "short_none_cpu_us": "CPU µs per short session, no authentication, {at_once} at once",
    "short_none_busy_percent": "% of that time the server was busy, no authentication, {at_once} at once",
    "short_gssapi_cpu_us": "CPU µs per short session, GSSAPI at level 2, {at_once} at once",
    "short_gssapi_busy_percent": "% of that time the server was busy, GSSAPI at level 2, {at_once} at once",
    "few_none_cpu_us": "CPU µs per short session, no authentication, {few} at once",
    "few_none_busy_percent": "% of that time the server was busy, no authentication, {few} at once",
    "few_gssapi_cpu_us": "CPU µs per short session, GSSAPI at level 2, {few} at once",
    "few_gssapi_busy_percent": "% of that time the server was busy, GSSAPI at level 2, {few} at once",
    "bare_loop_cpu_us": "CPU µs of the same GSS calls in a bare loop",
    "rr_alone_p50_us": "plain round trip p50 µs",
    "rr_beside_p50_us": "plain round trip p50 µs beside a flow at level 2",
    "rr_alone_p99_us": "plain round trip p99 µs",
    "rr_beside_p99_us": "plain round trip p99 µs beside a flow at level 2",
    "rr_alone_p999_us": "plain round trip p99.9 µs",
    "rr_beside_p999_us": "plain round trip p99.9 µs beside a flow at level 2",
}


def bars(document: Document) -> Iterator[str]:
    for level in (1, 2):
        for way in ("down", "up"):
            key = f"level_{level}_{way}_cpu_s_per_gb"
            title = f"level {level} {way}: CPU per GB at most Dante's"
            yield bar(title, middle(document, key, "hosier"), middle(document, key, "dante"), 3)
    none, bare = middle(document, "short_none_cpu_us", "hosier"), middle(document, "bare_loop_cpu_us", "hosier")
    title = f"short session: CPU at most {SESSION_US} µs over no authentication and the bare loop"
    yield bar(title, middle(document, "short_gssapi_cpu_us", "hosier"), none + bare + SESSION_US, 1)
    title = f"plain round trip beside a flow at level 2: p99.9 at most {DELAY_US} µs over the same without"
    alone = middle(document, "rr_alone_p999_us", "hosier")
    yield bar(title, middle(document, "rr_beside_p999_us", "hosier"), alone + DELAY_US, 0)


def bar(title: str, value: float, allowed: float, digits: int) -> str:
    return f"| {title} | {value:.{digits}f} | {allowed:.{digits}f} | {'met' if value <= allowed else 'MISSED'} |"


def middle(document: Document, key: str, server: str) -> float:
    values: list[float] = document["samples"][key][server]
    return statistics.median(values)


def cell(document: Document, key: str, server: str, digits: int) -> str:
    values = document["samples"][key][server]
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"
