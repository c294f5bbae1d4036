"""``hosier.socksify``: sockets of code that knows nothing of it go through a proxy, within a with-block."""

from .entrance import socksify

__all__ = ("socksify",)
