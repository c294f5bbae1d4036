"""Where settings come from: options, a file, or both."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .complaints import Complaint, in_order
from .contradictions import Values
from .lines import KeyPath
from .load import ConfigFile

__all__ = ("Sources",)


@dataclass(frozen=True)
class Sources:
    """What options and a file say, as values by key, nested like the file's tables. Options go before the file."""

    options: Values = field(default_factory=dict, repr=False)
    file: ConfigFile | None = None

    @cached_property
    def values(self) -> Values:
        """Both together: tables key by key, everything else as a whole."""
        return _over(self.file.values, self.options) if self.file else self.options

    def complaint(self, paths: Iterable[KeyPath], what: str) -> Complaint:
        """What is wrong, at the first of the keys that the file is heard on; at none if options are to blame."""
        lines = self.file.lines if self.file else {}
        return Complaint(next((path for path in paths if path in lines and not _says(self.options, path)), None), what)

    def told(self, complaints: Iterable[Complaint]) -> list[str]:
        """The complaints as lines, in the order of the file's, with their places."""
        return in_order(self.file.path, self.file.lines, complaints) if self.file else [one.what for one in complaints]


def _over(below: Values, above: Values) -> dict[str, Any]:
    both = {**below, **above}
    for name in below.keys() & above.keys():
        if isinstance(below[name], Mapping) and isinstance(above[name], Mapping):
            both[name] = _over(below[name], above[name])
    return both


def _says(values: Any, path: KeyPath) -> bool:
    """Whether the values decide a key: by naming it, or by a list that takes the place of the whole."""
    for step in path:
        if not isinstance(values, Mapping):
            return True
        if step not in values:
            return False
        values = values[step]
    return True
