"""``hosier serve``: options to settings, passwords, what it announces, and its life in short."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest

import hosier
from hosier.cli import serve
from hosier.cli.main import main
from hosier.engine.ports import PortRange
from hosier.errors import ConfigError
from hosier.server.advertise import parse_advertise
from hosier.server.settings import DEFAULT_LISTEN, BindSettings, Limits, ListenAddress, ServerSettings


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Callable[..., argparse.Namespace]:
    """What the options become."""
    found: list[argparse.Namespace] = []

    def run(arguments: argparse.Namespace) -> int:
        found.append(arguments)
        return 0

    monkeypatch.setattr(serve, "run", run)
    monkeypatch.delenv("HOSIER_PASSWORD", raising=False)

    def of(*arguments: str) -> argparse.Namespace:
        assert main(["serve", *arguments]) == 0
        return found.pop()

    return of


@pytest.fixture
def settings(parse: Callable[..., argparse.Namespace]) -> Callable[..., ServerSettings]:
    return lambda *arguments: serve._settings(parse(*arguments))


Settings = Callable[..., ServerSettings]


# --- options ---


def test_without_options(settings: Settings) -> None:
    assert settings() == ServerSettings(listen=DEFAULT_LISTEN, methods=[], allow=[], deny=[], advertise=[])


def test_listen(settings: Settings) -> None:
    found = settings("--listen", "127.0.0.1:1", "--listen=[::1]:2", "--listen", "3")
    assert found.listen == [
        ListenAddress("127.0.0.1", 1),
        ListenAddress("::1", 2),
        ListenAddress("127.0.0.1", 3),
        ListenAddress("::1", 3),
    ]


def test_open(settings: Settings) -> None:
    assert settings("--listen", "*:1080", "--open").is_public


def test_users(settings: Settings) -> None:
    found = settings("--user", "ann:open sesame", "--user", "bob:a:b", "--user=eve:")
    assert found.users == {"ann": "open sesame", "bob": "a:b", "eve": ""}


def test_methods(settings: Settings) -> None:
    assert settings("--method", "other", "--method", "none").methods == ["other", "none"]


def test_networks(settings: Settings) -> None:
    found = settings("--allow", "10.0.0.0/8", "--allow", "[fd00::]", "--deny", "192.0.2.1", "--deny", "2001:db8::/32")
    assert found.allow == [ip_network("10.0.0.0/8"), ip_network("fd00::/128")]
    assert found.deny == [ip_network("192.0.2.1/32"), ip_network("2001:db8::/32")]


def test_limits(settings: Settings) -> None:
    found = settings("--timeout", "idle=600", "--timeout", "connect=0.5", "--timeout=idle=601")
    assert found.limits == Limits(idle=601, connect=0.5)


def test_strict(settings: Settings) -> None:
    assert settings("--strict").strict
    assert not settings().strict


def test_ways_in(settings: Settings) -> None:
    found = settings("--advertise", "192.0.2.1", "--advertise=10.0.0.5=192.0.2.5", "--ports", "40000-40999")
    assert found.advertised == (parse_advertise("192.0.2.1"), parse_advertise("10.0.0.5=192.0.2.5"))
    assert found.port_range == PortRange(40_000, 40_999)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ((), BindSettings()),
        (("--bind", "on"), BindSettings()),
        (("--bind", "anyone"), BindSettings(anyone=True)),
        (("--bind", "off"), BindSettings(enabled=False)),
    ],
)
def test_bind(option: tuple[str, ...], expected: BindSettings, settings: Settings) -> None:
    assert settings(*option).bind == expected


def test_the_rest(parse: Callable[..., argparse.Namespace]) -> None:
    plain = parse()
    assert (plain.log, plain.uvloop, plain.verbose) == ("text", False, False)
    found = parse("--log", "json", "--uvloop", "-v")
    assert (found.log, found.uvloop, found.verbose) == ("json", True, True)
    assert parse("--verbose", "--log=off").log == "off"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--listen", "nonsense"], "cannot listen on 'nonsense': write 127.0.0.1:1080"),
        (["--listen", ":99999"], "'99999' in ':99999' is not a port"),
        (["--listen", "*:1080"], "listening on 0.0.0.0:1080 without authentication would be an open proxy"),
        (["--user", ":pw"], "--user ':pw' has no name: write NAME or NAME:PASSWORD"),
        (["--user", "ann:pw", "--method", "none"], "method 'none' contradicts configured users"),
        (["--method", "password"], "method 'password' needs users: add --user NAME:PASSWORD"),
        (["--method", "nonsense", "--listen", "127.0.0.1:0"], "there is no method 'nonsense'; known: none, password"),
        (["--allow", "10.0.0.0/40"], "'10.0.0.0/40' is not a network"),
        (["--deny", "example.com"], "'example.com' is not a network"),
        (["--advertise", "example.com"], "cannot advertise 'example.com': write an IP address that others reach"),
        (["--advertise", "192.0.2.1", "--advertise", "192.0.2.2"], "two addresses are advertised for IPv4"),
        (["--ports", "many"], "'many' is not a range of ports: write for example 40000-40999"),
        (["--timeout", "idle"], "--timeout 'idle': write idle=SECONDS"),
        (["--timeout", "idle=soon"], "--timeout 'idle=soon': write idle=SECONDS"),
        (["--timeout", "tea=5"], "--timeout 'tea=5': there is no limit 'tea'; known: handshake, auth, connect, bind"),
        (["--timeout", "idle=0"], "the limit idle is 0.0: it must be more than 0 seconds"),
        (["--timeout", "idle=nan"], "the limit idle is nan: it must be"),
        (["--timeout", "linger=11"], "the limit linger is 11.0: RFC 1928 allows at most 10 seconds"),
    ],
)
def test_a_mistake_costs_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], still: None
) -> None:
    assert main(["serve", "--log", "off", *arguments]) == 2
    output, messages = capsys.readouterr()
    assert not output
    assert messages.startswith(f"hosier: {message}")
    assert len(messages.splitlines()) == 1


def test_an_unknown_log(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--log", "xml"])
    assert caught.value.code == 2
    messages = capsys.readouterr().err
    assert messages.startswith("hosier: argument --log: invalid choice: 'xml'")
    assert len(messages.splitlines()) == 1


# --- passwords ---


def test_password_from_the_environment(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOSIER_PASSWORD", "from outside")
    assert settings("--user", "ann", "--user", "bob:own").users == {"ann": "from outside", "bob": "own"}
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("variable", [None, ""])
def test_password_that_is_made(
    variable: str | None, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is shown once, and differs each time."""
    made = set()
    for _ in range(2):
        if variable is not None:
            monkeypatch.setenv("HOSIER_PASSWORD", variable)
        password = settings("--user", "ann").users["ann"]
        assert len(password) >= 16
        output, messages = capsys.readouterr()
        assert messages == f"hosier: the password of ann is {password} (shown only now)\n"
        assert not output
        made.add(password)
    assert len(made) == 2


