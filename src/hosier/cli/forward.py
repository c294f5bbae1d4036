"""``hosier forward``: a local port that leads through proxies: to one target, or as a SOCKS port of its own."""

import argparse
import asyncio
import errno
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from socket import AF_INET, AF_INET6
from typing import Any, Final

from ..client.egress import ProxiedEgress, Upstreams
from ..client.forwarding import BUFFER, DatagramForward, Moved, StreamForward, together
from ..client.proxy import Proxy
from ..engine.choice import make_engine
from ..engine.listener import listening_socket
from ..engine.ports import PortRange
from ..engine.resolve import Resolver
from ..engine.udp import datagram_socket
from ..errors import ConfigError, cannot_listen
from ..observe.counts import Counts, place_of
from ..protocol.address import Address, parse_address
from ..server.process import explain_on_stderr
from ..server.server import Server
from ..server.settings import ListenAddress, parse_listen
from .endings import ALL_WELL, EXIT_CODES, say
from .progress import TELL_EVERY, ProgressLine, add_progress_option, is_wanted
from .proxies import add_proxy_option, chain_for, host_and_port

__all__ = ("add_parser",)

_EPILOG = f"""\
examples:
  hosier forward --proxy socks5h://gate:1080 8080 intranet.example:80
  hosier forward --proxy socks5h://gate:1080 --udp 5353 ns.example:53
  hosier forward --proxy env:GATE --socks 1081          for a browser, which cannot log in to a SOCKS proxy

PORT alone listens on loopback, of both families. It ends with SIGINT or SIGTERM.

{EXIT_CODES}"""

_LOOPBACK: Final = ("127.0.0.1", "::1")


def add_parser(verbs: Any) -> None:
    """Adds the verb to the command."""
    parser = verbs.add_parser(
        "forward",
        help="a local port that leads to a target, through proxies",
        description="Listens at a local port and leads whoever connects there to a target, through proxies.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("listen", metavar="[LOCAL:]PORT")
    parser.add_argument("target", metavar="HOST:PORT", nargs="?", help="the target; none with --socks")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--udp", action="store_true", help="forward datagrams; each sender has an association")
    kind.add_argument("--socks", action="store_true", help="be a SOCKS port without authentication, for this machine")
    add_proxy_option(parser)
    add_progress_option(parser, "while octets flow in bulk")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Forwards until SIGINT or SIGTERM; 0. Raises ConfigError."""
    listen = parse_listen(arguments.listen)
    telling = is_wanted(arguments.progress)
    if arguments.socks:
        if arguments.target is not None:
            raise ConfigError("with --socks whoever connects names the target: leave it out")
        if not all(address.is_loopback for address in listen):
            raise ConfigError("a SOCKS port for others than this machine is what hosier serve --upstream is for")
        asyncio.run(_serve_socks(listen, chain_for(arguments), telling))
        return ALL_WELL
    if arguments.target is None:
        raise ConfigError("where to? write hosier forward [LOCAL:]PORT HOST:PORT, or --socks")
    host, port = host_and_port(arguments.target)
    chain = chain_for(arguments, host, port)
    if not arguments.udp and chain[0].path is None:
        _refuse_own_port(listen, chain[0])
    asyncio.run(_forward(listen, parse_address(host, port), chain, telling, datagrams=arguments.udp))
    return ALL_WELL


async def _forward(
    listen: Sequence[ListenAddress], target: Address, chain: tuple[Proxy, ...], telling: bool, *, datagrams: bool
) -> None:
    stop = _stop_event()
    way = Upstreams(chain)
    engine = make_engine()
    resolver = Resolver(engine.loop)
    line = ProgressLine()
    forwards: list[StreamForward | DatagramForward] = []
    with ExitStack() as stack:
        stack.callback(resolver.close)
        stack.callback(engine.close)
        egress: ProxiedEgress = way(engine, resolver)
        for sock in _sockets(listen, _datagrams if datagrams else _streams):
            forward = (DatagramForward if datagrams else StreamForward)(engine, egress, sock, target, line.say)
            forwards.append(forward)
            stack.callback(forward.close)
            place = ListenAddress(*sock.getsockname()[:2])
            say(f"{'datagrams' if datagrams else 'connections'} to {place} go to {target} through {_names(chain)}")
        await _until(stop, line if telling else None, lambda: together(forward.moved for forward in forwards))


async def _serve_socks(listen: Sequence[ListenAddress], chain: tuple[Proxy, ...], telling: bool) -> None:
    """A server with nothing but upstreams."""
    stop = _stop_event()
    explain_on_stderr(verbose=False)
    counts = Counts()
    server = Server(listen=listen, egress=Upstreams(chain), counts=counts if telling else None)
    await server.start(_sockets(listen, partial(_streams, client_speaks_first=True)))
    try:
        for address in server.addresses:
            say(f"a SOCKS port on {address}, through {_names(chain)}")
        await _until(stop, ProgressLine() if telling else None, lambda: _counted(counts))
    finally:
        await server.close()


def _counted(counts: Counts) -> Moved:
    up, down = place_of("octets", "up"), place_of("octets", "down")
    return Moved(counts.cells[up], counts.cells[down])


async def _until(stop: asyncio.Event, line: ProgressLine | None, moved: Callable[[], Moved]) -> None:
    """Waits for the end; meanwhile the line, if there is one, tells what moves."""
    if line is None:
        await stop.wait()
        return
    while not stop.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(TELL_EVERY):
                await stop.wait()
        line.look(*moved())
    line.wipe()


def _refuse_own_port(listen: Sequence[ListenAddress], nearest: Proxy) -> None:
    """Who forwards to himself does so until no socket is left. Raises ConfigError."""
    own = {address.host for address in listen if address.port == nearest.port}
    everywhere = not own.isdisjoint(("0.0.0.0", "::"))  # noqa: S104  # it is what was asked for
    if nearest.host in own or (own and nearest.host == "localhost") or (everywhere and nearest.host in _LOOPBACK):
        raise ConfigError(f"the proxy {nearest} would be this very port: take another one")


def _sockets(listen: Sequence[ListenAddress], open_one: Callable[[ListenAddress], Any]) -> list[Any]:
    """One for each address of a family that the machine has. Raises ConfigError."""
    found: list[Any] = []
    for address in listen:
        try:
            found.append(open_one(address))
        except OSError as error:
            if found and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                continue
            for sock in found:
                sock.close()
            raise cannot_listen(address, error, "take another one") from error
    return found


def _datagrams(address: ListenAddress) -> Any:
    ports = PortRange(address.port, address.port) if address.port else None
    return datagram_socket(parse_address(*address), buffer=BUFFER, ports=ports)


def _streams(address: ListenAddress, *, client_speaks_first: bool = False) -> Any:
    family = AF_INET6 if ":" in address.host else AF_INET
    return listening_socket(address, family, client_speaks_first=client_speaks_first)


def _stop_event() -> asyncio.Event:
    """Set by SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    return stop


def _names(chain: Sequence[Proxy]) -> str:
    return ", then ".join(map(str, chain))
