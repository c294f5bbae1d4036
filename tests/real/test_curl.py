"""curl, in every way it can be told to use a SOCKS server."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest

from .conftest import PASSWORD, USER, every_engine
from .harness import Address, Hosier, run
from .target import Target

pytestmark = [pytest.mark.real, every_engine]

# How to say it, which version that is, and whether it is the server that looks the name up
OPTIONS = [("--socks4", 4, False), ("--socks4a", 4, True), ("--socks5", 5, False), ("--socks5-hostname", 5, True)]
SCHEMES = [("socks4", 4, False), ("socks4a", 4, True), ("socks5", 5, False), ("socks5h", 5, True)]


@pytest.fixture
def curl(program: Callable[..., str]) -> list[str]:
    # -q: not the ~/.curlrc of whoever runs this; -4: a name curl looks up itself shall be an IPv4 address
    return [program("curl"), "-q", "-4", "--silent", "--show-error", "--fail"]


@pytest.fixture
def refused() -> Iterator[Address]:
    """A port that refuses: taken, but nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield Address("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize(("option", "version", "remote"), OPTIONS)
def test_option(
    curl: list[str], hosier: Hosier, target: Target, option: str, version: int, remote: bool, host: str
) -> None:
    answer = json.loads(run([*curl, option, str(hosier.address), target.url(host)]).stdout)
    assert answer["host"] == target.at(host)
    [session] = hosier.sessions(target.at(host if remote else "127.0.0.1"), version)
    assert session["dialled"] == target.at(answer["peer"])  # a name may stand for 127.0.0.1, ::1 or both
    assert len(target.connections) == 1


@pytest.mark.parametrize(("scheme", "version", "remote"), SCHEMES)
def test_url(curl: list[str], hosier: Hosier, target: Target, scheme: str, version: int, remote: bool) -> None:
    run([*curl, "--proxy", f"{scheme}://{hosier.address}", target.url("localhost")])
    hosier.sessions(target.at("localhost" if remote else "127.0.0.1"), version)
    assert len(target.connections) == 1


@pytest.mark.parametrize("how", ["option", "url"])
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_user(curl: list[str], guarded: Hosier, target: Target, scheme: str, how: str) -> None:
    if how == "option":
        proxy = ["--proxy", f"{scheme}://{guarded.address}", "--proxy-user", f"{USER}:{PASSWORD}"]
    else:
        proxy = ["--proxy", f"{scheme}://{USER}:{quote(PASSWORD)}@{guarded.address}"]
    run([*curl, *proxy, target.url("127.0.0.1")])
    [session] = guarded.sessions(target.at("127.0.0.1"), 5)
    assert session["user"] == USER
    assert len(target.connections) == 1


@pytest.mark.parametrize(("scheme", "version"), [("socks4", 4), ("socks4a", 4), ("socks5", 5), ("socks5h", 5)])
def test_user_nobody_asked_for(curl: list[str], hosier: Hosier, target: Target, scheme: str, version: int) -> None:
    run([*curl, "--proxy", f"{scheme}://{USER}:secret@{hosier.address}", target.url("127.0.0.1")])
    hosier.sessions(target.at("127.0.0.1"), version)


@pytest.mark.parametrize(
    "proxy",
    [
        f"socks5h://{USER}:wrong@",
        f"socks5h://bob:{quote(PASSWORD)}@",
        f"socks5h://{USER}:@",
        "socks5h://",
        f"socks4a://{USER}@",
        "socks4://",
    ],
)
def test_stranger(curl: list[str], guarded: Hosier, target: Target, proxy: str) -> None:
    run([*curl, "--proxy", f"{proxy}{guarded.address}", target.url("127.0.0.1")], status=97)
    assert target.connections == []


@pytest.mark.parametrize("option", ["--socks5", "--socks5-hostname"])
@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0"])
def test_ipv6_target(curl: list[str], ipv6: None, target: Target, option: str, listen: str) -> None:
    with Hosier(listen=[listen]) as hosier:
        answer = json.loads(run([curl[0], *curl[3:], option, str(hosier.address), target.url("::1")]).stdout)
        assert answer["peer"] == "::1"
        [session] = hosier.sessions(target.at("::1"), 5)
        assert session["dialled"] == target.at("::1")


@pytest.mark.parametrize(("option", "version", "remote"), OPTIONS)
def test_ipv6_client(curl: list[str], ipv6: None, target: Target, option: str, version: int, remote: bool) -> None:
    with Hosier(listen=["127.0.0.1:0", "[::1]:0"]) as hosier:
        assert [address.host for address in hosier.addresses] == ["127.0.0.1", "::1"]
        run([*(word for word in curl if word != "-4"), option, str(hosier.addresses[1]), target.url("127.0.0.1")])
        [session] = hosier.sessions(target.at("127.0.0.1"), version)
        assert session["client"].startswith("[::1]:")


@pytest.mark.parametrize(("option", "code"), [("--socks4", "91"), ("--socks4a", "91"), ("--socks5", "(5)")])
def test_refused_target(curl: list[str], hosier: Hosier, refused: Address, option: str, code: str) -> None:
    done = run([*curl, option, str(hosier.address), f"http://{refused}/"], status=97)
    assert code in done.stderr.decode()  # the reply code, as curl reports it
    [session] = hosier.sessions(str(refused), int(option[7]))
    assert session["reply"] == 5  # the log keeps the reason, in the terms of SOCKS5, where SOCKS4 has one code for all
    assert session["dialled"] is None


def test_many_requests_in_one_session(curl: list[str], hosier: Hosier, target: Target) -> None:
    urls = [target.url("127.0.0.1")] * 50
    assert run([*curl, "--socks5", str(hosier.address), *urls]).stdout.count(b"127.0.0.1:") == 50
    hosier.sessions(target.at("127.0.0.1"), 5)
    assert len(target.connections) == 1


def test_uvloop(curl: list[str], target: Target) -> None:
    pytest.importorskip("uvloop")
    with Hosier("--uvloop") as hosier:
        run([*curl, "--socks5-hostname", str(hosier.address), target.url("localhost", "/stream/30000000")])
        [session] = hosier.sessions(target.at("localhost"), 5)
        assert session["received"] > 30_000_000


def test_parallel(curl: list[str], hosier: Hosier, target: Target) -> None:
    """Forty downloads at once, each in a session of its own."""
    size = 300_000
    urls = [target.url("127.0.0.1", f"/stream/{size}")] * 40
    parallel = ["--parallel", "--parallel-immediate", "--parallel-max", "40", "--no-keepalive"]
    done = run([*curl, "--socks5", str(hosier.address), *parallel, *urls])
    assert len(done.stdout) == 40 * size
    sessions = hosier.sessions(target.at("127.0.0.1"), 5, target.connections)
    assert sum(session["received"] for session in sessions) > 40 * size
