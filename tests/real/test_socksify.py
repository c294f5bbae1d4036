"""Programs within ``hosier.socksify``, as the kernel sees them: they go to the proxy only, and ask for no name."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hosier

from .harness import PATIENCE, Address, Hosier
from .proxies import danted, microsocks
from .target import Target

pytestmark = pytest.mark.real

# Fetches in every way that Python has; prints each answer's length.
PROGRAM = """
import asyncio, http.client, socket, sys, threading, urllib.request
import aiohttp, httpx, requests, trio, uvloop
import hosier

proxy, port = sys.argv[1], int(sys.argv[2])
url = f"http://{sys.argv[3]}:{port}/hello"

def plain():
    try:
        urllib.request.urlopen(url, timeout=20)
    except urllib.error.HTTPError as error:
        error.close()
        print("urllib", error.code)
    print("requests", requests.get(url, timeout=20).status_code)
    print("httpx", httpx.get(url, timeout=20).status_code)

async def awaited():
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        print("aiohttp", response.status)
    async with httpx.AsyncClient(timeout=20) as client:
        print("async httpx", (await client.get(url)).status_code)

async def in_trio():
    async with httpx.AsyncClient(timeout=20) as client:
        print("trio", (await client.get(url)).status_code)

print("BEGIN", file=sys.stderr, flush=True)
with hosier.socksify(proxy):
    plain()
    thread = threading.Thread(target=plain)
    thread.start()
    thread.join()
    asyncio.run(awaited())
    uvloop.run(awaited())
    trio.run(in_trio)
    print("name", socket.getfqdn("somewhere.example"))
"""

CALL = re.compile(
    r"\b(?:connect|sendto|sendmsg)\(\d+, .*?"
    r"(?:sin_port=htons\((\d+)\).*?inet_addr\(\"([\d.]+)\"\)|sin6_port=htons\((\d+)\))"
)


@pytest.fixture(params=["dante", "microsocks", "hosier"])
def proxy(request: pytest.FixtureRequest, program: Callable[..., str], tmp_path: Path) -> Iterator[Address]:
    if request.param == "hosier":
        with Hosier() as running:
            yield running.address
        return
    with (danted if request.param == "dante" else microsocks)(program, tmp_path) as address:
        yield address


def own_name() -> str:
    """This machine's, if it means the loopback that the target listens on; socksify itself looks up no localhost."""
    try:
        return socket.gethostname() if socket.gethostbyname(socket.gethostname()) == "127.0.0.1" else "127.0.0.1"
    except OSError:
        return "127.0.0.1"


def test_the_kernel_sees_the_proxy_only(
    proxy: Address, program: Callable[..., str], target: Target, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    command = [program("strace"), "-f", "-e", "trace=network,write", "-o", str(trace), sys.executable, "-c", PROGRAM]
    done = subprocess.run(
        [*command, f"socks5h://{proxy}", str(target.port), own_name()],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 12
    assert all(line.endswith(" 404") for line in lines[:-1]), done.stdout
    assert lines[-1] == "name somewhere.example"
    calls = trace.read_text().partition("BEGIN")[2]
    places = {(found[1], int(found[0] or found[2])) for found in CALL.findall(calls)}
    assert places == {(proxy.host, proxy.port)}
    assert "nscd" not in calls
    assert "resolve" not in calls


@pytest.mark.parametrize("proxy", ["dante", "hosier"], indirect=True)
def test_datagrams(proxy: Address) -> None:
    """A socket that knows nothing, through relays."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo:
        echo.bind(("127.0.0.1", 0))
        echo.settimeout(PATIENCE)
        with hosier.socksify(f"socks5h://{proxy}"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(echo.getsockname())
            sock.send(b"hello")
            data, place = echo.recvfrom(100)
            with hosier.socksify(None):
                echo.sendto(data.upper(), place)
            assert sock.recv(100) == b"HELLO"
            assert place != sock.getsockname()
