"""The commands that go through proxies, with real programs, through Hosier, Dante, microsocks and ssh -D."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

import hosier

from ..client.tls import Certificate, door
from ..kerberos_realm import Realm
from .conftest import ANYONE, PASSWORD, USER
from .ftp import ftp_server
from .harness import PATIENCE, Address, Hosier, clean_environment, command, run, stop
from .name_server import name_server
from .proxies import danted
from .sshd import client_config, sshd
from .target import Target, stream

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

GUARDED = f"{ANYONE[0]}:open%3Asesame@"


def with_credentials(proxy: str) -> str:
    return proxy.replace("//", f"//{GUARDED}")


@contextmanager
def going_on(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command until the block ends; it must end well when it is told to."""
    process = subprocess.Popen(
        command(*arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    try:
        yield process
    finally:
        status = stop(process)
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()
    assert status == 0


def announced(stream: IO[str] | None) -> Address:
    """Where a command says that it listens."""
    assert stream is not None
    found = re.search(r"(127\.0\.0\.1):(\d+)", line := stream.readline())
    assert found is not None, line
    return Address(found[1], int(found[2]))


# --- connect ---


@pytest.fixture
def ssh_server(program: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Address, Path]]:
    folder = tmp_path_factory.mktemp("sshd")
    with sshd(program, folder) as address:
        yield address, folder


def connect_command(proxy: str) -> str:
    return shlex.join([*command("connect", "--proxy", proxy)]) + " %h %p"


def test_ssh(program: Callable[..., str], proxy: str, ssh_server: tuple[Address, Path]) -> None:
    address, folder = ssh_server
    config = client_config(folder, address, "localhost", connect_command(proxy))
    done = run([program("ssh"), "-F", config, "target", "cat; echo done; exit 7"], data=b"hello\n" * 1000, status=7)
    assert done.stdout == b"hello\n" * 1000 + b"done\n"


def test_scp(program: Callable[..., str], proxy: str, ssh_server: tuple[Address, Path], tmp_path: Path) -> None:
    """20 MB there and back."""
    address, folder = ssh_server
    config = client_config(folder, address, "127.0.0.1", connect_command(proxy))
    here, there, back = tmp_path / "here", tmp_path / "there", tmp_path / "back"
    here.write_bytes(b"".join(stream(20_000_000)))
    run([program("scp"), "-q", "-F", config, here, f"target:{there}"])
    run([program("scp"), "-q", "-F", config, f"target:{there}", back])
    assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in (here, there, back)}) == 1


def test_git(program: Callable[..., str], ssh_server: tuple[Address, Path], tmp_path: Path) -> None:
    """A clone and a push, the way there being a chain."""
    address, folder = ssh_server
    settings = {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        **{
            f"GIT_{who}_{what}": "tester@example.invalid"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }

    def git(*arguments: str | Path, **more: str) -> str:
        return run([program("git"), *arguments], env={**settings, **more}).stdout.decode().strip()

    bare, first, second = tmp_path / "project.git", tmp_path / "first", tmp_path / "second"
    git("init", "-q", "--bare", "-b", "main", bare)
    git("init", "-q", "-b", "main", first)
    (first / "file").write_bytes(b"".join(stream(1 << 21)))
    git("-C", first, "add", "file")
    git("-C", first, "commit", "-q", "-m", "first")
    with Hosier() as near, Hosier(f"--user={USER}:{PASSWORD}") as far:
        chain = ("--proxy", f"socks5h://{near.address}", "--proxy", f"socks5h://{USER}:open%3Asesame@{far.address}")
        told = shlex.join(command("connect", *chain)).replace("%", "%%")  # ssh has tokens of its own
        config = client_config(folder, address, "localhost", f"{told} %h %p")
        ssh = shlex.join([program("ssh"), "-F", str(config)])
        git("-C", first, "push", "-q", f"target:{bare}", "main", GIT_SSH_COMMAND=ssh)
        git("clone", "-q", f"target:{bare}", second, GIT_SSH_COMMAND=ssh)
        assert git("-C", second, "rev-parse", "main") == git("-C", first, "rev-parse", "main")
        far.sessions(f"localhost:{address.port}", 5, count=2)
        near.sessions(str(far.address), 5, count=2)


def test_a_page_by_hand(proxy: str, target: Target) -> None:
    """The output is the page and ends with it, while the input is still open: microsocks has no half-close."""
    target.files = {"/page": ("text/plain", b"x" * 1_000_000)}
    told = command("connect", "--proxy", proxy, "localhost", str(target.port))
    with subprocess.Popen(told, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment()) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"GET /page HTTP/1.0\r\n\r\n")
        process.stdin.flush()
        assert process.stdout.read().endswith(b"\r\n\r\n" + b"x" * 1_000_000)
        process.stdin.close()
        assert process.wait(PATIENCE) == 0


