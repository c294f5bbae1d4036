"""Lines of the access log: their fields, and names that try to forge them."""

from __future__ import annotations

import json
import re
import time

import pytest

from hosier.observe.access_log import FORMATS, AccessLog, json_line, text_line, word
from hosier.observe.record import DatagramCounts, SessionRecord
from hosier.protocol.address import IPV4, IPV6, NAME, Address

WHEN = "2026-01-31T12:00:00Z"
FULL = SessionRecord(
    client=("192.0.2.7", 48944),
    user="ann",
    version=5,
    method="02 (username/password)",
    command="CONNECT",
    target=Address(NAME, b"example.com", 443),
    dialled=Address(IPV4, b"\x5d\xb8\xd8\x22", 443),
    bound=None,
    reply=0,
    sent=517,
    received=4096,
    seconds=1.25049,
    end="client closed",
)
EMPTY = SessionRecord(("2001:db8::7", 1), None, 0, "", "", None, None, None, None, 0, 0, 0.0, "handshake limit")

HOSTILE = (
    b"a b",
    b"a\nb",
    b"a\r\nb",
    b"a\tb",
    b"a\x00b",
    b"a\x1b[2Jb",
    b'a"b',
    b"a'b",
    b"a\\b",
    b"\\x20",
    "bücher".encode(),
    "\u202egpj.exe".encode(),
    "a\u2028b".encode(),
    b"\xff\xfe",
    b"\x7f",
    b"x\n2026-01-31T12:00:00Z 192.0.2.7:1 ann socks5 CONNECT a:1 - 0 0 0 0.000 client closed",
)


def test_text() -> None:
    assert text_line(FULL, WHEN) == (
        "2026-01-31T12:00:00Z 192.0.2.7:48944 ann socks5 CONNECT example.com:443 93.184.216.34:443 - 0 517 4096 1.250 "
        "client closed\n"
    )


def test_lines_of_sessions_that_are_much_alike() -> None:
    """What a line says of who went where is kept for the next: nothing of one may get into another's."""
    other = Address(IPV4, b"\x5d\xb8\xd8\x22", 80)
    for change in (
        *({"user": "bob"}, {"user": None}, {"version": 4}, {"command": "BIND"}, {"target": other}, {"dialled": other}),
        *({"target": None}, {"dialled": None}, {"bound": other}, {"reply": 5}, {"reply": None}, {"sent": 518}),
        *({"received": 0}, {"client": ("2001:db8::7", 1)}, {"end": "target\nreset"}),
    ):
        changed = FULL._replace(**change)
        assert text_line(changed, WHEN) != text_line(FULL, WHEN)
        assert text_line(changed, WHEN) == text_line(changed, WHEN)
    assert text_line(FULL._replace(target=other, user=None, reply=1), WHEN).split(" ")[2:8] == [
        *("-", "socks5", "CONNECT", "93.184.216.34:80", "93.184.216.34:443", "-")
    ]


def test_text_has_a_dash_for_nothing() -> None:
    assert text_line(EMPTY, WHEN) == f"{WHEN} [2001:db8::7]:1 - - - - - - - 0 0 0.000 handshake limit\n"


def test_text_of_a_failure() -> None:
    record = FULL._replace(user=None, version=4, target=Address(IPV6, bytes(15) + b"\x01", 22), dialled=None, reply=5)
    assert " - socks4 CONNECT [::1]:22 - - 5 " in text_line(record, WHEN)


def test_where_a_bind_listened() -> None:
    record = FULL._replace(command="BIND", bound=Address(IPV4, b"\xc0\x00\x02\x01", 40_000))
    assert " BIND example.com:443 93.184.216.34:443 192.0.2.1:40000 0 517 " in text_line(record, WHEN)
    assert json.loads(json_line(record, WHEN))["bound"] == "192.0.2.1:40000"


def test_json() -> None:
    assert json.loads(json_line(FULL, WHEN)) == {
        "time": WHEN,
        "client": "192.0.2.7:48944",
        "user": "ann",
        "version": 5,
        "method": "02 (username/password)",
        "command": "CONNECT",
        "target": "example.com:443",
        "dialled": "93.184.216.34:443",
        "bound": None,
        "reply": 0,
        "sent": 517,
        "received": 4096,
        "seconds": 1.25,
        "end": "client closed",
        "datagrams": None,
        "rule": None,
        "log_level": "normal",
    }


ASSOCIATION = FULL._replace(
    command="UDP_ASSOCIATE", dialled=None, datagrams=DatagramCounts(7, 5, {"malformed": 2, "refused target": 1})
)


