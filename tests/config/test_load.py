"""A file as a whole: what cannot be read, what is no TOML, and mistakes with their lines."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest

from hosier.config.load import MAX_OCTETS, ConfigFile, load
from hosier.errors import ConfigError

Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Makes the file ``h.toml`` in the current folder."""
    monkeypatch.chdir(tmp_path)

    def written(content: str | bytes) -> Path:
        path = Path("h.toml")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


def complaint(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return str(caught.value)


def test_load(write: Write) -> None:
    path = write('deny = ["10.1.2.3"]\n[limits]\nidle = 5\n')
    found = load(path)
    assert found.path == path
    assert found.written == {"deny": ["10.1.2.3"], "limits": {"idle": 5}}
    assert found.values == {"deny": [ip_network("10.1.2.3/32")], "limits": {"idle": 5.0}}
    assert found.lines == {("deny",): 1, ("deny", 0): 1, ("limits",): 2, ("limits", "idle"): 3}


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfopen = true", b"open = true\r\n", b"\r\nopen = true\r\n"])
def test_files_of_other_editors(write: Write, content: bytes) -> None:
    assert load(write(content)).values == {"open": True}


def test_paths_begin_at_the_file_s_folder(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ann.password").write_text("open sesame\n", encoding="utf-8")
    write('users.ann = { file = "ann.password" }')
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load(Path("../h.toml")).values == {"users": {"ann": "open sesame"}}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("open = true\nlisten = \n", "h.toml:2: this is not TOML: invalid value"),
        ("open true\n", "h.toml:1: this is not TOML: expected '=' after a key in a key/value pair"),
        ("a = 1\na = 2\n", "h.toml:2: this is not TOML: cannot overwrite a value"),
        ('a = "x', "h.toml:1: this is not TOML: unterminated string"),
        ('a = 1\nb = """x\n\n', "h.toml:3: this is not TOML: "),
        (f"a = {'9' * 5000}", "h.toml: this is not TOML: exceeds the limit"),
        (b"a = 1\n# \xff\n", "h.toml:2: this is not valid UTF-8"),
        ("a = " + "[" * 100_000, "h.toml: lists or tables are nested too deeply"),
        ("#" * (MAX_OCTETS + 1), f"h.toml is larger than {MAX_OCTETS} octets"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_toml(write: Write, content: str | bytes, expected: str) -> None:
    found = complaint(write(content))
    assert found.startswith(expected)
    assert "\n" not in found


@pytest.mark.parametrize("depth", [2, 50, 90, 200, 300, 400, 500, 1000])
def test_nesting_is_read_or_refused(write: Write, depth: int) -> None:
    """Whether tomllib or we lose count first, it costs a line and no traceback."""
    found = complaint(write(f"methods = {'[' * depth}{']' * depth}"))
    assert found.startswith("h.toml:1: methods") or found == "h.toml: lists or tables are nested too deeply"


def test_what_is_not_there(tmp_path: Path) -> None:
    assert complaint(tmp_path / "h.toml") == f"cannot read {tmp_path}/h.toml: No such file or directory"
    assert complaint(tmp_path) == f"cannot read {tmp_path}: Is a directory"


def test_a_secret_in_broken_toml_is_not_shown(write: Write) -> None:
    for line in ("users.ann = sesame", 'users.ann = "sesame', "users.ann = 'sesame' sesame", "users.ann == 'sesame'"):
        assert "sesame" not in complaint(write(line))


MISTAKES = """\
# mistakes of all kinds
opn = true

listen = [
  "127.0.0.1:1080",
  "nonsense",  # here
]
log = "xml"

[limits]
idle = "long"
"""


def test_mistakes_have_their_lines(write: Write) -> None:
    text = MISTAKES + 'listen = ["1"]\n[users]\nbob = 5\n"ann lee" = { env = "HOSIER_NO_SUCH" }\n'
    assert complaint(write(text)).splitlines() == [
        "h.toml:2: opn: there is no such key; did you mean open?",
        "h.toml:6: listen, item 2: cannot listen on 'nonsense': write 127.0.0.1:1080, [::1]:1080, "
        ":1080 (loopback) or '*:1080' (everywhere)",
        'h.toml:8: log: expected "text", "json" or "off", found "xml"',
        'h.toml:11: limits.idle: expected a number, found "long"',
        "h.toml:12: limits.listen: there is no such key; did you mean listen?",
        'h.toml:14: users.bob: expected a text, { file = "PATH" } or { env = "VARIABLE" }, found a number',
        'h.toml:15: users."ann lee": the environment variable HOSIER_NO_SUCH is not set, or empty',
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\n\nlimits.idle = true", 3),
        ("\nlimits = { connect = 1, idle = true }", 2),
        ("[limits]\n\n'idle' = true", 3),
        ('limits . "idle" = true', 1),
        ("users = {}\n[limits] # first\nconnect = 1\nidle = [\n]", 4),
    ],
)
def test_one_mistake_in_every_notation(write: Write, text: str, line: int) -> None:
    assert complaint(write(text)).startswith(f"h.toml:{line}: limits.idle: expected a number, found ")


def test_values_are_not_in_the_repr() -> None:
    file = ConfigFile(Path("h"), {"users": {"ann": "sesame"}}, {"users": {"ann": "sesame"}}, {})
    assert "sesame" not in repr(file)
