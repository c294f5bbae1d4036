"""Where others stumble: names that go round the proxy, ports that are taken, hosts that answer and do not exist."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from hosier.run import kernel

from .bed import leaked
from .harness import Hosier
from .target import Target
from .test_run import Runner, in_bed, prefix, target, through

__all__ = ("in_bed", "prefix", "target", "through")

pytestmark = [pytest.mark.real, pytest.mark.linux]


def python(through: Runner, program: str, *arguments: str, status: int = 0) -> str:
    done = through("python3", "-c", program, *arguments, status=status)
    return done.stdout.decode().strip()


# --- names ---


@pytest.mark.parametrize("flags", ["0", "socket.AI_ADDRCONFIG"])
@pytest.mark.parametrize(("family", "prefix_of"), [("AF_INET", "198.18."), ("AF_INET6", "100::")])
def test_names_of_one_family(through: Runner, family: str, flags: str, prefix_of: str) -> None:
    """A network of loopback addresses only has no names for who asks for configured families."""
    program = f"import socket; print(socket.getaddrinfo('any.example', 80, socket.{family}, flags={flags})[0][4][0])"
    assert python(through, program).startswith(prefix_of)


def test_a_name_without_a_dot_stays_as_it_is(through: Runner, hosier: Hosier) -> None:
    """No search list makes `machine.corp` of it."""
    through("curl", "-sS", "http://machine:1/", status=7)
    hosier.sessions("machine:1", 5, 2)


def test_the_hosts_file_and_the_search_list_outside_do_not_count(
    through: Runner, target: Target, tmp_path: Path
) -> None:
    """four.test stands in /etc/hosts of the outside: the proxy is told the name all the same."""
    seen = through("sh", "-c", "cat /etc/hosts /etc/resolv.conf; getent hosts four.test").stdout.decode()
    assert "four.test" not in seen.partition("nameserver")[0]
    assert "search .\n" in seen
    assert "100::" in seen.splitlines()[-1]


def test_a_daemon_for_names_is_not_asked(through: Runner, tmp_path: Path) -> None:
    """glibc asks nscd's socket before anything else, and that daemon lives outside."""
    os.makedirs("/run/nscd", exist_ok=True)
    kernel.mount("nscd", "/run/nscd", "tmpfs", 0, "mode=755")
    try:
        with socket.socket(socket.AF_UNIX) as daemon:
            daemon.bind("/run/nscd/socket")
            os.chmod("/run/nscd/socket", 0o666)
            daemon.listen()
            seen = through("sh", "-c", "ls /run/nscd; getent ahostsv4 four.test").stdout.decode()
            assert seen.startswith("198.18.")
    finally:
        kernel.unmount("/run/nscd")


@pytest.mark.parametrize("name", ["localhost", "app.localhost"])
def test_localhost(through: Runner, name: str) -> None:
    program = "import socket, sys; print(sorted({a[4][0] for a in socket.getaddrinfo(sys.argv[1], 80)}))"
    assert set(eval(python(through, program, name))) <= {"127.0.0.1", "::1"}


# --- ports ---


def test_ports_are_the_program_s(through: Runner) -> None:
    """Also those below 1024; ours are two."""
    program = (
        "import socket\n"
        "taken = []\n"
        "for port in [*range(2, 1100), 9999, 65535]:\n"
        "    with socket.socket() as sock:\n"
        "        try: sock.bind(('', port))\n"
        "        except OSError: taken.append(port)\n"
        "print(taken)"
    )
    assert python(through, program) == "[53]"


def test_a_port_that_one_has_connected_to_is_not_taken(through: Runner, target: Target) -> None:
    """Closed connections of the gateway's side would linger on it."""
    program = (
        "import socket, sys\n"
        "port = int(sys.argv[1])\n"
        "for _ in range(200):\n"
        "    with socket.create_connection(('four.test', port)) as sock:\n"
        "        sock.sendall(b'GET /word HTTP/1.0\\r\\n\\r\\n')\n"
        "        while sock.recv(4096): pass\n"
        "with socket.socket() as sock:\n"
        "    sock.bind(('', port))\n"
        "print('bound')"
    )
    assert python(through, program, str(target.port)) == "bound"


def test_a_server_inside_does_not_catch_what_is_for_the_outside(through: Runner, target: Target) -> None:
    program = (
        "import socket, sys, urllib.request\n"
        "port = int(sys.argv[1])\n"
        "with socket.create_server(('', port)) as server:\n"
        "    print(urllib.request.urlopen(f'http://four.test:{port}/peer').status)\n"
        "    with socket.create_connection(('127.0.0.1', port)): server.accept(); print('own')"
    )
    assert python(through, program, str(target.port)).split() == ["200", "own"]


# --- what is not TCP or UDP ---


@pytest.mark.parametrize(
    "kind", ["SOCK_RAW, socket.IPPROTO_ICMP", "SOCK_DGRAM, socket.IPPROTO_ICMP", "SOCK_STREAM, 132"]
)
def test_what_socks_has_not_fails(through: Runner, kind: str) -> None:
    """Raw sockets, ping and SCTP: an error, and no pretence."""
    program = f"import socket\ntry: socket.socket(socket.AF_INET, socket.{kind})\nexcept OSError: print('refused')"
    assert python(through, program) == "refused"


def test_packets_to_all(through: Runner, hosier: Hosier) -> None:
    program = (
        "import socket\n"
        "sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)\n"
        "for place in ('224.0.0.251', '255.255.255.255'): sock.sendto(b'x', (place, 5353))\n"
        "print('sent')"
    )
    assert python(through, program) == "sent"
    assert hosier.logged == 0
    assert leaked() == 0


def test_urgent_data_is_ordinary_data(through: Runner, target: Target) -> None:
    """A-40: telnet and rlogin send some."""
    place = target.url("four.test").removeprefix("http://").partition("/")[0]
    program = (
        "import socket, sys\n"
        "host, _, port = sys.argv[1].rpartition(':')\n"
        "with socket.create_connection((host, int(port)), 30) as sock:\n"
        "    for piece in (b'GE', b'T', b' /pee', b'r', b' HTTP/1.0\\r\\n\\r', b'\\n'):\n"
        "        sock.send(piece, socket.MSG_OOB if len(piece) == 1 else 0)\n"
        "    print(sock.makefile('rb').readline().split()[1].decode())\n"
    )
    assert python(through, program, place) == "200"


# --- nested ---


def test_namespaces_within(through: Runner, target: Target) -> None:
    """Browsers make some for their sandbox; the network of the run is what they have until then."""
    words = ["unshare", "-Urm", "curl", "-sS", target.url("four.test")]
    assert b'"peer"' in through(*words).stdout
    through("unshare", "-Urn", "curl", "-sS", "--max-time", "5", target.url("four.test"), status=6)


def test_an_environment_that_names_the_proxy(prefix: list[str], hosier: Hosier, target: Target, tmp_path: Path) -> None:
    """curl would look for it on its own loopback."""
    through = Runner(prefix, f"socks5h://{hosier.address}", tmp_path)
    done = through("curl", "-sS", target.url("four.test"), env={"ALL_PROXY": f"socks5h://{hosier.address}"})
    assert b'"peer"' in done.stdout
