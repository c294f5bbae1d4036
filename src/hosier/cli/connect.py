"""``hosier connect``: standard input and output through proxies, for ssh's ProxyCommand and for scripts."""

import argparse
import signal
from typing import Any

from ..client.blocking import connect
from ..errors import SocksError
from .endings import ALL_WELL, EXIT_CODES, ended, failed
from .ports import port
from .progress import add_progress_option
from .proxies import add_proxy_option, chain_for, host_and_port
from .seconds import seconds
from .stdio import join_stdio

__all__ = ("add_parser",)

_EPILOG = f"""\
examples:
  ssh -o ProxyCommand='hosier connect --proxy socks5h://gate:1080 %h %p' server.example
  ALL_PROXY=socks5h://gate:1080 hosier connect server.example 25
  hosier connect --proxy socks5h://near --proxy socks5h://far server.example 80 < request > answer

{EXIT_CODES}"""


def add_parser(verbs: Any) -> None:
    """Adds the verb to the command."""
    parser = verbs.add_parser(
        "connect",
        help="standard input and output to a target, through proxies",
        description="Connects to HOST and PORT through proxies and joins that with standard input and output.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("host", metavar="HOST", help="a name or an address; or HOST:PORT")
    parser.add_argument("port", metavar="PORT", type=port, nargs="?", help="a number")
    add_proxy_option(parser)
    parser.add_argument("--timeout", type=seconds, default=30.0, metavar="SECONDS", help="for the way there (30)")
    add_progress_option(parser, "with a file at one end")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Relays until both directions have ended; the exit code. Raises ConfigError."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # we end as any program does, with the signal's own status
    host, port = arguments.host, arguments.port
    if port is None:
        host, port = host_and_port(host)
    chain = chain_for(arguments, host, port)
    try:
        sock = connect(chain, host, port, timeout=arguments.timeout)
    except (SocksError, OSError) as error:
        return failed(error)
    try:
        join_stdio(sock, progress=arguments.progress)
    except OSError as error:
        return ended(error)
    return ALL_WELL
