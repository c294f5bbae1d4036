"""``hosier passwd``: where the password comes from, what it says, and its mistakes."""

from __future__ import annotations

import getpass
import io
import os
import sys
from pathlib import Path

import pytest

from hosier.auth.users_file import read_users
from hosier.cli.main import main


class Input:
    """Standard input: a terminal, or octets."""

    def __init__(self, data: bytes | None) -> None:
        self.buffer = io.BytesIO(data or b"")
        self._terminal = data is None

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users"


def give(monkeypatch: pytest.MonkeyPatch, data: bytes | None) -> None:
    monkeypatch.setattr(sys, "stdin", Input(data))


def type_in(monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    """Answers the prompts of a terminal, one word each; returns the prompts as they come."""
    give(monkeypatch, None)
    prompts, waiting = list[str](), list(words)

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        if not waiting:
            raise EOFError
        return waiting.pop(0)

    monkeypatch.setattr(getpass, "getpass", ask)
    return prompts


def matches(path: Path, name: bytes, password: bytes) -> bool:
    return read_users(str(path))[name].matches(password)


def test_from_standard_input(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The first line, without its end; what follows is none of our business."""
    for data, done in (
        (b"open sesame\nand more\n", "added"),
        (b"open sesame", "changed"),
        (b"open sesame\r\n", "changed"),
    ):
        give(monkeypatch, data)
        assert main(["passwd", str(path), "ann"]) == 0
        assert capsys.readouterr() == ("", f"hosier: user 'ann' {done} in {path}\n")
        assert matches(path, b"ann", b"open sesame")


@pytest.mark.parametrize("password", [b" blanks ", b"a\x00b", b"\xff\xfe", "påss 密碼".encode(), b"p" * 255])
def test_octets_are_opaque(path: Path, password: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """UP-REQ-12."""
    give(monkeypatch, password + b"\n")
    assert main(["passwd", str(path), "ann"]) == 0
    assert matches(path, b"ann", password)


@pytest.mark.parametrize(("password", "size"), [(b"\n", 0), (b"", 0), (b"p" * 256, 256), (b"p" * 100_000, 4096)])
def test_passwords_that_nobody_can_send(
    path: Path, password: bytes, size: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(monkeypatch, password)
    assert main(["passwd", str(path), "ann"]) == 2
    message = f"hosier: a password has 1 to 255 octets (RFC 1929), this one has {size}\n"
    assert capsys.readouterr() == ("", message)
    assert not path.exists()


def test_on_a_terminal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = type_in(monkeypatch, "öffne dich", "öffne dich")
    assert main(["passwd", str(path), "ann"]) == 0
    assert prompts == ["Password: ", "Once more: "]
    assert matches(path, b"ann", "öffne dich".encode())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("one", "two"), "the two passwords differ; nothing has changed"),
        (("one",), "no password was given; nothing has changed"),
        ((), "no password was given; nothing has changed"),
    ],
)
def test_slips_on_a_terminal(
    path: Path,
    words: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    type_in(monkeypatch, *words)
    assert main(["passwd", str(path), "ann"]) == 2
    assert capsys.readouterr() == ("", f"hosier: {message}\n")
    assert not path.exists()


def test_control_c(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    give(monkeypatch, None)

    def interrupt(_: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(getpass, "getpass", interrupt)
    assert main(["passwd", str(path), "ann"]) == 2
    assert capsys.readouterr().err == "hosier: no password was given; nothing has changed\n"


def test_deleting(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Asks for no password."""
    give(monkeypatch, b"secret\n")
    main(["passwd", str(path), "ann"])
    type_in(monkeypatch)
    assert main(["passwd", "--delete", str(path), "ann"]) == 0
    assert capsys.readouterr().err.endswith(f"hosier: user 'ann' deleted in {path}\n")
    assert read_users(str(path)) == {}
    assert main(["passwd", str(path), "ann", "--delete"]) == 2
    assert capsys.readouterr().err == f"hosier: there is no user ann in {path}\n"


def test_a_file_that_everybody_can_read(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path.touch()
    path.chmod(0o644)
    give(monkeypatch, b"secret\n")
    assert main(["passwd", str(path), "ann"]) == 0
    assert f"hosier: everybody on this machine can read {path}: chmod o-r {path}\n" in capsys.readouterr().err


def test_names_are_what_the_shell_gave(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """UP-REQ-12: octets, whatever the locale makes of them."""
    give(monkeypatch, b"secret\n")
    assert main(["passwd", str(path), os.fsdecode(b"zo\xeb")]) == 0
    assert matches(path, b"zo\xeb", b"secret")


def test_the_password_is_not_shown(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(monkeypatch, b"open sesame\n")
    main(["passwd", str(path), "ann"])
    assert "sesame" not in "".join(capsys.readouterr()) + path.read_text()