# --- forward ---


def test_curl_at_a_socks_port(program: Callable[..., str], guarded_proxy: str, target: Target) -> None:
    target.files = {"/page": ("text/plain", b"hello")}
    with going_on("forward", "--socks", "--proxy", with_credentials(guarded_proxy), "127.0.0.1:0") as process:
        port = announced(process.stderr)
        done = run([program("curl"), "-sS", "--proxy", f"socks5h://{port}", target.url("localhost", "/page")])
        assert done.stdout == b"hello"


def test_chromium_at_a_socks_port(program: Callable[..., str], guarded: Hosier, target: Target, tmp_path: Path) -> None:
    """A browser, which cannot log in to a proxy."""
    target.files = {"/page.html": ("text/html; charset=utf-8", b"<!doctype html><p>through the forward</p>")}
    url = f"socks5h://{USER}:open%3Asesame@{guarded.address}"
    with going_on("forward", "--socks", "--proxy", url, "127.0.0.1:0") as process:
        port = announced(process.stderr)
        chromium = [
            program("chromium", "chromium-browser", "google-chrome"),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--proxy-server=socks5://{port}",
            "--proxy-bypass-list=<-loopback>",
            "--dump-dom",
        ]
        done = run([*chromium, target.url("localhost", "/page.html")], env={"HOME": str(tmp_path)}, patience=120)
        assert b"through the forward" in done.stdout, done.stderr.decode()
        assert {session["user"] for session in guarded.sessions(target.at("localhost"), 5, target.connections)} == {
            USER
        }


def test_curl_at_a_forwarded_port(program: Callable[..., str], proxy: str, target: Target) -> None:
    target.files = {"/page": ("text/plain", b"x" * 5_000_000)}
    with going_on("forward", "--proxy", proxy, "127.0.0.1:0", f"localhost:{target.port}") as process:
        done = run([program("curl"), "-sS", f"http://{announced(process.stderr)}/page"])
        assert done.stdout == b"x" * 5_000_000


@pytest.mark.parametrize("server", ["hosier", "dante"])
@pytest.mark.parametrize("client", ["drill", "kdig"])
def test_name_servers_at_a_forwarded_port(
    program: Callable[..., str], tmp_path: Path, server: str, client: str
) -> None:
    with (
        Hosier() if server == "hosier" else danted(program, tmp_path) as running,
        name_server(program, tmp_path) as ns,
    ):
        address = running.address if isinstance(running, Hosier) else running
        told = ("forward", "--udp", "--proxy", f"socks5h://{address}", "127.0.0.1:0", f"127.0.0.1:{ns.port}")
        with going_on(*told) as process:
            port = str(announced(process.stderr).port)
            for kind, answer in (("A", b"192.0.2.7"), ("AAAA", b"2001:db8::7")):
                done = run([program(client), "-p", port, "@127.0.0.1", "www.example.test", kind])
                assert answer in done.stdout


