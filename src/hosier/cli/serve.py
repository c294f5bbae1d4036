"""``hosier serve``: a SOCKS server until it is told to stop."""

import argparse
import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import cache, partial
from pathlib import Path
from typing import Any

from .. import __version__
from ..config.build import become, build_admin, build_egress, build_server, build_settings, open_log, try_files
from ..config.complaints import dotted
from ..config.dangers import dangers
from ..config.load import load
from ..config.places import unusable_places
from ..config.settings import ServeSettings
from ..config.sources import Sources
from ..engine.choice import ENGINES
from ..errors import ConfigError
from ..observe.access_log import FORMATS
from ..observe.destinations import FileWriter
from ..observe.writer import LineWriter
from ..policy.limits import Caps
from ..protocol.auth.password import PasswordFraming
from ..protocol.messages import NO_AUTHENTICATION
from ..server.capacity import processors, raise_descriptor_limit
from ..server.listening import listening_sockets
from ..server.notify import Notifier
from ..server.overview import Overview
from ..server.process import calm_collector, drain_unless, explain_on_stderr, loop_runner
from ..server.server import Server
from ..server.settings import Limits, ListenAddress, UdpSettings
from .hangup import Change, Read, change_server, change_workers, hear_hangup, ignore_hangup, reload_at_hangup
from .options import BIND_CHOICES, cap_names, in_option, values_of

__all__ = ("add_parser",)

_EPILOG = """\
examples:
  hosier serve                                  a proxy for this machine, on port 1080
  hosier serve --listen '*:1080' --user ann     for others, with a password that is made and shown
  HOSIER_PASSWORD=... hosier serve --user ann   the password from the environment
  hosier serve -v                               explains each refusal
  hosier serve --upstream socks5h://gate:1080   a gateway that reaches targets through another one

Listening beyond loopback protects inner networks: targets that are private, loopback, link-local or cloud
metadata are refused unless --allow names them.
"""


def add_parser(verbs: Any) -> None:
    """Adds the verb to the command."""
    parser = verbs.add_parser(
        "serve",
        help="run a SOCKS server",
        description="Runs a SOCKS4, SOCKS4a and SOCKS5 server in the foreground.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # an option that is not given leaves its key to the file
    )
    udp = ", ".join(f"{field.name} {in_option(field.default)}" for field in fields(UdpSettings))
    limits = ", ".join(f"{field.name} {field.default:g}" for field in fields(Limits))
    add = parser.add_argument  # dest is the key that an option stands for
    add("--config", type=Path, default=None, metavar="FILE", help="read settings from a file; options go before it")
    add("--listen", action="append", metavar="[HOST:]PORT", help="address; again for more (127.0.0.1:1080, [::1]:1080)")
    add("--user", action="append", dest="users", metavar="NAME[:PASSWORD]", help="who may use it; again for more")
    add("--users", dest="users_file", metavar="FILE", help="further users, hashed, as hosier passwd writes them")
    add(
        "--method",
        action="append",
        dest="methods",
        metavar="NAME",
        help="method by preference: none, password, gssapi, a plug-in's",
    )
    add("--open", action="store_true", help="listen beyond loopback without authentication")
    add("--ident", action="store_true", help="ask a SOCKS4 client's ident daemon who the client is")
    add("--socks4-userid", action="store_true", help="believe the names of SOCKS4 clients, without proof")
    add("--no-backoff", action="store_false", dest="backoff", help="let clients guess passwords as fast as they can")
    add("--allow", action="append", metavar="NET", help="inner network that clients may reach")
    add("--deny", action="append", metavar="NET", help="network that nobody may reach")
    add(
        "--advertise",
        action="append",
        metavar="[LOCAL=]ADDR",
        help="address to tell others in the place of our own, behind NAT or in a container; one for each family",
    )
    add("--ports", metavar="LOW-HIGH", help="where to listen for the peers of BIND and for datagrams (any)")
    add("--bind", choices=tuple(BIND_CHOICES), help="serve BIND (on); 'anyone': also for unnamed peers")
    add("--upstream", action="append", metavar="URL", help="reach targets through this proxy; again for a chain")
    _add_gssapi(parser)
    add("--timeout", action="append", dest="limits", metavar="NAME=SECONDS", help=f"limits: {limits}")
    add("--cap", action="append", dest="caps", metavar="NAME=N", help=f"how many at once: {cap_names()}")
    add("--workers", metavar="N", help="processes that serve together; auto: one for each processor (1)")
    add("--udp", action="append", metavar="NAME=VALUE", help=f"UDP ASSOCIATE: {udp}")
    add("--strict", action="store_true", help="refuse what the RFCs forbid and the world sends all the same")
    add("--log", choices=(*FORMATS, "off"), help="a line per session (text)")
    add("--log-to", choices=("stdout", "syslog", "journald"), help="where those lines go (stdout)")
    add("--log-file", metavar="FILE", help="a file for them; SIGUSR1 has it opened anew")
    add("--run-as", metavar="USER[:GROUP]", help="whom to become once all ports are open, if started as root")
    add(
        "--admin",
        dest="admin.place",
        metavar="PLACE",
        help="metrics and status over HTTP at [HOST]:PORT or unix:PATH, with HOSIER_ADMIN_TOKEN (extra 'server')",
    )
    add("--engine", choices=ENGINES, help="what moves the octets (auto: the best one)")
    add("--uvloop", action="store_true", help="run on uvloop (extra 'uvloop')")
    add("-v", "--verbose", action="store_true", help="explain each refusal on standard error")
    parser.set_defaults(run=run)


