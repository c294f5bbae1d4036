"""``hosier listen``: a proxy waits for a peer (BIND), and standard input and output are joined with it."""

import argparse
import signal
import sys
from typing import Any

from ..client.blocking import bind
from ..errors import ProxyTimedOut, SocksError
from .endings import ALL_WELL, EXIT_CODES, TARGET_FAILED, ended, failed, say
from .ports import listen_port
from .progress import add_progress_option
from .proxies import add_proxy_option, chain_for
from .seconds import seconds
from .stdio import join_stdio

__all__ = ("add_parser",)

_EPILOG = f"""\
The first line of standard output is where the peer is to connect: host, space, port. What follows is what it sends.

example, a transfer of active FTP:
  hosier listen --proxy socks5h://gate:1080 ftp.example | {{ read host port; announce "$host" "$port"; cat > file; }}

{EXIT_CODES}"""


def add_parser(verbs: Any) -> None:
    """Adds the verb to the command."""
    parser = verbs.add_parser(
        "listen",
        help="have a proxy wait for a peer (BIND)",
        description="Has a proxy listen for one connection from PEER and joins it with standard input and output.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("peer", metavar="PEER", help="who may come: a name or an address; many proxies take 0.0.0.0 for anyone")
    add("port", metavar="PORT", type=listen_port, nargs="?", default=0, help="the port to listen on, if it is free")
    add_proxy_option(parser)
    add("--timeout", type=seconds, default=30.0, metavar="SECONDS", help="for the way to the proxy (30)")
    add("--wait", type=seconds, metavar="SECONDS", help="for the peer (as long as the proxy waits)")
    add_progress_option(parser, "with a file at one end")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Relays until both directions have ended; the exit code. Raises ConfigError."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        listener = bind(chain_for(arguments), arguments.peer, arguments.port, timeout=arguments.timeout)
        host, port = listener.address
        print(host, port, flush=True)
        try:
            sock, _ = listener.accept(timeout=arguments.wait)
        except ProxyTimedOut as error:
            if arguments.wait is None:  # the connection to the proxy has died
                return failed(error)
            # The proxy has done its part: it is the peer that is missing.
            say(f"nobody came within {arguments.wait:g} s")
            return TARGET_FAILED
    except BrokenPipeError as error:
        return ended(error)
    except (SocksError, OSError) as error:
        return failed(error)
    sys.stdout.flush()
    try:
        join_stdio(sock, progress=arguments.progress)
    except OSError as error:
        return ended(error)
    return ALL_WELL
