"""The command as its user meets it: where it listens, what it says when it cannot, how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .harness import PATIENCE, Address, Hosier, command, free_port, run, wait_until
from .wire import connect_request, echo_server, exactly, socks5

KEYS = {
    *("time", "client", "user", "version", "method", "command", "target", "dialled", "bound", "reply"),
    *("sent", "received", "seconds", "end", "datagrams", "rule", "log_level"),
}


def refuses(*arguments: str, prefix: tuple[str, ...] = ()) -> str:
    """The command gives up at once, with status 2 and one line that says why."""
    done = run([*prefix, *command("serve", *arguments)], status=2)
    assert done.stdout == b""
    message = done.stderr.decode()
    assert message.startswith("hosier: ")
    assert message.count("\n") == 1, message
    assert message.endswith("\n")
    return message


def test_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        assert address in refuses(f"--listen={address}")


def test_one_of_two_ports_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        done = run(command("serve", "--listen=127.0.0.1:0", f"--listen={address}"), status=2)
    assert address in done.stderr.decode().splitlines()[-1]
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1:99999", "127.0.0.1:-1", "127.0.0.1:http", "300.0.0.1:0", "[::1:0", "1:2:3"),
        "no-such-host.invalid:0",
    ],
)
def test_bad_address(address: str) -> None:
    refuses(f"--listen={address}")


def test_address_of_another_machine() -> None:
    refuses("--listen=192.0.2.250:0", "--open")


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "*:0", "192.0.2.250:0"])
def test_not_to_the_world_by_accident(address: str) -> None:
    assert "--open" in refuses(f"--listen={address}")


@pytest.mark.real
def test_low_port_as_an_ordinary_user(program: Callable[..., str]) -> None:
    # Also root is an ordinary user without this one capability
    drop = "-net_bind_service"
    user = (program("setpriv"), f"--bounding-set={drop}", f"--inh-caps={drop}")
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 1:
        pytest.skip("on this machine every user may use low ports")
    assert "127.0.0.1:1" in refuses("--listen=127.0.0.1:1", prefix=user if os.geteuid() == 0 else ())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--no-such-option"],
        ["--log=xml"],
        ["--user=:secret"],
        ["--allow=300.0.0.0/8"],
        ["--deny=127.0.0.1/99"],
        ["--timeout=no-such-timeout=1"],
        ["--timeout=handshake=soon"],
        ["--timeout=handshake"],
        ["surplus"],
    ],
)
def test_bad_option(arguments: list[str]) -> None:
    refuses("--listen=127.0.0.1:0", *arguments)


@pytest.mark.parametrize("form", ["{}", ":{}", "localhost:{}"])
def test_listen_without_an_address(ipv6: None, form: str) -> None:
    port = free_port()
    with Hosier(listen=[form.format(port)], listeners=2) as hosier, echo_server() as target:
        assert hosier.addresses == [("127.0.0.1", port), ("::1", port)]
        for address in hosier.addresses:
            socks5(address, target).close()


def test_listen_everywhere(ipv6: None) -> None:
    """A server for others keeps them out of this machine's own networks, unless it is told to let them in."""
    with Hosier("--open", listen=["*:0"], listeners=2) as hosier, echo_server() as target:
        assert [address.host for address in hosier.addresses] == ["0.0.0.0", "::"]
        with socket.create_connection(("127.0.0.1", hosier.port), timeout=PATIENCE) as client:
            client.sendall(b"\x05\x01\x00" + connect_request(target))
            assert exactly(client, 12)[:4] == b"\x05\x00\x05\x02"
    with Hosier("--open", "--allow=127.0.0.0/8", listen=["0.0.0.0:0"]) as hosier, echo_server() as target:
        socks5(Address("127.0.0.1", hosier.port), target).close()


def test_password_is_made_up() -> None:
    with Hosier("--user=alice", env={"HOSIER_PASSWORD": ""}) as hosier, echo_server() as target:
        found = re.search("^hosier: the password of alice is ([^ ]+)", hosier.messages, re.MULTILINE)
        assert found, hosier.messages
        socks5(hosier.address, target, ("alice", found[1])).close()


def test_password_from_the_environment() -> None:
    with Hosier("--user=alice", env={"HOSIER_PASSWORD": "hidden"}) as hosier, echo_server() as target:
        socks5(hosier.address, target, ("alice", "hidden")).close()
        [session] = hosier.sessions(str(target), 5)
        assert session["user"] == "alice"
    assert "hidden" not in hosier.messages


