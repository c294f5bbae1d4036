"""GSSAPI between Hosier and Dante, each as the other's client; the logs prove that it went that way."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hosier.auth.kerberos import KerberosInitiator
from hosier.protocol.auth.gssapi_layer import Level
from hosier.protocol.messages import Command

from ..kerberos_realm import Realm
from .dante import LEVELS, sockd, socksified
from .ftp import ftp_server
from .gssapi_client import GssapiClient
from .harness import PATIENCE, Address, Hosier, clean_environment, run, wait_until
from .name_server import name_server
from .target import Target, digest
from .wire import exactly

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

SIZE = 200 << 20
ANN = "ann@HOSIER.TEST"
# What Dante's client tells curl about the peer at times, when it is asked too early; the octets have come all the same.
# (tnftp, which has no such question, reads by stdio, and Dante's client does not unwrap that.)
NONSENSE = b"sa_addr inet_ntop() failed with errno 97"
# How curl ends when an FTP server's line has come in one go with what was before it, a reply or a line: Dante's client
# keeps it for itself until something else arrives, and nothing does.
TIMED_OUT = 28


@pytest.fixture
def ns(program: Callable[..., str], tmp_path: Path) -> Iterator[Address]:
    with name_server(program, tmp_path) as address:
        yield address


PROTECTED = pytest.mark.parametrize("level", [1, 2])


# --- Dante's client, our server ---


def curl(program: Callable[..., str]) -> list[str]:
    return [program("curl"), "-q", "-4", "--silent", "--show-error", "--fail"]


@PROTECTED
@pytest.mark.slow
def test_200_megabytes(program: Callable[..., str], home: Realm, target: Target, tmp_path: Path, level: int) -> None:
    """The server allows this level alone, so it is the one that was used."""
    with Hosier("--gssapi", f"--gssapi-levels={level}") as hosier:
        environment = {**clean_environment(), **socksified(tmp_path, hosier.address, level)}
        url = target.url("127.0.0.1", f"/stream/{SIZE}")
        down = hashlib.sha256()
        with subprocess.Popen([*curl(program), url], stdout=subprocess.PIPE, env=environment) as download:
            assert download.stdout is not None
            while block := download.stdout.read(1 << 20):
                down.update(block)
        assert download.returncode == 0, (tmp_path / "socksify.log").read_text()
        assert down.hexdigest() == digest(SIZE)
        [session] = hosier.sessions(target.at("127.0.0.1"), 5)
        assert (session["user"], session["method"]) == (ANN, "01 (GSSAPI)")
        assert session["received"] > SIZE


@PROTECTED
def test_upload(program: Callable[..., str], home: Realm, target: Target, tmp_path: Path, level: int) -> None:
    data = os.urandom(20 << 20)
    with Hosier("--gssapi", f"--gssapi-levels={level}") as hosier:
        url = target.url("127.0.0.1", "/upload")
        run([*curl(program), "-T", "-", url], env=socksified(tmp_path, hosier.address, level), data=data, patience=60)
        assert target.uploads == {"/upload": hashlib.sha256(data).hexdigest()}
        [session] = hosier.sessions(target.at("127.0.0.1"), 5)
        assert session["sent"] > len(data)


def test_level_0(program: Callable[..., str], home: Realm, target: Target, tmp_path: Path) -> None:
    """Only where it is allowed."""
    with Hosier("--gssapi", "--gssapi-levels=2,0") as hosier:
        run([*curl(program), target.url("127.0.0.1")], env=socksified(tmp_path, hosier.address, 0))
        [session] = hosier.sessions(target.at("127.0.0.1"), 5)
        assert session["user"] == ANN
    with Hosier("--gssapi") as hosier:
        run([*curl(program), target.url("127.0.0.1")], env=socksified(tmp_path, hosier.address, 0), status=7)
        wait_until(lambda: hosier.logged == 1, "the session has ended")
        assert "level 0, which is not allowed" in hosier._sessions[-1]["end"]


def test_a_level_that_is_too_low(program: Callable[..., str], home: Realm, target: Target, tmp_path: Path) -> None:
    """It asks for 1, is answered 2, and goes on as with 1: that is noticed, and nothing passes."""
    with Hosier("--gssapi", "--gssapi-levels=2") as hosier:
        done = run([*curl(program), target.url("127.0.0.1")], env=socksified(tmp_path, hosier.address, 1), status=None)
        assert done.returncode != 0
        wait_until(lambda: hosier.logged == 1, "the session has ended")
        assert "not confidential" in hosier._sessions[-1]["end"]
        assert target.connections == []


def told(hosier: Hosier) -> list[tuple[object, ...]]:
    return [
        tuple(session[key] for key in ("command", "user", "reply", "received")) for session in list(hosier._sessions)
    ]


@PROTECTED
def test_bind(program: Callable[..., str], home: Realm, tmp_path: Path, level: int) -> None:
    """Active FTP: the file comes through the layer from a peer that connects to us."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "get.bin").write_bytes(os.urandom(300_000))
    with (
        ftp_server(program, folder, "127.0.0.2") as ftp,
        Hosier("--gssapi", f"--gssapi-levels={level}") as hosier,
    ):
        arguments = [*curl(program), "--max-time", "10", "--ftp-port", "-", f"ftp://{ftp}/get.bin"]
        for _ in range(20):
            done = run(arguments, env=socksified(tmp_path, hosier.address, level), status=None)
            if done.returncode != TIMED_OUT and NONSENSE not in done.stderr:
                break
        assert done.returncode == 0, done.stderr
        assert done.stdout == (folder / "get.bin").read_bytes()
        wait_until(lambda: ("BIND", ANN, 0, 300_000) in told(hosier), "the session in the access log")


