"""How much the kernel has still to deliver of what was given to it, where it tells."""

import sys
from errno import ENOTTY
from socket import SOL_SOCKET, SocketType
from struct import unpack
from typing import Final

__all__ = ("unsent",)

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
