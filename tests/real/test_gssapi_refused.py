"""The client with Kerberos where it goes wrong: an error of one line that says where and why, and nothing in clear."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import pytest

import hosier
from hosier.errors import AuthError, ProxyTimedOut, RemoteProtocolError
from hosier.testing import Conversation, ScriptedServer, Step, receive, reset, send, stall

from ..kerberos_realm import Realm
from .harness import PATIENCE, Hosier, run, wait_until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


def blocking(proxy: hosier.Proxy) -> None:
    hosier.connect(proxy, "example.com", 80, timeout=PATIENCE).close()


def awaited(proxy: hosier.Proxy) -> None:
    asyncio.run(hosier.aio.open_connection("example.com", 80, proxy=proxy, timeout=PATIENCE))


shells = pytest.mark.parametrize("connect", [blocking, awaited])
Connect = Callable[[hosier.Proxy], None]


def told(port: int, **fields: object) -> hosier.Proxy:
    return hosier.Proxy(f"socks5h://localhost:{port}", gssapi=hosier.Gssapi(**fields))  # type: ignore[arg-type]


def check(connect: Connect, proxy: hosier.Proxy, words: str, kind: type[OSError] = AuthError) -> None:
    with pytest.raises(kind, match=words) as caught:
        connect(proxy)
    assert isinstance(caught.value, hosier.SocksError)
    assert caught.value.place is not None
    assert caught.value.place.step == "authentication"
    assert "\n" not in str(caught.value)


# --- before anything is said: the greeting is all that leaves ---


@shells
def test_no_ticket(home: Realm, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRB5CCNAME", "FILE:/nonexistent")
    with ScriptedServer([receive(3), send(b"\x05\x01"), stall()]) as server:
        check(connect, told(server.address[1]), "GSSAPI: .*(No Kerberos credentials|No credentials|not found)")
        assert server.received == b"\x05\x01\x01"


@shells
@pytest.mark.parametrize(
    "fields",
    [{"service": "imap"}, {"host": "elsewhere.example"}, {"service": "socks/nobody@HOSIER.TEST"}],
    ids=["service", "host", "principal"],
)
def test_unknown_principal(home: Realm, connect: Connect, fields: Mapping[str, str]) -> None:
    with ScriptedServer([receive(3), send(b"\x05\x01"), stall()]) as server:
        check(connect, told(server.address[1], **fields), "GSSAPI: Server .* not found in Kerberos database")
        assert server.received == b"\x05\x01\x01"


def faked(program: Callable[..., str], shift: str, port: int) -> str:
    """What a client says whose clock is wrong by so much."""
    code = f"""
import hosier
try:
    hosier.connect(hosier.Proxy("socks5h+gssapi://localhost:{port}"), "example.com", 80, timeout=20)
except OSError as error:
    print(type(error).__name__, error)
"""
    found = run([program("faketime"), "-f", shift, "env"]).stdout.decode()
    preload = re.search("^LD_PRELOAD=(.*)$", found, re.MULTILINE)
    assert preload is not None
    clock = {"LD_PRELOAD": preload[1], "FAKETIME": shift, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    environment = {**os.environ, **clock, "DONT_FAKE_MONOTONIC": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_expired_ticket(home: Realm, program: Callable[..., str]) -> None:
    """By the client's own clock."""
    with ScriptedServer([receive(3), send(b"\x05\x01"), stall()]) as server:
        said = faked(program, "+3d", server.address[1])
        assert re.match("AuthError GSSAPI: .*(expired|Clock skew)", said)
        assert server.received == b"\x05\x01\x01"


def test_clock_that_is_wrong(home: Realm, program: Callable[..., str]) -> None:
    """Found out by the proxy, whose log has the reason; the client hears no more than that it is refused."""
    home.run("kvno", "socks/localhost")  # or it would have to ask the KDC, which finds out first
    with Hosier("--gssapi", "-v") as server:
        said = faked(program, "+15m", server.port)
        assert said.startswith("AuthError the proxy refused the GSSAPI context"), said
        wait_until(lambda: "Clock skew too great" in server.messages, "the reason in the log")


# --- refused by the proxy ---


@shells
def test_wrong_key(home: Realm, connect: Connect) -> None:
    """A ticket for another service than the proxy serves."""
    with Hosier("--gssapi") as server:
        check(connect, told(server.port, service="rcmd"), "the proxy refused the GSSAPI context")


@shells
def test_no_common_level(home: Realm, connect: Connect) -> None:
    with Hosier("--gssapi", "--gssapi-levels=1") as server:
        check(connect, told(server.port), "the proxy refused the GSSAPI context or the protection level")


@shells
def test_level_that_is_not_accepted(home: Realm, connect: Connect) -> None:
    with Hosier("--gssapi", "--gssapi-levels=2") as server:
        check(connect, told(server.port, level=1, accepted=(1,)), "insists on protection level 2")


def test_without_gssapi_at_the_proxy(home: Realm) -> None:
    """GSSAPI is offered alone: nobody can have us go on without it."""
    with ScriptedServer([receive(3), send(b"\x05\x00"), stall()]) as server:
        with pytest.raises(RemoteProtocolError, match="selected method 0x00, which was not offered"):
            blocking(told(server.address[1]))
        assert server.received == b"\x05\x01\x01"
    with Hosier(), pytest.raises(AuthError, match="none of the methods"), Hosier() as plain:
        blocking(told(plain.port))


