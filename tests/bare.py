"""A system that has nothing but what Windows has, too: for tests that Hosier needs no more.

``bare()`` takes the names away while a test runs; ``python -m tests.bare ARGUMENTS`` is ``hosier ARGUMENTS`` with the
names gone before anything of Hosier was loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
import select
import selectors
import signal
import socket
import sys
import termios
from collections.abc import Iterator
from types import ModuleType
from typing import Any

# What recv() and send() can be told on every system.
_FLAGS = {"MSG_PEEK", "MSG_OOB", "MSG_DONTROUTE", "MSG_TRUNC", "MSG_CTRUNC", "MSG_WAITALL"}

# Prefixes and names that a module has here and need not have elsewhere.
_ABSENT: dict[ModuleType, tuple[str, ...]] = {
    select: ("epoll", "EPOLL", "poll", "POLL"),
    os: ("splice", "SPLICE_", "pipe2", "eventfd", "EFD_"),
    socket: (
        *("SO_ORIGINAL_DST", "SO_REUSEPORT", "SO_PEERCRED", "SO_BINDTODEVICE", "SO_INCOMING_CPU", "SO_MARK"),
        *("SOCK_NONBLOCK", "SOCK_CLOEXEC", "TCP_DEFER_ACCEPT", "TCP_CORK", "TCP_QUICKACK", "TCP_USER_TIMEOUT"),
        *("MSG_", "UDP_", "AF_NETLINK", "AF_PACKET", "IP_TRANSPARENT", "IP_BIND_ADDRESS_NO_PORT"),
    ),
}
_MODULES = (fcntl, resource, termios)


class BareLoop(asyncio.SelectorEventLoop):
    """What a proactor loop offers: it watches neither descriptors nor signals for others."""

    def __init__(self) -> None:
        super().__init__(selectors.PollSelector())  # of its own: a host program closes what it watches

    def add_reader(self, *_: Any) -> Any:  # type: ignore[override]
        raise NotImplementedError

    def add_writer(self, *_: Any) -> Any:  # type: ignore[override]
        raise NotImplementedError

    def add_signal_handler(self, *_: Any) -> Any:  # type: ignore[override]
        raise NotImplementedError


def _names() -> Iterator[tuple[ModuleType, str]]:
    for module, beginnings in _ABSENT.items():
        for name in list(vars(module)):
            if name.startswith(beginnings) and name not in _FLAGS:
                yield module, name
    yield signal, "SIGHUP"
    yield signal, "pthread_sigmask"


@contextlib.contextmanager
def bare() -> Iterator[None]:
    """Takes it all away, and gives it back."""
    taken = [(module, name, getattr(module, name)) for module, name in _names()]
    before = selectors.DefaultSelector
    try:
        for module, name, _ in taken:
            delattr(module, name)
        for module in _MODULES:
            sys.modules[module.__name__] = None  # type: ignore[assignment]  # an import of it fails
        selectors.DefaultSelector = selectors.SelectSelector  # type: ignore[misc, assignment]
        yield
    finally:
        selectors.DefaultSelector = before  # type: ignore[misc]
        for module in _MODULES:
            sys.modules[module.__name__] = module
        for module, name, value in taken:
            setattr(module, name, value)


def main(arguments: list[str]) -> int:
    """``hosier`` on that system."""
    assert not any(name.partition(".")[0] == "hosier" for name in sys.modules)
    with bare():
        asyncio.new_event_loop = asyncio.events.new_event_loop = BareLoop
        from hosier.cli.main import main

        return main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
