"""The way through proxies is walked with each engine and over each kind of loop."""

from ...engine.conftest import pytest_generate_tests, run

__all__ = ("pytest_generate_tests", "run")
