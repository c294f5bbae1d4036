"""The story of a run: this process becomes the program, in a network that leads to another process of ours.

It keeps its number, its parent, its terminal and its standard files, so that signals, job control, waiting and exit
codes are those of the program and need no help.
"""

import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import replace
from errno import ENOENT
from importlib.util import find_spec
from typing import Final, NoReturn

from ..errors import ConfigError
from . import outside
from .doors import open_doors, send_doors
from .mounts import cover
from .namespace import UserMaps, enter_network, enter_user_namespace
from .obstacles import explain
from .plan import Plan
from .tools import PACKAGES, find_tool

__all__ = ("NOT_EXECUTABLE", "NOT_FOUND", "launch", "require_parts")

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
"""The exit codes of shells, and of ``env``, for a program that cannot be run."""

_OF_PROXIES: Final = ("all_proxy", "http_proxy", "https_proxy", "ftp_proxy", "no_proxy")


def launch(plan: Plan, command: Sequence[str]) -> NoReturn:
    """Becomes the program. Raises ConfigError if it cannot have its namespace."""
    require_parts()
    if any(proxy.gssapi for proxy in plan.chain):
        from ..client.gssapi import tickets_of_this_user

        plan = replace(
            plan, tickets=tickets_of_this_user()
        )  # the gateway is user 0 where it lives, and would look elsewhere
    identity = UserMaps.of_this_process()
    try:
        _enter(plan, identity)
    except OSError as error:
        raise ConfigError(explain(error, is_root=identity.is_root)) from error
    _become(command)


def require_parts() -> None:
    """Raises ConfigError for what is not installed."""
    if find_spec("dns") is None:
        raise ConfigError("hosier run needs dnspython: pip install 'hosier[run]'")
    for name in PACKAGES:
        find_tool(name)


# --- private ---


def _enter(plan: Plan, identity: UserMaps) -> None:
    """Namespaces, mounts and sockets; the gateway gets its part. Raises OSError."""
    ours, theirs = socket.socketpair()
    program = os.getpid()
    with ours, theirs:
        enter_user_namespace(identity.outer, is_root=identity.is_root)
        outside.detach(theirs, plan, program)
        theirs.close()
        ipv6, held = enter_network(held=plan.held, shared_loopback=plan.shared_loopback)
        end = cover(ipv6=ipv6)
        doors = open_doors(ipv6=ipv6, held=held, end=end)
        send_doors(ours, doors)
    enter_user_namespace(identity.inner, is_root=identity.is_root)


def _become(command: Sequence[str]) -> NoReturn:
    # Python ignores these for itself; a program expects them as they were.
    for name in ("SIGPIPE", "SIGXFSZ"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    # Whoever follows them would look for the proxy inside, where it is not; and all goes through it anyway.
    environment = {name: value for name, value in os.environ.items() if name.lower() not in _OF_PROXIES}
    try:
        os.execvpe(command[0], list(command), environment)  # noqa: S606  # it is the point
    except OSError as error:
        os.write(2, f"hosier: {command[0]}: {error.strerror}\n".encode("utf-8", "backslashreplace"))
        os._exit(NOT_FOUND if error.errno == ENOENT else NOT_EXECUTABLE)
