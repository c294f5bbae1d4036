"""SOCKS4 and oidentd, on two machines of the test's: who the client is, asked from the right address (B-24)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .harness import Hosier, run, wait_until
from .namespaces import CLIENT, OTHER, SERVER, Machine, machines

pytestmark = [pytest.mark.real, pytest.mark.slow]

IDENT = 113
WEB = 8000
USER, USER_ID = "nobody", "65534"

# Takes connections, says from where they come, and never a word more.
SILENT = """
import socket
with socket.create_server(("", 113)) as listener:
    kept = []
    while True:
        connection, peer = listener.accept()
        kept.append(connection)
        print(peer[0], connection.recv(100).decode().strip(), flush=True)
"""


@pytest.fixture(scope="module")
def cabled(program: Callable[..., str]) -> Iterator[tuple[Machine, Machine]]:
    program("ip")
    with machines() as (client, server):
        web = [sys.executable, "-m", "http.server", "--bind", SERVER, "--directory", str(Path(__file__).parent)]
        with server.daemon(*web, str(WEB), port=WEB):
            yield client, server


@pytest.fixture
def oidentd(cabled: tuple[Machine, Machine], program: Callable[..., str]) -> Iterator[None]:
    with cabled[0].daemon(program("oidentd"), "--foreground", "--quiet", "--address", CLIENT, port=IDENT):
        yield


class Asking(Hosier):
    """A server on the server's machine that asks."""

    def __init__(self, machine: Machine, *arguments: str) -> None:
        super().__init__("--ident", *arguments, "--allow=10.99.0.0/24", "--open", listen=["0.0.0.0:1080"])
        self.arguments = machine.command(*self.arguments)


@pytest.fixture
def curl(cabled: tuple[Machine, Machine], program: Callable[..., str]) -> Callable[..., str]:
    """Runs curl on the client's machine as nobody; what it complains of, empty if it is content."""
    client = cabled[0]
    as_nobody = [program("setpriv"), f"--reuid={USER_ID}", f"--regid={USER_ID}", "--clear-groups"]

    def fetch(user: str, proxy: str = SERVER, scheme: str = "socks4") -> str:
        command = [program("curl"), "-q", "--silent", "--show-error", "--fail", "--output", "/dev/null"]
        command += ["--proxy", f"{scheme}://{user}@{proxy}:1080", f"http://{SERVER}:{WEB}/"]
        done = run(client.command(*as_nobody, *command), status=None)
        assert done.returncode in (0, 97), done.stderr
        assert bool(done.returncode) == bool(done.stderr)
        return done.stderr.decode()

    return fetch


def last_reply(hosier: Hosier, sessions: int) -> object:
    wait_until(lambda: hosier.logged == sessions, "the session is logged")
    return hosier.sessions(f"{SERVER}:{WEB}", 4, sessions)[-1]["reply"]


@pytest.mark.parametrize("scheme", ["socks4", "socks4a"])
def test_who_the_daemon_names(
    cabled: tuple[Machine, Machine], oidentd: None, curl: Callable[..., str], scheme: str
) -> None:
    """The right user gets 5A, another name 5D; the user is in the log."""
    with Asking(cabled[1]) as hosier:
        assert curl(USER, scheme=scheme) == ""
        assert "(93)" in curl("root", scheme=scheme)
        assert last_reply(hosier, 2) == 0x5D
        assert [session["user"] for session in hosier.sessions(f"{SERVER}:{WEB}", 4, 2)] == [USER, None]


def test_any_address_of_the_server(cabled: tuple[Machine, Machine], oidentd: None, curl: Callable[..., str]) -> None:
    """oidentd finds the connection only if the question comes from where the client was accepted."""
    with Asking(cabled[1]):
        assert curl(USER, proxy=OTHER) == ""
        assert "(93)" in curl("root", proxy=OTHER)


def test_no_daemon(cabled: tuple[Machine, Machine], curl: Callable[..., str]) -> None:
    with Asking(cabled[1]) as hosier:
        assert "(92)" in curl(USER)
        assert last_reply(hosier, 1) == 0x5C


def test_a_daemon_that_is_silent(cabled: tuple[Machine, Machine], curl: Callable[..., str]) -> None:
    """5C after the limit; the question came from the address where the client was, with the ports in order."""
    client, server = cabled
    with (
        client.daemon(sys.executable, "-c", SILENT, port=IDENT) as silent,
        Asking(server, "--timeout=ident=6", "--timeout=handshake=5") as hosier,
    ):
        assert "(92)" in curl(USER, proxy=OTHER)
        assert last_reply(hosier, 1) == 0x5C
        [session] = hosier.sessions(f"{SERVER}:{WEB}", 4)
        assert session["end"].endswith("ident limit")
        assert session["seconds"] >= 6
        assert asked(silent) == f"{OTHER} {session['client'].rpartition(':')[2]}, 1080"


def asked(silent: subprocess.Popen[str]) -> str:
    assert silent.stdout is not None
    return silent.stdout.readline().strip()


def test_users_of_a_file(
    cabled: tuple[Machine, Machine], oidentd: None, curl: Callable[..., str], tmp_path: Path
) -> None:
    """With users, who is proved must be one of them."""
    path = tmp_path / "users"
    for name, content in (("somebody", b"secret\n"), (USER, b"secret\n")):
        run([Path(sys.executable).with_name("hosier"), "passwd", path, name], data=content)
        with Asking(cabled[1], f"--users={path}"):
            assert (curl(USER) == "") == (name == USER)
