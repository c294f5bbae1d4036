"""The verb: what it makes of its options. Programs are run in tests/real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_network

import pytest

from hosier.cli.main import main
from hosier.run import check as checking
from hosier.run import launch as launching
from hosier.run.plan import Plan

Launched = list[tuple[Plan, Sequence[str]]]


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Launched:
    """What would have been started."""
    found: Launched = []
    monkeypatch.setattr("sys.platform", "linux")

    def launch(plan: Plan, command: Sequence[str]) -> int:
        found.append((plan, command))
        return 0

    monkeypatch.setattr(launching, "launch", launch)
    for name in ("all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return found


def test_options_end_where_the_command_begins(launched: Launched) -> None:
    for words in (["curl", "-v", "--proxy", "x"], ["--", "curl", "-v", "--proxy", "x"], ["--", "--", "x"]):
        assert main(["run", "--proxy", "socks5h://127.0.0.1", *words]) == 0
    commands = [command for _, command in launched]
    assert commands == [["curl", "-v", "--proxy", "x"]] * 2 + [["--", "x"]]


def test_the_plan(launched: Launched) -> None:
    options = ["--proxy=socks5://a:1", "--proxy=http://b:2", "--bypass=10.0.0.0/8", "--bypass=::1", "--loopback=shared"]
    pools = ["--fake-ipv4=240.0.0.0/8", "--fake-ipv6=fd00::/64", "-v"]
    assert main(["run", *options, *pools, "true"]) == 0
    plan = launched[0][0]
    assert [str(proxy) for proxy in plan.chain] == ["socks5h://a:1", "http://b:2"]
    assert plan.bypass == (ip_network("10.0.0.0/8"), ip_network("::1"))
    assert plan.shared_loopback
    assert plan.verbose
    assert plan.names.addresses_for("x") == ("240.0.0.1", "fd00::1")


def test_the_environment_names_the_proxy(launched: Launched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    assert main(["run", "true"]) == 0
    assert str(launched[0][0].chain[0]) == "socks5h://127.0.0.1:9"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--proxy", "a"], "hosier: which program? write hosier run [options] -- COMMAND..."),
        (["true"], "hosier: no proxy to go through: give --proxy URL or set ALL_PROXY (no variable names a proxy)"),
        (["--proxy=socks4://a", "true"], "hosier: socks4://a:1080: SOCKS4 cannot be told names; use socks4a:// or soc"),
        (["--proxy=a", "--bypass=b", "true"], "hosier: 'b' is not a network: write for example 192.168.0.0/16"),
        (["--proxy=a", "--fake-ipv4=b", "true"], "hosier: the pool of fake addresses is no network"),
        (["--proxy=ftp://a", "true"], "hosier: there is no proxy scheme 'ftp'"),
    ],
)
def test_mistakes(launched: Launched, capsys: pytest.CaptureFixture[str], words: list[str], line: str) -> None:
    assert main(["run", *words]) == 2
    assert capsys.readouterr().err.startswith(line)
    assert not launched


def test_elsewhere_it_points_to_what_works(
    launched: Launched, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    for words in (["--check"], ["--proxy=a", "true"]):
        assert main(["run", *words]) == 2
        said = capsys.readouterr().err
        assert "needs Linux" in said
        assert "hosier.socksify" in said
        assert "hosier forward" in said


def test_check(launched: Launched, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def check(say: Callable[[str], object]) -> int:
        say("works")
        return 7

    monkeypatch.setattr(checking, "check", check)
    assert main(["run", "--check"]) == 7
    assert capsys.readouterr().out == "works\n"
