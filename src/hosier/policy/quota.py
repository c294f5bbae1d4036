"""How many of a thing there may be, in all and for each owner."""

from ..errors import PolicyDenied, ReplyCode

__all__ = ("Quota",)


class Quota:
    """Counts who has how many. ``what`` names the thing, in the plural, for the explanation."""

    __slots__ = ("_each", "_held", "_total", "_what", "in_use")

    def __init__(self, what: str, *, total: int, each: int) -> None:
        self.in_use = 0
        self._what = what
        self._total = total
        self._each = each
        self._held: dict[str, int] = {}

    def enter(self, owner: str) -> None:
        """One more for the owner. Raises PolicyDenied if that would be too many: a general failure to the client,
        since it may be different in a moment."""
        held = self._held.get(owner, 0)
        if self.in_use >= self._total:
            raise PolicyDenied(f"there are {self.in_use} {self._what} already", code=ReplyCode.GENERAL_FAILURE)
        if held >= self._each:
            raise PolicyDenied(f"{owner} has {held} {self._what} already", code=ReplyCode.GENERAL_FAILURE)
        self.in_use += 1
        self._held[owner] = held + 1

    def resize(self, *, total: int, each: int) -> None:
        """How many may be from now on; those that are more stay."""
        self._total = total
        self._each = each

    def leave(self, owner: str) -> None:
        """One less."""
        self.in_use -= 1
        left = self._held[owner] - 1
        if left:
            self._held[owner] = left
        else:
            del self._held[owner]
