"""Work of many sources for few hands: sources take turns, and none has all of the hands or all of the room.

A source is an opaque key: whoever has work done for somebody says whose it is.
"""

from collections import Counter
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ("FairQueue",)

Item = TypeVar("Item", bound=Hashable)


class FairQueue(Generic[Item]):
    """What waits, each source's in its order, and how many hands each has. An item may wait for several sources.

    Args:
        total: items that may wait.
        share: those of them that one source may have.
        hands: items of one source that may be under way at once.
    """

    __slots__ = ("_hands", "_share", "_total", "_under_way", "_waiting", "size")

    def __init__(self, *, total: int, share: int, hands: int) -> None:
        self._total = total
        self._share = share
        self._hands = hands
        self._waiting: dict[Hashable, dict[Item, None]] = {}  # the source whose turn it is comes first
        self._under_way: Counter[Hashable] = Counter()
        self.size = 0
        """Items that wait, once for each source."""

    def enter(self, source: Hashable, item: Item) -> bool:
        """The item waits for the source from now on, or does so already; False: there is no room."""
        own = self._waiting.get(source)
        if own is not None and item in own:
            return True
        if self.size >= self._total or (own is not None and len(own) >= self._share):
            return False
        if own is None:
            own = self._waiting[source] = {}
        own[item] = None
        self.size += 1
        return True

    def withdraw(self, source: Hashable, item: Item) -> None:
        """The source wants it no more; harmless if it does not wait."""
        own = self._waiting.get(source)
        if own is not None and item in own:
            self._remove(source, own, item)

    def take(self) -> tuple[Hashable, Item] | None:
        """What is to be done next, and for whom; ``done(source)`` when it is. None: nothing, or only for sources that
        have all hands that they may."""
        for source, own in self._waiting.items():
            if self._under_way[source] < self._hands:
                item = next(iter(own))
                self._remove(source, own, item)
                if own:  # the others' turn comes first
                    self._waiting[source] = self._waiting.pop(source)
                self._under_way[source] += 1
                return source, item
        return None

    def done(self, source: Hashable) -> None:
        """A hand of the source's is free again."""
        self._under_way[source] -= 1
        if not self._under_way[source]:
            del self._under_way[source]

    # --- private ---

    def _remove(self, source: Hashable, own: dict[Item, None], item: Item) -> None:
        del own[item]
        self.size -= 1
        if not own:
            del self._waiting[source]
