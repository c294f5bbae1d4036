"""Fixtures for pytest: ``pytest_plugins = ["hosier.testing.fixtures"]`` in your conftest.py.

``hosier_server``: ``hosier_server(**settings)`` starts a real server and returns it, with ``url`` and ``address``.
``scripted_server``: ``scripted_server(*scripts)`` starts one that misbehaves as told. Both end with the test.
pytest is loaded when it asks for them (PEP 562).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from .scripted import ScriptedServer, Step

__all__ = ("hosier_server", "scripted_server")  # noqa: F822 - __getattr__ makes them


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pytest

    made = pytest.fixture(name=name)(_hosier_server if name == "hosier_server" else _scripted_server)
    globals()[name] = made
    return made


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _hosier_server() -> Iterator[Callable[..., Any]]:
    from .threaded import ThreadedServer

    with ExitStack() as running:
        yield lambda **settings: running.enter_context(ThreadedServer(**settings))


def _scripted_server() -> Iterator[Callable[..., ScriptedServer]]:
    with ExitStack() as running:

        def start(*scripts: Sequence[Step], host: str = "127.0.0.1") -> ScriptedServer:
            return running.enter_context(ScriptedServer(*scripts, host=host))

        yield start
