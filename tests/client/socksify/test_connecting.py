"""Sockets within a scope: blocking, with a limit, without waiting; what they may do past the proxy, and what not."""

from __future__ import annotations

import errno
import socket

import pytest

import hosier
from hosier.client.socksify.connecting import connected, way_of
from hosier.client.socksify.scope import Scope, shared_names
from hosier.testing import ScriptedServer, send, stall

from ..harness import PATIENCE, SUCCESS, exactly, opening
from .conftest import Site, Witness

REQUEST = b"GET / HTTP/1.1\r\nHost: site\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsite"


@pytest.mark.parametrize("timeout", [None, PATIENCE])
@pytest.mark.parametrize(
    ("family", "address", "asked"),
    [
        (socket.AF_INET, ("web.invalid", 80), "web.invalid:80"),
        (socket.AF_INET6, ("web.invalid", 80), "web.invalid:80"),
        (socket.AF_INET, (b"web.invalid", 80), "web.invalid:80"),
        (socket.AF_INET, ("192.0.2.1", 443), "192.0.2.1:443"),
        (socket.AF_INET6, ("2001:db8::1", 443, 0, 0), "[2001:db8::1]:443"),
        (socket.AF_INET6, ("fe80::1%lo", 443), "[fe80::1]:443"),
        (socket.AF_INET, ("127.0.0.1", 9), "127.0.0.1:9"),
        (socket.AF_INET, ("", 9), "127.0.0.1:9"),
        (socket.AF_INET6, ("::", 9), "[::1]:9"),
    ],
)
def test_connect(site: Site, timeout: float | None, family: int, address: tuple[str, int], asked: str) -> None:
    """Whatever the program's socket is and wherever it goes; it keeps its number and its limit. Its peer is the proxy
    (NG-REQ-30)."""
    with hosier.socksify(site.url), socket.socket(family) as sock:
        number = sock.fileno()
        sock.settimeout(timeout)
        sock.connect(address)
        assert (sock.fileno(), sock.gettimeout(), sock.get_inheritable()) == (number, timeout, False)
        assert sock.getpeername() == site.address
        sock.sendall(REQUEST)
        assert exactly(sock, len(ANSWER)) == ANSWER
    assert site.asked == [asked]


def test_fake_addresses_become_names_again(site: Site) -> None:
    with hosier.socksify(site.url):
        for family in (socket.AF_INET, socket.AF_INET6):
            address = socket.getaddrinfo("web.invalid", 80, family, socket.SOCK_STREAM)[0][4]
            with socket.socket(family) as sock:
                assert sock.connect_ex(address) == 0
    assert site.asked == ["web.invalid:80"] * 2


def test_create_connection(site: Site) -> None:
    with hosier.socksify(site.url), socket.create_connection(("web.invalid", 80), PATIENCE) as sock:
        assert sock.gettimeout() == PATIENCE
    assert site.asked == ["web.invalid:80"]


def test_forgotten_fake_addresses_go_nowhere(site: Site) -> None:
    """NG-REQ-32."""
    with (
        hosier.socksify(site.url),
        socket.socket() as sock,
        pytest.raises(OSError, match="no name any more") as caught,
    ):
        sock.connect(("198.19.255.1", 80))
    assert caught.value.errno == errno.EHOSTUNREACH
    assert not site.conversations


@pytest.mark.parametrize(("code", "kind"), [(5, ConnectionRefusedError), (6, TimeoutError), (4, OSError)])
def test_errors_are_the_systems(witness: Witness, code: int, kind: type[OSError]) -> None:
    """So that code that knows nothing of proxies understands them; ``connect_ex`` gives the number."""
    with (
        ScriptedServer(opening(send(bytes((5, code, 0))))) as proxy,
        witness(proxy.address),
        hosier.socksify(proxy.url),
        socket.socket() as sock,
    ):
        with pytest.raises(kind) as caught:
            socket.create_connection(("web.invalid", 80), PATIENCE)
        assert isinstance(caught.value, hosier.ReplyError)
        assert sock.connect_ex(("web.invalid", 80)) == caught.value.errno


def test_limit(witness: Witness) -> None:
    with ScriptedServer([stall()]) as proxy, witness(proxy.address), hosier.socksify(proxy.url):
        with pytest.raises(TimeoutError):
            socket.create_connection(("web.invalid", 80), 0.2)
        with socket.socket() as sock:
            sock.settimeout(0.2)
            assert sock.connect_ex(("web.invalid", 80)) == errno.ETIMEDOUT


def test_what_socks_has_no_form_for(witness: Witness) -> None:
    """Mistakes that only a proxy makes are the system's, too."""
    with (
        ScriptedServer([stall()]) as proxy,
        witness(proxy.address),
        hosier.socksify(proxy.url.replace("5h", "4a")),
        socket.socket(socket.AF_INET6) as sock,
        pytest.raises(OSError, match="IPv6") as caught,
    ):
        sock.connect(("2001:db8::1", 80))
    assert caught.value.errno == errno.EINVAL


