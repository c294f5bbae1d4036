"""``hosier serve``: a SOCKS server until it is told to stop."""

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import sys
import time
from dataclasses import fields
from typing import Any

from ..engine.ports import parse_ports
from ..errors import ConfigError
from ..observe.access_log import FORMATS, AccessLog
from ..observe.writer import LineWriter
from ..policy.networks import parse_network
from ..protocol.auth.password import PasswordFraming
from ..protocol.messages import NO_AUTHENTICATION
from ..server.advertise import parse_advertise
from ..server.server import Server
from ..server.settings import DEFAULT_LISTEN, BindSettings, Limits, ListenAddress, ServerSettings, parse_listen

__all__ = ("add_parser",)

_EPILOG = """\
examples:
  hosier serve                                  a proxy for this machine, on port 1080
  hosier serve --listen '*:1080' --user ann     for others, with a password that is made and shown
  HOSIER_PASSWORD=... hosier serve --user ann   the password from the environment
  hosier serve -v                               explains each refusal

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
    )
    limits = ", ".join(f"{field.name} {field.default:g}" for field in fields(Limits))
    add = parser.add_argument
    add("--listen", action="append", metavar="[HOST:]PORT", help="address; again for more (127.0.0.1:1080, [::1]:1080)")
    add("--user", action="append", default=[], metavar="NAME[:PASSWORD]", help="who may use it; again for more")
    add(
        "--method",
        action="append",
        default=[],
        metavar="NAME",
        help="method by preference: none, password, a plug-in's",
    )
    add("--open", action="store_true", help="listen beyond loopback without authentication")
    add("--allow", action="append", default=[], metavar="NET", help="inner network that clients may reach")
    add("--deny", action="append", default=[], metavar="NET", help="network that nobody may reach")
    add(
        "--advertise",
        action="append",
        default=[],
        metavar="[LOCAL=]ADDR",
        help="address to tell others in the place of our own, behind NAT or in a container; one for each family",
    )
    add("--ports", metavar="LOW-HIGH", help="where to listen for the peers of BIND (any free port)")
    add("--bind", choices=("on", "anyone", "off"), default="on", help="serve BIND; 'anyone': also for unnamed peers")
    add("--timeout", action="append", default=[], metavar="NAME=SECONDS", help=f"limits: {limits}")
    add("--strict", action="store_true", help="refuse what the RFCs forbid and the world sends all the same")
    add("--log", choices=(*FORMATS, "off"), default="text", help="a line per session on standard output (text)")
    add("--uvloop", action="store_true", help="run on uvloop (extra 'uvloop')")
    add("-v", "--verbose", action="store_true", help="explain each refusal on standard error")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serves until SIGTERM or SIGINT; 0 after a drain. Raises ConfigError."""
    settings = _settings(arguments)
    logging.basicConfig(
        format="hosier: %(message)s", level=logging.INFO if arguments.verbose else logging.WARNING, stream=sys.stderr
    )
    _raise_descriptor_limit()
    _calm_collector()
    run_loop = _uvloop_run() if arguments.uvloop else asyncio.run
    run_loop(_serve(settings, arguments.log))
    return 0


async def _serve(settings: ServerSettings, log: str) -> None:
    writer = LineWriter(sys.stdout.fileno()) if log != "off" else None
    server = Server(settings, on_session_end=AccessLog(log, writer.write) if writer is not None else None)
    stop = asyncio.Event()
    impatient = asyncio.Event()

    def on_signal() -> None:
        (impatient if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    started = time.monotonic()
    await server.start()
    _announce(server)
    try:
        await stop.wait()
        if server.sessions:
            _say(
                f"stopping: waiting up to {settings.limits.drain:g} s for {server.sessions} sessions; again to end them"
            )
        draining = [asyncio.ensure_future(server.drain()), asyncio.ensure_future(impatient.wait())]
        await asyncio.wait(draining, return_when=asyncio.FIRST_COMPLETED)
        for waiting in draining:
            waiting.cancel()
    finally:
        await server.close()
        if writer is not None:
            writer.close()
    minutes = (time.monotonic() - started) / 60
    _say(f"served {server.sessions_served} sessions, {server.octets_relayed} octets, in {minutes:.1f} minutes")


def _announce(server: Server) -> None:
    versions = "SOCKS4, SOCKS4a, SOCKS5" if server.admits_socks4 else "SOCKS5"
    names = ["no authentication" if method is None else method.name for method in server.methods.values()]
    for address in server.addresses:
        _say(f"listening on {address} ({versions}; {', '.join(names)})")
    if server.methods.keys().isdisjoint((NO_AUTHENTICATION, PasswordFraming.code)):
        return  # no common client speaks a private method
    first = _reachable(server.addresses[0])
    user = next(iter(server.settings.users), "")
    credentials = f"--proxy-user {user} " if user else ""
    _say(f"try it: curl --proxy socks5h://{first} {credentials}http://example.com/")


def _reachable(address: ListenAddress) -> ListenAddress:
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
    return address._replace(host=everywhere.get(address.host, address.host))


def _settings(arguments: argparse.Namespace) -> ServerSettings:
    listen = [address for text in arguments.listen or () for address in parse_listen(text)]
    return ServerSettings(
        listen=listen or DEFAULT_LISTEN,
        users=dict(_user(text) for text in arguments.user),
        methods=arguments.method,
        open=arguments.open,
        allow=[parse_network(text) for text in arguments.allow],
        deny=[parse_network(text) for text in arguments.deny],
        advertise=[parse_advertise(text) for text in arguments.advertise],
        ports=None if arguments.ports is None else parse_ports(arguments.ports),
        bind=BindSettings(enabled=arguments.bind != "off", anyone=arguments.bind == "anyone"),
        limits=_limits(arguments.timeout),
        strict=arguments.strict,
    )


def _user(text: str) -> tuple[str, str]:
    name, colon, password = text.partition(":")
    if not name:
        raise ConfigError(f"--user {text!r} has no name: write NAME or NAME:PASSWORD")
    if not colon:
        password = os.environ.get("HOSIER_PASSWORD", "")
        if not password:
            password = secrets.token_urlsafe(12)
            _say(f"the password of {name} is {password} (shown only now)")
    return name, password


def _limits(texts: list[str]) -> Limits:
    known = [field.name for field in fields(Limits)]
    values: dict[str, float] = {}
    for text in texts:
        name, _, seconds = text.partition("=")
        if name not in known:
            raise ConfigError(f"--timeout {text!r}: there is no limit {name!r}; known: {', '.join(known)}")
        try:
            values[name] = float(seconds)
        except ValueError:
            raise ConfigError(f"--timeout {text!r}: write {name}=SECONDS") from None
    return Limits(**values)


def _raise_descriptor_limit() -> None:
    """Each session takes two descriptors; the soft limit is often 1024."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _calm_collector() -> None:
    """Sessions leave no cycles behind: looking for some every few sessions would only cost."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _uvloop_run() -> Any:
    try:
        import uvloop
    except ImportError:
        raise ConfigError("--uvloop needs uvloop: pip install 'hosier[uvloop]'") from None
    return uvloop.run


def _say(text: str) -> None:
    print(f"hosier: {text}", file=sys.stderr, flush=True)
