"""``hosier serve``: mistakes in its options, what it announces, and its life in short."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import hosier
from hosier.cli import serve
from hosier.cli.hangup import ignore_hangup
from hosier.cli.main import main
from hosier.client.proxy import Proxy
from hosier.config.settings import ServeSettings
from hosier.policy.limits import Caps
from hosier.server.gssapi import GssapiSettings
from hosier.server.settings import Limits, ListenAddress


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--listen", "nonsense"], "cannot listen on 'nonsense': write 127.0.0.1:1080"),
        (["--listen", ":99999"], "'99999' in ':99999' is not a port"),
        (["--listen", "*:1080"], "listening on 0.0.0.0:1080 without authentication would be an open proxy"),
        (["--user", ":pw"], "--user without a name: write NAME or NAME:PASSWORD"),
        (["--user", "ann:pw", "--method", "none"], "method 'none' contradicts configured users"),
        (["--users", "/nonexistent"], "cannot read the users file /nonexistent: No such file or directory"),
        (["--socks4-userid"], "--socks4-userid needs users: add --users FILE"),
        (["--method", "password"], "method 'password' needs users: add --user NAME:PASSWORD"),
        (
            ["--method", "nonsense", "--listen", "127.0.0.1:0"],
            "there is no method 'nonsense'; known: gssapi, none, password",
        ),
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
        (["--cap", "tea=5"], "--cap 'tea=5': there is no cap 'tea'; known: sessions, sessions-per-source"),
        (["--cap", "sessions"], "--cap 'sessions': write sessions=N"),
        (["--cap", "sessions=-1"], "--cap 'sessions=-1': write sessions=N"),
        (["--cap", "sessions=0"], "the cap sessions is 0: it must be from 1 to 10000000"),
        (["--cap", "handshakes-per-source=10000001"], "the cap handshakes-per-source is 10000001: it must be from 0"),
        (["--workers", "two"], "--workers 'two': write a number, or auto"),
        (["--workers", "\u0663"], "--workers '\u0663': write a number, or auto"),
        (["--workers", "1" * 400], f"--workers '{'1' * 400}': write a number, or auto"),
        (["--workers", "0"], "there cannot be 0 workers: 1 to 256 can, or auto"),
        (["--workers", "257"], "there cannot be 257 workers: 1 to 256 can, or auto"),
        (["--timeout", "linger=11"], "the limit linger is 11.0: RFC 1928 allows at most 10 seconds"),
        (["--udp", "tea=5"], "--udp 'tea=5': there is no setting 'tea'; known: enabled, follow, filtering"),
        (["--udp", "idle=soon"], "--udp 'idle=soon': write a value like that in idle=300"),
        (["--udp", "follow=yes"], "--udp 'follow=yes': write a value like that in follow=off"),
        (["--udp", "targets"], "--udp 'targets': write a value like that in targets=1024"),
        (
            ["--udp", "filtering=cone"],
            "filtering: expected 'endpoint-independent', 'address' or 'address-and-port', found 'cone'",
        ),
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


# --- what it announces ---


def announced(capsys: pytest.CaptureFixture[str], **fields: Any) -> list[str]:
    """What a server with these settings says; its port is written as P."""
    ports: list[int] = []

    async def main() -> None:
        async with hosier.Server(**fields) as server:
            ports.extend(address.port for address in server.addresses)
            serve._announce(server, server.addresses)

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


def test_room(capsys: pytest.CaptureFixture[str]) -> None:
    """Caps that are not there are not told."""
    serve._tell_caps(Caps(sessions=100, handshakes=25, sessions_per_source=0), "2 workers, ")
    assert capsys.readouterr().err == "hosier: 2 workers, room for 100 sessions, 25 handshakes\n"


def test_upstreams_are_told_without_their_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    serve._tell_upstreams(ServeSettings(upstream=["socks5h://ann:sesame@gate.example", "socks4a://far.example"]))
    said = "targets are reached through socks5h://gate.example:1080, then socks4a://far.example:1080"
    assert capsys.readouterr().err == f"hosier: {said}\n"
    serve._tell_upstreams(ServeSettings())
    assert capsys.readouterr().err == ""


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

    monkeypatch.setattr("hosier.server.terms.load_method", lambda _: Private())
    assert announced(capsys, listen=["127.0.0.1:0"], methods=["private"]) == [
        "hosier: listening on 127.0.0.1:P (SOCKS5; private)"
    ]


@pytest.mark.parametrize(
    ("listen", "service", "host"),
    [
        ("127.0.0.1:0", "socks", "localhost"),
        ("0.0.0.0:0", "socks", "gate"),
        ("127.0.0.1:0", "socks@proxy.example.org", "proxy.example.org"),
        ("127.0.0.1:0", "socks/proxy.example.org@EXAMPLE.ORG", "proxy.example.org"),
        ("127.0.0.1:0", "rcmd", ""),  # the URL cannot tell it
    ],
)
def test_announcement_with_nothing_but_kerberos(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, listen: str, service: str, host: str
) -> None:
    """The name is that of the ticket."""

    class Framing:
        code = 1

    class Kerberos:
        name = "gssapi"
        framing = Framing()

    monkeypatch.setattr("hosier.server.terms.gssapi_method", lambda _: Kerberos())
    monkeypatch.setattr("socket.gethostname", lambda: "gate")
    first, *others = announced(capsys, listen=[listen], gssapi=GssapiSettings(enabled=True, service=service))
    assert first.endswith(":P (SOCKS5; gssapi)")
    wanted = f"hosier: try it: hosier probe --proxy socks5h+gssapi://{host}:P"
    assert others == ([wanted] if host else [])
    if host:
        proxy = Proxy(wanted.rpartition(" ")[2].replace("P", "1080"))
        assert (proxy.host, str(proxy)) == (host, f"socks5h+gssapi://{host}:1080")


def test_reachable_address() -> None:
    assert str(serve._reachable(ListenAddress("::", 1))) == "[::1]:1"
    assert str(serve._reachable(ListenAddress("0.0.0.0", 1))) == "127.0.0.1:1"
    assert str(serve._reachable(ListenAddress("192.0.2.1", 1))) == "192.0.2.1:1"


# --- its life ---


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command would change in this process, and what it would have changed."""
    changed: dict[str, Any] = {}
    monkeypatch.setattr(serve, "raise_descriptor_limit", lambda: changed.update(descriptors=True))
    monkeypatch.setattr(serve, "calm_collector", lambda: changed.update(collector=True))
    monkeypatch.setattr(logging, "basicConfig", lambda **options: changed.update(options))
    monkeypatch.delenv("HOSIER_PASSWORD", raising=False)
    return changed


