"""What is public says so: every module has an ``__all__``, and a name has one home."""

import importlib
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "hosier"

# Modules whose functions have the same names on purpose: two forms of one message, one verb or command per file,
# the same calls for another world of I/O.
TWINS: list[set[str]] = [
    {"hosier.protocol.socks4", "hosier.protocol.socks5"},
    {
        *("hosier.client.blocking", "hosier.client.aio.streams", "hosier.client.aio.datagrams"),
        *("hosier.server.commands.connect", "hosier.server.commands.bind", "hosier.server.commands.associate"),
    },
    {"hosier.client.dial", "hosier.engine.dial"},
    {"hosier.client.lookup", "hosier.client.aio.steps"},
    {"hosier.client.steps", "hosier.client.aio.steps", "hosier.client.egress.steps"},
]
TWIN_FOLDERS = ("hosier.cli.", "hosier.server.commands.")

# Packages that are a public name for another one.
PUBLIC_AS = {"hosier.aio": "hosier.client.aio"}

# What speaks as somebody else does: its names are those of the host library.
HOSTED = "hosier.integrations."

# Exported where they are used as well as where they are defined.
EXPORTED_TWICE = {
    ("hosier.protocol.messages", "AuthMessage"),
    ("hosier.protocol.messages", "AuthStep"),
}


def names() -> list[str]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = ["hosier", *path.relative_to(SOURCE).with_suffix("").parts]
        if parts[-1] == "__main__":
            continue
        found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


def defines_something(module: ModuleType) -> bool:
    return any(getattr(value, "__module__", None) == module.__name__ for value in vars(module).values())


@pytest.mark.parametrize("name", names())
def test_all(name: str) -> None:
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip(), f"{name} does not say what it is for"
    exported = vars(module).get("__all__")
    if exported is None:
        # A package that only holds others needs no list.
        assert hasattr(module, "__path__"), f"{name} has no __all__"
        assert not defines_something(module), f"{name} has no __all__"
        return
    assert isinstance(exported, tuple), f"__all__ of {name} is no tuple"
    assert len(set(exported)) == len(exported)
    for one in exported:
        assert not one.startswith("_")
        assert hasattr(module, one), f"{name} exports {one}, which does not exist"


def homes() -> dict[str, set[str]]:
    """Where each exported name comes from; packages re-export, so they do not count."""
    found: dict[str, set[str]] = defaultdict(set)
    for name in names():
        module = importlib.import_module(name)
        if not hasattr(module, "__path__") and not name.startswith(HOSTED):
            for one in vars(module).get("__all__", ()):
                found[one].add(name)
    return found


def are_twins(modules: set[str]) -> bool:
    return any(modules <= twins for twins in TWINS) or any(
        all(module.startswith(folder) for module in modules) for folder in TWIN_FOLDERS
    )


def test_one_home_each() -> None:
    twice = {}
    for one, modules in homes().items():
        left = {module for module in modules if (module, one) not in EXPORTED_TWICE}
        if len(left) > 1 and not are_twins(left):
            twice[one] = sorted(left)
    assert twice == {}


def test_exceptions_are_needed() -> None:
    for module, name in EXPORTED_TWICE:
        assert len(homes()[name]) == 2
        assert module in homes()[name]


@pytest.mark.parametrize("name", [name for name in names() if (SOURCE.parent / name.replace(".", "/")).is_dir()])
def test_packages_hand_on_what_is_there(name: str) -> None:
    """A package's list names things of its own parts, unchanged."""
    module = importlib.import_module(name)
    for one in vars(module).get("__all__", ()):
        origin = getattr(getattr(module, one), "__module__", None)
        assert origin is None or not str(origin).startswith("hosier") or origin.startswith(PUBLIC_AS.get(name, name))
