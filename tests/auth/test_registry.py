"""Methods by number and by name. Packages are real ones, as far as Python can tell: a folder with its metadata."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hosier.auth.registry import ENTRY_POINTS, load_method, method_label
from hosier.errors import ConfigError

MODULE = """
class Framing:
    code = {code}

class Method:
    name = "secret handshake"
    framing = Framing()

def broken():
    raise ValueError("set SECRET first")

def nothing():
    pass
"""

Installer = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installer:
    """Puts a package on the path that brings one method."""

    def put(name: str, value: str = "{module}:Method", code: int = 0x80) -> None:
        module = f"brings_{name.replace('-', '_')}"
        folder = tmp_path / name
        information = folder / f"{module}-1.dist-info"
        information.mkdir(parents=True)
        (folder / f"{module}.py").write_text(MODULE.format(code=code), encoding="utf-8")
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n", encoding="utf-8")
        entry = f"[{ENTRY_POINTS}]\n{name} = {value.format(module=module)}\n"
        (information / "entry_points.txt").write_text(entry, encoding="utf-8")
        monkeypatch.syspath_prepend(str(folder))

    return put


@pytest.mark.parametrize(
    ("code", "label"),
    [
        (0x00, "00 (no authentication)"),
        (0x01, "01 (GSSAPI)"),
        (0x02, "02 (username/password)"),
        (0x03, "03 (CHAP)"),
        (0x04, "04 (unassigned)"),
        (0x09, "09 (JSON parameter block)"),
        (0x0A, "0A (unassigned)"),
        (0x7F, "7F (unassigned)"),
        (0x80, "80 (private)"),
        (0xFE, "FE (private)"),
        (0xFF, "FF (no acceptable method)"),
    ],
)
def test_label(code: int, label: str) -> None:
    assert method_label(code) == label


def test_every_number_has_one_label() -> None:
    assert len({method_label(code) for code in range(256)}) == 256


def test_load(install: Installer) -> None:
    install("two-rounds")
    method = load_method("two-rounds")
    assert method.name == "secret handshake"
    assert method.framing.code == 0x80
    assert load_method("two-rounds") is not method


@pytest.mark.parametrize("code", [0x03, 0x04, 0x7F, 0x80, 0xFE])
def test_numbers_that_are_free(install: Installer, code: int) -> None:
    install(f"takes-{code:02x}", code=code)
    assert load_method(f"takes-{code:02x}").framing.code == code


@pytest.mark.parametrize(
    ("code", "label"),
    [
        (0x00, "00 (no authentication)"),
        (0x01, "01 (GSSAPI)"),
        (0x02, "02 (username/password)"),
        (0xFF, "FF (no acceptable method)"),
        (0x100, "100 (private)"),
        (-1, "-1 (unassigned)"),
    ],
)
def test_numbers_that_are_not(install: Installer, code: int, label: str) -> None:
    name = f"thief{code}".replace("-", "minus")
    install(name, code=code)
    with pytest.raises(ConfigError) as caught:
        load_method(name)
    assert str(caught.value) == f"the method '{name}' takes {label}, which is not free: 03 to FE are"


def test_unknown_name(install: Installer) -> None:
    install("two-rounds")
    with pytest.raises(ConfigError, match="there is no method 'three-rounds'; known: ") as caught:
        load_method("three-rounds")
    known = str(caught.value).partition("known: ")[2].split(", ")
    assert {"none", "password", "two-rounds"} <= set(known)
    assert known == sorted(known)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("{module}:broken", "ValueError('set SECRET first')"),
        ("{module}:nothing", "AttributeError"),
        ("{module}:absent", "AttributeError"),
        ("{module}:Framing.code", "TypeError"),
        ("no_such_module_anywhere:Method", "ModuleNotFoundError"),
    ],
)
def test_does_not_load(install: Installer, value: str, reason: str) -> None:
    """One line that names the package's place and the reason, whatever goes wrong in it."""
    install("broken", value)
    with pytest.raises(ConfigError) as caught:
        load_method("broken")
    text = str(caught.value)
    assert text.startswith(f"the method 'broken' ({value.format(module='brings_broken')}) does not load: ")
    assert reason in text
    assert "\n" not in text
    assert caught.value.__cause__ is not None
