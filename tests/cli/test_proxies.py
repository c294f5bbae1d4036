"""Which proxies a command goes through."""

from __future__ import annotations

import argparse

import pytest

from hosier.cli.proxies import add_proxy_option, chain_for, host_and_port
from hosier.errors import ConfigError


def given(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_proxy_option(parser)
    return parser.parse_args(arguments)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_options_are_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATE", "socks5h://ann:sesame@far.example")
    monkeypatch.setenv("ALL_PROXY", "socks5h://ignored.example")
    chain = chain_for(given("--proxy", "socks4a://near.example", "--proxy", "env:GATE"))
    assert [proxy.host for proxy in chain] == ["near.example", "far.example"]


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5h://gate.example:9")
    assert [str(proxy) for proxy in chain_for(given())] == ["socks5h://gate.example:9"]
    monkeypatch.setenv("NO_PROXY", "inner.example")
    with pytest.raises(ConfigError, match=r"NO_PROXY has 'inner.example'"):
        chain_for(given(), "inner.example", 80)


def test_no_proxy_at_all() -> None:
    with pytest.raises(ConfigError, match="give --proxy URL or set ALL_PROXY"):
        chain_for(given())


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a.example:80", ("a.example", 80)),
        ("192.0.2.1:80", ("192.0.2.1", 80)),
        ("[2001:db8::1]:80", ("2001:db8::1", 80)),
        ("80", ("default.example", 80)),
    ],
)
def test_places(text: str, place: tuple[str, int]) -> None:
    assert host_and_port(text, "default.example") == place


@pytest.mark.parametrize(
    "text", ["", "a.example", "a.example:", "a.example:65536", "2001:db8::1:80", ":80", "[]:80", "80"]
)
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(ConfigError, match="is no place: write HOST:PORT"):
        host_and_port(text)
