"""Other settings for a server that runs: everything that they need is made first, then all of it changes at once."""

import socket
from collections.abc import Collection, Sequence
from dataclasses import fields, replace
from typing import Final

from .listening import listening_sockets
from .settings import ListenAddress, ServerSettings
from .terms import Terms

__all__ = ("NEED_RESTART", "Reload", "kept_settings")

NEED_RESTART: Final = frozenset(("engine", "backoff", "usage_file"))
"""Settings that a running server keeps."""


class Reload:
    """What a server changes to, until it has; else ``abandon()``.

    Raises ConfigError if the settings cannot be kept, with nothing left open.

    Args:
        terms: what holds now.
        after: the settings that shall.
        listening: the addresses on which the server listens, as the settings write them.
        keep: further settings that stay as they are.
        sockets: what to listen on besides, from whoever has opened it; None: it is opened here.
    """

    def __init__(
        self,
        terms: Terms,
        after: ServerSettings,
        listening: Collection[ListenAddress],
        keep: Collection[str] = (),
        sockets: Sequence[socket.socket] | None = None,
    ) -> None:
        before = terms.settings
        self.kept = kept_settings(before, after, {*NEED_RESTART, *keep})
        """Names of settings that differ and stay as they were until the next start."""
        self._before = terms
        self.sockets = list(sockets or ())
        """What it will listen on besides."""
        try:
            self.terms = Terms(replace(after, **{name: getattr(before, name) for name in self.kept}), terms)
        except BaseException:
            self._close_sockets()
            raise
        wanted = self.terms.settings.listen_addresses
        self.closed = [address for address in listening if address not in wanted]
        known = {*listening, *before.listen_addresses}
        new = [address for address in wanted if address not in known]
        if new and sockets is None:
            try:
                self.sockets = listening_sockets(new)
            except BaseException:
                self.terms.close(terms)
                raise

    def abandon(self) -> None:
        """Nothing changes."""
        self.terms.close(self._before)
        self._close_sockets()

    def _close_sockets(self) -> None:
        for sock in self.sockets:
            sock.close()


def kept_settings(before: ServerSettings, after: ServerSettings, fixed: Collection[str]) -> list[str]:
    """Those of the fixed settings that are to change."""
    return [
        field.name
        for field in fields(before)
        if field.name in fixed and getattr(before, field.name) != getattr(after, field.name)
    ]
