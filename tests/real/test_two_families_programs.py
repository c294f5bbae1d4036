"""RFC 3089 with real programs: those of one family reach real servers of the other, through up to three gateways."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from .harness import ROOT, command, run, stop, wait_until
from .name_server import configured
from .namespaces import Machine
from .sshd import account_is_locked
from .target import digest
from .two_families import CHAINS, CLIENT_SIDE, SERVERS, gateways_and_servers

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

chains = pytest.mark.parametrize("chain", CHAINS)
crossing = pytest.mark.parametrize(("near", "far"), [(4, 6), (6, 4)], ids=["4 to 6", "6 to 4"])


@pytest.fixture(scope="module")
def machines() -> Iterator[dict[str, Machine]]:
    with gateways_and_servers() as found:
        yield found


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def gateway(near: int, chain: str) -> tuple[str, str]:
    """The proxy's URL for clients of the family, and the last gateway, which knows names."""
    port, last, _ = CHAINS[chain]
    return f"socks5h://{bracketed(CLIENT_SIDE[near])}:{port}", last


@pytest.fixture(scope="module")
def web(machines: dict[str, Machine], tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("web")
    (folder / "page").write_bytes(b"x" * 3_000_000)
    four = ("-m", "http.server", "--bind", SERVERS[4], "--directory", folder, "8000")
    six = ("-m", "http.server", "--bind", SERVERS[6], "--directory", folder, "8000")
    with (
        machines["server4"].daemon(sys.executable, *four, port=8000),
        machines["server6"].daemon(sys.executable, *six, port=8000),
    ):
        yield


@chains
@crossing
def test_curl(
    program: Callable[..., str], machines: dict[str, Machine], web: None, near: int, far: int, chain: str
) -> None:
    proxy, last = gateway(near, chain)
    client = machines[f"client{near}"]
    for host in (f"server{far}.{last}", bracketed(SERVERS[far])):
        told = (program("curl"), "-sS", "-g", "--proxy", proxy, f"http://{host}:8000/page")
        assert run(client.command(*told)).stdout == b"x" * 3_000_000


@pytest.fixture(scope="module")
def ssh_folder(program: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("host_key", "user_key"):
        run([program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", folder / name])
    (folder / "authorized_keys").write_bytes((folder / "user_key.pub").read_bytes())
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    return folder


@pytest.fixture(scope="module", params=[4, 6])
def ssh_family(
    request: pytest.FixtureRequest, program: Callable[..., str], machines: dict[str, Machine], ssh_folder: Path
) -> Iterator[int]:
    """A family in which an sshd listens at port 2222."""
    family: int = request.param
    config = ssh_folder / f"sshd_config{family}"
    config.write_text(
        f"""\
ListenAddress {bracketed(SERVERS[family])}:2222
HostKey {ssh_folder}/host_key
AuthorizedKeysFile {ssh_folder}/authorized_keys
PasswordAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM {"yes" if account_is_locked() else "no"}
PidFile none
"""
    )
    with machines[f"server{family}"].daemon(program("sshd"), "-D", "-e", "-f", config, port=2222):
        yield family


@chains
def test_ssh(
    program: Callable[..., str], machines: dict[str, Machine], ssh_folder: Path, ssh_family: int, chain: str
) -> None:
    """With `hosier connect` as ProxyCommand, from the other family."""
    near = 10 - ssh_family
    proxy, last = gateway(near, chain)
    told = shlex.join(command("connect", "--proxy", proxy)) + " %h %p"
    options = (
        *("-F", "none", "-i", f"{ssh_folder}/user_key", "-p", "2222"),
        *("-o", f"ProxyCommand={told}", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
        *("-o", "BatchMode=yes", "-o", "LogLevel=ERROR"),
    )
    client = machines[f"client{near}"].command(
        program("ssh"), *options, f"root@server{ssh_family}.{last}", "cat; exit 7"
    )
    assert run(client, data=b"hello", status=7).stdout == b"hello"


@contextmanager
def nsd(program: Callable[..., str], machine: Machine, folder: Path, host: str) -> Iterator[None]:
    """A name server at port 53 of the machine."""
    config = configured(folder, host, 53)
    with machine.daemon(program("nsd"), "-d", "-c", config, port=53):
        yield


@contextmanager
def forwarded(machine: Machine, proxy: str, local: str, target: str) -> Iterator[None]:
    """`hosier forward --udp` runs on the machine."""
    told = command("forward", "--udp", "--proxy", proxy, local, target)
    with subprocess.Popen(machine.command(*told), stderr=subprocess.PIPE, cwd=ROOT) as process:
        try:
            assert process.stderr is not None
            assert b"datagrams to" in process.stderr.readline()
            yield
        finally:
            stop(process)


@chains
@crossing
def test_questions_to_a_name_server(
    program: Callable[..., str], machines: dict[str, Machine], tmp_path: Path, near: int, far: int, chain: str
) -> None:
    """With drill, at a port of its own machine that `hosier forward --udp` leads there."""
    proxy, last = gateway(near, chain)
    client = machines[f"client{near}"]
    local = "127.0.0.1" if near == 4 else "::1"
    with (
        nsd(program, machines[f"server{far}"], tmp_path, SERVERS[far]),
        forwarded(client, proxy, f"{bracketed(local)}:5300", f"server{far}.{last}:53"),
    ):
        for kind, answer in (("A", b"192.0.2.7"), ("AAAA", b"2001:db8::7")):
            asked = (program("drill"), "-p", "5300", f"@{local}", "www.example.test", kind)
            assert answer in run(client.command(*asked)).stdout


@pytest.fixture(scope="module")
def quic(machines: dict[str, Machine], tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """HTTP/3 at port 4433 of both servers."""
    with ExitStack() as stack:
        for family, host in SERVERS.items():
            told = ("-m", "tests.real.two_families_quic", "serve", tmp_path_factory.mktemp("quic"), host, "4433")
            daemon = machines[f"server{family}"].daemon(sys.executable, *told, port=4433, over="udp")
            stack.enter_context(daemon)
        yield


@pytest.mark.parametrize("how", ["run", "forward"])
@chains
@crossing
def test_http3(machines: dict[str, Machine], quic: None, how: str, near: int, far: int, chain: str) -> None:
    """A program of one family downloads from a server of the other, and knows nothing of SOCKS: `hosier run` leads it
    through the gateways, or it asks the port that `hosier forward --udp` has opened."""
    proxy, last = gateway(near, chain)
    client = machines[f"client{near}"]
    octets = 1_000_000
    fetch = (sys.executable, "-m", "tests.real.two_families_quic", "fetch")
    if how == "run":
        told = (*command("run", "--proxy", proxy, "--"), *fetch, f"server{far}.{last}", "4433", str(octets), str(near))
        done = run(client.command(*told), cwd=ROOT, patience=110)
    else:
        local = "127.0.0.1" if near == 4 else "::1"
        with forwarded(client, proxy, f"{bracketed(local)}:5443", f"server{far}.{last}:4433"):
            done = run(client.command(*fetch, local, "5443", str(octets), str(near)), cwd=ROOT, patience=110)
    address, checksum = done.stdout.decode().split()
    assert (":" in address) is (near == 6)
    assert checksum == digest(octets)


@chains
@crossing
def test_active_ftp(
    program: Callable[..., str], machines: dict[str, Machine], tmp_path: Path, near: int, far: int, chain: str
) -> None:
    """vsftpd calls the last gateway back in its own family; the client has another one (NG-REQ-33)."""
    proxy, _ = gateway(near, chain)
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "get.bin").write_bytes(os.urandom(300_000))
    config = tmp_path / "vsftpd.conf"
    listen = "listen=YES\nlisten_address=" if far == 4 else "listen=NO\nlisten_ipv6=YES\nlisten_address6="
    config.write_text(
        f"""\
{listen}{SERVERS[far]}
listen_port=2121
background=NO
run_as_launching_user=YES
anonymous_enable=YES
no_anon_password=YES
anon_root={folder}
connect_from_port_20=NO
seccomp_sandbox=NO
xferlog_enable=NO
"""
    )
    os.makedirs("/var/run/vsftpd/empty", exist_ok=True)
    got = tmp_path / "got.bin"
    with machines[f"server{far}"].daemon(program("vsftpd"), config, port=2121):
        told = (sys.executable, "-m", "tests.real.two_families_ftp", proxy, SERVERS[far], "2121", str(got))
        run(machines[f"client{near}"].command(*told), cwd=ROOT)
    wait_until(got.exists, "the file is there")
    assert got.read_bytes() == (folder / "get.bin").read_bytes()
