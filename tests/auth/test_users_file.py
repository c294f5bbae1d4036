"""The users file: what a line may be, what an error says, and that a change is all or nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosier.auth import users_file as module
from hosier.auth.scrypt import ScryptHash, parse_hash
from hosier.auth.users_file import change_user, file_stamp, is_exposed, parse_users, read_users
from hosier.errors import ConfigError

# Of "open sesame" and "other"; written out, so that the cases below have the same names in each run.
ANN = parse_hash("$scrypt$ln=1,r=1,p=1$acWI3Thxfg90MAlcXTXHjQ$86jMyOEgEv9pTDn2zIFsX8AGbuR7UkyQWNYhq9iMdF0")
BOB = parse_hash("$scrypt$ln=1,r=1,p=1$YoNU81yRp1AqG9SufZKnkw$EaEUf0jAw3OA10bwuzs8MiJ6B7Ub/zzddZQyS65KLdk")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def alone(path: Path) -> bool:
    """Whether nothing was left beside the file."""
    return [found.name for found in path.parent.iterdir()] == [path.name]


# --- reading ---


def test_lines() -> None:
    """Comments, empty lines, blanks around and the line ends of Windows do no harm."""
    data = f"# who may\n\nann:{ANN}\r\n  bob:{BOB}  \n#eve:{BOB}\n".encode()
    assert parse_users(data, "users") == {b"ann": ANN, b"bob": BOB}
    assert parse_users(b"", "users") == {}


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Zoë", "Zoë".encode()),
        (r"a\x3ab", b"a:b"),
        (r"\x23ann", b"#ann"),
        ("a#b", b"a#b"),
        (r"\x20\x5c\x00\x0A", b" \\\x00\n"),
        (r"\xff\xFE", b"\xff\xfe"),
        (r"\x61nn", b"ann"),
        ("n" * 255, b"n" * 255),
    ],
)
def test_names(written: str, name: bytes) -> None:
    assert parse_users(f"{written}:{ANN}".encode(), "users") == {name: ANN}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ann", "a user is NAME:HASH; make one with hosier passwd"),
        ("ann:secret", "a hash looks like"),
        ("ann:Zoë", "a hash looks like"),
        (f":{ANN}", "a user's name has 1 to 255 octets"),
        (f"{'n' * 256}:{ANN}", "a user's name has 1 to 255 octets"),
        (rf"a\b:{ANN}", r"in a name, \ is followed by x and two digits"),
        (rf"a\x2:{ANN}", r"in a name, \ is followed by x and two digits"),
        (f"bob:{ANN}", "the user bob is there already"),
        (rf"\x62ob:{ANN}", "the user bob is there already"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(line: str, message: str, path: Path) -> None:
    path.write_text(f"# users\nbob:{BOB}\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_users(str(path))
    assert str(caught.value).startswith(f"{path}, line 3: {message}")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the users file .*users: No such file or directory"):
        read_users(str(path))
    path.write_text(f"ann:{ANN}\n", encoding="utf-8")
    monkeypatch.setattr(module, "_MOST", 10)
    with pytest.raises(ConfigError, match="is larger than 0 MiB"):
        read_users(str(path))


# --- changing ---


def test_adding_makes_the_file(path: Path) -> None:
    """Its owner's alone, whatever the umask says."""
    before = os.umask(0)
    try:
        assert change_user(str(path), b"ann", ANN) == "added"
    finally:
        os.umask(before)
    assert mode(path) == 0o600
    assert read_users(str(path)) == {b"ann": ANN}
    assert alone(path)


def test_adding_changing_deleting(path: Path) -> None:
    """One line changes, all others stay as they are, down to their blanks."""
    path.write_text(f"# who may\n\n bob:{BOB}\n# the end", encoding="utf-8")
    assert change_user(str(path), b"ann", ANN) == "added"
    assert path.read_text() == f"# who may\n\n bob:{BOB}\n# the end\nann:{ANN}\n"
    assert change_user(str(path), b"bob", ANN) == "changed"
    assert path.read_text() == f"# who may\n\nbob:{ANN}\n# the end\nann:{ANN}\n"
    assert change_user(str(path), b"bob", None) == "deleted"
    assert path.read_text() == f"# who may\n\n# the end\nann:{ANN}\n"
    assert change_user(str(path), b"ann", None) == "deleted"
    assert change_user(str(path), b"Zo\xc3\xab: \xff", BOB) == "added"
    assert path.read_text(encoding="utf-8") == f"# who may\n\n# the end\nZoë\\x3a\\x20\\xff:{BOB}\n"
    assert alone(path)


