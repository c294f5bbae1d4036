"""``hosier connect``: standard input and output through proxies."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from hosier.testing import ScriptedServer, ThreadedServer, receive, send, stall

from ..client.tls import Certificate, door
from .harness import PATIENCE, ran, running


@pytest.fixture
def proxy() -> Iterator[ThreadedServer]:
    with ThreadedServer(users={"ann": "open sesame"}) as server:
        yield server


def credentials(server: ThreadedServer) -> str:
    return server.url.replace("//", "//ann:open%20sesame@")


def test_there_and_back(proxy: ThreadedServer) -> None:
    with ScriptedServer([send(b"220 hello\r\n"), receive(5), send(b"bye")]) as target:
        place = target.address[0], str(target.address[1])
        assert ran("connect", "--proxy", credentials(proxy), *place, data=b"12345") == (0, b"220 hello\r\nbye", "")


def test_target_in_one_word(proxy: ThreadedServer) -> None:
    with ScriptedServer([send(b"hello")]) as target:
        word = f"127.0.0.1:{target.address[1]}"
        assert ran("connect", "--proxy", credentials(proxy), word) == (0, b"hello", "")
    said = "hosier: 'server.example' is no place: write HOST:PORT, an IPv6 address in brackets\n"
    assert ran("connect", "--proxy", credentials(proxy), "server.example") == (2, b"", said)


def test_chain_from_environment_and_file(proxy: ThreadedServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("p") / "proxy"
    file.write_text(credentials(proxy) + "\n", encoding="utf-8")
    with ThreadedServer() as near, ScriptedServer([send(b"hello")]) as target:
        options = ("--proxy", "env:NEAR", "--proxy", f"file:{file}")
        status = ran("connect", *options, target.address[0], str(target.address[1]), env={"NEAR": near.url})
        assert status == (0, b"hello", "")
    with ScriptedServer([send(b"hello")]) as target:
        place = target.address[0], str(target.address[1])
        assert ran("connect", *place, env={"ALL_PROXY": credentials(proxy)}) == (0, b"hello", "")


def test_half_close_is_passed_on(proxy: ThreadedServer) -> None:
    """The target answers only what it has heard to the end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as sock:
                heard = b""
                while piece := sock.recv(1 << 16):
                    heard += piece
                sock.sendall(b"%d octets" % len(heard))

        thread = threading.Thread(target=serve)
        thread.start()
        place = "localhost", str(listener.getsockname()[1])
        assert ran("connect", "--proxy", credentials(proxy), *place, data=bytes(3 << 20))[:2] == (0, b"3145728 octets")
        thread.join(PATIENCE)


def test_failures_and_their_codes(proxy: ThreadedServer) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = str(closed.getsockname()[1])
        status, output, said = ran("connect", "--proxy", credentials(proxy), "127.0.0.1", port)
        assert (status, output) == (1, b"")
        assert said.startswith(f"hosier: 127.0.0.1:{port}: connection refused (reply 5)")
        status, _, said = ran("connect", "--proxy", f"socks5h://ann:sesame@127.0.0.1:{port}", "127.0.0.1", "80")
        assert (status, "sesame" in said, said.count("\n")) == (3, False, 1)
    status, _, said = ran("connect", "--proxy", proxy.url, "127.0.0.1", "80")
    assert (status, "accepts none of the methods" in said) == (3, True)
    status, _, said = ran("connect", "127.0.0.1", "80")
    assert (status, said.count("\n")) == (2, 1)
    assert ran("connect", "--proxy", proxy.url, "127.0.0.1", "0")[0] == 2
    assert ran("connect", "--proxy", proxy.url, "127.0.0.1", "web")[0] == 2


def test_limit() -> None:
    with ScriptedServer([stall()]) as silent:
        status, _, said = ran("connect", "--proxy", silent.url, "--timeout", "0.2", "127.0.0.1", "80")
        assert (status, "no result within 0.2 s" in said) == (3, True)


def test_interrupt_ends_it_as_any_program(proxy: ThreadedServer) -> None:
    with (
        ScriptedServer([send(b"hello"), stall()]) as target,
        running("connect", "--proxy", credentials(proxy), *map(str, target.address)) as process,
    ):
        assert process.stdout.read(5) == b"hello"
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == -signal.SIGINT
        assert process.stderr.read() == b""


@pytest.mark.parametrize("wanted", ["auto", "always"])
def test_progress(proxy: ThreadedServer, wanted: str) -> None:
    with ScriptedServer([send(bytes(2 << 20)), receive(1), stall()]) as target:
        place = target.address[0], str(target.address[1])
        with running("connect", "--proxy", credentials(proxy), "--progress", wanted, *place) as process:
            assert len(process.stdout.read(2 << 20)) == 2 << 20
            if wanted == "always":
                assert process.stderr.read(8) == b"\rhosier:"
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)
            assert wanted == "always" or process.stderr.read() == b""


@pytest.fixture(scope="module")
def certificate(program: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(program("openssl"), tmp_path_factory.mktemp("tls"))


def test_tls_to_the_proxy(proxy: ThreadedServer, certificate: Certificate) -> None:
    """Both ways at once, more than any buffer holds; the end of the input is passed on, and so is the target's."""
    size = 3 << 20
    with socket.create_server(("127.0.0.1", 0)) as listener, door(certificate, proxy.address) as (_, port):

        def serve() -> None:
            with listener.accept()[0] as sock:
                answering = threading.Thread(target=sock.sendall, args=(bytes(size),))
                answering.start()
                heard = 0
                while piece := sock.recv(1 << 16):
                    heard += len(piece)
                answering.join(PATIENCE)
                sock.sendall(b"all of it" if heard == size else b"a part")

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"socks5h+tls://ann:open%20sesame@localhost:{port}"
        place = "localhost", str(listener.getsockname()[1])
        env = {"SSL_CERT_FILE": str(certificate.file)}
        status, output, said = ran("connect", "--proxy", url, *place, data=bytes(size), env=env)
        assert (status, said) == (0, "")
        assert output == bytes(size) + b"all of it"
        thread.join(PATIENCE)
