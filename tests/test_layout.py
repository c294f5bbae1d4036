"""One test file per source file, and back; nothing too long to read in one go."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "hosier"
TESTS = ROOT / "tests"

MAX_LINES = 400
MAX_FUNCTION = 60

# Tests that look at more than one source file.
THEMES = {
    "client/test_misbehaviour.py",
    "client/test_other_loops.py",
    "client/socksify/test_unmodified_code.py",
    "integrations/test_pages.py",
    "protocol/test_properties.py",
    "protocol/test_seam.py",
    "protocol/test_vectors.py",
    "server/test_known_faults.py",
    "server/test_known_faults_of_datagrams.py",
    "server/test_known_faults_of_operation.py",
    "server/test_known_faults_of_rules.py",
    "server/test_known_faults_of_upstreams.py",
    "server/test_rules_everywhere.py",
}
# Folders of tests that have no counterpart, or are the whole system's; what others wrote is in the last one.
FOLDERS_OF_THEIR_OWN = ("real/", "examples/", "build/")

# Excuses, each with its reason. One that is no longer needed fails the tests: take it out.
WITHOUT_TESTS: dict[str, str] = {}
TOO_LONG: dict[str, str] = {}
FUNCTIONS_TOO_LONG: dict[str, str] = {}


def sources() -> list[Path]:
    """All but packages' own files and the program's entry."""
    return [path for path in sorted(SOURCE.rglob("*.py")) if path.name not in ("__init__.py", "__main__.py")]


def own_tests(source: Path) -> Path:
    relative = source.relative_to(SOURCE)
    return TESTS / relative.with_name(f"test_{relative.name}")


def key(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


@pytest.mark.parametrize("source", sources(), ids=key)
def test_source_has_its_tests(source: Path) -> None:
    excused = key(source) in WITHOUT_TESTS
    assert own_tests(source).exists() != excused, (
        f"{key(source)} has tests now: take its excuse out" if excused else f"{own_tests(source)} is missing"
    )


def test_tests_have_their_source() -> None:
    expected = {own_tests(source).relative_to(TESTS).as_posix() for source in sources()}
    for path in TESTS.rglob("test_*.py"):
        name = path.relative_to(TESTS).as_posix()
        of_everything = "/" not in name  # tests/test_*.py are about the whole
        if not of_everything and not name.startswith(FOLDERS_OF_THEIR_OWN):
            assert name in expected | THEMES, f"{name} tests no source file"
    assert not expected & THEMES
    assert all((TESTS / name).exists() for name in THEMES)


@pytest.mark.parametrize("source", sorted(SOURCE.rglob("*.py")), ids=key)
def test_files_are_short(source: Path) -> None:
    lines = len(source.read_text(encoding="utf-8").splitlines())
    assert (lines > MAX_LINES) == (key(source) in TOO_LONG), f"{key(source)} has {lines} lines"


def functions(source: Path) -> dict[str, int]:
    """Lines of each function, decorators left out."""
    found = {}
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            found[f"{key(source)}:{node.name}"] = node.end_lineno - node.lineno + 1
    return found


def test_functions_are_short() -> None:
    long = {
        name for source in SOURCE.rglob("*.py") for name, lines in functions(source).items() if lines > MAX_FUNCTION
    }
    assert long == set(FUNCTIONS_TOO_LONG)


def test_excuses_have_their_file() -> None:
    for excuses in (WITHOUT_TESTS, TOO_LONG, FUNCTIONS_TOO_LONG):
        for name, reason in excuses.items():
            assert (SOURCE / name.partition(":")[0]).exists(), f"{name} is gone: take its excuse out"
            assert reason
