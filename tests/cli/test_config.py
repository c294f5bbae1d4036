"""``hosier config``: check, init and schema, with their exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hosier.cli.main import main
from hosier.config.example import example
from hosier.config.keys import keys_of
from hosier.config.settings import ServeSettings


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("h.toml")


def write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)


def test_check(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(file, "[limits]\nidle = 600\n")
    assert main(["config", "check", "h.toml"]) == 0
    assert capsys.readouterr() == ("h.toml: no mistakes, no warnings\n", "")


@pytest.mark.parametrize(
    ("text", "warnings", "sum_of_them"),
    [
        ("limits.handshake = 600", ["h.toml:1: limits.handshake: whoever connects"], "1 warning"),
        (
            'listen = ["*:1080"]\nusers = { ann = "a", bob = "b" }',
            ["h.toml:2: users.ann: a password of", "h.toml:2: users.bob: a password of"],
            "2 warnings",
        ),
        (
            'log_file = "nowhere/log"\nlimits.handshake = 600',
            ["h.toml:1: log_file: the folder ", "h.toml:2: limits.handshake: whoever connects"],
            "2 warnings",
        ),
    ],
)
def test_check_warns(
    file: Path, capsys: pytest.CaptureFixture[str], text: str, warnings: list[str], sum_of_them: str
) -> None:
    write(file, text)
    assert main(["config", "check", "h.toml"]) == 0
    output, messages = capsys.readouterr()
    assert output == f"h.toml: no mistakes, {sum_of_them}\n"
    found = messages.splitlines()
    assert len(found) == len(warnings)
    assert all(line.startswith(f"hosier: warning: {start}") for line, start in zip(found, warnings, strict=True))


def test_check_tells_all_mistakes(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(file, 'opn = true\nlog = "xml"\n')
    assert main(["config", "check", "h.toml"]) == 2
    assert capsys.readouterr() == (
        "",
        "hosier: h.toml:1: opn: there is no such key; did you mean open?\n"
        'hosier: h.toml:2: log: expected "text", "json" or "off", found "xml"\n',
    )


def test_check_tells_contradictions(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(file, 'listen = ["*:1080"]\nlimits.idle = 0')
    assert main(["config", "check", "h.toml"]) == 2
    assert [line.split(": ")[1:3] for line in capsys.readouterr().err.splitlines()] == [
        ["h.toml:1", "listen"],
        ["h.toml:2", "limits.idle"],
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: ACTION; see hosier config --help"),
        (["check"], "the following arguments are required: FILE; see hosier config check --help"),
    ],
)
def test_usage(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["config", *arguments])
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"hosier: {message}\n"


def test_init(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "init"]) == 0
    assert capsys.readouterr() == (example(), "")


def test_init_writes_a_file_of_one_s_own(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "init", "h.toml"]) == 0
    assert file.read_text(encoding="utf-8") == example()
    assert file.stat().st_mode & 0o077 == 0
    assert main(["config", "check", "h.toml"]) == 0
    assert capsys.readouterr() == ("h.toml: no mistakes, no warnings\n", "")


def test_init_overwrites_nothing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("mine", encoding="utf-8")
    assert main(["config", "init", "h.toml"]) == 2
    assert capsys.readouterr() == ("", "hosier: cannot write h.toml: File exists\n")
    assert file.read_text(encoding="utf-8") == "mine"


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    output, messages = capsys.readouterr()
    assert set(json.loads(output)["properties"]) == {key.name for key in keys_of(ServeSettings)}
    assert not messages


WITHOUT = """
import sys
sys.modules["pydantic"] = None
from hosier.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "arguments", [["config", "check", "h.toml"], ["config", "schema"], ["serve", "--config", "h.toml"]]
)
def test_without_the_extra(file: Path, arguments: list[str]) -> None:
    write(file, "")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *arguments], capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "hosier: a configuration file needs pydantic: pip install 'hosier[server]'\n"


def test_init_needs_no_extra(file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, "config", "init"], capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stdout) == (0, example())


RULES = """
listen = ["127.0.0.1:1080"]
[[rules]]
name = "office hours"
action = "allow"
names = [".example.com"]
times = ["mon-fri 08:00-18:00"]
[[rules]]
action = "deny"
"""


def test_explain(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(file, RULES)
    question = ["config", "explain", "h.toml", "--to", "www.example.com:443", "--address", "198.51.100.1"]
    assert main([*question, "--from", "192.0.2.1", "--at", "mon 08:00"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "granted"
    assert main([*question, "--at", "sat 08:00", "--command", "associate", "--version", "5"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "request: associate www.example.com:443, by nobody from 127.0.0.1 at 127.0.0.1:1080; "
        "SOCKS5, method none; sat 08:00",
        "rule 1 (office hours): passed over, times: not sat 08:00",
        "rule 2: holds (it has no conditions)",
        "refused: rule 2 denies it (reply 2)",
    ]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--to", "www.example.com"], "--to 'www.example.com': write HOST:PORT"),
        (["--to", ":80"], "--to ':80': write HOST:PORT"),
        (["--to", "a:99999"], "--to 'a:99999': write HOST:PORT"),
        (["--to", "a:80", "--from", "here"], "'here' is not an IP address"),
        (["--to", "a:80", "--at", "now"], "'now' is no time of the week: write for example mon 08:00"),
        (["--to", "a:80", "--user", "ann"], "--user ann: the file has no method by which a client could be that"),
    ],
)
def test_explain_takes_no_nonsense(
    more: list[str], message: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(file, RULES)
    assert main(["config", "explain", "h.toml", *more]) == 2
    assert capsys.readouterr().err.startswith(f"hosier: {message}")
