"""The example of a private method: installed as a package, found by ``hosier serve``, used by a client of its own."""

import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from hosier.auth.base import Method
from hosier.errors import AuthError, LocalProtocolError, RemoteProtocolError
from hosier.protocol.address import parse_address
from hosier.protocol.auth.base import AuthFraming, AuthStep, SecurityLayer
from hosier.protocol.client_connection import ClientConnection, ClientHandshake, ClientMethod
from hosier.protocol.messages import Command, MethodSelected, MethodsOffered, Reply, Request
from hosier.protocol.server_connection import ServerConnection
from hosier.protocol.socks5 import encode_request
from hosier.protocol.states import State
from hosier.testing import ConnectionPair, every_cut

EXAMPLE = Path(__file__).parents[1] / "examples" / "private-method"
VARIABLE = "HANDSHAKE_EXAMPLE_SECRET"
SECRET = b"a secret of more than 16 characters"
PATIENCE = 30

Place = tuple[str, int]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the example was installed into, as its user would install it."""
    source = tmp_path_factory.mktemp("source") / "private-method"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(folder)]
    done = subprocess.run([*pip, *options, str(source)], capture_output=True, text=True, timeout=55, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def example(package: Path) -> Iterator[Any]:
    """The installed module."""
    sys.path.insert(0, str(package))
    try:
        yield importlib.import_module("handshake_example")
    finally:
        sys.path.remove(str(package))
        sys.modules.pop("handshake_example", None)


# --- peers ---


class Served:
    """A ``hosier serve`` under way: where it listens, and after its end what it logged."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stderr is not None
        self.banner = process.stderr.readline()
        host, _, port = self.banner.partition("listening on ")[2].split()[0].rpartition(":")
        self.place = (host, int(port))
        self.sessions: list[dict[str, Any]] = []
        self.messages = ""

    def end(self) -> None:
        self.process.terminate()
        output, self.messages = self.process.communicate(timeout=PATIENCE)
        self.sessions = [json.loads(line) for line in output.splitlines()]
        assert self.process.returncode == 0, self.messages
        assert "Traceback" not in self.messages, self.messages


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "hosier", "serve", "--listen=127.0.0.1:0", "--log=json", *arguments]


def environment(package: Path, secret: bytes | None = SECRET) -> Mapping[str, str]:
    clean = {name: value for name, value in os.environ.items() if name != VARIABLE}
    return clean | {"PYTHONPATH": str(package)} | ({VARIABLE: os.fsdecode(secret)} if secret else {})


@pytest.fixture
def served(package: Path) -> Iterator[Served]:
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    arguments = command("--method=handshake-example", "--timeout=drain=2")
    with subprocess.Popen(arguments, env=environment(package), **pipes) as process:
        try:
            server = Served(process)
            yield server
            if not server.sessions:
                server.end()
        finally:
            process.kill()


