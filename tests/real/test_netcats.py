"""The two netcats that speak SOCKS: nmap's ncat, and OpenBSD's nc."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from .conftest import PASSWORD, USER, every_engine
from .harness import Hosier, run
from .target import Target

pytestmark = [pytest.mark.real, every_engine]

REQUEST = b"GET /peer HTTP/1.1\r\nHost: target\r\nConnection: close\r\n\r\n"


def body(response: bytes) -> dict[str, str]:
    head, _, content = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), response
    answer: dict[str, str] = json.loads(content)
    return answer


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize(("kind", "version"), [("socks4", 4), ("socks5", 5)])
def test_ncat(program: Callable[..., str], hosier: Hosier, target: Target, kind: str, version: int, host: str) -> None:
    proxy = ["--proxy", str(hosier.address), "--proxy-type", kind]
    done = run([program("ncat"), *proxy, host, str(target.port)], data=REQUEST)
    assert body(done.stdout)["host"] == "target"
    hosier.sessions(target.at(host), version)
    assert len(target.connections) == 1


def test_ncat_ipv6(program: Callable[..., str], ipv6: None, hosier: Hosier, target: Target) -> None:
    proxy = ["--proxy", str(hosier.address), "--proxy-type", "socks5"]
    done = run([program("ncat"), *proxy, "::1", str(target.port)], data=REQUEST)
    assert body(done.stdout) == {"peer": "::1", "host": "target"}
    hosier.sessions(target.at("::1"), 5)


def test_ncat_with_password(program: Callable[..., str], guarded: Hosier, target: Target) -> None:
    proxy = ["--proxy", str(guarded.address), "--proxy-type", "socks5", "--proxy-auth", f"{USER}:{PASSWORD}"]
    body(run([program("ncat"), *proxy, "127.0.0.1", str(target.port)], data=REQUEST).stdout)
    [session] = guarded.sessions(target.at("127.0.0.1"), 5)
    assert session["user"] == USER


@pytest.mark.parametrize("extra", [["--proxy-auth", f"{USER}:wrong"], []])
def test_ncat_stranger(program: Callable[..., str], guarded: Hosier, target: Target, extra: list[str]) -> None:
    proxy = ["--proxy", str(guarded.address), "--proxy-type", "socks5", *extra]
    done = run([program("ncat"), *proxy, "127.0.0.1", str(target.port)], data=REQUEST, status=None)
    assert done.returncode != 0
    assert done.stdout == b""
    assert target.connections == []


@pytest.mark.parametrize(("version", "host"), [(5, "127.0.0.1"), (5, "localhost"), (4, "127.0.0.1")])
def test_nc(program: Callable[..., str], hosier: Hosier, target: Target, version: int, host: str) -> None:
    proxy = ["-X", str(version), "-x", str(hosier.address)]
    done = run([program("nc.openbsd"), *proxy, host, str(target.port)], data=REQUEST)
    assert body(done.stdout)["host"] == "target"
    hosier.sessions(target.at(host), version)
    assert len(target.connections) == 1


def test_nc_half_close(program: Callable[..., str], hosier: Hosier, target: Target) -> None:
    """-N ends the sending half as soon as the request is out; the answer, sent after that, still arrives."""
    size = 3_000_000
    request = b"GET /stream/%d HTTP/1.1\r\nHost: target\r\nConnection: close\r\n\r\n" % size
    proxy = ["-N", "-X", "5", "-x", str(hosier.address)]
    done = run([program("nc.openbsd"), *proxy, "127.0.0.1", str(target.port)], data=request)
    assert len(done.stdout.partition(b"\r\n\r\n")[2]) == size
    hosier.sessions(target.at("127.0.0.1"), 5)
