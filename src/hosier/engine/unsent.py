"""How much the kernel has still to deliver of what was given to it: asked, and bounded, where it can be."""

import socket
import sys
from contextlib import suppress
from errno import ENOTTY
from socket import IPPROTO_TCP, SOL_SOCKET, SocketType
from struct import unpack
from typing import Final

__all__ = ("bound_unsent", "unsent")

UNSENT: Final = 3 << 19
"""Octets that a sink of bulk holds at most, besides those that are under way."""

_NOTSENT_LOWAT: Final = getattr(socket, "TCP_NOTSENT_LOWAT", None) if sys.platform == "linux" else None
_SIOCOUTQ: Final = 0x5411  # Linux: tcp(7)
_SO_NWRITE: Final = 0x1024  # macOS: setsockopt(2)
_FIONWRITE: Final = 0x40046677  # the BSDs: ioctl(2)


def unsent(sock: SocketType) -> int | None:
    """Octets that the peer has not acknowledged yet; 0 also for a connection that is gone, None if nobody can say."""
    try:
        if sys.platform == "darwin":
            return sock.getsockopt(SOL_SOCKET, _SO_NWRITE)
        from fcntl import ioctl  # Windows has none

        request = _SIOCOUTQ if sys.platform == "linux" else _FIONWRITE
        return int(unpack("i", ioctl(sock.fileno(), request, bytes(4)))[0])
    except ImportError:
        return None
    except OSError as error:
        return None if error.errno == ENOTTY else 0


def bound_unsent(sock: SocketType) -> None:
    """Lets the kernel take no more than ``UNSENT`` octets that it cannot send yet, and tell of room when half of them
    have gone (tcp(7) has no word of it; Linux: ip-sysctl, tcp_notsent_lowat).

    Without it the kernel takes what the socket's buffer holds, up to 4 MiB, and tells of room when a third is free. The
    smaller store is as good at keeping the line busy, and what is in it is still in the processor's caches when it is
    sent: bulk costs a tenth less. A reader who has stopped holds less of the kernel's memory, too.
    """
    if _NOTSENT_LOWAT is not None:
        with suppress(OSError):  # no TCP
            sock.setsockopt(IPPROTO_TCP, _NOTSENT_LOWAT, UNSENT)
