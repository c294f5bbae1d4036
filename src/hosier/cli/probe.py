"""``hosier probe``: what a proxy can do, as a table or as JSON."""

import argparse
import asyncio
import json
from collections.abc import Iterator
from typing import Any, Final

from ..client.probe import Finding, Report, probe
from ..errors import ConfigError, ProxyConnectionError
from .endings import ALL_WELL, EXIT_CODES, PROXY_FAILED, failed
from .proxies import add_proxy_option, chain_for, host_and_port
from .seconds import seconds

__all__ = ("add_parser",)

_EPILOG = f"""\
The proxy is asked to reach this machine, at the address that we come from, unless --target names another place.
"yes": it works; "no": the proxy cannot; "?": it did not come to that, and why.

Each question that logs in does so anew. Wrong credentials are shown once in SOCKS5, where the other questions are then
not asked, and once as SOCKS4's user id: two failures for a proxy that counts them against us.

{EXIT_CODES}"""
_MARKS: Final = {True: "yes", False: "no", None: "?"}


def add_parser(verbs: Any) -> None:
    """Adds the verb to the command."""
    parser = verbs.add_parser(
        "probe",
        help="find out what a proxy can do",
        description="Asks a proxy for everything: versions, methods, commands, datagrams, kinds of addresses.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("urls", nargs="*", metavar="URL", help="the proxy, as --proxy takes it")
    add_proxy_option(parser)
    parser.add_argument("--target", metavar="HOST:PORT", help="where CONNECT is to lead (to this machine)")
    parser.add_argument("--timeout", type=seconds, default=5.0, metavar="SECONDS", help="for each question (5)")
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints what was found; 0 if the proxy speaks SOCKS. Raises ConfigError."""
    arguments.proxy = [*arguments.proxy, *arguments.urls]
    proxy, *others = chain_for(arguments)
    if others:
        raise ConfigError("probe looks at one proxy: give one URL")
    target = host_and_port(arguments.target) if arguments.target else None
    try:
        report = asyncio.run(probe(proxy, target, timeout=arguments.timeout))
    except ProxyConnectionError as error:
        return failed(error)
    if arguments.json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        print("\n".join(table(report)))
    return ALL_WELL if report.speaks_socks else PROXY_FAILED


def table(report: Report) -> Iterator[str]:
    """A line for each finding."""
    yield _line("proxy", report.proxy, report.reached)
    for title, findings in (
        ("version", report.versions),
        ("method", report.methods),
        ("command", report.commands),
        ("address", report.addresses),
    ):
        for name, finding in findings.items():
            yield _line(title, name, finding)


def _line(title: str, name: str, finding: Finding) -> str:
    time = "" if finding.ms is None else f"{finding.ms:.1f} ms"
    return f"{title:<8} {name:<10} {_MARKS[finding.works]:<3} {time:>9}  {finding.says}".rstrip()