@PROTECTED
@pytest.mark.parametrize("client", ["drill", "kdig"])
def test_datagrams(
    program: Callable[..., str], home: Realm, ns: Address, tmp_path: Path, level: int, client: str
) -> None:
    """A question to a name server, each datagram in a frame of its own."""
    with Hosier("--gssapi", f"--gssapi-levels={level}") as hosier:
        question = [program(client), "-p", str(ns.port), "@127.0.0.1", "www.example.test", "A"]
        done = run(question, env=socksified(tmp_path, hosier.address, level))
        assert b"192.0.2.7" in done.stdout, (tmp_path / "socksify.log").read_text()
        [session] = hosier.sessions_of("UDP_ASSOCIATE", 1)
        assert session["user"] == ANN
        assert session["datagrams"] == {"sent": 1, "received": 1, "dropped": {}}


# --- our client, Dante's server ---


def initiator(level: int) -> KerberosInitiator:
    return KerberosInitiator("localhost", wish=Level(level), accepted=(Level(level),))


@pytest.mark.parametrize("level", [0, 1, 2])
def test_through_dante(home: Realm, echo: Address, tmp_path: Path, level: int) -> None:
    data = os.urandom(1 << 20)
    with sockd(tmp_path, home.folder / "service.keytab", home.environment) as (proxy, log):
        with GssapiClient(proxy, initiator(level)) as client:
            assert client.connect(echo.host, echo.port).code == 0
            for start in range(0, len(data), 60_000):
                piece = data[start : start + 60_000]
                client.send(piece)
                assert client.exactly(len(piece)) == piece
            client.end()
            assert client.receive() == b""
        wait_until(lambda: f"gssapi/{LEVELS[level]}%{ANN}" in log.read_text(), "the session in Dante's log")


@PROTECTED
def test_bind_through_dante(home: Realm, tmp_path: Path, level: int) -> None:
    with (
        sockd(tmp_path, home.folder / "service.keytab", home.environment) as (proxy, log),
        GssapiClient(proxy, initiator(level)) as client,
    ):
        handshake = client.begin("127.0.0.1", 0, Command.BIND)
        assert handshake.first_reply is not None
        place = handshake.first_reply.bound
        with socket.create_connection((place.host, place.port), timeout=PATIENCE) as peer:
            assert client.finish(handshake).bound.port == peer.getsockname()[1]
            client.send(b"to the peer")
            assert exactly(peer, 11) == b"to the peer"
            peer.sendall(b"from the peer")
            assert client.exactly(13) == b"from the peer"
        wait_until(lambda: f"gssapi/{LEVELS[level]}%{ANN}" in log.read_text(), "Dante says who it was")
