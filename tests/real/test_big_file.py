"""A file larger than every 31-bit counter, down and up: what arrives is what was sent."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable

import pytest

from .conftest import every_engine
from .harness import Hosier, clean_environment
from .target import Target, digest, stream

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(900), every_engine]

SIZE = (2 << 30) + 4321


def test_down(program: Callable[..., str], hosier: Hosier, target: Target) -> None:
    url = target.url("127.0.0.1", f"/stream/{SIZE}")
    arguments = [program("curl"), "-q", "--silent", "--show-error", "--fail", "--socks5", str(hosier.address), url]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=clean_environment()) as curl:
        assert curl.stdout is not None
        arrived = subprocess.run(["sha256sum"], stdin=curl.stdout, stdout=subprocess.PIPE, check=True).stdout
    assert curl.returncode == 0
    assert arrived.split()[0].decode() == digest(SIZE)
    [session] = hosier.sessions(target.at("127.0.0.1"), 5)
    assert session["received"] > SIZE


def test_up(program: Callable[..., str], hosier: Hosier, target: Target) -> None:
    url = target.url("127.0.0.1", "/upload")
    arguments = [program("curl"), "-q", "--silent", "--show-error", "--fail", "--socks5", str(hosier.address)]
    sent = hashlib.sha256()
    with subprocess.Popen(
        [*arguments, "-T", "-", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment()
    ) as curl:
        assert curl.stdin is not None
        assert curl.stdout is not None
        for block in stream(SIZE):
            curl.stdin.write(block)
            sent.update(block)
        curl.stdin.close()
        assert curl.stdout.read().split() == [sent.hexdigest().encode()]
    assert curl.returncode == 0
    assert target.uploads == {"/upload": sent.hexdigest()}
    [session] = hosier.sessions(target.at("127.0.0.1"), 5)
    assert session["sent"] > SIZE
