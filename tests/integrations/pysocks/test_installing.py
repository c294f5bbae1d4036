"""How the facade becomes the module ``socks``; and that it has all that PySocks has."""

from __future__ import annotations

import errno
import inspect
import os
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
import socks as theirs
import sockshandler as their_handler

import hosier
from hosier.integrations.pysocks import sockshandler
from hosier.testing.threaded import ThreadedServer

from ..web import Web

# Left over in PySocks' namespace by a loop; nobody can use them.
LEFTOVERS = {"name", "method"}


def public(module: ModuleType) -> list[str]:
    """The names of what a module has of its own: no modules, nothing that it has taken from another one."""
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and name not in LEFTOVERS
        and not inspect.ismodule(value)
        and not hasattr(errno, name)
        and not hasattr(os, name)
        and getattr(value, "__module__", module.__name__) == module.__name__
    )


NAMES = public(theirs)
HANDLER_NAMES = public(their_handler)
CALLS = ["create_connection", "set_default_proxy", "get_default_proxy", "wrap_module"]


def test_there_is_something_to_compare() -> None:
    some = {"socksocket", "setdefaultproxy", "SOCKS5_ERRORS", "HTTPError", "DEFAULT_PORTS", "create_connection"}
    assert some <= set(NAMES)
    assert "SocksiPyHandler" in HANDLER_NAMES
    assert theirs.__version__ == hosier.pysocks.__version__


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there(name: str) -> None:
    ours, original = getattr(hosier.pysocks, name), getattr(theirs, name)
    if isinstance(original, int | dict):
        assert ours == original
    assert callable(ours) == callable(original)
    assert isinstance(ours, type) == isinstance(original, type)


@pytest.mark.parametrize("name", HANDLER_NAMES)
def test_every_name_of_the_handler_is_there(name: str) -> None:
    assert isinstance(getattr(sockshandler, name), type) == isinstance(getattr(their_handler, name), type)


@pytest.mark.parametrize("name", [name for name in dir(theirs.socksocket) if not name.startswith("_")])
def test_every_name_of_the_socket_is_there(name: str) -> None:
    assert hasattr(hosier.pysocks.socksocket, name)


@pytest.mark.parametrize("name", CALLS)
def test_arguments_have_their_names_and_defaults(name: str) -> None:
    original, ours = (arguments(getattr(module, name)) for module in (theirs, hosier.pysocks))
    assert ours == original


@pytest.mark.parametrize("name", ["set_proxy", "connect", "connect_ex"])
def test_arguments_of_the_socket_have_their_names(name: str) -> None:
    original, ours = (arguments(getattr(module.socksocket, name)) for module in (theirs, hosier.pysocks))
    assert ours == original


def arguments(call: Any) -> list[tuple[str, object]]:
    return [(one.name, one.default) for one in inspect.signature(call).parameters.values()]


def test_errors_descend_as_theirs() -> None:
    for name in NAMES:
        original = getattr(theirs, name)
        if isinstance(original, type) and issubclass(original, Exception):
            ancestors = {one.__name__ for one in getattr(hosier.pysocks, name).__mro__}
            assert {one.__name__ for one in original.__mro__} <= ancestors


def run(program: str, *arguments: str) -> str:
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


REQUESTS = """
import sys
import hosier
hosier.pysocks.install()
hosier.pysocks.install()
import requests, socks, sockshandler, urllib3.contrib.socks
assert socks is urllib3.contrib.socks.socks is hosier.pysocks
assert sockshandler.SocksiPyHandler
proxy, page = sys.argv[1:]
with requests.Session() as session:
    session.trust_env = False
    session.proxies = {"http": proxy}
    print(session.get(page, timeout=20).text)
    try:
        session.get("http://127.0.0.1:9/", timeout=20)
    except requests.ConnectionError as error:
        print(error)
"""


@pytest.mark.parametrize("scheme", ["socks5h", "socks4a"])
def test_requests_run_on_it_unchanged(proxy: ThreadedServer, web: Web, scheme: str) -> None:
    said = run(REQUESTS, proxy.url.replace("socks5h", scheme), f"{web.url}/hello")
    assert said.startswith("hello\n")
    assert "Connection refused" in said or "0x5b" in said


TOO_LATE = """
import socks, sys
import hosier
try:
    hosier.pysocks.install()
except hosier.ConfigError as error:
    print(error)
assert sys.modules["socks"] is socks
assert "sockshandler" not in sys.modules
"""


def test_too_late() -> None:
    assert run(TOO_LATE).startswith("another module socks is loaded already")


def test_nothing_is_installed_unasked() -> None:
    assert run("import hosier, sys; hosier.pysocks.socksocket; print('socks' in sys.modules)") == "False\n"


def test_module_run_on_it() -> None:
    """``python -m hosier.integrations.pysocks MODULE``."""
    command = [sys.executable, "-m", "hosier.integrations.pysocks"]
    done = subprocess.run(
        [*command, "inspect", "socks:install"], capture_output=True, text=True, timeout=60, check=False
    )
    assert "From now on" in done.stdout, done.stderr
    nothing = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (nothing.returncode, nothing.stderr.startswith("usage: ")) == (1, True)
