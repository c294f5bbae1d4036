"""Who may import whom, and how little `import hosier` costs.

Names of ours are units: the first part under ``hosier``, or a longer path where only that is allowed.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "hosier"

# What each part may use besides itself. Parts that do not exist yet do no harm.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "typed": {"errors"},
    "protocol": {"errors"},
    "engine": {"errors", "typed", "protocol.address"},
    "policy": {"errors", "typed", "protocol.address"},
    "observe": {"errors", "protocol.address"},
    "auth": {"errors", "protocol"},
    "server": {"errors", "typed", "protocol", "auth", "engine", "policy", "observe"},
    "client": {"errors", "typed", "protocol", "auth", "engine"},
    "workers": {"errors", "protocol.address", "engine", "policy", "observe", "server"},
    "run": {"errors", "protocol", "client", "engine"},
    "integrations": {"errors", "protocol", "client"},
    "testing": {"errors", "protocol", "server", "observe"},
    "config": {
        *("errors", "typed", "protocol", "auth", "engine", "policy", "observe"),
        *("server", "client", "workers", "run", "integrations"),
    },
    "cli": {
        *("errors", "protocol", "auth", "engine", "policy", "observe"),
        *("server", "client", "workers", "run", "config", "__init__"),
    },
    "aio": {"client"},
    "pysocks": {"integrations"},
    "__main__": {"cli"},
    "__init__": {"errors", "server", "client", "aio", "pysocks"},
}

# All that the core needs of the standard library; of socket only what is pure.
PURE = {"collections.abc", "enum", "errno", "functools", "itertools", "struct", "types", "typing"}
PURE_SOCKET = {"AF_INET", "AF_INET6", "inet_ntop", "inet_pton"}

# What a third-party package is imported by: one file each.
THIRD_PARTY_FILES = 1


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def dotted(path: Path) -> str:
    """The module's name under ``hosier``; the root itself is ``__init__``."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts if len(parts) == 1 else (part for part in parts if part != "__init__"))


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Every import anywhere in the file: the module (ours without ``hosier.``, with a leading dot) and the name."""
    package = ("hosier", *path.relative_to(SOURCE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield ours(alias.name), ""
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            for alias in node.names:
                yield ours(module), alias.name


def ours(module: str) -> str:
    head, _, rest = module.partition(".")
    return f".{rest}" if head == "hosier" else module


def target(module: str, name: str) -> str:
    """The module that is really meant: ``from . import x`` may mean a module x."""
    path = SOURCE.joinpath(*module.strip(".").split(".")) if module.strip(".") else SOURCE
    if name and (path / f"{name}.py").exists():
        return f"{module.strip('.')}.{name}".strip(".")
    if name and (path / name).is_dir():
        return f"{module.strip('.')}.{name}".strip(".")
    return module.strip(".") or "__init__"


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_direction(path: Path) -> None:
    me = dotted(path)
    unit = me.partition(".")[0]
    assert unit in MAY_IMPORT, f"{me} belongs to no part that the tests know"
    for module, name in imports(path):
        if not module.startswith("."):
            continue
        used = target(module, name)
        allowed = {unit, *MAY_IMPORT[unit]}
        assert any(used == one or used.startswith(f"{one}.") for one in allowed), f"{me} must not import {used}"


def test_server_and_client_are_strangers() -> None:
    """The table itself keeps the promise."""
    assert "client" not in MAY_IMPORT["server"]
    assert "server" not in MAY_IMPORT["client"]
    users = {unit for unit, allowed in MAY_IMPORT.items() if "testing" in allowed}
    assert not users
    assert {unit for unit, allowed in MAY_IMPORT.items() if "cli" in allowed} == {"__main__"}


@pytest.mark.parametrize("path", sorted((SOURCE / "protocol").rglob("*.py")), ids=dotted)
def test_core_is_pure(path: Path) -> None:
    """Bytes in, events out, bytes out: no socket, clock, log, file or await."""
    for module, name in imports(path):
        if module == "socket":
            assert name in PURE_SOCKET, f"{dotted(path)} takes {name or 'everything'} from socket"
        elif not module.startswith("."):
            assert module in PURE, f"{dotted(path)} imports {module}"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"open", "print", "input", "exec", "eval", "__import__"}


def third_party() -> dict[str, list[str]]:
    used: dict[str, list[str]] = {}
    for path in modules():
        for package in {module.partition(".")[0] for module, _ in imports(path) if not module.startswith(".")}:
            if package not in sys.stdlib_module_names:
                used.setdefault(package, []).append(dotted(path))
    return used


def test_third_party_packages_have_one_home_each() -> None:
    assert {package: files for package, files in third_party().items() if len(files) > THIRD_PARTY_FILES} == {}


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter holds after the statement."""
    program = f"{statement}; import sys; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


# A fork of an interpreter that has done nothing yet is as fresh as a new one, and costs a tenth.
EACH = """
import importlib, os, sys
for name in sys.argv[1:]:
    sys.stdout.flush()
    if not os.fork():
        importlib.import_module(name)
        print(name, *sys.modules)
        sys.stdout.flush()
        os._exit(0)
    os.wait()
"""


@cache
def loaded_by_each(folder: Path) -> dict[str, set[str]]:
    """By module of ours in a folder, what a fresh interpreter holds that has imported it; those that cannot be are
    missing."""
    names = [name_of(path) for path in modules() if path.parent == folder and dotted(path) != "__main__"]
    command = [sys.executable, "-I", "-c", EACH, *names]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {name: set(loaded) for name, *loaded in map(str.split, done.stdout.splitlines())}


def name_of(path: Path) -> str:
    """As ``import`` has it."""
    return "hosier" if dotted(path) == "__init__" else f"hosier.{dotted(path)}"


@cache
def at_start() -> set[str]:
    """What an interpreter of this environment loads by itself (editable installs, for one): not ours to answer for."""
    return {module.partition(".")[0] for module in loaded_by("pass")}


def strangers(loaded: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in loaded} - set(sys.stdlib_module_names) - at_start() - {"hosier"}


def test_import_hosier_is_light() -> None:
    loaded = loaded_by("import hosier")
    assert not loaded & {"asyncio", "ssl", "logging", "hosier.protocol", "hosier.engine", "hosier.server"}
    assert not strangers(loaded)


def test_blocking_client_is_light() -> None:
    """Who needs no TLS, no loop and no server loads none of them."""
    names = "Proxy, connect, bind, associate, resolve, proxy_from_environment, ProxiedDatagramSocket"
    loaded = loaded_by(f"from hosier import {names}")
    assert not loaded & {"asyncio", "ssl", "logging", "hosier.engine", "hosier.server", "hosier.auth"}
    assert not strangers(loaded)


def test_core_is_light() -> None:
    core = ("server_connection", "client_connection", "udp", "ident")
    loaded = loaded_by(f"import hosier.testing, {', '.join(f'hosier.protocol.{module}' for module in core)}")
    assert not loaded & {"asyncio", "ssl", "logging", "hosier.engine", "hosier.server", "hosier.auth"}
    assert not strangers(loaded)


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_every_module_loads_without_extras(path: Path) -> None:
    """Third-party packages are needed when they are used, not when a module is imported."""
    if dotted(path) != "__main__":
        assert not strangers(loaded_by_each(path.parent)[name_of(path)])