@pytest.mark.parametrize("content", [None, f"ann:{ANN}\n"])
def test_deleting_nobody(content: str | None, path: Path) -> None:
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"there is no user b\\x3ab in .*users"):
        change_user(str(path), b"b:b", None)
    assert path.exists() == (content is not None)
    assert content is None or path.read_text() == content


@pytest.mark.parametrize("name", [b"", b"n" * 256])
def test_names_that_nobody_can_send(name: bytes, path: Path) -> None:
    with pytest.raises(ConfigError, match="1 to 255 octets"):
        change_user(str(path), name, ANN)


def test_a_broken_file_is_not_touched(path: Path) -> None:
    path.write_text("nonsense\n")
    with pytest.raises(ConfigError, match="users, line 1: a user is NAME:HASH"):
        change_user(str(path), b"ann", ANN)
    assert path.read_text() == "nonsense\n"
    assert alone(path)


def test_two_changes_at_once(path: Path) -> None:
    """The second is told, and nothing of the first is lost."""
    draft = path.with_name("users.new")
    draft.write_text("the first one's")
    with pytest.raises(ConfigError, match=r"somebody else is changing .*users; if not, remove .*users\.new"):
        change_user(str(path), b"ann", ANN)
    assert draft.read_text() == "the first one's"


def test_a_folder_that_is_not_there(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot write .*users\.new: No such file or directory"):
        change_user(str(path / "deeper" / "users"), b"ann", ANN)


def test_a_disk_that_is_full(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there stays, and nothing lies about."""
    change_user(str(path), b"ann", ANN)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"cannot change .*users: No space left on device"):
        change_user(str(path), b"bob", BOB)
    assert read_users(str(path)) == {b"ann": ANN}
    assert alone(path)


def test_an_interruption(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    change_user(str(path), b"ann", ANN)
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        change_user(str(path), b"bob", BOB)
    assert alone(path)


def test_rights_and_owner_stay(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that could read the file still can."""
    change_user(str(path), b"ann", ANN)
    path.chmod(0o640)
    owners: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fchown", lambda _, user, group: owners.append((user, group)))
    change_user(str(path), b"bob", BOB)
    assert mode(path) == 0o640
    assert owners == [(path.stat().st_uid, path.stat().st_gid)]


def test_without_owners(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every system has them."""
    change_user(str(path), b"ann", ANN)
    monkeypatch.delattr(os, "fchown")
    assert change_user(str(path), b"bob", BOB) == "added"


def test_a_link_stays_one(path: Path, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    change_user(str(real), b"ann", ANN)
    path.symlink_to(real)
    change_user(str(path), b"bob", BOB)
    assert path.is_symlink()
    assert read_users(str(real)) == {b"ann": ANN, b"bob": BOB}


# --- what can be seen of it from outside ---


def test_stamps(path: Path) -> None:
    """Every change makes another one, a replacement by the same content included."""
    seen = {file_stamp(str(path))}
    assert seen == {None}
    change_user(str(path), b"ann", ANN)
    seen.add(file_stamp(str(path)))
    assert file_stamp(str(path)) in seen
    change_user(str(path), b"ann", ANN)
    seen.add(file_stamp(str(path)))
    path.write_text("")
    seen.add(file_stamp(str(path)))
    assert len(seen) == 4


def test_exposed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_exposed(str(path))
    change_user(str(path), b"ann", ANN)
    assert not is_exposed(str(path))
    path.chmod(0o640)
    assert not is_exposed(str(path))
    path.chmod(0o644)
    assert is_exposed(str(path))
    monkeypatch.setattr(module.os, "name", "nt")  # type: ignore[attr-defined]  # there the rights mean nothing
    assert not is_exposed(str(path))


@settings(derandomize=True, database=None, deadline=None, max_examples=200)
@given(st.lists(st.binary(min_size=1, max_size=255), min_size=1, max_size=5, unique=True))
def test_any_name_comes_back(names: list[bytes]) -> None:
    """UP-REQ-12; and whatever the name, it takes one line, which holds nothing that a terminal obeys."""
    data, expected = b"", dict[bytes, ScryptHash]()
    for name in names:
        data, what = module._changed(data, "users", name, ANN)
        assert what == "added"
        expected[name] = ANN
        assert parse_users(data, "users") == expected
    assert data.count(b"\n") == len(names)
    assert not any(octet < 0x20 and octet != 0x0A for octet in data)
    for name in names:
        data, _ = module._changed(data, "users", name, None)
    assert data == b""
