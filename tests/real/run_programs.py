"""Programs that we did not write, each with something to fetch from a site of the tests, by name.

A row is good for `hosier run` and for whatever else claims to lead a program through a proxy.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import socket
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..client.tls import Certificate, door
from .bed import ANYWHERE, USER_ID
from .harness import Address, run
from .quic import web
from .sshd import sshd
from .target import Target
from .test_git import SETTINGS, git

Program = Callable[..., str]

GO = """package main
import ("fmt"; "io"; "net"; "os")
func main() {
    connection, err := net.Dial("tcp", os.Args[1])
    if err != nil { fmt.Println(err); os.Exit(1) }
    fmt.Fprintf(connection, "GET /word HTTP/1.0\\r\\n\\r\\n")
    io.Copy(os.Stdout, connection)
}
"""
PYTHON = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"
NODE = "fetch(process.argv[1]).then((answer) => answer.text()).then(console.log)"
DATAGRAM = """import socket, sys
family, kind, _, _, place = socket.getaddrinfo(sys.argv[1], int(sys.argv[2]), type=socket.SOCK_DGRAM)[0]
with socket.socket(family, kind) as sock:
    sock.settimeout(10)
    sock.sendto(b"the word", place)
    data, sender = sock.recvfrom(999)
    assert sender[:2] == place[:2]
    print(data.decode())
"""
HTTP3 = """import asyncio, ssl, sys
from aioquic.asyncio import connect
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration
from tests.real.quic import Download
from tests.real.target import digest
async def main():
    settings = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE, idle_timeout=10)
    async with connect("four.test", int(sys.argv[1]), configuration=settings, create_protocol=Download) as client:
        client.fetch(3_000_000)
        print("the word" if await asyncio.wait_for(client.done, 60) == digest(3_000_000) else "another")
asyncio.run(main())
"""
REFUSED = """import socket, sys
try:
    socket.create_connection((sys.argv[1], 1), 30)
except ConnectionRefusedError:
    print("the word")
