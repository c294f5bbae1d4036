"""How the commands that go through proxies end: a line, and a code that tells whose fault it was."""

import errno
import sys
from typing import Final

from ..errors import ConfigError, LocalProtocolError, ReplyError

__all__ = ("ALL_WELL", "EXIT_CODES", "NOBODY_READS", "PROXY_FAILED", "TARGET_FAILED", "ended", "failed", "say")

ALL_WELL: Final = 0
TARGET_FAILED: Final = 1
PROXY_FAILED: Final = 3

NOBODY_READS: Final = 128 + 13
"""As for a program that SIGPIPE has ended."""

EXIT_CODES: Final = """\
exit codes of connect, forward, listen and probe:
    0  all is over; forward: it was told to stop; probe: the proxy speaks SOCKS
    1  the target was not reached, no peer came, or the connection broke
    2  a mistake in the options
    3  a proxy was not reached in time, refused us or broke the protocol; probe: it does not speak SOCKS
  141  nobody reads the output any more
"""
"""For the end of their help."""


def failed(error: Exception) -> int:
    """Tells why there is no way through proxies: the target's fault, or theirs. Raises ConfigError if the user's."""
    if isinstance(error, ConfigError):
        raise error
    if isinstance(error, LocalProtocolError):  # nobody was asked: no such name can be, or no such address in SOCKS4
        raise ConfigError(str(error)) from error
    say(str(error))
    return TARGET_FAILED if isinstance(error, ReplyError) else PROXY_FAILED


def ended(error: OSError) -> int:
    """Tells why a connection has broken; not where only nobody wants its octets any more."""
    if error.errno == errno.EPIPE:
        return NOBODY_READS
    say(f"the connection broke: {error.strerror or error}")
    return TARGET_FAILED


def say(text: str) -> None:
    """A line on standard error."""
    print(f"hosier: {text}", file=sys.stderr, flush=True)
