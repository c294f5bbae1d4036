"""The fuzzers find what is planted, every one of them, and nothing in what we ship."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[1] / "fuzz"
SECONDS = 20  # at most for one plant; the slowest takes a few

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris does not support this Python yet"),
]


def harnesses() -> dict[str, list[str]]:
    """Names of the harnesses and their plants."""
    done = subprocess.run(
        [sys.executable, str(FUZZ / "harness.py"), "--list"], capture_output=True, text=True, check=True
    )
    return {name: plants for name, *plants in (line.split() for line in done.stdout.splitlines())}


HARNESSES = harnesses()


def run(name: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FUZZ / "harness.py"), name, *arguments]
    limits = ["-max_len=300", "-seed=1", "-timeout=10", f"-artifact_prefix={folder}/"]
    return subprocess.run([*command, *limits], capture_output=True, text=True, timeout=SECONDS + 30, check=False)


def test_cve_2011_2778_octets_of_both_sides_are_fuzzed() -> None:
    """Tor's heap overflowed by what came to its SocksPort, and by what a proxy answered that it was told to use."""
    from_clients = {"server", "socks4_request", "socks5_offer", "socks5_request", "password_credentials"}
    from_servers = {"socks4_reply", "socks5_selected", "socks5_reply", "password_status"}
    assert HARNESSES.keys() >= from_clients | from_servers | {"udp_datagram", "ident_query", "ident_answer"}


def test_every_harness_has_three_plants() -> None:
    assert "server" in HARNESSES
    assert len(HARNESSES) >= 12
    assert all(len(set(plants)) >= 3 for plants in HARNESSES.values())


@pytest.mark.parametrize(("name", "plant"), [(name, plant) for name, plants in HARNESSES.items() for plant in plants])
def test_plant_is_found(name: str, plant: str, tmp_path: Path) -> None:
    """Found means: it stops, says why, and keeps the input, which shows the fault again."""
    done = run(name, tmp_path, "--plant", plant, f"-max_total_time={SECONDS}")
    assert done.returncode != 0, f"{plant} was not found in {SECONDS} seconds"
    assert "Uncaught Python exception" in done.stdout + done.stderr
    (kept,) = tmp_path.iterdir()
    assert run(name, tmp_path, "--plant", plant, str(kept)).returncode != 0
    assert run(name, tmp_path, str(kept)).returncode == 0


@pytest.mark.parametrize("name", HARNESSES)
def test_nothing_is_found_without_plants(name: str, tmp_path: Path) -> None:
    done = run(name, tmp_path, "-runs=3000", "-max_total_time=15")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


def test_run_tells_of_a_finding() -> None:
    """The command: 0 and a line for each harness, or 1 and the input."""
    command = [sys.executable, str(FUZZ / "run.py"), "--seconds", "1", "socks5_selected"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stdout + done.stderr
    planted = subprocess.run(
        [*command, "--plant", "reports_wrong_size"], capture_output=True, text=True, timeout=60, check=False
    )
    assert planted.returncode == 1
    assert "socks5_selected: FINDING" in planted.stdout
    for kept in (FUZZ / "findings").glob("socks5_selected-*"):
        kept.unlink()
    unknown = subprocess.run([*command, "nothing"], capture_output=True, text=True, timeout=60, check=False)
    assert unknown.returncode == 2
