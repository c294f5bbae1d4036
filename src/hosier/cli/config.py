"""``hosier config``: checks a configuration file, writes an example or the schema."""

import argparse
import json
import os
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

from ..config.build import build_settings
from ..config.complaints import Complaint
from ..config.dangers import dangers
from ..config.example import example
from ..config.explain import Explanation, Question
from ..config.load import load
from ..config.places import unusable_places
from ..config.schema import json_schema
from ..config.settings import ServeSettings
from ..config.sources import Sources
from ..errors import ConfigError, LocalProtocolError
from ..policy.time_windows import parse_moment
from ..protocol.address import Address, parse_address

__all__ = ("add_parser",)


def add_parser(verbs: Any) -> None:
    """Adds the verb to the command."""
    parser = verbs.add_parser(
        "config", help="check a configuration file, or write one", description="For hosier serve --config FILE."
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    check = actions.add_parser("check", help="tell every mistake in a file, and every dangerous choice")
    check.add_argument("file", type=Path, metavar="FILE")
    check.set_defaults(run=run_check)
    _add_explain(actions)
    init = actions.add_parser("init", help="write an example with every key, explained")
    init.add_argument("file", type=Path, metavar="FILE", nargs="?", help="a new file; default: standard output")
    init.set_defaults(run=run_init)
    schema = actions.add_parser("schema", help="write the JSON schema, for editors")
    schema.set_defaults(run=run_schema)


def _add_explain(actions: Any) -> None:
    parser = actions.add_parser("explain", help="say which rule decides a request, and why")
    add = parser.add_argument
    add("file", type=Path, metavar="FILE")
    add("--from", dest="client", default="127.0.0.1", metavar="ADDRESS", help="where the client is (127.0.0.1)")
    add("--to", dest="target", required=True, metavar="HOST:PORT", help="the target; of BIND, the peer")
    add("--user", metavar="NAME", help="who the client is (nobody)")
    add("--command", choices=("connect", "bind", "associate"), default="connect", help="what it asks for (connect)")
    add("--method", metavar="NAME", help="how it has authenticated (as a client would who has that name)")
    add("--version", type=int, choices=(4, 5), default=5, help="of the protocol (5)")
    add("--listener", metavar="ADDRESS", help="where it came in, as in the file's listen (the first)")
    add("--at", metavar="TIME", help="when, as in 'mon 08:00' (now)")
    add("--address", action="append", default=[], metavar="ADDRESS", help="what the name stands for (is looked up)")
    parser.set_defaults(run=run_explain)


def run_explain(arguments: argparse.Namespace) -> int:
    """The steps; 0 if the request would be granted, 1 if not. Raises ConfigError."""
    settings = build_settings(Sources(file=load(arguments.file)))
    question = Question(
        client=_address(arguments.client),
        target=_target(arguments.target),
        user=arguments.user,
        command=arguments.command,
        version=arguments.version,
        method=arguments.method,
        listener=arguments.listener,
        minute=None if arguments.at is None else parse_moment(arguments.at),
        addresses=[_address(text) for text in arguments.address],
    )
    explanation = Explanation(settings, question)
    for step in explanation.steps():
        print(step)
    return 0 if explanation.granted else 1


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text.strip("[]"))
    except ValueError:
        raise ConfigError(f"{text!r} is not an IP address: write for example 192.0.2.1 or 2001:db8::1") from None


def _target(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    try:
        if colon and port.isascii() and port.isdigit():
            return parse_address(host.strip("[]"), int(port))
    except LocalProtocolError:
        pass
    raise ConfigError(f"--to {text!r}: write HOST:PORT, for example www.example.com:443 or [2001:db8::1]:443")


def run_check(arguments: argparse.Namespace) -> int:
    """0 if a server could be made of the file, with a line for each danger. Raises ConfigError for mistakes."""
    sources = Sources(file=load(arguments.file))
    settings = build_settings(sources)
    unusable = [Complaint(path, what) for path, what in unusable_places(settings)]
    warnings = sources.told([*dangers(settings, sources), *unusable])
    for warning in warnings:
        print(f"hosier: warning: {warning}", file=sys.stderr)
    print(f"{arguments.file}: no mistakes, {len(warnings) or 'no'} warning{'' if len(warnings) == 1 else 's'}")
    return 0


def run_init(arguments: argparse.Namespace) -> int:
    """Writes the example; a file must be new, and nobody else can read it. Raises ConfigError."""
    if arguments.file is None:
        print(example(), end="")
        return 0
    try:
        descriptor = os.open(arguments.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot write {arguments.file}: {error.strerror}") from None
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(example())
    return 0


def run_schema(_: argparse.Namespace) -> int:
    """Writes the schema."""
    print(json.dumps(json_schema(ServeSettings), indent=2, ensure_ascii=False))
    return 0
