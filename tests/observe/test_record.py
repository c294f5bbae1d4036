"""The record of a session: its fields, and that they suffice for the log."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise

import pytest

from hosier.observe import record as module
from hosier.observe.record import DatagramCounts, SessionRecord
from hosier.protocol.address import Address


def test_fields_in_their_order() -> None:
    """Programs take it apart by position too."""
    assert SessionRecord._fields == (
        "client",
        "user",
        "version",
        "method",
        "command",
        "target",
        "dialled",
        "bound",
        "reply",
        "sent",
        "received",
        "seconds",
        "end",
        "datagrams",
        "rule",
        "log_level",
    )


def test_it_is_a_value() -> None:
    target = Address(3, b"example.com", 443)
    dialled = Address(1, b"\xc0\x00\x02\x01", 443)
    fields = (
        ("192.0.2.7", 1),
        "ann",
        5,
        "02 (username/password)",
        "CONNECT",
        target,
        dialled,
        dialled,
        0,
        1,
        2,
        0.5,
        "x",
    )
    record = SessionRecord(*fields)
    assert tuple(record) == (*fields, None, "", "normal")  # no datagrams, except of UDP ASSOCIATE, and no rule
    assert record == SessionRecord(*fields)
    assert hash(record) == hash(SessionRecord(*fields))


@pytest.mark.parametrize("record", [SessionRecord, DatagramCounts])
def test_every_field_is_explained(record: type[SessionRecord] | type[DatagramCounts]) -> None:
    classes = [node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.ClassDef)]
    (body,) = [node.body for node in classes if node.name == record.__name__]
    explained = {
        first.target.id
        for first, second in pairwise(body)
        if isinstance(first, ast.AnnAssign) and isinstance(first.target, ast.Name) and isinstance(second, ast.Expr)
    }
    assert explained == set(record._fields)


def test_no_field_is_for_a_secret() -> None:
    assert not [name for name in SessionRecord._fields if "pass" in name or "secret" in name or "token" in name]
