"""GSSAPI against the command: a real Kerberos realm, our own client role, every way to be refused."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from hosier.auth.kerberos import KerberosInitiator
from hosier.errors import AuthError
from hosier.protocol.auth.gssapi import GssapiFraming, GssapiMessage
from hosier.protocol.auth.gssapi_layer import Level
from hosier.protocol.messages import Command

from ..kerberos_realm import Realm
from .capture import capture
from .conftest import PASSWORD, USER
from .gssapi_client import GssapiClient
from .harness import PATIENCE, Address, Hosier, run, wait_until
from .target import Target
from .wire import exactly

pytestmark = pytest.mark.real

ANN = "ann@HOSIER.TEST"


def framed(kind: int, token: bytes) -> bytes:
    return GssapiFraming().encode(GssapiMessage(kind, token), from_client=True)


@contextmanager
def serving(*options: str, env: Mapping[str, str] | None = None) -> Iterator[Hosier]:
    with Hosier("--gssapi", "-v", *options, env=env) as hosier:
        yield hosier


def initiator(level: int = 2, service: str = "socks") -> KerberosInitiator:
    return KerberosInitiator("localhost", service=service, wish=Level(level), accepted=(Level(level),))


def end_of(hosier: Hosier, count: int = 1) -> str:
    """How the last session ended."""
    wait_until(lambda: hosier.logged >= count, "a line in the access log")
    return str(hosier._sessions[-1]["end"])


# --- what works ---


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_levels(home: Realm, echo: Address, level: int) -> None:
    """A-37, S5-REQ-19: three megabytes each way, a half-close, and who it was in the log. No token says that the
    context is over (GS-REQ-43)."""
    data = os.urandom(3 << 20)
    with serving("--gssapi-levels=2,1,3,0") as hosier, GssapiClient(hosier.address, initiator(level)) as client:
        assert client.connect(echo.host, echo.port).code == 0

        def say() -> None:
            client.send(data)
            client.end()

        sending = threading.Thread(target=say)
        sending.start()
        assert client.exactly(len(data)) == data
        assert client.receive() == b""
        sending.join(PATIENCE)
        [session] = hosier.sessions(str(echo), 5)
        assert (session["user"], session["method"]) == (ANN, "01 (GSSAPI)")
        assert (session["sent"], session["received"]) == (len(data), len(data))
        assert session["end"] == "client closed"


def test_bind(home: Realm) -> None:
    with serving() as hosier, GssapiClient(hosier.address, initiator()) as client:
        handshake = client.begin("127.0.0.1", 0, Command.BIND)
        assert handshake.first_reply is not None
        place = handshake.first_reply.bound
        with socket.create_connection((place.host, place.port), timeout=PATIENCE) as peer:
            assert client.finish(handshake).bound.port == peer.getsockname()[1]
            peer.sendall(b"from the peer")
            assert client.exactly(13) == b"from the peer"
            client.send(b"from the client")
            assert exactly(peer, 15) == b"from the client"


def test_users_of_the_home_realm(home: Realm, echo: Address, tmp_path: Path) -> None:
    """From a file, with what has no option."""
    file = tmp_path / "hosier.toml"
    file.write_text(f'[gssapi]\nenabled = true\nkeytab = "{home.folder}/service.keytab"\nhome_realm = "HOSIER.TEST"\n')
    with Hosier(f"--config={file}") as hosier, GssapiClient(hosier.address, initiator()) as client:
        client.connect(echo.host, echo.port)
        client.end()
        [session] = hosier.sessions(str(echo), 5)
        assert session["user"] == "ann"


def test_nothing_is_left_behind(home: Realm, echo: Address) -> None:
    with serving() as hosier:
        table = Path(f"/proc/{hosier.pid}/fd")
        for _ in range(5):  # the first ones bring threads to life
            with GssapiClient(hosier.address, initiator()) as client:
                client.connect(echo.host, echo.port)
        wait_until(lambda: hosier.logged == 5, "all have ended")
        before = len(os.listdir(table))
        for _ in range(50):
            with GssapiClient(hosier.address, initiator()) as client:
                client.connect(echo.host, echo.port)
        wait_until(lambda: hosier.logged == 55, "all have ended")
        wait_until(lambda: len(os.listdir(table)) <= before, "every descriptor is given back")


# --- on the wire ---


@pytest.mark.parametrize(("level", "readable"), [(1, True), (2, False)])
def test_capture(
    home: Realm, program: Callable[..., str], echo: Address, tmp_path: Path, level: int, readable: bool
) -> None:
    """B-20, B-21: at level 2 nothing can be read, from the request on. At level 1 all can, so the test can fail."""
    file = tmp_path / "capture"
    words = b"nobody shall read these words"
    request = b"\x05\x01\x00\x01" + socket.inet_aton(echo.host) + echo.port.to_bytes(2, "big")
    with serving() as hosier, capture(program, hosier.port, file):
        with GssapiClient(hosier.address, initiator(level)) as client:
            client.connect(echo.host, echo.port)
            for size in (1, 100, 2000):
                client.send(words * size)
                assert client.exactly(len(words) * size) == words * size
        wait_until(lambda: hosier.logged, "the session has ended")
    seen = file.read_bytes()
    assert b"\x01\x02\x00" in seen  # the frame of the level, always in clear
    assert (words in seen) is readable
    assert (request in seen) is readable


def test_capture_of_level_3(home: Realm, program: Callable[..., str], echo: Address, tmp_path: Path) -> None:
    """The rule says which messages are confidential: small ones, both ways, the request among them."""
    file = tmp_path / "capture"
    secret, bulk = b"nobody shall read this", b"anybody may read this " * 100
    request = b"\x05\x01\x00\x01" + socket.inet_aton(echo.host) + echo.port.to_bytes(2, "big")
    settings = tmp_path / "hosier.toml"
    settings.write_text("[gssapi]\nenabled = true\nlevels = [3]\nsealed_up_to = 100\n")
    client = KerberosInitiator("localhost", wish=Level.SELECTIVE, accepted=(Level.SELECTIVE,), sealed_up_to=100)
    with Hosier(f"--config={settings}") as hosier, capture(program, hosier.port, file):
        with GssapiClient(hosier.address, client) as session:
            session.connect(echo.host, echo.port)
            for words in (secret, bulk):
                session.send(words)
                assert session.exactly(len(words)) == words
        wait_until(lambda: hosier.logged, "the session has ended")
    seen = file.read_bytes()
    assert bulk[:1000] in seen
    assert secret not in seen
    assert request not in seen


# --- refusals: 01 FF and the end, a line that helps, and the next one is served ---


def check_refused(hosier: Hosier, client: KerberosInitiator, *words: str) -> None:
    with GssapiClient(hosier.address, client) as refused:
        with pytest.raises(AuthError, match="the proxy refused the GSSAPI context"):
            refused.connect("127.0.0.1", 1)
        assert refused.sock.recv(1) == b""
    end = end_of(hosier)
    assert end.startswith("authentication failed: GSSAPI: ")
    for word in words:
        assert word in end
        wait_until(lambda: word in hosier.messages, f"with -v the operator is told of {word!r}")  # noqa: B023  # at once


def test_wrong_keytab(home: Realm) -> None:
    home.add("socks/rekeyed-host")
    keytab = home.keytab("outdated.keytab", "socks/rekeyed-host")
    home.run("kadmin.local", "-q", "cpw -randkey socks/rekeyed-host")
    with serving(f"--keytab={keytab}") as hosier:
        check_refused(hosier, initiator(service="socks/rekeyed-host"), "socks/rekeyed-host", "keytab")


def test_wrong_service(home: Realm) -> None:
    with serving() as hosier:
        check_refused(hosier, initiator(service="rcmd"), "rcmd/localhost@HOSIER.TEST", "socks/")
        with (
            serving("--gssapi-service=rcmd") as other,
            GssapiClient(other.address, initiator(service="rcmd")) as client,
        ):
            assert client.begin("127.0.0.1", 1, Command.BIND).first_reply is not None


def test_ticket_for_another_host(home: Realm) -> None:
    home.add("socks/another-host")
    with serving() as hosier:
        check_refused(hosier, initiator(service="socks/another-host"), "socks/another-host@HOSIER.TEST")


@pytest.mark.parametrize(("shift", "words"), [("+15m", "Clock skew too great"), ("+3d", "expired")])
def test_clocks(home: Realm, program: Callable[..., str], shift: str, words: str) -> None:
    """The server's is ahead: a little, and by more than tickets live."""
    told = run([program("faketime"), "-f", shift, "env"]).stdout.decode()
    preload = re.search("^LD_PRELOAD=(.*)$", told, re.MULTILINE)
    assert preload is not None
    # Not by the program itself, which would not hand on our signals; and waits take as long as ever.
    env = {"LD_PRELOAD": preload[1], "FAKETIME": shift, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
    with serving(env=env) as hosier:
        check_refused(hosier, initiator(), words)


def test_a_realm_that_is_not_welcome(home: Realm, tmp_path: Path) -> None:
    file = tmp_path / "hosier.toml"
    file.write_text('[gssapi]\nenabled = true\nrealms = ["ELSEWHERE.TEST"]\n')
    with Hosier(f"--config={file}") as hosier, GssapiClient(hosier.address, initiator()) as client:
        with pytest.raises(AuthError):
            client.connect("127.0.0.1", 1)
        assert end_of(hosier) == f"authentication failed: the principal '{ANN}' is of a realm that is not allowed"


def greeted(hosier: Hosier) -> socket.socket:
    client = socket.create_connection(hosier.address, timeout=PATIENCE)
    client.sendall(b"\x05\x01\x01")
    assert exactly(client, 2) == b"\x05\x01"
    return client


GARBAGE = {
    "another version": b"\x02\x01\x00\x04\xde\xad\xbe\xef",
    "no such type": b"\x01\x07\x00\x00",
    "an abort": b"\x01\xff",
    "data first": b"\x01\x03\x00\x03\x57\x01\x41",
    "a level first": b"\x01\x02\x00\x03\x57\x00\x02",
    "an empty token": b"\x01\x01\x00\x00",
    "garbage": b"\x01\x01\x00\x10" + os.urandom(16),
    "the largest token": b"\x01\x01\xff\xff" + os.urandom(65535),
    "a request in clear": b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50",
}


@pytest.mark.parametrize("octets", GARBAGE.values(), ids=GARBAGE)
def test_garbage(home: Realm, octets: bytes) -> None:
    """Dante never says 01 FF."""
    with serving() as hosier, greeted(hosier) as client:
        client.sendall(octets)
        assert exactly(client, 2) == b"\x01\xff"
        assert client.recv(1) == b""
        client.close()
        assert end_of(hosier)


@pytest.mark.parametrize(
    ("level", "sealed", "kind"),
    [(4, False, 2), (255, False, 2), (2, True, 2), (2, False, 1)],
    ids=["4", "255", "sealed", "in a token"],
)
def test_levels_that_are_none(home: Realm, level: int, sealed: bool, kind: int) -> None:
    """Dante takes all of these."""
    with serving() as hosier, greeted(hosier) as client:
        context = initiator().exchange()._context
        client.sendall(framed(1, context.step(None)))
        head = exactly(client, 4)
        context.step(exactly(client, int.from_bytes(head[2:], "big")))
        assert context.complete
        client.sendall(framed(kind, context.wrap(bytes((level,)), sealed)))
        assert exactly(client, 2) == b"\x01\xff"
        assert client.recv(1) == b""
        assert end_of(hosier).startswith("authentication failed: ")


def test_tokens_without_end(home: Realm) -> None:
    """Each is refused at once; none of them leaves a thread or a descriptor behind."""
    with serving() as hosier:
        for count in range(1, 31):
            with greeted(hosier) as client:
                client.sendall(b"\x01\x01\x00\x20" + os.urandom(32))
                assert exactly(client, 2) == b"\x01\xff"
            end_of(hosier, count)
        assert len(os.listdir(f"/proc/{hosier.pid}/task")) < 10


def test_who_fails_locks_nobody_out(home: Realm, echo: Address) -> None:
    """Neither bad tokens nor wrong passwords from the same address: a ticket is not guessed. fail2ban sees all."""
    with serving(f"--user={USER}:{PASSWORD}") as hosier:
        for octets in [b"\x05\x01\x01\x01\x01\x00\x20" + os.urandom(32)] * 20 + [b"\x05\x01\x02\x01\x01x\x01y"] * 9:
            with socket.create_connection(hosier.address, timeout=PATIENCE) as client:
                client.sendall(octets)
                exactly(client, 4)
        wait_until(lambda: hosier.logged == 29, "all have ended")
        with GssapiClient(hosier.address, initiator()) as client:
            assert client.connect(echo.host, echo.port).code == 0
    lines = re.findall("authentication failure from=127.0.0.1 (user=.*)", hosier.messages)
    assert lines.count("user=- method=gssapi version=5 reason=credentials wait=0") == 20
    assert len(lines) == 20 + 9
    assert lines[-1].startswith("user=x method=password version=5 reason=credentials wait=")


def test_a_client_that_says_nothing_more(home: Realm) -> None:
    with serving("--timeout=auth=0.3") as hosier, greeted(hosier) as client:
        client.sendall(b"\x01\x01\xff\xff" + bytes(100))
        assert client.recv(1) == b""
        assert end_of(hosier) == "auth limit"


class Leaving:
    """A socket of a client that leaves after ``steps`` half messages: it sends so many, and then nothing any more."""

    def __init__(self, genuine: socket.socket, steps: int) -> None:
        self._genuine = genuine
        self._whole, self._half = divmod(steps, 2)

    def sendall(self, data: bytes) -> None:
        if not self._whole:
            self._genuine.sendall(data[: len(data) // 2 * self._half])
            raise ConnectionAbortedError
        self._whole -= 1
        self._genuine.sendall(data)

    def recv(self, size: int) -> bytes:
        return self._genuine.recv(size)

    def close(self) -> None:
        self._genuine.close()


def test_clients_that_leave_at_each_step(home: Realm, echo: Address) -> None:
    """Before and within the greeting, the token, the level, the request; the server serves on."""
    with serving() as hosier:
        for steps in range(8):
            with GssapiClient(hosier.address, initiator()) as client:
                client.sock = Leaving(client.sock, steps)  # type: ignore[assignment]
                with pytest.raises(ConnectionAbortedError):
                    client.connect(echo.host, echo.port)
        wait_until(lambda: hosier.logged == 8, "all have ended")
        with GssapiClient(hosier.address, initiator()) as client:
            assert client.connect(echo.host, echo.port).code == 0


# --- frames that are not what they should be: the session ends, and nothing of them arrives ---


@contextmanager
def joined(home: Realm) -> Iterator[tuple[Hosier, GssapiClient, socket.socket]]:
    """A server, a client at level 2, and the target's end."""
    with serving() as hosier, socket.create_server(("127.0.0.1", 0)) as listener:
        client = GssapiClient(hosier.address, initiator())
        with client:
            client.connect(*listener.getsockname())
            far, _ = listener.accept()
            with far:
                far.settimeout(PATIENCE)
                yield hosier, client, far


def signed_only(client: GssapiClient) -> bytes:
    assert client.layer is not None
    token = client.layer._context.wrap(b"signed only", False)
    return b"\x01\x03" + len(token).to_bytes(2, "big") + token


def flip(client: GssapiClient) -> bytes:
    assert client.layer is not None
    wire = bytearray(client.layer.wrap(b"spoiled"))
    wire[30] ^= 1
    return bytes(wire)


def twice(client: GssapiClient) -> bytes:
    assert client.layer is not None
    wire = client.layer.wrap(b"twice")
    return wire + wire


def disordered(client: GssapiClient) -> bytes:
    assert client.layer is not None
    first = client.layer.wrap(b"first")
    return client.layer.wrap(b"second") + first


SPOILED: dict[str, tuple[Callable[[GssapiClient], bytes], str]] = {
    "a flipped bit": (flip, "integrity check failed|Integrity Check"),
    "the same frame twice": (twice, "duplicate"),
    "out of order": (disordered, "expected per-message token was not received"),
    "signed at level 2": (signed_only, "not confidential"),
    "in clear": (lambda _: b"\x05\x01\x00\x01", "version 5"),
    "of another type": (lambda _: b"\x01\x01\x00\x00", "type 0x01"),
}


@pytest.mark.parametrize(("spoil", "why"), SPOILED.values(), ids=SPOILED)
def test_spoiled_frames(home: Realm, spoil: Callable[[GssapiClient], bytes], why: str) -> None:
    """Dante delivers some of these."""
    with joined(home) as (hosier, client, far):
        client.send(b"genuine")
        assert exactly(far, 7) == b"genuine"
        client.sock.sendall(spoil(client))
        with pytest.raises(ConnectionResetError):
            assert far.recv(1) == b""
        assert re.search(f"^security layer: .*({why})", end_of(hosier))


def test_a_frame_that_is_cut(home: Realm) -> None:
    """GS-REQ-44: no end of file to the target."""
    with joined(home) as (hosier, client, far):
        assert client.layer is not None
        client.sock.sendall(client.layer.wrap(b"cut off")[:-1])
        client.end()
        with pytest.raises(ConnectionResetError):
            assert far.recv(1) == b""
        assert end_of(hosier) == "security layer: the stream ended inside a frame"


# --- curl ---


@pytest.fixture
def curl(program: Callable[..., str]) -> list[str]:
    return [program("curl"), "-q", "-4", "--silent", "--show-error", "--fail"]


@pytest.mark.parametrize("ticket", [True, False], ids=["with a ticket", "without"])
def test_curl_with_a_password(home: Realm, curl: list[str], target: Target, ticket: bool) -> None:
    """curl offers GSSAPI unasked; whoever has a password must get through all the same."""
    environment = {**home.environment, **({} if ticket else {"KRB5CCNAME": "FILE:/nonexistent"})}
    with serving(f"--user={USER}:{PASSWORD}") as hosier:
        url = target.url("127.0.0.1")
        run([*curl, "--socks5", str(hosier.address), "--proxy-user", f"{USER}:{PASSWORD}", url], env=environment)
        [session] = hosier.sessions(target.at("127.0.0.1"), 5)
        assert session["user"] == USER


def test_curl_without_anything(home: Realm, curl: list[str], target: Target) -> None:
    with serving("--method=none", "--method=gssapi") as hosier:
        run([*curl, "--socks5", str(hosier.address), target.url("127.0.0.1")])
        hosier.sessions(target.at("127.0.0.1"), 5)


def test_curl_with_a_ticket(home: Realm, curl: list[str], target: Target) -> None:
    """No release of curl known to us gets through to a server that protects; it must fail cleanly, and alone."""
    with serving("--gssapi-service=rcmd") as hosier:
        proxy = f"socks5h://localhost:{hosier.port}"
        arguments = [*curl, "--socks5-gssapi", "--proxy", proxy, target.url("127.0.0.1")]
        done = run(arguments, env=home.environment, status=None)
        assert done.returncode == 97, done
        wait_until(lambda: hosier.logged == 1, "the session has ended")
        assert target.connections == []
        with GssapiClient(hosier.address, initiator(service="rcmd")) as client:
            assert client.begin("127.0.0.1", 1, Command.BIND).first_reply is not None
