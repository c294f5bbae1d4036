"""Places, keys and nearest names in what is said about a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from hosier.config.complaints import Complaint, did_you_mean, dotted, in_order
from hosier.config.lines import KeyPath
from hosier.config.settings import ServeSettings
from hosier.server.settings import Limits


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("open",), "open"),
        (("limits", "idle"), "limits.idle"),
        (("users", "ann lee"), 'users."ann lee"'),
        (("users", ""), 'users.""'),
        (("deny", 2), "deny, item 3"),
        (("rules", 0, "name"), "rules, item 1, name"),
    ],
)
def test_dotted(path: KeyPath, expected: str) -> None:
    assert dotted(path) == expected


def test_in_order() -> None:
    lines: dict[KeyPath, int] = {("a",): 7, ("t",): 3, ("t", "b"): 4}
    complaints = [
        Complaint(("a",), "is wrong"),
        Complaint(("t", "b"), "is wrong"),
        Complaint(("t", "missing"), "is wrong"),
        Complaint(("nowhere",), "is wrong"),
        Complaint((), "it is wrong"),
        Complaint(None, "an option is wrong"),
    ]
    assert in_order(Path("f.toml"), lines, complaints) == [
        "f.toml: nowhere: is wrong",
        "f.toml: it is wrong",
        "an option is wrong",
        "f.toml:3: t.missing: is wrong",
        "f.toml:4: t.b: is wrong",
        "f.toml:7: a: is wrong",
    ]


@pytest.mark.parametrize(
    ("table", "name", "expected"),
    [
        (ServeSettings, "lisen", "; did you mean listen?"),
        (ServeSettings, "user", "; did you mean users?"),
        (ServeSettings, "Listen", "; did you mean listen?"),
        (ServeSettings, "idle", "; did you mean limits.idle?"),
        (ServeSettings, "server", "; known here: listen, "),
        (ServeSettings, "idel", "; did you mean limits.idle?"),
        (ServeSettings, "handshakee", "; did you mean limits.handshake?"),
        (Limits, "idel", "; did you mean idle?"),
        (Limits, "listen", "; did you mean listen?"),
        (Limits, "zzz", "; known here: handshake, auth, connect, "),
    ],
)
def test_did_you_mean(table: type, name: str, expected: str) -> None:
    assert did_you_mean(ServeSettings, table, name).startswith(expected)
