"""What the environment asks for, entry by entry, and why."""

from __future__ import annotations

import pytest

import hosier
from hosier.client.environment import explain_environment, proxy_from_environment

ONE = {"ALL_PROXY": "socks5h://one:1081"}


def chosen(environ: dict[str, str], host: str = "example.com", port: int = 80, scheme: str = "http") -> str | None:
    proxy = proxy_from_environment(host, port, scheme, environ=environ)
    return None if proxy is None else str(proxy)


@pytest.mark.parametrize(
    ("environ", "scheme", "expected"),
    [
        ({}, "http", None),
        (ONE, "http", "socks5h://one:1081"),
        (ONE, "", "socks5h://one:1081"),
        ({"all_proxy": "socks5://small", **ONE}, "", "socks5://small:1080"),
        ({"all_proxy": "", **ONE}, "", "socks5h://one:1081"),
        ({"ALL_PROXY": "one:9050"}, "", "socks5h://one:9050"),
        ({"ALL_PROXY": "socks://one"}, "", "socks5h://one:1080"),
        ({"HTTPS_PROXY": "two:3128", **ONE}, "https", "http://two:3128"),
        ({"HTTPS_PROXY": "two:3128", **ONE}, "HTTPS", "http://two:3128"),
        ({"HTTPS_PROXY": "two:3128", **ONE}, "http", "socks5h://one:1081"),
        ({"HTTPS_PROXY": "two:3128", **ONE}, "", "socks5h://one:1081"),
        ({"HTTP_PROXY": "two:3128"}, "http", "http://two:3128"),
        ({"HTTP_PROXY": "two:3128", "REQUEST_METHOD": "GET"}, "http", None),
        ({"http_proxy": "two:3128", "REQUEST_METHOD": "GET"}, "http", "http://two:3128"),
        ({"WSS_PROXY": "socks5://two"}, "wss", "socks5://two:1080"),
        ({"ALL_PROXY": "gopher://one"}, "", None),
        ({"HTTP_PROXY": "gopher://two", **ONE}, "http", "socks5h://one:1081"),
    ],
)
def test_variables(environ: dict[str, str], scheme: str, expected: str | None) -> None:
    assert chosen(environ, scheme=scheme) == expected


@pytest.mark.parametrize(
    ("entries", "host", "direct"),
    [
        ("*", "example.com", True),
        ("*", "::1", True),
        ("", "example.com", False),
        ("example.com", "example.com", True),
        ("example.com", "EXAMPLE.com.", True),
        ("example.com.", "example.com", True),
        ("example.com", "www.example.com", True),
        (".example.com", "www.example.com", True),
        (".example.com", "example.com", True),
        ("*.example.com", "www.example.com", True),
        ("example.com", "badexample.com", False),
        ("example.com", "example.com.evil", False),
        ("one, example.com ,two", "example.com", True),
        ("one example.com", "example.com", True),
        ("example.com:80", "example.com", True),
        ("example.com:81", "example.com", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.1.2.3/8", "10.9.9.9", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1:80", "127.0.0.1", True),
        ("127.0.0.1:81", "127.0.0.1", False),
        ("fd00::/8", "fd12::1", True),
        ("fd00::/8", "[fd12::1]", True),
        ("fd00::/8", "10.1.2.3", False),
        ("::1", "0:0:0:0:0:0:0:1", True),
        ("[::1]", "::1", True),
        ("[::1]:80", "::1", True),
        ("[::1]:81", "::1", False),
        ("fe80::1", "fe80::1%eth0", True),
        ("0.0.1", "127.0.0.1", False),
        ("10.0.0.0/99,300.0.0.0/8,::/x,///,:,.,[,example.com", "example.com", True),
        ("10.0.0.0/99,300.0.0.0/8,::/x,///,:,.,[", "10.0.0.1", False),
    ],
)
def test_exceptions(entries: str, host: str, direct: bool) -> None:
    assert (chosen({**ONE, "NO_PROXY": entries}, host) is None) == direct


def test_small_letters_of_exceptions_win() -> None:
    assert chosen({**ONE, "no_proxy": "other", "NO_PROXY": "*"}) == "socks5h://one:1081"


def test_reasons() -> None:
    """Which variable, which entry; never a secret."""
    environ = {"ALL_PROXY": "socks5h://ann:SeCrEt@one", "no_proxy": "inner,10.0.0.0/8", "HTTP_PROXY": "x://u:SeCrEt@h"}
    choice = explain_environment("example.com", 80, "http", environ=environ)
    assert choice.proxy is not None
    assert choice.proxy.password == b"SeCrEt"
    assert choice.reason.startswith("ALL_PROXY is socks5h://one:1080; HTTP_PROXY is ignored: there is no proxy scheme")
    assert explain_environment("10.0.0.1", 80, environ=environ) == (None, "no_proxy has '10.0.0.0/8'")
    assert explain_environment("10.0.0.1", 80, environ={}) == (None, "no variable names a proxy")
    assert "SeCrEt" not in repr(choice) + choice.reason


def test_own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks5h://mine")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert str(hosier.proxy_from_environment("example.com", 80)) == "socks5h://mine:1080"
    assert hosier.explain_environment("example.com", 80).reason == "all_proxy is socks5h://mine:1080"
