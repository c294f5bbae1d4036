"""Types as a user's checker sees them: nothing to ignore, and the marker for it is installed."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

USER_CODE = Path(__file__).parent / "client" / "user_code.py"


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_typed() -> None:
    assert files("hosier").joinpath("py.typed").is_file()
    text = USER_CODE.read_text(encoding="utf-8")
    assert "Any" not in text
    assert "ignore" not in text
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-incremental"]
    done = subprocess.run([*command, str(USER_CODE)], capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
