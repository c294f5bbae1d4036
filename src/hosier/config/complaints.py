"""What is wrong with a configuration file, in lines that people and editors can follow: FILE:LINE: KEY: what."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Final, NamedTuple

from .forms import toml
from .keys import keys_of, leaves
from .lines import KeyPath

__all__ = ("Complaint", "did_you_mean", "dotted", "in_order")

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_ELSEWHERE: Final = 0.8
"""How alike a key of another table must be, of 1, if it has other letters; so many are there that one is always a
little like it."""


class Complaint(NamedTuple):
    """What is wrong with one key; () means the file as a whole, None something that is not in the file."""

    path: KeyPath | None
    what: str


def in_order(file: Path, lines: Mapping[KeyPath, int], complaints: Iterable[Complaint]) -> list[str]:
    """The complaints about a file, a line for each, in the order of the file's lines."""
    return [_located(file, lines, one) for one in sorted(complaints, key=lambda one: _line(lines, one.path))]


def _located(file: Path, lines: Mapping[KeyPath, int], complaint: Complaint) -> str:
    path, what = complaint
    if path is None:
        return what
    line = _line(lines, path)
    return f"{file}{f':{line}' if line else ''}: {f'{dotted(path)}: ' if path else ''}{what}"


def dotted(path: KeyPath) -> str:
    """A key as one writes it; items of a list are counted from 1."""
    written = ""
    dot = ""
    for step in path:
        if isinstance(step, int):
            written += f", item {step + 1}"
            dot = ", "
        else:
            written += f"{dot}{step if _BARE.fullmatch(step) else toml(step)}"
            dot = "."
    return written


def did_you_mean(settings: type, table: type, name: str) -> str:
    """The nearest right name for a key that a table has not: in this table or, if nearly the same, in any other."""
    wanted = name.replace("-", "_").lower()
    beside = {key.name: key.name for key in keys_of(table)}
    anywhere = {path[-1]: dotted(path) for path, _ in leaves(settings)}
    alike = get_close_matches(wanted, anywhere, cutoff=_ELSEWHERE)
    elsewhere = {key: path for key, path in anywhere.items() if key in alike or sorted(key) == sorted(wanted)}
    names = {**elsewhere, **beside}
    if found := get_close_matches(wanted, names, n=1):
        return f"; did you mean {names[found[0]]}?"
    return f"; known here: {', '.join(beside)}"


def _line(lines: Mapping[KeyPath, int], path: KeyPath | None) -> int:
    """The line of a key, or of the nearest table above it that is written; 0: none."""
    while path and path not in lines:
        path = path[:-1]
    return lines[path] if path else 0