@pytest.mark.parametrize(("option", "level"), [((), logging.WARNING), (("-v",), logging.INFO)])
def test_run(option: tuple[str, ...], level: int, still: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[ServeSettings] = []

    async def instead(settings: ServeSettings, *_: object) -> None:
        served.append(settings)

    monkeypatch.setattr(serve, "_serve", instead)
    assert main(["serve", "--listen", "127.0.0.1:0", "--log", "json", *option]) == 0
    (settings,) = served
    assert settings.listen_addresses == (ListenAddress("127.0.0.1", 0),)
    assert settings.log == "json"
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


@pytest.mark.parametrize(("option", "count"), [("2", 2), ("auto", 3)])
def test_run_with_workers(option: str, count: int, still: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """They are left to the supervisor, with its exit code; this process is none that serves."""
    found: list[int] = []

    async def instead(_: ServeSettings, count: int, *__: object) -> int:
        found.append(count)
        return 7

    monkeypatch.setattr(serve, "_supervise", instead)
    monkeypatch.setattr(serve, "processors", lambda: 3)
    assert main(["serve", "--workers", option]) == 7
    assert found == [count]
    assert "collector" not in still


def test_workers_elsewhere(
    still: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert main(["serve", "--workers=2"]) == 2
    assert capsys.readouterr().err == "hosier: more than one worker needs Linux: leave --workers out\n"


def test_a_port_that_is_taken(still: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--log", "off", "--listen", f"127.0.0.1:{port}"]) == 2
    assert capsys.readouterr().err == (
        f"hosier: cannot listen on 127.0.0.1:{port}: the port is taken; "
        "stop the other program or choose --listen HOST:PORT\n"
    )


def live(
    monkeypatch: pytest.MonkeyPatch, then: Callable[[hosier.Server], Any], warnings: Sequence[str] = (), **fields: Any
) -> None:
    """Serves in this process; ``then(server)`` runs as soon as it listens."""
    working: list[asyncio.Future[Any]] = []
    announce = serve._announce

    def announced(server: hosier.Server, addresses: Sequence[ListenAddress], admin: Sequence[str]) -> None:
        announce(server, addresses, admin)
        working.append(asyncio.ensure_future(then(server)))

    monkeypatch.setattr(serve, "_announce", announced)

    async def serving() -> None:
        async with asyncio.timeout(30):
            await serve._serve(ServeSettings(listen=["127.0.0.1:0"], **fields), warnings)
            await working[0]

    asyncio.run(serving())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_at_a_signal(number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def then(_: hosier.Server) -> None:
        os.kill(os.getpid(), number)

    live(monkeypatch, then, log="off")
    output, messages = capsys.readouterr()
    assert not output
    assert re.fullmatch(
        r"hosier: listening on .*\nhosier: try it: .*\nhosier: room for .*\n"
        r"hosier: served 0 sessions, 0 octets, in 0\.\d minutes\n",
        messages,
    )


@pytest.fixture
def own_signals() -> Iterator[None]:
    """Handlers of the test's are taken back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_at_a_signal_where_the_loop_takes_none(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows."""

    async def then(_: hosier.Server) -> None:
        os.kill(os.getpid(), number)

    def refuse(*_: Any) -> None:
        raise NotImplementedError

    monkeypatch.setattr(asyncio.SelectorEventLoop, "add_signal_handler", refuse)
    live(monkeypatch, then, log="off")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no such signal here")
def test_a_hangup_as_soon_as_it_listens(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever reads its first line may have new settings for it already."""
    settings = ServeSettings(listen=["127.0.0.1:0"], log="off")
    announce = serve._announce

    def announced(*arguments: Any) -> None:
        announce(*arguments)
        os.kill(os.getpid(), signal.SIGHUP)

    def reread() -> tuple[ServeSettings, Sequence[str]]:
        return settings, ["read again"]

    async def serving() -> None:
        async with asyncio.timeout(30):
            ending = asyncio.ensure_future(serve._serve(settings, (), reread))
            told = ""
            while "reloaded: " not in told:
                await asyncio.sleep(0.001)
                told += capsys.readouterr().err
            assert "warning: read again\nhosier: reloaded: no session had to end\n" in told
            os.kill(os.getpid(), signal.SIGTERM)
            await ending

    monkeypatch.setattr(serve, "_announce", announced)
    assert ignore_hangup()
    asyncio.run(serving())


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


def test_warns_of_what_is_dangerous(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As soon as it listens, and not where it cannot."""

    async def then(_: hosier.Server) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    live(monkeypatch, then, log="off", warnings=["open: this is dangerous"])
    assert capsys.readouterr().err.startswith("hosier: warning: open: this is dangerous\nhosier: listening on ")


def test_run_finds_what_is_dangerous(still: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []

    async def instead(_: ServeSettings, warnings: list[str], __: object) -> None:
        found.extend(warnings)

    monkeypatch.setattr(serve, "_serve", instead)
    assert main(["serve", "--listen", "*:0", "--open"]) == 0
    assert [warning.partition(":")[0] for warning in found] == ["open"]


def test_options_go_before_a_file(still: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    served: list[ServeSettings] = []

    async def instead(settings: ServeSettings, *_: object) -> None:
        served.append(settings)

    monkeypatch.setattr(serve, "_serve", instead)
    file = tmp_path / "h.toml"
    file.write_text('log = "json"\nstrict = true\nlimits = { idle = 5, drain = 6 }', encoding="utf-8")
    assert main(["serve", "--config", str(file), "--log", "off", "--timeout", "idle=7"]) == 0
    assert served == [ServeSettings(log="off", strict=True, limits=Limits(idle=7, drain=6))]


def test_a_file_with_mistakes_makes_no_password(
    still: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody is shown a password that nothing will ever ask for."""
    file = tmp_path / "h.toml"
    file.write_text("opn = true\nidel = 5\n", encoding="utf-8")
    assert main(["serve", "--config", str(file), "--user", "ann"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"hosier: {file}:1: opn: there is no such key; did you mean open?",
        f"hosier: {file}:2: idel: there is no such key; did you mean limits.idle?",
    ]