def _add_gssapi(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Kerberos (extra 'gssapi')")
    add = group.add_argument
    add("--gssapi", action="store_true", dest="gssapi.enabled", help="let clients in by Kerberos tickets (RFC 1961)")
    add("--keytab", dest="gssapi.keytab", metavar="FILE", help="the service's keys (KRB5_KTNAME, or the system's)")
    add(
        "--gssapi-service",
        dest="gssapi.service",
        metavar="NAME",
        help="which keys serve: socks, rcmd, socks@HOST, or a principal with a slash (socks)",
    )
    add(
        "--gssapi-levels",
        dest="gssapi.levels",
        metavar="LEVELS",
        help="protection that clients may choose: 1 signed, 2 sealed, 3 by size, 0 none (2,1)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serves until SIGTERM or SIGINT; 0 after a drain. Raises ConfigError."""
    options = cache(partial(values_of, arguments))  # a password that is made is made once

    def read() -> tuple[ServeSettings, Sequence[str]]:
        file = load(arguments.config) if arguments.config else None
        sources = Sources(options(), file)
        settings = build_settings(sources)
        return settings, sources.told(dangers(settings, sources))

    reread = read if arguments.config and ignore_hangup() else None
    settings, told = read()
    warnings = [*told, *(f"{dotted(path)}: {what}" for path, what in unusable_places(settings))]
    raise_descriptor_limit()
    explain_on_stderr(verbose=settings.verbose)
    run_loop = loop_runner(uvloop=settings.uvloop)
    count = processors() if settings.workers == "auto" else settings.workers
    if count > 1:
        if sys.platform != "linux":
            raise ConfigError("more than one worker needs Linux: leave --workers out")
        code: int = asyncio.run(_supervise(settings, count, warnings, reread))
        return code
    calm_collector()
    run_loop(_serve(settings, warnings, reread))
    return 0


async def _serve(settings: ServeSettings, warnings: Sequence[str] = (), reread: Read | None = None) -> None:
    writer = open_log(settings, lambda count: server.meter.counts.count("log_lines_dropped", number=count))
    server = build_server(settings, writer.write if writer is not None else None)
    notifier = Notifier()
    stop = asyncio.Event()
    impatient = asyncio.Event()

    def on_signal() -> None:
        (impatient if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, on_signal)
        except NotImplementedError:  # Windows: between two instructions, whatever runs
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(on_signal))
    _on_reopen(loop, writer)
    started = time.monotonic()
    overview = Overview(server)
    watching = asyncio.ensure_future(notifier.watch(lambda: overview.health().alive))
    try:
        async with build_admin(settings, overview, __version__) as admin:
            sockets = listening_sockets(settings.listen_addresses)
            become(settings)
            await server.start(sockets)
            # Before a word of it is said: whoever waits for that may send one at once.
            with _heeding_hangup(reread, partial(change_server, server), on_signal, notifier):
                _warn(warnings)
                _announce(server, server.addresses, admin.addresses)
                _tell_upstreams(settings)
                _tell_caps(server.caps)
                notifier.ready()
                await stop.wait()
            notifier.stopping()
            if server.sessions:
                patience = f"{settings.limits.drain:g} s for {server.sessions} sessions"
                _say(f"stopping: waiting up to {patience}; again to end them")
            await drain_unless(server, impatient)
    finally:
        watching.cancel()
        await server.close()
        if writer is not None:
            writer.close()
    _tell_totals(server.sessions_served, server.octets_relayed, started)


async def _supervise(settings: ServeSettings, count: int, warnings: Sequence[str], reread: Read | None = None) -> int:
    """The same life, as several processes; the exit code."""
    from ..workers.supervisor import Supervisor  # who has one process needs none of it

    def become_who_works() -> None:
        become(settings)
        try_files(settings)

    notifier = Notifier()
    server = build_server(settings)  # it never starts: it finds what is wrong, and knows what to announce
    supervisor = Supervisor(
        settings,
        count,
        say=_say,
        log=settings.log,
        destination=settings.log_destination,
        become=become_who_works,
        uvloop=settings.uvloop,
        verbose=settings.verbose,
        egress=build_egress(settings),
        watched=bool(settings.admin.places) or notifier.is_watched,
    )

    admin = build_admin(settings, supervisor, __version__)

    def announce(addresses: Sequence[ListenAddress]) -> None:
        _warn(warnings)
        _announce(server, addresses, admin.addresses)
        _tell_upstreams(settings)
        _tell_caps(supervisor.settings.caps, f"{count} workers, ")
        notifier.ready()

    started = time.monotonic()
    watching = asyncio.ensure_future(notifier.watch(lambda: supervisor.health().alive))
    try:
        async with admin:
            with _heeding_hangup(reread, partial(change_workers, supervisor), supervisor.stop, notifier):
                code = await supervisor.run(announce, notifier.stopping)
    finally:
        watching.cancel()
    _tell_totals(*supervisor.totals, started)
    return code


@contextmanager
def _heeding_hangup(
    reread: Read | None, change: Change, stop: Callable[[], object], notifier: Notifier
) -> Iterator[None]:
    """Meanwhile SIGHUP has settings read again; without a file of them it stops the server, whose terminal has gone."""
    if reread is None:

        def on_hangup() -> None:
            # Both the terminal and its shell tell us, perhaps at once; a second stop would end the sessions.
            if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
                ignore_hangup()
                stop()

        with contextlib.suppress(NotImplementedError, AttributeError):  # Windows has no such signal
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, on_hangup)
        yield
        return
    task = asyncio.ensure_future(reload_at_hangup(hear_hangup(), reread, change, _say, notifier))
    try:
        yield
    finally:
        task.cancel()


