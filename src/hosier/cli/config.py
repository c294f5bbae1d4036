"""``hosier config``: checks a configuration file, writes an example or the schema."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from ..config.build import build_settings
from ..config.dangers import dangers
from ..config.example import example
from ..config.load import load
from ..config.schema import json_schema
from ..config.settings import ServeSettings
from ..config.sources import Sources
from ..errors import ConfigError

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
    init = actions.add_parser("init", help="write an example with every key, explained")
    init.add_argument("file", type=Path, metavar="FILE", nargs="?", help="a new file; default: standard output")
    init.set_defaults(run=run_init)
    schema = actions.add_parser("schema", help="write the JSON schema, for editors")
    schema.set_defaults(run=run_schema)


def run_check(arguments: argparse.Namespace) -> int:
    """0 if a server could be made of the file, with a line for each danger. Raises ConfigError for mistakes."""
    sources = Sources(file=load(arguments.file))
    warnings = sources.told(dangers(build_settings(sources), sources))
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
