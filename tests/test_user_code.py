"""Types as a user's checker sees them: nothing to ignore, and the marker for it is installed."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

USER_CODE = [Path(__file__).parent / folder / "user_code.py" for folder in ("client", "integrations")]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_typed() -> None:
    assert files("hosier").joinpath("py.typed").is_file()
    for text in (file.read_text(encoding="utf-8") for file in USER_CODE):
        assert "Any" not in text
        assert "ignore" not in text
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-incremental"]
    done = subprocess.run([*command, *map(str, USER_CODE)], capture_output=True, text=True, check=False, timeout=290)
    assert done.returncode == 0, done.stdout + done.stderr
