"""``hosier run``: any program through a proxy."""

import argparse
import sys
from typing import Any

from ..errors import ConfigError
from .proxies import add_proxy_option, chain_for

__all__ = ("add_parser",)

_EPILOG = """\
All its connections, datagrams and names go through the proxy, and those of its children; nothing goes past it. No
privileges are needed.

examples:
  hosier run --proxy socks5h://127.0.0.1:1080 curl https://example.com/
  ALL_PROXY=socks5h://127.0.0.1:1080 hosier run -- bash      a shell, and all that is started from it
  hosier run --bypass 192.168.0.0/16 -- ssh 192.168.1.2      the local network without the proxy
  hosier run --check                                         whether this system can do it
"""


def add_parser(verbs: Any) -> None:
    """Adds the verb to the command."""
    parser = verbs.add_parser(
        "run",
        help="run any program through a proxy",
        usage="hosier run [options] [--] COMMAND...",
        description="Runs a program in a network in which everything leads to the proxy.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add_proxy_option(parser)
    add(
        "--bypass",
        action="append",
        default=[],
        metavar="NET",
        help="a network that is reached without it, by its addresses",
    )
    add(
        "--loopback",
        choices=("own", "shared"),
        default="own",
        help="loopback addresses: of the program alone, or those of this machine (own)",
    )
    add("--fake-ipv4", metavar="NET", help="addresses that stand for names (198.18.0.0/15)")
    add("--fake-ipv6", metavar="NET", help="the same (100::/64)")
    add("--check", action="store_true", help="say whether this system can do it, and what is missing")
    add("-v", "--verbose", action="store_true", help="say why a connection failed")
    add("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="the program and its arguments")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Becomes the program; with --check, 0. Raises ConfigError."""
    if sys.platform != "linux":
        raise ConfigError(
            "hosier run needs Linux, whose namespaces it is made of; elsewhere use hosier.socksify in a Python "
            "program, or hosier forward for a single port"
        )
    if arguments.check:
        from ..run.check import check

        return check(lambda line: print(line, flush=True))
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise ConfigError("which program? write hosier run [options] -- COMMAND...")
    from ..run.launch import launch

    return launch(_plan(arguments), command)


def _plan(arguments: argparse.Namespace) -> Any:
    from ..client.names import DEFAULT_IPV4_POOL, DEFAULT_IPV6_POOL, FakeNames
    from ..policy.networks import parse_network
    from ..run.plan import Plan, chain_for_run

    return Plan(
        chain_for_run(chain_for(arguments)),
        bypass=tuple(map(parse_network, arguments.bypass)),
        shared_loopback=arguments.loopback == "shared",
        names=FakeNames(
            ipv4_pool=arguments.fake_ipv4 or DEFAULT_IPV4_POOL, ipv6_pool=arguments.fake_ipv6 or DEFAULT_IPV6_POOL
        ),
        verbose=arguments.verbose,
    )
