"""One line per session: text for people, JSON for programs.

Names and user names come from strangers; what is not printable is escaped, so that no line can be forged.
"""

import json
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from ..protocol.address import Address
from .record import DatagramCounts, SessionRecord

__all__ = ("FORMATS", "AccessLog", "json_line", "printable", "text_line", "word")

_text_of: Final = lru_cache(1024)(str)  # most sessions go to few places


@lru_cache(1024)
def _who_and_where(
    user: str | None,
    version: int,
    command: str,
    target: Address | None,
    dialled: Address | None,
    bound: Address | None,
    reply: int | None,
) -> str:
    """The middle of a line: few users go to few places, so it nearly always stands already."""
    place = "-" if target is None else _text_of(target)
    reached = place if dialled == target else "-" if dialled is None else _text_of(dialled)  # mostly the same
    return (
        f"{'-' if user is None else word(user)} {f'socks{version}' if version else '-'} {command or '-'} {place} "
        f"{reached} {'-' if bound is None else bound} {'-' if reply is None else reply}"
    )


def text_line(record: SessionRecord, when: str) -> str:
    """The fields in a fixed order, a dash where there is nothing."""
    client, user, version, _, command, target, dialled, bound, reply, sent, received, seconds, end, datagrams, _, _ = (
        record
    )
    host, port = client
    middle = _who_and_where(user, version, command, target, dialled, bound, reply)
    if ":" in host:
        host = f"[{host}]"
    if not end.isprintable():
        end = printable(end)
    if datagrams is not None:
        end += _datagrams(datagrams)
    return f"{when} {host}:{port} {middle} {sent} {received} {seconds:.3f} {end}\n"


def json_line(record: SessionRecord, when: str) -> str:
    """One object with the record's field names, and ``time``."""
    fields = {
        "time": when,
        "client": _place(record.client),
        "user": record.user,
        "version": record.version,
        "method": record.method,
        "command": record.command,
        "target": None if record.target is None else str(record.target),
        "dialled": None if record.dialled is None else str(record.dialled),
        "bound": None if record.bound is None else str(record.bound),
        "reply": record.reply,
        "sent": record.sent,
        "received": record.received,
        "seconds": round(record.seconds, 3),
        "end": record.end,
        "datagrams": None if record.datagrams is None else record.datagrams._asdict(),
        "rule": record.rule or None,
        "log_level": record.log_level,
    }
    return json.dumps(fields) + "\n"


FORMATS: Final = {"text": text_line, "json": json_line}


class AccessLog:
    """Called with each record; writes its line through ``write``."""

    def __init__(self, form: str, write: Callable[[str], None]) -> None:
        self._line = FORMATS[form]
        self._write = write
        self._since = self._until = 0
        self._when = ""

    def __call__(self, record: SessionRecord) -> None:
        if record.log_level == "silent":
            return
        now = time.time()
        if not self._since <= now < self._until:  # a busy server asks for the same second thousands of times
            self._since = int(now)
            self._until = self._since + 1
            self._when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        self._write(self._line(record, self._when))


def _datagrams(counts: DatagramCounts) -> str:
    sent, received, dropped = counts
    reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
    return f"; datagrams {sent} up, {received} down{f'; dropped: {reasons}' if reasons else ''}"


def _place(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def printable(text: str) -> str:
    """A text that may hold what strangers wrote, such as their names, as part of one line: whatever could end it,
    steer a terminal or not be written is escaped."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def word(text: str) -> str:
    """A text from a stranger as one word of a line, which it cannot end: odd characters are escaped, each once."""
    return text if text.isalnum() else "".join(map(_escaped, text))


def _escaped(letter: str) -> str:
    if letter == " ":
        return "\\x20"
    if letter == '"':
        return '\\"'
    return ascii(letter)[1:-1]
