"""What can happen to a watched descriptor.

The numbers are those of Linux's epoll, so that the engine there has nothing to translate. Other
engines speak them, too.
"""

from typing import Final

__all__ = ("EPOLLERR", "EPOLLET", "EPOLLHUP", "EPOLLIN", "EPOLLOUT", "EPOLLPRI", "EPOLLRDHUP")

EPOLLIN: Final = 0x1
EPOLLPRI: Final = 0x2
EPOLLOUT: Final = 0x4
EPOLLERR: Final = 0x8
EPOLLHUP: Final = 0x10
EPOLLRDHUP: Final = 0x2000
EPOLLET: Final = 1 << 31