def test_listen_several_times() -> None:
    with Hosier(listen=["127.0.0.1:0", "127.0.0.2:0", "127.0.0.1:0"]) as hosier, echo_server() as target:
        assert [address.host for address in hosier.addresses] == ["127.0.0.1", "127.0.0.2", "127.0.0.1"]
        assert len(set(hosier.addresses)) == 3
        for address in hosier.addresses:
            with socks5(address, target) as client:
                client.sendall(b"hello")
                assert exactly(client, 5) == b"hello"


def one_session(log: str) -> tuple[str, str]:
    """What a server with this --log writes for one session, and that session's target."""
    arguments = command("serve", "--listen=127.0.0.1:0", f"--log={log}")
    with (
        echo_server() as target,
        subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
    ):
        assert process.stderr is not None
        try:
            port = int(process.stderr.readline().split("127.0.0.1:")[1].split()[0])
            with socks5(Address("127.0.0.1", port), target) as client:
                client.sendall(b"hello")
                assert exactly(client, 5) == b"hello"
        finally:
            process.send_signal(signal.SIGTERM)
            output, messages = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, messages
    return output, str(target)


def test_log_text() -> None:
    output, target = one_session("text")
    assert output.count("\n") == 1
    assert target in output


def test_log_off() -> None:
    assert one_session("off")[0] == ""


def test_log_json() -> None:
    with Hosier() as hosier, echo_server() as target:
        with socks5(hosier.address, target) as client:
            client.sendall(b"hello")
            assert exactly(client, 5) == b"hello"
            here = client.getsockname()
        [session] = hosier.sessions(str(target), 5)
    assert set(session) == KEYS
    assert session["client"] == f"{here[0]}:{here[1]}"
    assert session["user"] is None
    assert session["dialled"] == str(target)
    assert (session["sent"], session["received"]) == (5, 5)
    assert session["seconds"] >= 0


def refuses_connections(hosier: Hosier) -> bool:
    try:
        socket.create_connection(hosier.address, timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_signal_when_idle(signal_number: signal.Signals) -> None:
    with Hosier() as hosier:
        hosier.process.send_signal(signal_number)
        assert hosier.process.wait(PATIENCE) == 0


def test_sigint_with_sessions_behind_it() -> None:
    with Hosier() as hosier, echo_server() as target:
        socks5(hosier.address, target).close()
        hosier.sessions(str(target), 5)
        hosier.process.send_signal(signal.SIGINT)
        assert hosier.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("engine", ["auto", "workers"])
@pytest.mark.parametrize("numbers", [(signal.SIGTERM,), (signal.SIGHUP, signal.SIGHUP)], ids=["TERM", "HUP"])
def test_open_sessions_may_finish(numbers: tuple[signal.Signals, ...], engine: str) -> None:
    """Also when the terminal goes, which tells the server so by itself and by its shell."""
    with Hosier(engine=engine) as hosier, echo_server() as target:
        with socks5(hosier.address, target) as client:
            for number in numbers:
                hosier.process.send_signal(number)
            wait_until(lambda: refuses_connections(hosier), "the server takes no new connection")
            for message in (b"still", b"alive"):
                client.sendall(message)
                assert exactly(client, 5) == message
            assert hosier.process.poll() is None
        assert hosier.process.wait(PATIENCE) == 0
        [session] = hosier.sessions(str(target), 5)
        assert (session["sent"], session["received"]) == (10, 10)


def test_second_signal_ends_open_sessions() -> None:
    with Hosier("--timeout=drain=1000") as hosier, echo_server() as target:
        with socks5(hosier.address, target) as client:
            hosier.process.send_signal(signal.SIGTERM)
            wait_until(lambda: refuses_connections(hosier), "the server takes no new connection")
            hosier.process.send_signal(signal.SIGTERM)
            assert hosier.process.wait(PATIENCE) == 0
            assert gone(client)
        hosier.sessions(str(target), 5)


def test_drain_has_a_limit() -> None:
    with Hosier("--timeout=drain=0.1") as hosier, echo_server() as target, socks5(hosier.address, target) as client:
        hosier.process.send_signal(signal.SIGTERM)
        assert hosier.process.wait(PATIENCE) == 0
        assert gone(client)
        hosier.sessions(str(target), 5)


def gone(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
