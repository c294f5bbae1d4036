"""What keeps a flow from copying at once: flags, of which it nearly always has none.

The later ones are larger, so that a comparison tells who is past which.
"""

from typing import Final

__all__ = ("ABANDONED", "BLOCKED", "BULK", "DONE", "OVER", "QUEUED")

QUEUED: Final = 1
"""It waits for its turn."""
BULK: Final = 2
"""It moves in turns, by splice."""
BLOCKED: Final = 4
"""The sink is full; its next writable edge calls ``flush``."""
OVER: Final = 8
"""Nothing more is read from the source."""
DONE: Final = 16
"""Everything is delivered and the end passed on, or the direction is given up."""
ABANDONED: Final = 32
"""Given up: the source may still be sending."""
