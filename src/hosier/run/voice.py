"""What the gateway says to the program's user: on the standard error that the two share, and little of it."""

import os
from contextlib import suppress
from typing import Final

from ..errors import AuthError, ProxyConnectionError, RemoteProtocolError, SocksError

__all__ = ("Voice",)

MOST: Final = 64
"""Different lines; then it says no more."""


class Voice:
    """Says each line once. ``verbose``: also what fails because of a target."""

    def __init__(self, *, verbose: bool = False, fd: int = 2) -> None:
        self._verbose = verbose
        self._fd = fd
        self._said: set[str] = set()

    def say(self, line: str) -> None:
        if line in self._said or len(self._said) >= MOST:
            return
        self._said.add(line)
        with suppress(OSError):  # nobody listens any more
            os.write(self._fd, f"hosier: {line}\n".encode("utf-8", "backslashreplace"))

    def failed(self, error: OSError) -> None:
        """A connection could not be made. What is wrong with the proxy concerns everything that follows, and is told
        without the target that it was noticed with."""
        if self._verbose:
            self.say(str(error) if isinstance(error, SocksError) else error.strerror or str(error))
        elif isinstance(error, AuthError | ProxyConnectionError | RemoteProtocolError):
            reason = OSError.__str__(error)
            self.say(reason if error.place is None else f"{reason} [{error.place.proxy}, {error.place.step}]")