def test_a_chain_with_tls_and_kerberos(
    program: Callable[..., str], home: Realm, target: Target, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Streams and datagrams at forwarded ports; the far proxy wants Kerberos, behind a door of TLS, behind another."""
    certificate = Certificate(program("openssl"), tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    target.files = {"/page": ("text/plain", b"x" * 5_000_000)}
    with (
        Hosier() as near,
        Hosier("--gssapi") as far,
        door(certificate, far.address) as (_, port),
        name_server(program, tmp_path) as ns,
    ):
        chain = ("--proxy", f"socks5h://{near.address}", "--proxy", f"socks5h+tls+gssapi://localhost:{port}")
        with going_on("forward", *chain, "127.0.0.1:0", f"localhost:{target.port}") as process:
            done = run([program("curl"), "-sS", f"http://{announced(process.stderr)}/page"])
            assert done.stdout == b"x" * 5_000_000
        near.sessions(f"localhost:{port}", 5)
        (session,) = far.sessions(target.at("localhost"), 5)
        assert session["user"] == "ann@HOSIER.TEST"
        told = ("forward", "--udp", "--proxy", f"socks5h+gssapi://localhost:{far.port}")
        with going_on(*told, "127.0.0.1:0", f"127.0.0.1:{ns.port}") as process:
            asked = ("-p", str(announced(process.stderr).port), "@127.0.0.1", "www.example.test", "A")
            assert b"192.0.2.7" in run([program("drill"), *asked]).stdout


# --- listen ---


@pytest.mark.parametrize("server", ["hosier", "dante"])
def test_active_ftp(program: Callable[..., str], tmp_path: Path, server: str) -> None:
    """The FTP server calls back the proxy, which lets nobody else in."""
    folder = tmp_path / "served"
    folder.mkdir()
    content = os.urandom(300_000)
    (folder / "get.bin").write_bytes(content)
    with (
        ftp_server(program, folder, "127.0.0.2") as ftp,
        Hosier() if server == "hosier" else danted(program, tmp_path) as running,
    ):
        proxy = f"socks5h://{running.address if isinstance(running, Hosier) else running}"
        with hosier.connect(proxy, ftp.host, ftp.port, timeout=PATIENCE) as control, control.makefile("rb") as lines:
            control.settimeout(PATIENCE)

            def say(text: str, expected: Sequence[bytes]) -> None:
                control.sendall(text.encode() + b"\r\n")
                answer = lines.readline()
                assert answer[:3] in expected, answer

            assert lines.readline().startswith(b"220")
            say("USER anonymous", [b"230", b"331"])
            say("TYPE I", [b"200"])
            listening = subprocess.Popen(
                command("listen", "--proxy", proxy, ftp.host),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                env=clean_environment(),
            )
            with listening:
                assert listening.stdout is not None
                host, port = listening.stdout.readline().decode().split()
                high, low = divmod(int(port), 256)
                say(f"PORT {host.replace('.', ',')},{high},{low}", [b"200"])
                say("RETR get.bin", [b"150"])
                assert listening.stdout.read() == content
                assert listening.wait(PATIENCE) == 0


# --- probe ---


def probed(*options: str) -> dict[str, dict[str, bool | None]]:
    found = json.loads(run(command("probe", "--json", "--timeout", "5", *options)).stdout)
    parts = ("versions", "methods", "commands")
    return {part: {name: one["works"] for name, one in found[part].items()} for part in parts}


def test_probe(proxy: str, request: pytest.FixtureRequest) -> None:
    """What is known of each of them."""
    kind = request.node.callspec.params["proxy"]
    found = probed("--proxy", proxy)
    versions, commands = found["versions"], found["commands"]
    no = None if kind == "ssh" else False  # OpenSSH closes without an answer
    assert found["methods"] == {"none": True, "gssapi": no, "password": no}
    assert versions["socks5"] is True
    assert versions["socks4"] is (kind in ("hosier", "dante", "ssh"))
    assert commands["connect"] is True
    assert (commands["bind"] is True) is (kind in ("hosier", "dante"))
    assert (commands["associate"] is True) is (kind in ("hosier", "dante", "asyncio-socks-server"))


def test_probe_with_credentials(guarded_proxy: str) -> None:
    found = probed("--proxy", with_credentials(guarded_proxy))
    assert found["methods"]["password"] is True
    assert found["methods"]["none"] is False
    assert found["commands"]["connect"] is True


def test_nobody_there() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        run(command("probe", "--proxy", f"socks5h://127.0.0.1:{closed.getsockname()[1]}"), status=3)