# --- a proxy that misbehaves ---


def receive_token(conversation: Conversation) -> None:
    """A whole token of the client."""

    def missing() -> bool:
        said = conversation.pending
        return len(said) < 4 or len(said) < 4 + int.from_bytes(said[2:4], "big")

    while missing():
        conversation.more()
    conversation.take(4 + int.from_bytes(conversation.pending[2:4], "big"))


GREETED: Sequence[Step] = (receive(3), send(b"\x05\x01"), receive_token)
MISBEHAVIOUR: dict[str, tuple[bytes, str, type[OSError]]] = {
    "an abort": (b"\x01\xff", "refused the GSSAPI context", AuthError),
    "another version": (b"\x02\x01\x00\x00", "version 2", RemoteProtocolError),
    "no such type": (b"\x01\x07\x00\x00", "type 0x07", RemoteProtocolError),
    "data first": (b"\x01\x03\x00\x01x", "type 0x03", RemoteProtocolError),
    "a level first": (b"\x01\x02\x00\x01\x02", "level before it was asked", AuthError),
    "an empty token": (b"\x01\x01\x00\x00", "GSSAPI: ", AuthError),
    "garbage": (b"\x01\x01\x00\x10" + bytes(range(16)), "GSSAPI: ", AuthError),
    "the largest token": (b"\x01\x01\xff\xff" + bytes(65_535), "GSSAPI: ", AuthError),
    "a reply in clear": (b"\x05\x00\x00\x01" + bytes(6), "version 5", RemoteProtocolError),
}


@shells
@pytest.mark.parametrize(("octets", "words", "kind"), MISBEHAVIOUR.values(), ids=MISBEHAVIOUR)
def test_answers_to_the_token(home: Realm, connect: Connect, octets: bytes, words: str, kind: type[OSError]) -> None:
    """Nothing follows the token: no level, no request, in clear or otherwise."""
    with ScriptedServer([*GREETED, send(octets), stall()]) as server:
        check(connect, told(server.address[1]), words, kind)
        size = int.from_bytes(server.received[5:7], "big")
        assert len(server.received) == 3 + 4 + size
        assert b"example.com" not in server.received


@shells
def test_the_clients_own_token_comes_back(home: Realm, connect: Connect) -> None:
    def reflect(conversation: Conversation) -> None:
        conversation.sock.sendall(bytes(conversation.received[3:]))

    with ScriptedServer([*GREETED, reflect, stall()]) as server:
        check(connect, told(server.address[1]), "GSSAPI: ")


@shells
@pytest.mark.parametrize("ending", [[], [reset()]], ids=["closed", "reset"])
@pytest.mark.parametrize("steps", range(len(GREETED) + 1))
def test_proxies_that_leave_at_each_step(home: Realm, connect: Connect, steps: int, ending: Sequence[Step]) -> None:
    with ScriptedServer([*GREETED[:steps], *ending]) as server:
        with pytest.raises(hosier.SocksError) as caught:
            connect(told(server.address[1]))
        assert isinstance(caught.value, OSError)
        assert caught.value.errno
        assert caught.value.place is not None


def test_a_proxy_that_says_nothing_more(home: Realm) -> None:
    with ScriptedServer([*GREETED, stall()]) as server, pytest.raises(ProxyTimedOut) as caught:
        hosier.connect(told(server.address[1]), "example.com", 80, timeout=4)
    assert caught.value.place is not None
    assert caught.value.place.step == "authentication"


@contextmanager
def in_other_hands(server: Hosier) -> Iterator[tuple[int, list[socket.socket]]]:
    """A port that leads to the server, and once somebody came, the socket that leads back to it."""
    back: list[socket.socket] = []

    def carry(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)

    def relay() -> None:
        near, _ = listener.accept()
        with near, socket.create_connection(server.address) as far:
            back.append(near)
            up = threading.Thread(target=carry, args=(near, far))
            up.start()
            carry(far, near)
            up.join()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=relay)
        thread.start()
        yield listener.getsockname()[1], back
        thread.join(PATIENCE)


@pytest.mark.parametrize("frame", [b"\x01\x03\x00\x10" + bytes(16), b"\x05\x00\x00\x01", b"\x01\x01\x00\x00"])
def test_frames_of_somebody_else(home: Realm, frame: bytes) -> None:
    """What is put into the stream on its way ends it, and is not delivered."""
    with (
        Hosier("--gssapi") as server,
        socket.create_server(("127.0.0.1", 0)) as target,
        in_other_hands(server) as (port, back),
        hosier.connect(told(port), *target.getsockname(), timeout=PATIENCE) as sock,
    ):
        far, _ = target.accept()
        with far:
            far.sendall(b"genuine")
            sock.settimeout(PATIENCE)
            assert sock.recv(7) == b"genuine"
            back[0].sendall(frame)
            for _ in range(2):
                with pytest.raises(RemoteProtocolError):
                    sock.recv(1)