# --- what it announces ---


def announced(capsys: pytest.CaptureFixture[str], **fields: Any) -> list[str]:
    """What a server with these settings says; its port is written as P."""
    ports: list[int] = []

    async def main() -> None:
        async with hosier.Server(**fields) as server:
            ports.extend(address.port for address in server.addresses)
            serve._announce(server)

    asyncio.run(main())
    output, messages = capsys.readouterr()
    assert not output
    for port in ports:
        messages = messages.replace(f":{port}", ":P")
    return messages.splitlines()


def test_announcement(capsys: pytest.CaptureFixture[str]) -> None:
    assert announced(capsys, listen=["127.0.0.1:0", "127.0.0.2:0"]) == [
        "hosier: listening on 127.0.0.1:P (SOCKS4, SOCKS4a, SOCKS5; no authentication)",
        "hosier: listening on 127.0.0.2:P (SOCKS4, SOCKS4a, SOCKS5; no authentication)",
        "hosier: try it: curl --proxy socks5h://127.0.0.1:P http://example.com/",
    ]


def test_announcement_with_users(capsys: pytest.CaptureFixture[str]) -> None:
    """The password is not in it; curl asks."""
    assert announced(capsys, listen=["0.0.0.0:0"], users={"ann": "open sesame", "bob": "x"}) == [
        "hosier: listening on 0.0.0.0:P (SOCKS5; password)",
        "hosier: try it: curl --proxy socks5h://127.0.0.1:P --proxy-user ann http://example.com/",
    ]


