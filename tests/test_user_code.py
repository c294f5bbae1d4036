"""Types as a user's checker sees them: nothing to ignore, and the marker for it is installed."""

import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

import hosier
import hosier.testing

USER_CODE = [Path(__file__).parent / folder / "user_code.py" for folder in ("client", "integrations", "testing")]


def test_every_public_name_is_used() -> None:
    """What belongs to everybody, and what is awaited; the server's settings are the configuration's."""
    words = {word for file in USER_CODE for word in re.findall(r"\w+", file.read_text(encoding="utf-8"))}
    for module in (hosier, hosier.aio, hosier.testing):
        assert set(module.__all__) <= words, module.__name__


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
