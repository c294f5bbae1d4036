"""The fixtures, as a stranger's test suite uses them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


def test_fixtures(tmp_path: Path) -> None:
    """Those of the page about them."""
    plugins, suite = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "conftest.py").write_text(plugins, encoding="utf-8")
    (tmp_path / "test_suite.py").write_text(suite, encoding="utf-8")
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_suite.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_pytest_is_loaded_when_it_asks() -> None:
    program = "import hosier.testing.fixtures, sys; print('pytest' in sys.modules, dir(hosier.testing.fixtures))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False")
    assert "'scripted_server'" in done.stdout