def _on_reopen(loop: asyncio.AbstractEventLoop, writer: LineWriter | None) -> None:
    """SIGUSR1, which would end a process that does not expect it."""

    def reopen() -> None:
        if isinstance(writer, FileWriter):
            writer.reopen()

    with contextlib.suppress(NotImplementedError, AttributeError):  # Windows has no such signal
        loop.add_signal_handler(signal.SIGUSR1, reopen)


def _tell_totals(sessions: int, octets: int, started: float) -> None:
    minutes = (time.monotonic() - started) / 60
    _say(f"served {sessions} sessions, {octets} octets, in {minutes:.1f} minutes")


def _tell_caps(caps: Caps, who: str = "") -> None:
    """How many fit in at once, by what was set and by what the machine carries."""
    values = {field.name: getattr(caps, field.name) for field in fields(caps)}
    told = [f"{value} {name.replace('_', '-')}" for name, value in values.items() if value]
    _say(f"{who}room for {', '.join(told)}")


def _tell_upstreams(settings: ServeSettings) -> None:
    if settings.chain:
        _say(f"targets are reached through {', then '.join(map(str, settings.chain))}")


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        _say(f"warning: {warning}")


def _announce(server: Server, addresses: Sequence[ListenAddress], admin: Sequence[str] = ()) -> None:
    versions = "SOCKS4, SOCKS4a, SOCKS5" if server.admits_socks4 else "SOCKS5"
    names = ["no authentication" if method is None else method.name for method in server.methods.values()]
    for address in addresses:
        _say(f"listening on {address} ({versions}; {', '.join(names)})")
    for place in admin:
        _say(f"admin pages on {place}: /metrics /status /healthz /readyz")
    if command := _command_to_try(server, addresses[0]):
        _say(f"try it: {command}")


def _command_to_try(server: Server, address: ListenAddress) -> str:
    """A line to copy; empty where no common client speaks any of the methods."""
    if not server.methods.keys().isdisjoint((NO_AUTHENTICATION, PasswordFraming.code)):
        user = next(iter(server.settings.users), "NAME" if server.users is not None else "")
        credentials = f"--proxy-user {user} " if user else ""
        return f"curl --proxy socks5h://{_reachable(address)} {credentials}http://example.com/"
    service, _, host = server.settings.gssapi.service.replace("/", "@", 1).partition("@")
    if not server.settings.gssapi.enabled or service != "socks":
        return ""
    # A ticket is for a name, never for an address.
    host = host.partition("@")[0] or ("localhost" if address.is_loopback else socket.gethostname())
    return f"hosier probe --proxy socks5h+gssapi://{host}:{address.port}"


def _reachable(address: ListenAddress) -> ListenAddress:
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
    return address._replace(host=everywhere.get(address.host, address.host))


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more: no reason to end sessions
        print(f"hosier: {text}", file=sys.stderr, flush=True)
