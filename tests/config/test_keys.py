"""Every setting is a key, with its type, default and description; there is no second list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields

import pytest

from hosier.config.keys import keys_of, leaves
from hosier.config.secrets import Secret
from hosier.config.settings import ServeSettings
from hosier.server.settings import DEFAULT_LISTEN, Limits, ServerSettings


@dataclass
class Inner:
    """What is inside."""

    size: int
    """How large;
    in octets."""


@dataclass
class Base:
    first: str = "x"
    """The first."""


@dataclass
class Outer(Base):
    second: Inner | None = None
    third: Sequence[str] = field(default=(), repr=False)
    fourth: str | None = field(default=None, repr=False)
    fifth: int = field(default=0, init=False)

    sixth: int = field(default=6, repr=False)
    """The sixth."""


def test_keys() -> None:
    found = {key.name: key for key in keys_of(Outer)}
    assert list(found) == ["first", "second", "third", "fourth", "sixth"]
    assert found["first"].description == "The first."
    assert found["first"].table is None
    assert found["second"].table is Inner
    assert found["second"].description == "What is inside."
    assert found["third"].hint == Sequence[Secret]
    assert found["fourth"].hint == Secret | None
    assert found["sixth"].hint is int
    assert found["sixth"].default == 6
    (size,) = keys_of(Inner)
    assert size.description == "How large; in octets."
    assert size.default is MISSING


def test_leaves() -> None:
    assert [path for path, _ in leaves(Outer)] == [("first",), ("second", "size"), ("third",), ("fourth",), ("sixth",)]


def test_without_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation may lack it: then nothing is explained, and everything works."""

    def nothing(_: object) -> str:
        raise OSError

    monkeypatch.setattr("inspect.getsource", nothing)
    (key,) = keys_of.__wrapped__(Base)
    assert (key.name, key.description) == ("first", "")


def test_every_setting_is_a_key() -> None:
    found = {key.name: key for key in keys_of(ServeSettings)}
    assert set(found) == {field.name for field in fields(ServeSettings)}
    assert set(found) > {field.name for field in fields(ServerSettings)}
    assert found["users"].hint == Mapping[str, Secret]
    assert found["listen"].default == DEFAULT_LISTEN
    assert found["limits"].table is Limits


@pytest.mark.parametrize(
    ("path", "key"), list(leaves(ServeSettings)), ids=lambda value: ".".join(value) if isinstance(value, tuple) else ""
)
def test_every_setting_is_explained(path: tuple[str, ...], key: object) -> None:
    description = getattr(key, "description", "")
    assert description, f"{'.'.join(path)}: write what it does below the field"
    assert description.endswith(".")
