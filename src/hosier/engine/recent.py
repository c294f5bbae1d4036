"""A table of bounded size that forgets what nobody asked for."""

from typing import Generic, TypeVar

__all__ = ("Recent",)

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """Two generations: when the young one is full, it becomes the old one, and what was in that is forgotten.

    What is asked for in time moves to the young one again, so nothing that is in use is lost, and a look-up that
    succeeds costs one dictionary's: ask ``young`` first where that counts.
    """

    __slots__ = ("_half", "_old", "young")

    def __init__(self, limit: int) -> None:
        """``limit``: entries in all, at least 2."""
        self._half = limit // 2
        self.young: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}

    def __len__(self) -> int:
        return len(self.young) + len(self._old)

    def __setitem__(self, key: Key, value: Value) -> None:
        self._old.pop(key, None)
        if len(self.young) >= self._half and key not in self.young:
            self.age()
        self.young[key] = value

    def get(self, key: Key) -> Value | None:
        value = self.young.get(key)
        if value is None and (value := self._old.get(key)) is not None:
            self[key] = value
        return value

    def items(self) -> list[tuple[Key, Value]]:
        """All that is remembered, the older first."""
        return [*self._old.items(), *self.young.items()]

    def age(self) -> None:
        """Lets the young become old: what is not asked for until the next time is forgotten."""
        self._old, self.young = self.young, {}