def test_text_of_an_association() -> None:
    assert text_line(ASSOCIATION, WHEN).endswith(
        "client closed; datagrams 7 up, 5 down; dropped: 2 malformed, 1 refused target\n"
    )
    assert text_line(ASSOCIATION._replace(datagrams=DatagramCounts(7, 5, {})), WHEN).endswith("7 up, 5 down\n")


def test_json_of_an_association() -> None:
    assert json.loads(json_line(ASSOCIATION, WHEN))["datagrams"] == {
        "sent": 7,
        "received": 5,
        "dropped": {"malformed": 2, "refused target": 1},
    }


def test_json_of_nothing() -> None:
    found = json.loads(json_line(EMPTY, WHEN))
    assert found["client"] == "[2001:db8::7]:1"
    assert [name for name, value in found.items() if value is None] == [
        *("user", "target", "dialled", "bound", "reply", "datagrams", "rule")
    ]
    assert (found["version"], found["command"], found["method"]) == (0, "", "")


def test_json_has_every_field() -> None:
    assert set(json.loads(json_line(FULL, WHEN))) == {"time", *SessionRecord._fields}


@pytest.mark.parametrize("octets", HOSTILE, ids=repr)
def test_names_cannot_forge_a_line(octets: bytes) -> None:
    target = Address(NAME, octets, 80)
    user = octets.decode("utf-8", "backslashreplace")
    for record in (FULL._replace(target=target), FULL._replace(user=user), FULL._replace(target=target, user=user)):
        line = text_line(record, WHEN)
        assert line.endswith("\n")
        assert line[:-1].isprintable()
        assert len(line.splitlines()) == 1
        fields = line.split(" ")
        assert len(fields) == len(text_line(FULL, WHEN).split(" ")), "a field more or less"
        assert fields[3:5] == ["socks5", "CONNECT"]
        line = json_line(record, WHEN)
        assert line.isascii()
        assert len(line.splitlines()) == 1
        found = json.loads(line)
        assert set(found) == {"time", *SessionRecord._fields}
        assert found["end"] == "client closed"


def test_json_keeps_the_user_as_it_is() -> None:
    for user in ("a b", "a\nb", 'a"b', "bücher"):
        assert json.loads(json_line(FULL._replace(user=user), WHEN))["user"] == user


def test_users_that_differ_look_different() -> None:
    users = ["a b", "a\\x20b", 'a"b', "a\\b", "a\nb", "a\\nb", "a'b"]
    words = {text_line(FULL._replace(user=user), WHEN).split(" ")[2] for user in users}
    assert len(words) == len(users)


def test_odd_characters_are_escaped_once() -> None:
    assert [word(user) for user in ("a b", 'a"b', "a\\b", "a'b", "a\nb", "ann")] == [
        *("a\\x20b", 'a\\"b', "a\\\\b", "a'b", "a\\nb", "ann"),
    ]


@pytest.mark.parametrize("form", list(FORMATS))
def test_access_log_writes_a_line_for_each_record(form: str) -> None:
    lines: list[str] = []
    log = AccessLog(form, lines.append)
    log(FULL)
    log(EMPTY)
    assert len(lines) == 2
    when = re.findall(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", lines[0])
    assert lines[0] == FORMATS[form](FULL, when[0])


def test_time_is_utc_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    log = AccessLog("text", lines.append)
    for second in (1.0, 1.9, 86_399.0, 86_400.5):
        monkeypatch.setattr(time, "time", lambda second=second: second)
        log(FULL)
    assert [line.split(" ")[0] for line in lines] == [
        "1970-01-01T00:00:01Z",
        "1970-01-01T00:00:01Z",
        "1970-01-01T23:59:59Z",
        "1970-01-02T00:00:00Z",
    ]


def test_unknown_form() -> None:
    with pytest.raises(KeyError):
        AccessLog("xml", lambda line: None)


def test_no_line_for_a_silent_rule() -> None:
    lines: list[str] = []
    log = AccessLog("text", lines.append)
    log(FULL._replace(rule="rule 1", log_level="silent"))
    assert lines == []
    log(FULL._replace(rule="rule 2"))
    assert len(lines) == 1


def test_the_rule_is_named() -> None:
    assert json.loads(json_line(FULL._replace(rule="rule 2 (mail)"), WHEN))["rule"] == "rule 2 (mail)"


def test_no_end_can_forge_a_line() -> None:
    """It may tell a name that a stranger has chosen."""
    line = text_line(FULL._replace(end="refused: user eve\nann\x1b[2J\udcff: budget 'é'"), WHEN)
    assert line.endswith("refused: user eve\\nann\\x1b[2J\\udcff: budget 'é'\n")
    assert line.count("\n") == 1
