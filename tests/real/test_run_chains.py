"""`hosier run` before proxies of every kind: a chain, TLS, Kerberos, and all of them together."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from ..client.tls import Certificate, door
from ..kerberos_realm import Realm
from .bed import ANYWHERE, USER_ID
from .harness import Hosier
from .run_programs import DATAGRAM, datagram_echo
from .target import Target
from .test_run import PATIENT, Runner, in_bed, prefix, target

__all__ = ("in_bed", "prefix", "target")

pytestmark = [pytest.mark.real, pytest.mark.linux, pytest.mark.timeout(120)]

Program = Callable[..., str]

IN_VAIN = """import socket, sys
with socket.socket(type=socket.SOCK_DGRAM) as sock:
    sock.settimeout(30)
    sock.connect((sys.argv[1], 53000))
    try:
        sock.send(b"question")
        sock.recv(99)
    except ConnectionRefusedError:
        print("refused")
"""


@pytest.fixture(scope="module")
def tickets(in_bed: None, program: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """A realm in the bed's network: the environment in which everybody is ann, by the file of tickets that he has
    where Kerberos looks by itself."""
    pytest.importorskip("gssapi")
    folder = tmp_path_factory.mktemp("realm")
    folder.chmod(0o755)
    with Realm(folder, program) as realm:
        config = folder / "krb5.conf"
        place = f"[libdefaults]\n  default_ccache_name = FILE:{folder}/tickets_%{{uid}}"
        config.write_text(config.read_text().replace("[libdefaults]", place))
        for uid in (0, USER_ID):
            shutil.copy(folder / "ann.tickets", folder / f"tickets_{uid}")
            os.chown(folder / f"tickets_{uid}", uid, uid)
        yield {name: value for name, value in realm.environment.items() if name != "KRB5CCNAME"}


@pytest.fixture
def certificate(program: Program, tmp_path: Path) -> Certificate:
    made = Certificate(program("openssl"), tmp_path)
    made.file.chmod(0o644)
    return made


def fetch(prefix: list[str], home: Path, target: Target, *urls: str, env: Mapping[str, str] | None = None) -> None:
    """A page, through the proxies."""
    target.files = {"/word": ("text/plain", b"the word")}
    through = Runner(prefix, urls[0], home)
    chain = [f"--proxy={url}" for url in urls[1:]]
    url = f"http://four.test:{target.port}/word"
    done = through("curl", "-sS", *PATIENT, url, options=chain, env=env)
    assert done.stdout == b"the word"


def ask(prefix: list[str], home: Path, *urls: str, env: Mapping[str, str] | None = None) -> None:
    """A datagram there and back, through the proxies."""
    through = Runner(prefix, urls[0], home)
    chain = [f"--proxy={url}" for url in urls[1:]]
    with datagram_echo(ANYWHERE[0]) as port:
        done = through(sys.executable, "-c", DATAGRAM, "four.test", str(port), options=chain, env=env)
    assert done.stdout.strip() == b"the word"


def test_a_chain(prefix: list[str], target: Target, tmp_path: Path) -> None:
    """Only the last one is told the name; each has its own password."""
    with Hosier("--user=ann:sesame") as near, Hosier("--user=bob:open") as far:
        urls = f"socks5h://ann:sesame@{near.address}", f"socks5h://bob:open@{far.address}"
        fetch(prefix, tmp_path, target, *urls)
        near.sessions(str(far.address), 5)
        (session,) = far.sessions(f"four.test:{target.port}", 5)
        assert session["user"] == "bob"
        ask(prefix, tmp_path, *urls)
        far.sessions_of("UDP_ASSOCIATE", 1)


def test_socks4a(prefix: list[str], target: Target, tmp_path: Path) -> None:
    """It takes names. It has no UDP: a program that asks is told at once, and a line tells why."""
    with Hosier() as proxy:
        url = f"socks4a://{proxy.address}"
        fetch(prefix, tmp_path, target, url)
        proxy.sessions(f"four.test:{target.port}", 4)
        done = Runner(prefix, url, tmp_path)("python3", "-c", IN_VAIN, "four.test")
    assert done.stdout == b"refused\n"
    assert done.stderr.startswith(b"hosier: no UDP: ")


def test_other_addresses_for_names(prefix: list[str], target: Target, tmp_path: Path) -> None:
    target.files = {"/word": ("text/plain", b"the word")}
    pools = ("--fake-ipv4=240.1.0.0/16", "--fake-ipv6=fd00:5::/64")
    with Hosier() as proxy:
        through = Runner(prefix, f"socks5h://{proxy.address}", tmp_path)
        for family, place in (("-4", b"240.1."), ("-6", b"fd00:5::")):
            told = ("curl", family, "-sS", "-w", "%{remote_ip}", f"http://four.test:{target.port}/word")
            assert through(*told, options=pools).stdout.startswith(b"the word" + place)


def test_tls(prefix: list[str], target: Target, certificate: Certificate, tmp_path: Path) -> None:
    trust = {"SSL_CERT_FILE": str(certificate.file)}
    with Hosier() as proxy, door(certificate, proxy.address) as (_, port):
        fetch(prefix, tmp_path, target, f"socks5h+tls://localhost:{port}", env=trust)
        proxy.sessions(f"four.test:{target.port}", 5)


def test_tls_that_is_not_trusted(prefix: list[str], certificate: Certificate, tmp_path: Path) -> None:
    with Hosier() as proxy, door(certificate, proxy.address) as (_, port):
        through = Runner(prefix, f"socks5h+tls://localhost:{port}", tmp_path)
        done = through("curl", "-sS", "http://four.test/", status=7)
    assert b"hosier: " in done.stderr
    assert b"certificate" in done.stderr


def test_kerberos(prefix: list[str], target: Target, tickets: Mapping[str, str], tmp_path: Path) -> None:
    """The tickets are those of the user who runs, though the gateway has another number where it lives."""
    with Hosier("--gssapi", env=tickets) as proxy:
        url = f"socks5h+gssapi://localhost:{proxy.port}"
        fetch(prefix, tmp_path, target, url, env=tickets)
        (session,) = proxy.sessions(f"four.test:{target.port}", 5)
        assert session["user"] == "ann@HOSIER.TEST"
        ask(prefix, tmp_path, url, env=tickets)


def test_all_together(
    prefix: list[str], target: Target, certificate: Certificate, tickets: Mapping[str, str], tmp_path: Path
) -> None:
    """Kerberos within TLS within a tunnel of a proxy that knows neither."""
    env = {**tickets, "SSL_CERT_FILE": str(certificate.file)}
    with ExitStack() as stack:
        near = stack.enter_context(Hosier())
        far = stack.enter_context(Hosier("--gssapi", env=tickets))
        _, port = stack.enter_context(door(certificate, far.address))
        urls = f"socks5h://{near.address}", f"socks5h+tls+gssapi://localhost:{port}"
        fetch(prefix, tmp_path, target, *urls, env=env)
        near.sessions(f"localhost:{port}", 5)
        far.sessions(f"four.test:{target.port}", 5)