def test_connected_is_connected(site: Site) -> None:
    with hosier.socksify(site.url), socket.socket() as sock:
        assert not connected(sock)
        sock.connect(("web.invalid", 80))
        assert connected(sock)
        with pytest.raises(OSError) as caught:
            sock.connect(("web.invalid", 80))
        assert caught.value.errno == errno.EISCONN
        assert sock.connect_ex(("web.invalid", 80)) == errno.EISCONN


def test_other_families_are_left_alone(site: Site) -> None:
    """A process's own sockets, and what is no address at all."""
    with hosier.socksify(site.url):
        one, other = socket.socketpair()
        with one, other:
            one.sendall(b"x")
            assert other.recv(1) == b"x"
        with socket.socket(socket.AF_UNIX) as sock, pytest.raises(FileNotFoundError):
            sock.connect("/nonexistent/socket")
        with socket.socket() as sock:
            for wrong in ("web.invalid", ("web.invalid",), ("web.invalid", "80"), (None, 80)):
                with pytest.raises(TypeError):
                    sock.connect(wrong)
                with pytest.raises(TypeError):
                    sock.connect_ex(wrong)


def test_servers_are_left_alone(site: Site, witness: Witness) -> None:
    """Who listens listens here, and is reached from outside of the scope."""
    with hosier.socksify(site.url):
        server = socket.create_server(("localhost", 0))
    with server:
        witness.allowed.add(server.getsockname())
        with socket.create_connection(server.getsockname()) as client, hosier.socksify(site.url):
            accepted, address = server.accept()
            with accepted:
                assert address == client.getsockname()
                assert accepted.getpeername() == address


def test_binding_asks_nobody(site: Site) -> None:
    with hosier.socksify(site.url), socket.socket() as sock:
        with pytest.raises(OSError, match="bind to an address") as caught:
            sock.bind(("web.invalid", 0))
        assert caught.value.errno == errno.EADDRNOTAVAIL
        sock.bind(("127.0.0.1", 0))
        sock.connect(("web.invalid", 80))
    assert site.asked == ["web.invalid:80"]


def test_nothing_is_sent_without_a_connection(site: Site) -> None:
    """No early data (TCP_FASTOPEN); also not where a name would have to be looked up."""
    with hosier.socksify(site.url), socket.socket() as sock:
        for host in ("192.0.2.1", "web.invalid"):
            for call, args in (
                (sock.sendto, (b"x", (host, 9))),
                (sock.sendto, (b"x", 0, (host, 9))),
                (sock.sendmsg, ([b"x"], [], 0, (host, 9))),
            ):
                with pytest.raises(OSError) as caught:
                    call(*args)
                assert caught.value.errno == errno.EOPNOTSUPP


def test_past_the_proxy(witness: Witness) -> None:
    """TCP and datagrams, by address and by name; everything else still goes through."""
    with (
        Site() as site,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here,
    ):
        here.bind(("127.0.0.1", 0))
        here.settimeout(PATIENCE)
        near, port = here.getsockname(), server.getsockname()[1]
        with (
            witness(site.address, near, ("127.0.0.1", port)),
            hosier.socksify(site.url, bypass="127.0.0.0/8"),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
        ):
            for host in ("127.0.0.1", "localhost"):
                socket.create_connection((host, port), PATIENCE).close()
            with socket.socket() as sock:
                assert sock.connect_ex(("127.0.0.1", port)) == 0
            out.sendto(b"one", near)
            out.sendmsg([b"two"], [], 0, near)
            out.connect(near)
            out.sendmsg([b"three"])
            assert [here.recv(10) for _ in range(3)] == [b"one", b"two", b"three"]
            socket.create_connection(("web.invalid", 80), PATIENCE).close()
        assert site.asked == ["web.invalid:80"]


def test_ways() -> None:
    scope = Scope((hosier.Proxy("proxy"),), "", shared_names)
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        assert way_of(scope, tcp, ("web.invalid", 80)) == ("web.invalid", False)
        assert way_of(scope, tcp, "web.invalid") is None
        assert way_of(scope, unix, "/path") is None


def test_socket_options_and_errors_are_asked_as_ever(site: Site) -> None:
    """The stand-ins for what non-blocking programs ask."""
    with hosier.socksify(site.url), socket.socket() as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == bytes(8)
        with pytest.raises(OSError) as caught:
            sock.getpeername()
        assert caught.value.errno == errno.ENOTCONN


def test_everything_the_target_says_first(witness: Witness) -> None:
    with (
        ScriptedServer(opening(send(SUCCESS + b"220 hello"), stall())) as proxy,
        witness(proxy.address),
        hosier.socksify(proxy.url),
        socket.create_connection(("mail.invalid", 25), PATIENCE) as sock,
    ):
        assert exactly(sock, 9) == b"220 hello"
