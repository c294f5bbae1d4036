"""The command's frame: verbs, mistakes, exit codes."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys

import pytest

from hosier import __version__
from hosier.cli import main as module
from hosier.cli import serve
from hosier.cli.main import main
from hosier.errors import ConfigError


def exit_code(*arguments: str) -> int:
    """What the command exits with, however it ends."""
    try:
        return main(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else -1


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--version") == 0
    assert capsys.readouterr() == (f"hosier {__version__}\n", "")


@pytest.mark.parametrize("arguments", [("--help",), ("serve", "--help")])
def test_help(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(*arguments) == 0
    output, messages = capsys.readouterr()
    assert output.startswith("usage: hosier")
    assert not messages


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "hosier: the following arguments are required: VERB; see hosier --help"),
        (("--nonsense",), "hosier: the following arguments are required: VERB; see hosier --help"),
        (("serve", "--nonsense"), "hosier: unrecognized arguments: --nonsense; see hosier serve --help"),
        (("serve", "--listen"), "hosier: argument --listen: expected one argument; see hosier serve --help"),
    ],
)
def test_a_mistake_costs_one_line(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(*arguments) == 2
    assert capsys.readouterr() == ("", message + "\n")


def test_an_unknown_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("conjure") == 2
    output, messages = capsys.readouterr()
    assert not output
    assert messages.startswith("hosier: argument VERB: invalid choice: 'conjure'")
    assert len(messages.splitlines()) == 1


def test_a_setting_that_is_wrong_costs_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(_: argparse.Namespace) -> int:
        raise ConfigError("nothing fits")

    monkeypatch.setattr(serve, "run", run)
    assert exit_code("serve") == 2
    assert capsys.readouterr() == ("", "hosier: nothing fits\n")


def test_the_verb_s_code_is_the_command_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "run", lambda _: 7)
    assert exit_code("serve") == 7


def test_faults_of_ours_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: argparse.Namespace) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(serve, "run", run)
    with pytest.raises(ZeroDivisionError):
        main(["serve"])


def test_arguments_come_from_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["hosier", "--version"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out == f"hosier {__version__}\n"


def test_every_verb_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    exit_code("--help")
    output = capsys.readouterr().out
    for verb in module._VERBS:
        assert any(line.split()[:1] == [verb] and len(line.split()) > 1 for line in output.splitlines())


@pytest.mark.parametrize("verb", module._VERBS)
def test_every_verb_explains_itself_alone(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(verb, "--help") == 0
    assert capsys.readouterr().out.startswith(f"usage: hosier {verb} ")


def test_connect_loads_no_server() -> None:
    """ssh should not wait for what it does not need."""
    program = (
        "import sys; from hosier.cli.main import main\ntry: main(['connect', '--help'])\nexcept SystemExit: pass\n"
    )
    ask = program + "print('asyncio' in sys.modules, 'hosier.server' in sys.modules, 'hosier.engine' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False False False"


def test_who_reads_no_more_is_no_mistake() -> None:
    """As with `| head`."""
    program = "import os; from hosier.cli import main as m, passwd\n"
    program += "def run(_): raise BrokenPipeError\npasswd.run = run\nraise SystemExit(m.main(['passwd', 'a', 'b']))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupt_is_no_fault() -> None:
    """Wherever it comes: we end as any program does."""
    program = "from hosier.cli import main as m, passwd\n"
    program += "def run(_): raise KeyboardInterrupt\npasswd.run = run\nraise SystemExit(m.main(['passwd', 'a', 'b']))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_a_verb_loads_alone() -> None:
    """The others would cost `hosier run` more than its work does."""
    program = "import sys; from hosier.cli.main import main\ntry: main(['run', '--help'])\nexcept SystemExit: pass"
    loaded = subprocess.run(
        [sys.executable, "-c", f"{program}\nprint('hosier.cli.serve' in sys.modules, 'asyncio' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout.splitlines()[-1] == "False False"