def test_announcement_with_a_private_method(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Framing:
        code = 0x90

    class Private:
        name = "private"
        framing = Framing()

    monkeypatch.setattr("hosier.server.server.load_method", lambda _: Private())
    assert announced(capsys, listen=["127.0.0.1:0"], methods=["private"]) == [
        "hosier: listening on 127.0.0.1:P (SOCKS5; private)"
    ]


def test_reachable_address() -> None:
    assert str(serve._reachable(ListenAddress("::", 1))) == "[::1]:1"
    assert str(serve._reachable(ListenAddress("0.0.0.0", 1))) == "127.0.0.1:1"
    assert str(serve._reachable(ListenAddress("192.0.2.1", 1))) == "192.0.2.1:1"


# --- its life ---


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command would change in this process, and what it would have changed."""
    changed: dict[str, Any] = {}
    monkeypatch.setattr(serve, "_raise_descriptor_limit", lambda: changed.update(descriptors=True))
    monkeypatch.setattr(serve, "_calm_collector", lambda: changed.update(collector=True))
    monkeypatch.setattr(logging, "basicConfig", lambda **options: changed.update(options))
    monkeypatch.delenv("HOSIER_PASSWORD", raising=False)
    return changed


@pytest.mark.parametrize(("option", "level"), [((), logging.WARNING), (("-v",), logging.INFO)])
def test_run(option: tuple[str, ...], level: int, still: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[tuple[ServerSettings, str]] = []

    async def instead(settings: ServerSettings, log: str) -> None:
        served.append((settings, log))

    monkeypatch.setattr(serve, "_serve", instead)
    assert main(["serve", "--listen", "127.0.0.1:0", "--log", "json", *option]) == 0
    ((settings, log),) = served
    assert settings.listen_addresses == (ListenAddress("127.0.0.1", 0),)
    assert log == "json"
    assert still["level"] == level
    assert still["stream"] is sys.stderr
    assert still["descriptors"]
    assert still["collector"]


def test_without_uvloop(
    still: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert main(["serve", "--listen", "127.0.0.1:0", "--uvloop"]) == 2
    assert capsys.readouterr().err == "hosier: --uvloop needs uvloop: pip install 'hosier[uvloop]'\n"


def test_with_uvloop(still: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    uvloop = pytest.importorskip("uvloop")
    assert serve._uvloop_run() is uvloop.run


def test_a_port_that_is_taken(still: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--log", "off", "--listen", f"127.0.0.1:{port}"]) == 2
    assert capsys.readouterr().err == (
        f"hosier: cannot listen on 127.0.0.1:{port}: the port is taken; "
        "stop the other program or choose --listen HOST:PORT\n"
    )


def live(
    monkeypatch: pytest.MonkeyPatch, then: Callable[[hosier.Server], Any], log: str = "off", **fields: Any
) -> None:
    """Serves in this process; ``then(server)`` runs as soon as it listens."""
    working: list[asyncio.Future[Any]] = []
    announce = serve._announce

    def announced(server: hosier.Server) -> None:
        announce(server)
        working.append(asyncio.ensure_future(then(server)))

    monkeypatch.setattr(serve, "_announce", announced)

    async def serving() -> None:
        async with asyncio.timeout(30):
            await serve._serve(ServerSettings(listen=["127.0.0.1:0"], **fields), log)
            await working[0]

    asyncio.run(serving())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_at_a_signal(number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def then(_: hosier.Server) -> None:
        os.kill(os.getpid(), number)

    live(monkeypatch, then)
    output, messages = capsys.readouterr()
    assert not output
    assert re.fullmatch(
        r"hosier: listening on .*\nhosier: try it: .*\nhosier: served 0 sessions, 0 octets, in 0\.\d minutes\n",
        messages,
    )


def test_waits_for_sessions_and_writes_the_log(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A session that is under way at the signal ends in peace; its line is in the log."""

    async def then(server: hosier.Server) -> None:
        reader, writer = await asyncio.open_connection(*server.addresses[0])
        writer.write(b"\x05\x01\x00")
        assert await reader.readexactly(2) == b"\x05\x00"
        os.kill(os.getpid(), signal.SIGTERM)
        while server.addresses:
            await asyncio.sleep(0)
        writer.close()
        await writer.wait_closed()

    live(monkeypatch, then, log="json")
    output, messages = capfd.readouterr()
    (line,) = output.splitlines()
    assert json.loads(line)["end"] == "client left in the handshake"
    assert "hosier: stopping: waiting up to 10 s for 1 sessions; again to end them\n" in messages
    assert "hosier: served 1 sessions, 0 octets" in messages


def test_a_second_signal_ends_sessions(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    async def then(server: hosier.Server) -> None:
        reader, writer = await asyncio.open_connection(*server.addresses[0])
        writer.write(b"\x05\x01\x00")
        assert await reader.readexactly(2) == b"\x05\x00"
        os.kill(os.getpid(), signal.SIGTERM)
        while server.addresses:
            await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()

    live(monkeypatch, then, log="text")
    output, _ = capfd.readouterr()
    assert output.endswith(" server stopped\n")
    assert len(output.splitlines()) == 1


def test_descriptor_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    told: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda *arguments: told.append(arguments))
    serve._raise_descriptor_limit()
    assert told == [(resource.RLIMIT_NOFILE, (4096, 4096))]

    def refuse(*_: object) -> None:
        raise ValueError("not allowed")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    serve._raise_descriptor_limit()


def test_collector_is_calmed(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(gc, "freeze", lambda: told.append("freeze"))
    monkeypatch.setattr(gc, "set_threshold", lambda *numbers: told.append(numbers))
    serve._calm_collector()
    assert told == ["freeze", (50_000, 20, 20)]


def test_user_without_a_name() -> None:
    with pytest.raises(ConfigError, match="has no name"):
        serve._user("")
