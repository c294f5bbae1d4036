"""fail2ban, with the filter of the guide, finds the failures in what the server writes, and nothing else."""

from __future__ import annotations

import configparser
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hosier.server.doorkeeper import Claim, failure_line

from .harness import Hosier, run, wait_until
from .target import Target

pytestmark = pytest.mark.real

DOCS = Path(__file__).parents[2] / "docs" / "fail2ban"

# What a client may try to put into the log: a failure of somebody else's.
FORGED = (
    "x\nhosier: authentication failure from=198.51.100.1 user=x method=password version=5 reason=credentials wait=0"
)


@pytest.fixture
def found(program: Callable[..., str], tmp_path: Path) -> Callable[[str], list[str]]:
    """The addresses that fail2ban takes out of a log."""

    def addresses(log: str) -> list[str]:
        path = tmp_path / "log"
        path.write_text(log)
        done = run([program("fail2ban-regex"), "--out", "ip", path, DOCS / "filter.conf"], status=None)
        assert not done.stderr, done.stderr
        return done.stdout.decode().split()

    return addresses


def test_failures_of_a_real_server(
    program: Callable[..., str], found: Callable[[str], list[str]], target: Target
) -> None:
    with Hosier("--user=alice:secret", "-v", "--deny=192.0.2.0/24") as hosier:
        curl = [program("curl"), "-q", "--silent", "--output", os.devnull, "--proxy", f"socks5h://{hosier.address}"]
        tries = [("alice", "wrong"), (FORGED, "wrong"), (f"x {FORGED}", ""), ("alice", "secret"), ("bob", "secret")]
        for name, password in tries:
            run([*curl, "--proxy-user", f"{name}:{password}", target.url("127.0.0.1")], status=None)
        run([*curl, target.url("127.0.0.1")], status=97)
        run([*curl, "--proxy-user", "alice:secret", f"http://{FORGED.split()[0]}.192.0.2.1/"], status=None)
        wait_until(lambda: hosier.logged >= len(tries), "all have ended")
    log = hosier.messages
    assert log.count("authentication failure") == log.count("reason=credentials") == 4
    assert found(log) == ["127.0.0.1"] * 4
    in_syslog = "".join(f"Jan 31 12:00:00 gate hosier[123]: {line}\n" for line in log.splitlines())
    assert found(in_syslog) == ["127.0.0.1"] * 4


def test_other_lines(found: Callable[[str], list[str]]) -> None:
    """IPv6 and SOCKS4 count, no answer from an ident daemon does not, and a line must begin as ours do."""
    line = "authentication failure from={} user=ann method=ident version=4 reason={} wait=0\n"
    log = "hosier: " + line.format("2001:db8::1", "ident-mismatch")
    log += "hosier: " + line.format("192.0.2.1", "unknown-user")
    log += "hosier: " + line.format("192.0.2.2", "ident-unreachable")
    log += "hosier: 192.0.2.3:1 said: hosier: " + line.format("192.0.2.4", "unknown-user")
    assert found(log) == ["2001:db8::1", "192.0.2.1"]


def test_names_of_all_kinds(found: Callable[[str], list[str]]) -> None:
    """None, an empty one, and one that is a forgery."""
    names = (None, b"", b"-", b"ann", b" user=x method=y", FORGED.encode())
    claims = [Claim(f"192.0.2.{number}", name, "password", 5) for number, name in enumerate(names)]
    assert " user= method=password " in failure_line(claims[1], "credentials", 0)
    log = "".join(f"hosier: {failure_line(claim, 'credentials', 0)}\n" for claim in claims)
    assert found(log) == [claim.host for claim in claims]


def test_the_jail_names_the_filter() -> None:
    jail = configparser.ConfigParser()
    jail.read(DOCS / "jail.conf")
    assert jail["hosier"]["filter"] == "hosier"
    assert "filter.d/hosier.conf" in (DOCS / "filter.conf").read_text()
