"""A target that nobody can reach but through the proxy: its name is known to the server alone."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hosier.engine import resolve
from hosier.protocol.address import IPV4
from hosier.testing import ScriptedServer, receive_greeting, stall
from hosier.testing.fixtures import hosier_server, scripted_server
from hosier.testing.threaded import ThreadedServer

from ..client.tls import Certificate
from ..real.harness import end_program, free_port, wait_until
from .web import NAME, Web

__all__ = ("hosier_server", "scripted_server")

Start = Callable[..., ThreadedServer]


@pytest.fixture(scope="session")
def certificate(program: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(program("openssl"), tmp_path_factory.mktemp("tls"), name=NAME)


@pytest.fixture(scope="session")
def plain_web() -> Iterator[Web]:
    with Web() as running:
        yield running


@pytest.fixture(scope="session")
def tls_web(certificate: Certificate) -> Iterator[Web]:
    with Web(certificate) as running:
        yield running


@pytest.fixture
def web(plain_web: Web) -> Web:
    """A web server that has had no clients yet."""
    plain_web.forget()
    return plain_web


@pytest.fixture
def secure_web(tls_web: Web) -> Web:
    """The same with TLS."""
    tls_web.forget()
    return tls_web


@pytest.fixture(autouse=True)
def name_of_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers find it on loopback; what goes round them finds nothing."""
    look_up = resolve._look_up

    def knowing(name: bytes) -> resolve.Addresses | OSError:
        return ((IPV4, socket.inet_aton("127.0.0.1")),) if name == NAME.encode() else look_up(name)

    monkeypatch.setattr(resolve, "_look_up", knowing)
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # what the environment says must not matter


@pytest.fixture(scope="session", autouse=True)
def nobody_else_knows_the_name() -> None:
    """Else these tests would prove nothing."""
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo(NAME, 80)


@pytest.fixture
def proxy(hosier_server: Start) -> ThreadedServer:
    """A server without authentication; its ``records`` tell who came through."""
    return hosier_server()


@pytest.fixture
def refused_port() -> Iterator[int]:
    """Where nobody listens: it is bound, so that nobody else gets it meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def silent_proxy(scripted_server: Callable[..., ScriptedServer]) -> str:
    """The URL of a proxy that takes the greeting and says nothing."""
    return scripted_server([receive_greeting(), stall()]).url


@pytest.fixture
def strict_proxy(hosier_server: Start) -> str:
    """The URL of a proxy that wants a password, which it does not have."""
    return hosier_server(users={"ann": "open sesame"}).url


@pytest.fixture
def no_proxy(refused_port: int) -> str:
    """The URL of a proxy that does not run."""
    return f"socks5h://127.0.0.1:{refused_port}"


@pytest.fixture
def redis_server(program: Callable[..., str], tmp_path: Path) -> Iterator[tuple[str, int]]:
    """The address of a redis server on loopback."""
    port = free_port()
    command = [
        program("redis-server"),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(tmp_path),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def answers() -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(answers, "redis listens")
        yield "127.0.0.1", port
    finally:
        end_program(process)
