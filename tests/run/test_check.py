"""Whether this system can do it."""

from __future__ import annotations

import errno
import os

import pytest

from hosier.errors import ConfigError
from hosier.run import check as module
from hosier.run.check import check

from .inside import forked

pytestmark = [pytest.mark.linux, pytest.mark.usefixtures("namespaces")]


def test_where_it_works(capfd: pytest.CaptureFixture[str]) -> None:
    before = os.readlink("/proc/self/ns/net")
    assert check(lambda line: os.write(1, f"{line}\n".encode())) == 0
    output, messages = capfd.readouterr()
    assert output.splitlines()[-1] == "hosier run works here"
    assert "handshakes wait for the proxy" in output
    assert not messages
    assert os.readlink("/proc/self/ns/net") == before


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.EPERM, os.strerror(errno.EPERM), "unshare"), "hosier: making namespaces is not allowed here"),
        (ConfigError("the program nft is missing"), "hosier: the program nft is missing"),
    ],
)
def test_where_it_does_not(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(module, "enter_network", fail)
    said: list[str] = []
    assert check(said.append) == 2
    assert capfd.readouterr().err.startswith(line)
    assert said == ["installed: dnspython, ip, nft"]


def test_as_an_ordinary_user(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(47110, 47110, 47110)
            os.setresuid(47110, 47110, 47110)
            import ctypes

            ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: as it is after exec
        return check(lambda line: os.write(1, f"{line}\n".encode()))

    assert forked(work) == 0
    assert "user namespace: this user alone" in capfd.readouterr().out