"""
PAGE = b"<!doctype html><p id=p>not yet<script src=/script.js></script>"
SCRIPT = b"document.getElementById('p').textContent = 'the' + ' word'"


@dataclass(frozen=True)
class Row:
    """One program: what to run, and what it says if it got there."""

    command: Sequence[str]
    expected: str = "the word"
    env: Mapping[str, str] = field(default_factory=dict)
    as_root: Sequence[str] | None = None
    """Another command for root."""


class Site:
    """The servers, and the rows that fetch from them."""

    def __init__(
        self, folder: Path, program: Program, target: Target, tls: int, ssh: Address, quic: int, echo: int
    ) -> None:
        self.folder = folder
        self.ssh = ssh
        url = f"http://four.test:{target.port}"
        self.rows: dict[str, Row] = {
            **self._fetching(url, f"https://four.test:{tls}"),
            **self._with_a_shell(),
            **self._in_languages(url, target.port),
            **self._installing(url),
            "dig": Row(["dig", "+short", "+tries=1", "four.test", "@9.9.9.9"], "198.18."),
            "Chromium": _chromium(program("chromium", "chromium-browser"), folder, f"{url}/page.html"),
            "HTTP/3": Row([sys.executable, "-c", HTTP3, str(quic)]),
            "UDP": Row([sys.executable, "-c", DATAGRAM, ANYWHERE[0], str(echo)]),
            "IPv6": Row([sys.executable, "-c", PYTHON, f"http://[{ANYWHERE[1]}]:{target.port}/word"]),
            "a refusal": Row([sys.executable, "-c", REFUSED, "four.test"]),
        }

    # --- private ---

    def _fetching(self, url: str, secure: str) -> dict[str, Row]:
        trusted = str(self.folder / "trusted.pem")
        return {
            "curl": Row(["curl", "-sS", f"{url}/word"]),
            "git (http)": _clone(f"{url}/git/project.git", "http"),
            "curl (https)": Row(["curl", "-sS", "--cacert", trusted, f"{secure}/word"]),
            "git (https)": _clone(f"{secure}/git/project.git", "https", GIT_SSL_CAINFO=trusted),
        }

    def _with_a_shell(self) -> dict[str, Row]:
        options = [
            "-oStrictHostKeyChecking=no",
            f"-oUserKnownHostsFile={os.devnull}",
            "-oBatchMode=yes",
            "-oLogLevel=ERROR",
        ]
        login = ["ssh", "-F", os.devnull, f"-i{self.folder}/user_key", *options, f"-p{self.ssh.port}"]
        remote = f"root@four.test:{self.folder}/repositories/project.git"
        return {
            "git (ssh)": _clone(remote, "ssh", GIT_SSH_COMMAND=" ".join(login)),
            "ssh": Row([*login, "root@four.test", "echo the word"]),
        }

    def _in_languages(self, url: str, port: int) -> dict[str, Row]:
        return {
            "Go, static": Row([str(self.folder / "go-client"), f"four.test:{port}"]),
            "Python": Row([sys.executable, "-c", PYTHON, f"{url}/word"]),
            "Node": Row(["node", "-e", NODE, f"{url}/word"]),
        }

    def _installing(self, url: str) -> dict[str, Row]:
        fetch = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-cache-dir", "--dest=/dev/shm"]
        source = [
            f"--index-url={url}/simple",
            "--trusted-host=four.test",
            "the-word",
            "--disable-pip-version-check",
            "-v",
        ]
        return {
            "apt-get": Row(["/bin/sh", "-c", f"apt-get {apt(self.folder / 'apt')} update -q"], "Fetched 18 B"),
            "pip": Row([*fetch, *source], "the_word-1.0-py3-none-any.whl"),
        }


def _clone(repository: str, into: str, **env: str) -> Row:
    """git, and the word in what it has fetched."""
    script = f"rm -rf $HOME/{into} && git clone -q {repository} $HOME/{into} && cat $HOME/{into}/word"
    return Row(["/bin/sh", "-c", script], env={**SETTINGS, **env})


def _chromium(program: str, folder: Path, page: str) -> Row:
    browser = [
        program,
        *("--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update"),
    ]
    return Row(
        [*browser, f"--user-data-dir={folder}/profile-user", "--dump-dom", page],
        as_root=[*browser, "--no-sandbox", f"--user-data-dir={folder}/profile-root", "--dump-dom", page],
    )


def apt(lists: Path) -> str:
    """Options that make apt-get look at nothing but one list of sources, and write nowhere but here."""
    options = {
        "Dir::State": lists,
        "Dir::State::lists": lists / "lists",
        "Dir::Cache": lists / "cache",
        "Dir::Etc::sourcelist": lists / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Acquire::AllowInsecureRepositories": "true",
        "Acquire::Languages": "none",
    }
    return " ".join(f"-o {name}={value}" for name, value in options.items())


@contextmanager
def site(folder: Path, program: Program) -> Iterator[Site]:
    """All servers of the rows, on the addresses of the bed."""
    for name in ("curl", "git", "ssh", "go", "node", "dig", "apt-get"):
        program(name)
    with ExitStack() as stack:
        target = stack.enter_context(Target(hosts=ANYWHERE))
        target.files = {
            "/word": ("text/plain", b"the word"),
            "/page.html": ("text/html", PAGE),
            "/script.js": ("text/javascript", SCRIPT),
            "/debian/./Packages": ("text/plain", b"Package: the word\n"),
            "/debian/Packages": ("text/plain", b"Package: the word\n"),
            "/simple/the-word/": (
                "text/html",
                b'<a href="/the_word-1.0-py3-none-any.whl">the_word-1.0-py3-none-any.whl</a>',
            ),
            "/the_word-1.0-py3-none-any.whl": ("application/zip", wheel()),
        }
        target.repositories = repository(folder)
        (folder / "tls").mkdir()
        certificate = Certificate(program("openssl"), folder / "tls", "four.test")
        shutil.copyfile(certificate.file, folder / "trusted.pem")
        _, tls = stack.enter_context(door(certificate, (ANYWHERE[0], target.port), ANYWHERE[0]))
        ssh = stack.enter_context(sshd(program, folder, ANYWHERE[0]))
        (folder / "profile-user").mkdir()
        for name in ("user_key", "profile-user"):
            shutil.chown(folder / name, USER_ID, USER_ID)
        quic = stack.enter_context(quic_server(folder, ANYWHERE[0]))
        echo = stack.enter_context(datagram_echo(ANYWHERE[0]))
        lists = folder / "apt"
        lists.mkdir()
        (lists / "sources.list").write_text(f"deb [trusted=yes] http://four.test:{target.port}/debian ./\n")
        os.chown(lists, USER_ID, USER_ID)
        (folder / "client.go").write_text(GO)
        settings = {"CGO_ENABLED": "0", "GOCACHE": str(folder / "go-cache"), "GO111MODULE": "off", "HOME": str(folder)}
        run([program("go"), "build", "-o", folder / "go-client", folder / "client.go"], env=settings, patience=180)
        yield Site(folder, program, target, tls, ssh, quic, echo)


def wheel() -> bytes:
    """A package of nothing."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("the_word-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: the-word\nVersion: 1.0\n")
        archive.writestr(
            "the_word-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("the_word-1.0.dist-info/RECORD", "")
    return buffer.getvalue()


def repository(folder: Path) -> Path:
    work, bare = folder / "first", folder / "repositories" / "project.git"
    git("init", "-q", "-b", "main", work)
    (work / "word").write_text("the word")
    git("-C", work, "add", "word")
    git("-C", work, "commit", "-q", "-m", "the word")
    git("clone", "-q", "--bare", work, bare)
    return bare.parent


@contextmanager
def quic_server(folder: Path, host: str) -> Iterator[int]:
    """A server of HTTP/3 in a thread of its own; its port."""
    loop = asyncio.new_event_loop()
    up, down = threading.Event(), asyncio.Event()
    ports: list[int] = []

    async def serve() -> None:
        async with web(folder, host) as port:
            ports.append(port)
            up.set()
            await down.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert up.wait(30)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(down.set)
        thread.join(30)
        loop.close()


@contextmanager
def datagram_echo(host: str) -> Iterator[int]:
    """Its port."""
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind((host, 0))

        def serve() -> None:
            while (received := server.recvfrom(65536))[0] != b"stop":
                server.sendto(*received)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        with socket.socket(type=socket.SOCK_DGRAM) as end:
            end.sendto(b"stop", server.getsockname())
        thread.join(30)