@contextmanager
def target(serve: Callable[[socket.socket], None]) -> Iterator[Place]:
    """A server for one connection."""

    def work() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(PATIENCE)
            serve(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        thread = threading.Thread(target=work)
        thread.start()
        yield listener.getsockname()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def echo(connection: socket.socket) -> None:
    """Says everything again, and when the peer has ended, goodbye."""
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.sendall(b"goodbye")


class Tunnel:
    """A connection through the proxy, under the method's layer."""

    def __init__(self, sock: socket.socket, layer: SecurityLayer, wrapped: bytes = b"", plain: bytes = b"") -> None:
        self.sock = sock
        self.layer = layer
        self._wrapped = wrapped
        self._plain = plain

    def send(self, data: bytes) -> None:
        size = self.layer.max_payload
        for start in range(0, len(data), size):
            self.sock.sendall(self.layer.wrap(data[start : start + size]))

    def receive(self) -> bytes:
        """Some octets; none at the end of the stream."""
        while not self._plain:
            found = self.layer.unwrap(self._wrapped)
            if found is not None:
                self._plain, self._wrapped = found[0], self._wrapped[found[1] :]
            elif data := self.sock.recv(65536):
                self._wrapped += data
            else:
                assert not self._wrapped, "the stream ends inside a frame"
                break
        plain, self._plain = self._plain, b""
        return plain

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.receive()
            assert piece, f"closed after {data!r}"
            data += piece
        self._plain = data[size:]
        return data[:size]

    def everything(self) -> bytes:
        return b"".join(iter(self.receive, b""))


def open_tunnel(proxy: Place, place: Place, method: Method) -> Tunnel:
    """The way of a blocking client: a whole handshake is octets in, octets out."""
    sock = socket.create_connection(proxy, timeout=PATIENCE)
    try:
        handshake = ClientHandshake(
            Request(5, Command.CONNECT, parse_address(*place)),
            (ClientMethod(method.framing, method.client_exchange),),
        )
        sock.sendall(handshake.start())
        while not handshake.done:
            sock.sendall(handshake.feed(sock.recv(4096)))
        handoff = handshake.detach()
        assert handoff.layer is not None
    except BaseException:
        sock.close()
        raise
    return Tunnel(sock, handoff.layer, handoff.wrapped, handoff.leftover)


# --- with a real server ---


def test_both_ways(served: Served, example: Any) -> None:
    method = example.Handshake(SECRET, "ann")
    with target(echo) as place:
        tunnel = open_tunnel(served.place, place, method)
        with tunnel.sock:
            for text in (b"hello", b"x" * 16384, b"y" * 16385):
                tunnel.send(text)
                assert tunnel.exactly(len(text)) == text
    served.end()
    assert "(SOCKS5; handshake-example)" in served.banner
    (session,) = served.sessions
    assert session["method"] == "80 (private)"
    assert session["user"] == "ann"
    assert session["version"] == 5
    assert session["reply"] == 0
    assert session["target"] == session["dialled"] == f"127.0.0.1:{place[1]}"
    assert session["sent"] == 5 + 16384 + 16385
    assert session["end"] == "client closed"
    assert SECRET.decode() not in served.messages


def test_bulk_and_half_close(served: Served, example: Any) -> None:
    """Three megabytes up while as many come down, then our end, and after it still what the target has to say."""
    data = os.urandom(1 << 20) * 3
    with target(echo) as place:
        tunnel = open_tunnel(served.place, place, example.Handshake(SECRET))
        with tunnel.sock:

            def up() -> None:
                tunnel.send(data)
                tunnel.sock.shutdown(socket.SHUT_WR)

            sender = threading.Thread(target=up)
            sender.start()
            received = tunnel.everything()
            sender.join(PATIENCE)
    assert len(received) == len(data) + len(b"goodbye")
    assert received == data + b"goodbye"
    served.end()
    (session,) = served.sessions
    assert session["sent"] == len(data)
    assert session["end"] == "client closed"


def test_half_close_by_the_target(served: Served, example: Any) -> None:
    received: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        connection.sendall(b"all I say")
        connection.shutdown(socket.SHUT_WR)
        received.append(b"".join(iter(lambda: connection.recv(65536), b"")))

    with target(listen) as place:
        tunnel = open_tunnel(served.place, place, example.Handshake(SECRET))
        with tunnel.sock:
            assert tunnel.everything() == b"all I say"
            tunnel.send(b"z" * 100_000)
    assert received == [b"z" * 100_000]


def test_wrong_secret(served: Served, example: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unreached:
        with pytest.raises(AuthError):
            open_tunnel(served.place, unreached.getsockname(), example.Handshake(b"another secret of that size"))
        unreached.setblocking(False)
        with pytest.raises(BlockingIOError):
            unreached.accept()
    served.end()
    (session,) = served.sessions
    assert session["method"] == "80 (private)"
    assert session["end"] == "authentication failed"
    assert session["version"] == 5
    assert session["user"] is None
    assert session["target"] is None


@pytest.mark.parametrize("place_of_the_bit", ["data", "tag", "length"])
def test_a_flipped_bit_ends_the_session(served: Served, example: Any, place_of_the_bit: str) -> None:
    """Nothing of the frame reaches the target, and nothing after it."""
    received: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        try:
            while data := connection.recv(65536):
                received.append(data)
                connection.sendall(data)
        except ConnectionResetError:
            received.append(b"<reset>")

    with target(listen) as place:
        tunnel = open_tunnel(served.place, place, example.Handshake(SECRET))
        with tunnel.sock:
            tunnel.send(b"hello")
            assert tunnel.exactly(5) == b"hello"
            frame = bytearray(tunnel.layer.wrap(b"attack at dawn"))
            frame[{"data": 2, "tag": -1, "length": 0}[place_of_the_bit]] ^= 0x80
            tunnel.sock.sendall(frame)
            with suppress(ConnectionResetError):
                assert tunnel.sock.recv(65536) == b""
    assert received == [b"hello", b"<reset>"]
    served.end()
    (session,) = served.sessions
    assert session["sent"] == 5


def test_request_in_the_segment_of_the_last_message(served: Served, example: Any) -> None:
    """A client that knows its keys need not wait for the verdict: what follows the proof is under the layer."""
    framing: AuthFraming = example.Framing()
    client = example.Handshake(SECRET, "ann").client_exchange()
    with target(echo) as place, socket.create_connection(served.place, timeout=PATIENCE) as sock:
        sock.sendall(b"\x05\x01\x80" + framing.encode(client.step(None).body, from_client=True))
        data = b""
        while (found := framing.decode(data[2:], from_client=False)) is None:
            data += sock.recv(4096)
        proof = framing.encode(client.step(found[0]).body, from_client=True)
        keys = client._keys
        tunnel = Tunnel(sock, example.Layer(sending=keys.to_server, receiving=keys.to_client))
        request = encode_request(Request(5, Command.CONNECT, parse_address(*place)))
        sock.sendall(proof + tunnel.layer.wrap(request) + tunnel.layer.wrap(b"early"))
        verdict = b""
        while (found := framing.decode(verdict, from_client=False)) is None:
            verdict += sock.recv(1)
        outcome = client.step(found[0]).outcome
        assert outcome is not None
        assert outcome.identity == "ann"
        assert tunnel.exactly(10)[:4] == b"\x05\x00\x00\x01"
        assert tunnel.exactly(5) == b"early"
        sock.shutdown(socket.SHUT_WR)
        assert tunnel.everything() == b"goodbye"
    served.end()
    (session,) = served.sessions
    assert session["sent"] == 5


def test_a_client_without_the_method(served: Served) -> None:
    with socket.create_connection(served.place, timeout=PATIENCE) as sock:
        sock.sendall(b"\x05\x02\x00\x02")
        assert sock.recv(10) == b"\x05\xff"
    served.end()
    (session,) = served.sessions
    assert session["method"] == ""
    assert session["end"] == "no acceptable method; offered: 00 (no authentication), 02 (username/password)"


@pytest.mark.parametrize("sent", [b"\x01\x03\x20" + bytes(32), b"\x01\x02", b"\x05\x01\x00\x01", b"\x01\x01\x03abc"])
def test_broken_messages(served: Served, sent: bytes) -> None:
    """Out of turn, of no kind, of no version, too short: the method's refusal, then the end."""
    with socket.create_connection(served.place, timeout=PATIENCE) as sock:
        sock.sendall(b"\x05\x01\x80" + sent)
        assert b"".join(iter(lambda: sock.recv(100), b"")) == b"\x05\x80" + b"\x01\x04\x01\x01"


def refusal(package: Path, *arguments: str, secret: bytes | None = SECRET) -> str:
    """``hosier serve`` does not start, and says why in one line."""
    done = subprocess.run(
        command(*arguments), env=environment(package, secret), capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("hosier: ")
    return done.stderr


@pytest.mark.parametrize("secret", [None, b"too short"])
def test_no_secret(package: Path, secret: bytes | None) -> None:
    text = refusal(package, "--method=handshake-example", secret=secret)
    assert f"set {VARIABLE} to a shared secret" in text
    assert "too short" not in text


@pytest.mark.parametrize(
    ("code", "label"),
    [(0x00, "00 (no authentication)"), (0xFF, "FF (no acceptable method)"), (0x02, "02 (username/password)")],
)
def test_numbers_that_are_taken(tmp_path: Path, code: int, label: str) -> None:
    """A plug-in cannot make itself a method that means something already."""
    information = tmp_path / "thief-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: thief\nVersion: 1\n", encoding="utf-8")
    (information / "entry_points.txt").write_text("[hosier.methods]\nthief = thief:Method\n", encoding="utf-8")
    module = f"class Method:\n    name = 'thief'\n    class framing:\n        code = {code}\n"
    (tmp_path / "thief.py").write_text(module, encoding="utf-8")
    text = refusal(tmp_path, "--method=thief")
    assert f"takes {label}, which is not free" in text


def test_twice_the_same_number(package: Path, tmp_path: Path) -> None:
    shutil.copytree(package, tmp_path, dirs_exist_ok=True)
    (points,) = tmp_path.glob("*.dist-info/entry_points.txt")
    points.write_text(points.read_text(encoding="utf-8") + "twin = handshake_example:Handshake\n", encoding="utf-8")
    text = refusal(tmp_path, "--method=handshake-example", "--method=twin")
    assert "the methods 'handshake-example' and 'twin' take the same number" in text


# --- the halves by themselves ---


def test_shape(example: Any) -> None:
    """It is what hosier.auth.base asks for; mypy checks the types of the module itself."""
    method: Method = example.Handshake(SECRET)
    assert method.name == "handshake-example"
    assert method.framing.code == 0x80
    assert method.server_exchange() is not method.server_exchange()
    assert method.client_exchange() is not method.client_exchange()


def test_secrets_do_not_show(example: Any) -> None:
    method = example.Handshake(SECRET)
    client, server = method.client_exchange(), method.server_exchange()
    for thing in (method, client, server):
        assert SECRET.decode() not in repr(thing)


def messages(example: Any) -> list[tuple[bool, Any]]:
    """From the client, from the server."""
    return [
        (True, example.Message(example.HELLO, b"n" * 16 + b"a")),
        (True, example.Message(example.HELLO, b"n" * 16 + b"u" * 239)),
        (True, example.Message(example.PROOF, b"p" * 32)),
        (False, example.Message(example.CHALLENGE, b"n" * 16)),
        (False, example.Message(example.VERDICT, b"\x00" + b"p" * 32)),
        (False, example.Message(example.VERDICT, b"\x01")),
    ]


def test_frames_at_every_cut(example: Any) -> None:
    framing: AuthFraming = example.Framing()
    for from_client, message in messages(example):
        wire = framing.encode(message, from_client=from_client)
        for pieces in every_cut(wire):
            data = b""
            for piece in pieces:
                assert framing.decode(data, from_client=from_client) is None
                data += piece
            assert framing.decode(data, from_client=from_client) == (message, len(wire))
        assert framing.decode(wire + b"more", from_client=from_client) == (message, len(wire))
        with pytest.raises(RemoteProtocolError):
            framing.decode(wire, from_client=not from_client)
        with pytest.raises(LocalProtocolError):
            framing.encode(message, from_client=not from_client)
        with pytest.raises(LocalProtocolError):
            framing.encode(message._replace(data=b"x" * 300), from_client=from_client)


def test_through_both_connections(example: Any) -> None:
    """The core carries it without knowing it, and the request goes under the layer."""
    framings = {0x80: example.Framing()}
    both = ConnectionPair(ClientConnection(5, framings), ServerConnection(framings))
    both.from_client(MethodsOffered(b"\x80"))
    both.from_server(MethodSelected(0x80))
    both.authenticate(example.Handshake(SECRET).client_exchange(), example.Handshake(SECRET).server_exchange())
    assert both.states == (State.SEND_REQUEST, State.AWAIT_REQUEST)
    request = Request(5, Command.CONNECT, parse_address("example.com", 80))
    assert both.from_client(request) == [request]
    assert b"example.com" not in both.to_server
    assert both.from_server(Reply(0)) == [Reply(0)]


def rounds(client: Any, server: Any) -> tuple[AuthStep, AuthStep]:
    """The last steps of the server and of the client."""
    answer: AuthStep = server.step(client.step(None).body)
    verdict: AuthStep = server.step(client.step(answer.body).body)
    return verdict, client.step(verdict.body)


def layers(example: Any) -> tuple[SecurityLayer, SecurityLayer]:
    """The client's and the server's."""
    verdict, last = rounds(
        example.Handshake(SECRET, "ann").client_exchange(), example.Handshake(SECRET).server_exchange()
    )
    assert verdict.outcome is not None
    assert last.outcome is not None
    assert verdict.outcome.identity == last.outcome.identity == "ann"
    assert verdict.outcome.layer is not None
    assert last.outcome.layer is not None
    return last.outcome.layer, verdict.outcome.layer


def test_an_impostor_is_not_believed(example: Any) -> None:
    """A server that does not know the secret can say yes, but not prove it."""
    for verdict in (b"\x00", b"\x00" + bytes(32), b"\x01"):
        client = example.Handshake(SECRET).client_exchange()
        client.step(None)
        client.step(example.Message(example.CHALLENGE, bytes(16)))
        outcome = client.step(example.Message(example.VERDICT, verdict)).outcome
        assert outcome.identity is None
        assert outcome.layer is None


def test_out_of_turn(example: Any) -> None:
    client = example.Handshake(SECRET).client_exchange()
    assert client.step(example.Message(example.VERDICT, b"\x00" + bytes(32))).outcome.identity is None
    client.step(example.Message(example.CHALLENGE, bytes(16)))
    assert client.step(example.Message(example.CHALLENGE, bytes(16))).outcome.identity is None
    server = example.Handshake(SECRET).server_exchange()
    hello = example.Message(example.HELLO, bytes(16) + b"ann")
    server.step(hello)
    with pytest.raises(RemoteProtocolError, match="out of turn"):
        server.step(hello)


def test_a_conversation_cannot_be_played_again(example: Any) -> None:
    client = example.Handshake(SECRET).client_exchange()
    hello = client.step(None).body
    first, second = example.Handshake(SECRET).server_exchange(), example.Handshake(SECRET).server_exchange()
    proof = client.step(first.step(hello).body).body
    assert first.step(proof).outcome.identity == "somebody"
    second.step(hello)
    assert second.step(proof).outcome.identity is None


@pytest.mark.parametrize("size", [0, 1, 100, 16384])
def test_layer_at_every_cut(example: Any, size: int) -> None:
    near, far = layers(example)
    data = os.urandom(size)
    frame = near.wrap(data)
    assert len(frame) == 2 + size + 16
    if size > 16:
        assert data not in frame
    for end in (0, 1, 2, len(frame) // 2, len(frame) - 1):
        assert far.unwrap(frame[:end]) is None
    assert far.unwrap(memoryview(frame + b"more")) == (data, len(frame))


def test_layer_refuses(example: Any) -> None:
    """Too long, again, out of order, sent back."""
    near, far = layers(example)
    with pytest.raises(LocalProtocolError):
        near.wrap(bytes(near.max_payload + 1))
    with pytest.raises(RemoteProtocolError):
        far.unwrap(b"\x40\x01")
    first, second = near.wrap(b"first"), near.wrap(b"second")
    for frame, receiver in ((second, far), (first, near)):
        with pytest.raises(RemoteProtocolError, match="forged"):
            receiver.unwrap(frame)
    near, far = layers(example)
    frame = near.wrap(b"once")
    assert far.unwrap(frame) == (b"once", len(frame))
    with pytest.raises(RemoteProtocolError, match="forged"):
        far.unwrap(frame)


def test_datagrams(example: Any) -> None:
    near, far = layers(example)
    packets = [near.wrap_datagram(data) for data in (b"", b"one", b"x" * 60_000)]
    assert [far.unwrap_datagram(packet) for packet in reversed(packets)] == [b"x" * 60_000, b"one", b""]
    for packet in (b"", packets[1][:-1], packets[1][:20], packets[1] + b"x", near.wrap(b"one" * 10)):
        with pytest.raises(RemoteProtocolError):
            far.unwrap_datagram(packet)
    with pytest.raises(RemoteProtocolError):
        near.unwrap_datagram(packets[1])
