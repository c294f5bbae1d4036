"""Each file of the parts that only think is covered, branches too, by its own test file and not by luck."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "hosier"
PARTS = ("protocol", "auth", "policy")

# Files that their own tests do not cover yet, with the reason. A needless excuse fails.
EXCUSES: dict[str, str] = {}


def own_tests(source: Path) -> Path:
    relative = source.relative_to(SOURCE)
    return ROOT / "tests" / relative.with_name(f"test_{relative.name}")


def covered_files() -> list[Path]:
    """Those with a test file: that all have one is test_layout's business."""
    found = [path for part in PARTS for path in sorted((SOURCE / part).rglob("*.py"))]
    return [path for path in found if own_tests(path).exists()]


def configuration(source: Path, folder: Path) -> Path:
    """Our settings, but for one file; coverage reads the lines to leave out from here."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        leave_out: list[str] = tomllib.load(file)["tool"]["coverage"]["report"]["exclude_also"]
    lines = ["[run]", "branch = true", f"include = {source}", f"data_file = {folder / 'data'}"]
    lines += ["[report]", "exclude_also =", *(f"    {pattern}" for pattern in leave_out)]
    path = folder / "coveragerc"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def run(*arguments: str) -> None:
    # The settings of a coverage run around this one are not for us.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-m", "coverage", *arguments], cwd=ROOT, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)  # some of those files take twenty seconds by themselves
@pytest.mark.parametrize("source", covered_files(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_own_tests_cover_it(source: Path, tmp_path: Path) -> None:
    settings = f"--rcfile={configuration(source, tmp_path)}"
    run("run", settings, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(own_tests(source)))
    report = tmp_path / "report.json"
    run("json", settings, "-q", "-o", str(report))
    (found,) = json.loads(report.read_text(encoding="utf-8"))["files"].values()
    full = found["summary"]["percent_covered"] == 100
    if source.relative_to(SOURCE).as_posix() in EXCUSES:
        assert not full, "covered now: take its excuse out"
    else:
        assert full, f"lines {found['missing_lines']}, branches {found['missing_branches']} are not covered"


def test_excuses_have_their_file() -> None:
    names = {path.relative_to(SOURCE).as_posix() for path in covered_files()}
    assert set(EXCUSES) <= names
    assert all(EXCUSES.values())
