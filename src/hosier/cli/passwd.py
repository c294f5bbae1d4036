"""``hosier passwd``: adds, changes or deletes a user in a users file."""

import argparse
import getpass
import os
import sys
from typing import Any

from ..auth.scrypt import hash_password
from ..auth.users_file import change_user, is_exposed
from ..errors import ConfigError

__all__ = ("add_parser",)

_EPILOG = """\
The password is asked for twice on a terminal; otherwise it is the first line of standard input. A running server
reads the file again by itself.

examples:
  hosier passwd users ann
  printf '%s\\n' "$SECRET" | hosier passwd users ann
  hosier passwd --delete users ann
"""


def add_parser(verbs: Any) -> None:
    """Adds the verb to the command."""
    parser = verbs.add_parser(
        "passwd",
        help="add, change or delete a user in a users file",
        description="Adds a user to a file for hosier serve --users, or changes a password. Makes the file if needed.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--delete", action="store_true", help="delete the user instead")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Does it and says so; 0. Raises ConfigError."""
    path = arguments.file
    hashed = None if arguments.delete else hash_password(_password())
    done = change_user(path, os.fsencode(arguments.name), hashed)
    print(f"hosier: user {arguments.name!r} {done} in {path}", file=sys.stderr)
    if is_exposed(path):
        print(f"hosier: everybody on this machine can read {path}: chmod o-r {path}", file=sys.stderr)
    return 0


def _password() -> bytes:
    if sys.stdin.isatty():
        password = _asked("Password: ")
        if _asked("Once more: ") != password:
            raise ConfigError("the two passwords differ; nothing has changed")
    else:
        password = sys.stdin.buffer.readline(4096).rstrip(b"\r\n")
    if not 1 <= len(password) <= 255:
        raise ConfigError(f"a password has 1 to 255 octets (RFC 1929), this one has {len(password)}")
    return password


def _asked(prompt: str) -> bytes:
    try:
        return getpass.getpass(prompt).encode("utf-8", "surrogateescape")
    except (EOFError, KeyboardInterrupt):
        raise ConfigError("no password was given; nothing has changed") from None
