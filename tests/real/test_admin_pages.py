"""The admin pages as an operator meets them: curl reads them, promtool judges the metrics, the sums are true."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .harness import Hosier, command, run, wait_until
from .wire import echo_server, exactly, socks5

PLACE = re.compile(r"hosier: admin pages on (http://\S+|unix:\S+):")
SESSIONS = 30
OCTETS = 50_000


@pytest.fixture(params=[1, 2])
def server(request: pytest.FixtureRequest) -> Iterator[Hosier]:
    """With one worker and with two."""
    with Hosier("--admin", "127.0.0.1:0", "--workers", str(request.param)) as hosier:
        yield hosier


def place_of(hosier: Hosier) -> str:
    wait_until(lambda: PLACE.search(hosier.messages), "it says where the pages are")
    found = PLACE.search(hosier.messages)
    assert found
    return found[1]


@pytest.mark.real
def test_promtool_and_true_sums(server: Hosier, program: Callable[..., str]) -> None:
    """What curl was given is what is counted."""
    curl, promtool = program("curl"), program("promtool")
    pages = place_of(server)
    with echo_server() as echo:
        for _ in range(SESSIONS):
            with socks5(server.address, echo) as client:
                client.sendall(b"x" * OCTETS)
                assert len(exactly(client, OCTETS)) == OCTETS
        server.sessions(str(echo), 5, SESSIONS)
    metrics = run([curl, "-s", f"{pages}/metrics"]).stdout
    judged = subprocess.run([promtool, "check", "metrics"], input=metrics, capture_output=True, check=False)
    assert (judged.returncode, judged.stdout, judged.stderr) == (0, b"", b"")
    text = metrics.decode()
    for line in (
        f"hosier_sessions_started_total {SESSIONS}.0",
        f'hosier_handshakes_total{{outcome="ok"}} {SESSIONS}.0',
        f'hosier_replies_total{{code="0"}} {SESSIONS}.0',
        f"hosier_dial_seconds_count {SESSIONS}.0",
        "hosier_sessions 0.0",
    ):
        assert f"\n{line}\n" in text
    told = json.loads(run([curl, "-s", f"{pages}/status"]).stdout)
    assert told["counts"]["octets"] == {"up": SESSIONS * OCTETS, "down": SESSIONS * OCTETS}
    assert told["ready"] is told["alive"] is True


@pytest.mark.real
def test_a_token_over_a_public_address(program: Callable[..., str]) -> None:
    curl = program("curl")
    refused = subprocess.run(command("serve", "--admin", "*:0"), capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr.startswith("hosier: the admin pages on 0.0.0.0:0 would tell strangers who does what: set")
    with Hosier("--admin", "0.0.0.0:0", env={"HOSIER_ADMIN_TOKEN": "open-sesame"}) as hosier:
        pages = place_of(hosier).replace("0.0.0.0", "127.0.0.1")
        fetch = [curl, "-s", "-o", "/dev/null", "-w", "%{http_code}"]
        assert run([*fetch, f"{pages}/metrics"]).stdout == b"401"
        assert run([*fetch, "-u", "prometheus:wrong", f"{pages}/metrics"]).stdout == b"401"
        assert run([*fetch, "-u", "prometheus:open-sesame", f"{pages}/metrics"]).stdout == b"200"
        assert run([*fetch, "--oauth2-bearer", "open-sesame", f"{pages}/status"]).stdout == b"200"
        assert run([*fetch, f"{pages}/readyz"]).stdout == b"200"
        assert "sesame" not in hosier.messages


@pytest.mark.real
def test_a_unix_socket(program: Callable[..., str], tmp_path: Path) -> None:
    curl = program("curl")
    path = tmp_path / "admin.sock"
    with Hosier("--admin", f"unix:{path}") as hosier:
        assert place_of(hosier) == f"unix:{path}"
        assert run([curl, "-s", "--unix-socket", str(path), "http://hosier/healthz"]).stdout == b"ok\n"
    assert not path.exists()
