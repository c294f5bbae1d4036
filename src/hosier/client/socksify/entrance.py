"""The way in and out: ``hosier.socksify``. The stand-ins are in their places while any context is in any scope."""

import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from ...errors import ConfigError
from ..names import FakeNames
from ..proxy import ProxyChain, chain_of
from . import connecting, datagrams, lookups, loops, net
from .scope import Scope, current, shared_names

__all__ = ("socksify",)

_ABSENT: Final = object()

_SOCKETS_ARE_DESCRIPTORS: Final = os.name == "posix"


@contextmanager
def socksify(
    proxy: ProxyChain | None, *, bypass: str | Iterable[str] = (), names: FakeNames | None = None
) -> Iterator[None]:
    """Within the with-block, sockets of Python code that knows nothing of it go through a proxy, names included.

    The scope is that of the context: other tasks and threads are not touched. Tasks, threads and what is submitted to
    thread pools are in the scope that they were begun in, also when the block has ended. The innermost block counts.
    Names become fake addresses (:class:`hosier.client.names.FakeNames`), and the proxy is told the name; with
    ``socks5://`` and ``socks4://`` they are looked up here. A UDP socket has an association of its own. What cannot go
    through the proxy raises OSError, also what is older than the block or written in C and noticed in time. Not
    noticed: C libraries with sockets of their own, other processes. As a decorator it is a block around each call.

    Args:
        proxy: a proxy or a chain, as for :func:`hosier.connect`. With TLS or GSSAPI a thread of ours carries for each
            connection. None: straight, for a block in another one.
        bypass: what goes past the proxy, as in NO_PROXY: "localhost, 10.0.0.0/8, .internal.example".
        names: the table of names, if its pools of fake addresses are not to be the usual ones.

    Raises ConfigError for proxies that cannot be used so.
    """
    if not _SOCKETS_ARE_DESCRIPTORS:
        raise ConfigError("socksify needs a system whose sockets are descriptors: Linux, macOS and their like")
    scope = None if proxy is None else _scope(proxy, bypass, names)
    if scope is not None:
        net.spread()
        _stand_ins.enter(scope)
    token = current.set(scope)
    del scope  # only contexts hold it: when none does any more, the stand-ins go
    try:
        yield
    finally:
        current.reset(token)


def _scope(proxy: ProxyChain, bypass: str | Iterable[str], names: FakeNames | None) -> Scope:
    entries = bypass if isinstance(bypass, str) else ",".join(bypass)
    return Scope(chain_of(proxy), entries, shared_names if names is None else names)


class _StandIns:
    """Puts them in their places for the first scope and takes them away after the last one."""

    def __init__(self) -> None:
        self._scopes = 0
        self._undo: list[tuple[Any, str, Any]] = []
        # Also from finalizers, which come at any time, even while it is held.
        self._lock = threading.RLock()

    def enter(self, scope: Scope) -> None:
        """Keeps them in place until this scope is forgotten."""
        with self._lock:
            self._scopes += 1
            if self._scopes == 1:
                stand_ins = (*lookups.LOOKUPS, *connecting.WAYS_OUT, *datagrams.DATAGRAMS, *loops.carriers())
                for owner, name, stand_in in stand_ins:
                    self._undo.append((owner, name, vars(owner).get(name, _ABSENT)))
                    setattr(owner, name, stand_in)
        weakref.finalize(scope, self._leave).atexit = False

    def _leave(self) -> None:
        with self._lock:
            self._scopes -= 1
            if self._scopes == 0:
                while self._undo:
                    owner, name, original = self._undo.pop()
                    if original is _ABSENT:
                        delattr(owner, name)
                    else:
                        setattr(owner, name, original)


_stand_ins: Final = _StandIns()
