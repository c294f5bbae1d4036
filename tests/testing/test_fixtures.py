"""The fixtures, as a stranger's test suite uses them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SUITE = """
import hosier, pytest
from hosier.testing import receive_greeting, send, stall

pytest_plugins = ["hosier.testing.fixtures"]

def test_misbehaviour(scripted_server):
    server = scripted_server([receive_greeting(), send(b"\\x04\\x00"), stall()])
    with pytest.raises(hosier.RemoteProtocolError):
        hosier.connect(server.url, "example.com", 80, timeout=20)

def test_real_server(hosier_server, scripted_server):
    target = scripted_server([send(b"hello")])
    server = hosier_server(users={"ann": "secret"})
    proxy = hosier.Proxy(server.url, username="ann", password="secret")
    with hosier.connect(proxy, *target.address, timeout=20) as sock:
        assert sock.recv(5) == b"hello"
"""


def test_fixtures(tmp_path: Path) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE, encoding="utf-8")
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_suite.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_pytest_is_loaded_when_it_asks() -> None:
    program = "import hosier.testing.fixtures, sys; print('pytest' in sys.modules, dir(hosier.testing.fixtures))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False")
    assert "'scripted_server'" in done.stdout
