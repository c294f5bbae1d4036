"""On which line of a TOML text each key and each item stands, which tomllib does not tell.

The text is one that tomllib has accepted, so this reads it without checking anything, in one pass.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

__all__ = ("KeyPath", "locate")

KeyPath = tuple[str | int, ...]
"""Keys from the root to a value; a number is a place in an array."""

_TOKEN: Final = re.compile(
    r'''
      (?P<text> """ (?:\\.|[^\\])*? "{3,5} | \'\'\' .*? '{3,5} | "(?:\\.|[^"\\])*" | '[^']*' )
    | (?P<mark> [][{}=,\n] )
    | (?P<bare> [^][{}=,\n\s\#"']+ )
    | \#[^\n]*
    ''',
    re.VERBOSE | re.DOTALL,
)
_END: Final = "\n"


class _Token(NamedTuple):
    text: str
    line: int


def locate(text: str) -> Mapping[KeyPath, int]:
    """The line, from 1, of every key and item of a valid TOML text; of a table that is named often, the first."""
    return _Reader(text).lines


class _Reader:
    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._tokens = _tokens(text)
        self._items: dict[KeyPath, int] = {}  # how many tables each array of tables has so far
        self._token = next(self._tokens)
        self._document()

    def _document(self) -> None:
        table: KeyPath = ()
        while self._token.text:
            if self._token.text == "[":
                table = self._header()
            elif self._token.text == _END:
                self._advance()
            else:
                self._assignment(table)

    def _header(self) -> KeyPath:
        line = self._advance().line
        is_array = self._token.text == "["
        if is_array:
            self._advance()
        *parents, last = self._key("]")
        if is_array:
            self._advance()
        path: KeyPath = ()
        for name in parents:
            path = self._note((*path, name), line)
            if path in self._items:
                path = (*path, self._items[path] - 1)
        path = self._note((*path, last), line)
        if is_array:
            count = self._items[path] = self._items.get(path, 0) + 1
            path = self._note((*path, count - 1), line)
        return path

    def _assignment(self, table: KeyPath) -> None:
        line = self._token.line
        for name in self._key("="):
            table = self._note((*table, name), line)
        self._value(table)

    def _value(self, path: KeyPath) -> None:
        opening = self._advance().text
        if opening == "[":
            self._array(path)
        elif opening == "{":
            while self._next_entry("}"):
                self._assignment(path)
        else:
            while self._token.text not in (*",]}", _END, ""):
                self._advance()  # the time of a date

    def _array(self, path: KeyPath) -> None:
        count = 0
        while self._next_entry("]"):
            self._value(self._note((*path, count), self._token.line))
            count += 1

    def _next_entry(self, closing: str) -> bool:
        """Whether an array or inline table has another entry; if not, its end is taken."""
        while self._token.text in (",", _END):
            self._advance()
        if self._token.text == closing:
            self._advance()
            return False
        return True

    def _key(self, closing: str) -> list[str]:
        """The names of a dotted key; tomllib knows how they are quoted."""
        written = []
        while self._token.text != closing:
            written.append(self._advance().text)
        self._advance()
        return list(_names(tomllib.loads(f"{''.join(written)} = 0")))

    def _advance(self) -> _Token:
        taken = self._token
        self._token = next(self._tokens)
        return taken

    def _note(self, path: KeyPath, line: int) -> KeyPath:
        self.lines.setdefault(path, line)
        return path


def _names(table: dict[str, Any]) -> Iterator[str]:
    inner: Any = table
    while isinstance(inner, dict):
        ((name, inner),) = inner.items()
        yield name


def _tokens(text: str) -> Iterator[_Token]:
    """All but blanks and comments; empty ones from the end on."""
    line, counted = 1, 0
    for found in _TOKEN.finditer(text):
        if found.lastgroup is not None:
            line += text.count("\n", counted, found.start())
            counted = found.start()
            yield _Token(found[0], line)
    while True:
        yield _Token("", line)
