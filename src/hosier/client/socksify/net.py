"""The net under a scope: what a program does past the stand-ins is stopped before it happens.

A function that was taken out of the socket module before, or a class of sockets written in C, never meets a stand-in;
but the interpreter tells its audit hooks (PEP 578). A hook stays as long as the process lives; outside of a scope this
one does nothing.
"""

import errno
import sys
from typing import Any

from .scope import INTERNET, current

__all__ = ("spread",)

_LOOKUPS = frozenset(("getaddrinfo", "getnameinfo", "gethostbyname", "gethostbyaddr"))
_WAYS_OUT = frozenset(("connect", "sendto", "sendmsg"))

_is_spread = False


def spread() -> None:
    """Once per process."""
    global _is_spread
    if not _is_spread:
        sys.addaudithook(_hook)
        _is_spread = True


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if not event.startswith("socket.") or current.get() is None:
        return
    name = event[7:]
    if name in _LOOKUPS or (name in _WAYS_OUT and args[1] is not None and args[0].family in INTERNET):
        raise OSError(errno.EPERM, f"{event} past socksify, which cannot send it through the proxy, is stopped")
