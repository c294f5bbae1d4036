"""How a process becomes the program; that it is the program then, tests/real shows."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from hosier.errors import ConfigError
from hosier.run import launch as module
from hosier.run.launch import NOT_EXECUTABLE, NOT_FOUND, launch, require_parts
from hosier.run.plan import Plan, chain_for_run

pytestmark = [pytest.mark.linux]

PLAN = Plan(chain_for_run("127.0.0.1"))


def become(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = f"from hosier.run.launch import _become; _become({list(command)!r})"
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_signals_are_as_a_program_expects_them() -> None:
    """Python ignores SIGPIPE for itself; `yes | head` would not end."""
    done = become("sh", "-c", "grep SigIgn /proc/self/status")
    assert int(done.stdout.split()[1], 16) & (1 << 12) == 0


def test_variables_that_name_a_proxy_are_taken_out() -> None:
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    done = become(sys.executable, "-c", program, ALL_PROXY="a", https_proxy="b", No_Proxy="c", KEPT="d")
    environment = json.loads(done.stdout)
    assert environment["KEPT"] == "d"
    assert not {"ALL_PROXY", "https_proxy", "No_Proxy"} & environment.keys()


def test_a_program_that_cannot_be_run_is_a_line() -> None:
    done = become("/nowhere/program")
    assert (done.returncode, done.stderr) == (NOT_FOUND, "hosier: /nowhere/program: No such file or directory\n")
    done = become("/etc/passwd")
    assert (done.returncode, done.stderr) == (NOT_EXECUTABLE, "hosier: /etc/passwd: Permission denied\n")


def test_without_dnspython(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'hosier\[run\]'"):
        require_parts()


def test_without_kerberos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known before the program starts, and not when it first connects."""
    monkeypatch.setattr(module, "require_parts", lambda: None)
    monkeypatch.setitem(sys.modules, "gssapi", None)
    with pytest.raises(ConfigError, match=r"pip install 'hosier\[gssapi\]'"):
        launch(Plan(chain_for_run("socks5h+gssapi://gate.example")), ["true"])


def test_the_gateway_is_told_where_the_tickets_are(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gssapi")
    told: list[str] = []
    monkeypatch.setenv("KRB5CCNAME", "FILE:/nowhere/tickets")
    monkeypatch.setattr(module, "require_parts", lambda: None)
    monkeypatch.setattr(module, "_enter", lambda plan, _: told.append(plan.tickets))
    monkeypatch.setattr(module, "_become", lambda _: None)
    for url in ("socks5h+gssapi://gate.example", "socks5h://gate.example"):
        launch(Plan(chain_for_run(url)), ["true"])
    assert told == ["FILE:/nowhere/tickets", ""]


def test_a_failed_set_up_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), "unshare")

    monkeypatch.setattr(module, "require_parts", lambda: None)
    monkeypatch.setattr(module, "enter_user_namespace", fail)
    with pytest.raises(ConfigError, match="unshare: Operation not permitted"):
        launch(PLAN, ["true"])
