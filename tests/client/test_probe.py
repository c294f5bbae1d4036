"""What a proxy can do, found out by asking."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import pytest

from hosier.client import probe as module
from hosier.client.gssapi import Gssapi
from hosier.client.probe import Report, probe
from hosier.client.proxy import Proxy
from hosier.errors import ConfigError, ProxyConnectionError
from hosier.server.settings import BindSettings, UdpSettings
from hosier.testing import Conversation, ScriptedServer, ThreadedServer, receive, send, stall

from .harness import run
from .tls import Certificate

Marks = dict[str, bool | None]


def marks(report: Report) -> dict[str, Marks]:
    parts = {
        "versions": report.versions,
        "methods": report.methods,
        "commands": report.commands,
        "addresses": report.addresses,
    }
    return {part: {name: found.works for name, found in findings.items()} for part, findings in parts.items()}


def probed(url: str, *, patience: float = 1, **more: object) -> Report:
    return run(probe(Proxy(url), timeout=patience, **more))  # type: ignore[arg-type]


def test_everything() -> None:
    with ThreadedServer() as server:
        report = probed(server.url, patience=5)
    assert report.proxy == server.url
    assert report.reached.works
    assert report.speaks_socks
    found = marks(report)
    assert found["versions"] == {"socks4": True, "socks4a": True, "socks5": True}
    assert found["methods"] == {"none": True, "gssapi": False, "password": False}
    assert found["commands"] == {"connect": True, "bind": True, "associate": True}
    assert found["addresses"]["name"] is True
    assert "a datagram came back" in report.commands["associate"].says
    assert report.commands["bind"].says.startswith("listens on 127.0.0.1:")


def test_socks4a_where_the_target_is_refused() -> None:
    """A server for others protects this machine, whatever it is called."""
    with ThreadedServer(deny=[ip_network("127.0.0.0/8")]) as server:
        report = probed(server.url, patience=5)
        assert marks(report)["versions"] == {"socks4": None, "socks4a": None, "socks5": True}
        assert report.versions["socks4a"].says.endswith("(reply 91), as in SOCKS4: the target may be why")


def test_socks4_without_names() -> None:
    """What leads there as an address, and not as a name, knows no names."""

    def answer(conversation: Conversation) -> None:
        is_name = conversation.received[4:7] == bytes(3)
        conversation.sock.sendall(bytes((0, 91 if is_name else 90)) + bytes(6))

    with ScriptedServer([receive(9), answer]) as server:
        report = probed(server.url, patience=5)
        assert marks(report)["versions"] == {"socks4": True, "socks4a": False, "socks5": False}
        assert report.versions["socks4a"].says == "request rejected or failed (reply 91), where SOCKS4 connects"


def test_another_protocol_in_answer_to_a_name() -> None:
    with ScriptedServer([receive(9), send(b"HTTP/1.1 400 Bad Request")]) as server:
        assert marks(probed(server.url))["versions"] == {"socks4": False, "socks4a": False, "socks5": False}


def test_socks4_has_no_ipv6() -> None:
    """So nothing is known of it where that is all there is; a name may still lead there."""
    with ThreadedServer(listen=["[::1]:0"]) as server:
        report = probed(server.url, patience=5)
        assert marks(report)["versions"] == {"socks4": None, "socks4a": True, "socks5": True}
        assert report.versions["socks4"].says == "SOCKS4 cannot express an IPv6 address"


def test_with_a_password() -> None:
    with ThreadedServer(users={"ann": "sesame"}) as server:
        report = probed(server.url.replace("//", "//ann:sesame@"), patience=5)
        assert "sesame" not in str(report)
        found = marks(report)
        assert found["versions"] == {"socks4": None, "socks4a": None, "socks5": True}
        assert found["methods"] == {"none": False, "gssapi": False, "password": True}
        assert found["commands"] == {"connect": True, "bind": True, "associate": True}
        strangers = probed(server.url, patience=5)
        assert marks(strangers)["commands"] == {"connect": None, "bind": None, "associate": None}
        assert "none of the methods" in strangers.commands["connect"].says


@pytest.mark.parametrize("user_ids", [False, True])
def test_wrong_credentials_fail_once_for_each_version(user_ids: bool, caplog: pytest.LogCaptureFixture) -> None:
    """So that a look costs nobody the free failures."""
    with ThreadedServer(users={"ann": "sesame"}, socks4_userid=user_ids) as server:
        url = server.url.replace("//", "//eve:guess@")
        report = probed(url, patience=2)
        failures = [record.message for record in caplog.records if "authentication failure" in record.message]
        assert len(failures) == 1 + user_ids
    found = marks(report)
    assert found["methods"] == {"none": False, "gssapi": False, "password": True}
    assert found["commands"] == {"connect": None, "bind": None, "associate": None}
    assert found["addresses"] == {"ipv4": None, "ipv6": None, "name": None}
    assert found["versions"] == {"socks4": None, "socks4a": None, "socks5": True}
    assert report.commands["bind"].says == f"not asked: {report.commands['connect'].says}"


def test_a_target_that_is_not_reached_is_no_refused_login() -> None:
    with ThreadedServer(users={"ann": "sesame"}) as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        report = probed(server.url.replace("//", "//ann:sesame@"), patience=2, target=closed.getsockname())
        assert marks(report)["commands"] == {"connect": None, "bind": True, "associate": True}


def test_who_never_answers_a_request_has_let_us_in() -> None:
    """A limit there says nothing of the credentials."""
    script = [receive(4), send(b"\x05\x02"), receive(3 + 3 + 6), send(b"\x01\x00"), stall()]
    with ScriptedServer(script) as server:
        report = probed(server.url.replace("//", "//ann:sesame@"))
        assert {finding.says for finding in report.commands.values()} == {"no answer in time"}


def test_a_ticket_is_shown_in_the_questions_too() -> None:
    as_five = partial(module._as, protocol="socks5", remote_dns=True)
    ticket = as_five(Proxy("socks5h+gssapi://proxy.example", gssapi=Gssapi(host="other.example", level=1)))
    assert (ticket.methods, ticket.gssapi) == (("gssapi",), Gssapi(host="other.example", level=1))
    both = Proxy("socks5h://ann:sesame@proxy.example", methods=("gssapi", "password"))
    assert as_five(both).methods == ("gssapi", "password")
    assert module._as(both, "socks4", remote_dns=False).methods == ()
    assert as_five(Proxy("socks4://proxy.example")).methods == ("none",)


def test_what_is_switched_off_is_told() -> None:
    with ThreadedServer(bind=BindSettings(enabled=False), udp=UdpSettings(enabled=False)) as server:
        report = probed(server.url, patience=2)
        assert (report.commands["bind"].works, report.commands["associate"].works) == (None, None)
        assert "reply 2" in report.commands["bind"].says


def test_target() -> None:
    with ThreadedServer() as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        report = probed(server.url, patience=2, target=closed.getsockname())
        assert report.commands["connect"].works is None
        assert "connection refused" in report.commands["connect"].says


def test_command_that_is_not_supported() -> None:
    refusal = b"\x05\x07\x00\x01" + bytes(6)
    with ScriptedServer([receive(3), send(b"\x05\x00"), receive(10), send(refusal)]) as server:
        report = probed(server.url)
        assert marks(report)["commands"] == {"connect": False, "bind": False, "associate": False}
        assert report.addresses["ipv4"].works is True
    unknown = b"\x05\x08\x00\x01" + bytes(6)
    with ScriptedServer([receive(3), send(b"\x05\x00"), receive(10), send(unknown)]) as server:
        assert marks(probed(server.url))["addresses"] == {"ipv4": False, "ipv6": False, "name": False}


@pytest.mark.parametrize("script", [[stall()], [send(b"HTTP/1.1 400 Bad Request\r\n\r\n")], []])
def test_what_is_no_proxy(script: list[object]) -> None:
    with ScriptedServer(script) as server:  # type: ignore[arg-type]
        report = probed(server.url)
        assert not report.speaks_socks
        assert report.versions["socks5"].says == report.methods["none"].says
        assert all(mark is not True for part in marks(report).values() for mark in part.values())


def test_too_slow_to_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    async def opening(_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(module, "_open", opening)
    with pytest.raises(ProxyConnectionError, match=r"cannot reach .*: no answer in time$"):
        probed("socks5h://127.0.0.1:9")


def test_nobody_there() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(ProxyConnectionError, match=r"cannot reach .*: Connection refused$"):
            probed(f"socks5h://127.0.0.1:{closed.getsockname()[1]}")
    with pytest.raises(ProxyConnectionError, match=r"cannot reach .*: No such file or directory$"):
        probed("socks5h://localhost/nowhere/at/all")
    with pytest.raises(ConfigError, match="SOCKS"):
        probed("http://127.0.0.1")


def test_tls_at_a_unix_socket(certificate: Certificate, tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            greeting = await reader.readexactly(3)
            writer.write(bytes((5, 0 if greeting[2] == 0 else 0xFF)))
        writer.close()

    async def main() -> Report:
        path = tmp_path / "proxy"
        async with await asyncio.start_unix_server(serve, path, ssl=certificate.server):
            proxy = Proxy(f"socks5h+tls://localhost{path}", ssl_context=certificate.client)
            return await probe(proxy, timeout=5)

    assert marks(run(main()))["methods"] == {"none": True, "gssapi": False, "password": False}
