"""How a test asks for a program that pip does not install; how hard Hypothesis tries.

Its profile ``fast`` is the default and always tries the same examples; HYPOTHESIS_PROFILE=deep looks further.
"""

from __future__ import annotations

import importlib.util
import os
import select
import shutil
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings

from hosier.client import readiness

from .kerberos_realm import Realm

settings.register_profile(
    "fast",
    max_examples=100,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "deep", max_examples=5_000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.fixture(scope="session")
def program() -> Callable[..., str]:
    """Find an outside program by any of its names.

    A missing program skips the test on a developer's machine. With HOSIER_REQUIRE_PEERS=1, as `make test` and
    .ci/run set it, it fails the test: there, a program that is not installed is a fault.
    """

    def find(*names: str) -> str:
        # sshd and danted live in sbin, which the PATH of an ordinary user leaves out
        path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
        for name in names:
            if found := shutil.which(name, path=path):
                return found
        message = f"{' or '.join(names)} is not installed; scripts/install-peers installs it"
        if os.environ.get("HOSIER_REQUIRE_PEERS") == "1":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)

    return find


@pytest.fixture(scope="session")
def realm(program: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    """A Kerberos realm, and python-gssapi to take part in it."""
    if importlib.util.find_spec("gssapi") is None:
        message = "python-gssapi is not installed: pip install 'hosier[gssapi]'"
        if os.environ.get("HOSIER_REQUIRE_PEERS") == "1":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    with Realm(tmp_path_factory.mktemp("realm"), program) as running:
        yield running


@pytest.fixture(params=["poll", "select"])
def poll_or_select(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client waits as this system does, and as one without poll."""
    if request.param == "select":
        monkeypatch.setattr(readiness, "_HAS_POLL", False)
        monkeypatch.setattr(readiness, "select", SimpleNamespace(select=select.select))
