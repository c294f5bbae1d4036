"""Faults that other servers had or have, each kept away from this one by a test that bears its name."""

from __future__ import annotations

import asyncio
import hmac
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

import hosier
from hosier.auth.scrypt import hash_password
from hosier.auth.users_file import change_user
from hosier.engine import resolve
from hosier.errors import ConfigError, LocalProtocolError
from hosier.protocol.address import parse_address
from hosier.server.settings import Limits, ServerSettings

from .harness import (
    FAILURE4,
    NO_AUTH,
    SUCCESS5,
    Peer,
    Stage,
    Target,
    failure5,
    ipv4,
    login,
    request4,
    request5,
    run,
    stage,
    until,
)

PUBLIC: dict[str, Any] = {"listen": ["0.0.0.0:0"], "open": True}
ANN = {"ann": "open sesame"}

BY_PASSWORD = b"\x05\x01\x02"
RIGHT = BY_PASSWORD + login(b"ann", b"open sesame")
WRONG = BY_PASSWORD + login(b"ann", b"close sesame")
GRANTED4 = b"\x00\x5a"
TURNED_AWAY = b"\x05\x02\x01\x01"
"""Method 02, then RFC 1929's status for failure; nothing comes after it."""


async def answered(scene: Stage, octets: bytes, *, slowly: bool = False) -> bytes:
    """All that the server says to a client that sends this and ends, up to the end of the stream."""
    client = await scene.client()
    if slowly:
        await octet_by_octet(client, octets)
    else:
        await client.send(octets)
    client.end()
    answer = await client.rest()
    client.close()
    await until(lambda: not scene.server.sessions, "the session ends")
    return answer


async def octet_by_octet(client: Peer, octets: bytes) -> None:
    """The server has a turn after each, in which it sees so much and no more."""
    for octet in octets:
        await client.send(bytes((octet,)))
        await asyncio.sleep(0)


def nobody_was_served(scene: Stage, target: Target) -> bool:
    """Whether no session reached anything, and the target in particular saw nobody."""
    return target.was_left_alone() and all((record.dialled, record.user) == (None, None) for record in scene.records)


async def is_served(scene: Stage, target: Target, octets: bytes, answer: bytes, *, slowly: bool = False) -> None:
    """The counter-check: a client that does all as it should reaches the very same target."""
    client = await scene.client()
    await (octet_by_octet(client, octets) if slowly else client.send(octets))
    assert await client.exactly(len(answer)) == answer
    (await target.accept()).close()
    client.close()


async def is_let_in(scene: Stage, target: Target, opening: bytes = RIGHT) -> None:
    """The counter-check, with a password."""
    await is_served(scene, target, opening + request5(target.host, target.port), b"\x05\x02\x01\x00" + SUCCESS5)


# --- who is let in ---


@pytest.mark.parametrize(
    ("crafted", "answer"),
    [
        (NO_AUTH, b"\x05\xff"),
        (b"\x05\x00", b"\x05\xff"),
        (b"\x05\x02\x00\x02", TURNED_AWAY),
        (BY_PASSWORD, TURNED_AWAY),
        (BY_PASSWORD + NO_AUTH, TURNED_AWAY),
        (BY_PASSWORD + b"\x01\x00", TURNED_AWAY),  # the server's own words for success
        (BY_PASSWORD + login(b"", b""), TURNED_AWAY),
        (WRONG, TURNED_AWAY),
        (WRONG + login(b"ann", b"open sesame"), TURNED_AWAY),
        (WRONG + RIGHT, TURNED_AWAY),
        (b"", b""),
    ],
    ids=lambda octets: octets.hex() or "nothing",
)
@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("slowly", [False, True])
def test_cve_2023_43644_no_octets_lead_around_the_password(
    crafted: bytes, answer: bytes, version: int, slowly: bool
) -> None:
    """sing-box could be talked past its password; here no request counts before a login that was right."""

    async def main() -> None:
        async with stage(users=ANN, backoff=False) as scene:
            target = scene.target()
            request = (request4 if version == 4 else request5)(target.host, target.port)
            said = await answered(scene, crafted + request, slowly=slowly)
            if crafted:
                assert said == answer
            else:  # a bare request: of SOCKS4, which has no passwords, or one that reads as a greeting of SOCKS5
                assert said == (FAILURE4 if version == 4 else b"\x05\xff")
            assert nobody_was_served(scene, target)
            await is_let_in(scene, target)

    run(main)


@pytest.mark.parametrize(
    "fields",
    [
        {"users": ANN, "methods": ["none"]},
        {"users": ANN, "methods": ["password", "none"]},
        {"methods": ["password"]},
        {"users": ANN, "ident": True, "socks4_userid": True},
    ],
    ids=str,
)
def test_cve_2024_54662_settings_that_contradict_each_other_open_no_door(fields: dict[str, Any]) -> None:
    """Dante let clients in where methods were given at two levels; here what does not fit together does not start."""
    with pytest.raises(ConfigError):
        hosier.Server(listen=["127.0.0.1:0"], **fields)


@pytest.mark.parametrize("later", [NO_AUTH, b"", WRONG, BY_PASSWORD])
def test_pproxy_a_login_speaks_for_its_own_connection_only(later: bytes) -> None:
    """pproxy trusts an address for a month after one login; here the neighbour behind the same NAT needs his own."""

    async def main() -> None:
        async with stage(users=ANN, backoff=False) as scene:
            target = scene.target()
            await is_let_in(scene, target)
            await until(lambda: scene.records and not scene.server.sessions, "it has gone")
            scene.records.clear()
            for request in (request5(target.host, target.port), request4(target.host, target.port)):
                said = await answered(scene, later + request)
                assert said in (b"\x05\xff", TURNED_AWAY, FAILURE4)
            assert len(scene.records) == 2
            assert nobody_was_served(scene, target)

    run(main)


def users_of(path: Path, password: str, *, in_file: bool) -> dict[str, Any]:
    """The settings for one user ann."""
    if not in_file:
        return {"users": {"ann": password}}
    change_user(str(path / "users"), b"ann", hash_password(password.encode(), log_n=1, r=1, p=1))
    return {"users_file": path / "users"}


@pytest.mark.parametrize("in_file", [False, True])
def test_gost_empty_password_is_not_any_password(in_file: bool, tmp_path: Path) -> None:
    """gost takes a user's empty password for "whatever you like"; here it is a password, and others are wrong."""

    async def main() -> None:
        async with stage(**users_of(tmp_path, "", in_file=in_file), backoff=False) as scene:
            target = scene.target()
            for password in (b"x", b"\0", b" ", b"x" * 255):
                octets = BY_PASSWORD + login(b"ann", password) + request5(target.host, target.port)
                assert await answered(scene, octets) == TURNED_AWAY
            assert nobody_was_served(scene, target)
            await is_let_in(scene, target, BY_PASSWORD + login(b"ann", b""))

    run(main)


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("name", [b"ann", b"bob"])
def test_cve_2023_32691_passwords_are_compared_in_constant_time(
    name: bytes, in_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gost's comparison ended at the first wrong octet; here each guess is compared as digests of one length."""
    lengths: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def watched(a: bytes, b: bytes) -> bool:
        lengths.append((len(a), len(b)))
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", watched)

    async def main() -> None:
        async with stage(**users_of(tmp_path, "open sesame", in_file=in_file), backoff=False) as scene:
            target = scene.target()
            seen = []
            for password in (b"", b"o", b"open sesam", b"open sesamf", b"open sesame "):
                octets = BY_PASSWORD + login(name, password) + request5(target.host, target.port)
                lengths.clear()
                assert await answered(scene, octets) == TURNED_AWAY
                seen.append(tuple(lengths))
            assert seen[0]
            assert set(seen) == {seen[0]}, "the same work for each guess"
            assert all(a == b for a, b in seen[0])
            assert nobody_was_served(scene, target)
            await is_let_in(scene, target)

    run(main)


def test_tried_passwords_are_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    """hev, sslocal and glider print what was tried, which is often a right password for something else."""
    caplog.set_level("DEBUG")

    async def main() -> None:
        async with stage(users=ANN) as scene:
            target = scene.target()
            assert await answered(scene, WRONG + request5(target.host, target.port)) == TURNED_AWAY
            assert nobody_was_served(scene, target)
            assert "sesame" not in repr(scene.records) + repr(scene.server.settings)

    run(main)
    assert "authentication failure" in caplog.text
    assert "sesame" not in caplog.text


# --- what a handshake is made of ---


def names_asked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every name that is looked up from now on; each stands for loopback."""
    asked: list[bytes] = []

    def look_up(name: bytes) -> tuple[tuple[int, bytes]]:
        asked.append(name)
        return (ipv4("127.0.0.1"),)

    monkeypatch.setattr(resolve, "_look_up", look_up)
    return asked


@pytest.mark.parametrize("size", [256, 4096, 60_000])
@pytest.mark.parametrize("end", [b"", b"\0"])
def test_cve_2002_2368_a_user_id_has_a_bound(size: int, end: bytes) -> None:
    """NEC's server wrote user names of any length into a small buffer; here what is too long is refused unread."""

    async def main() -> None:
        async with stage() as scene:
            target = scene.target()
            octets = request4(target.host, target.port, user=b"u" * size)
            assert await answered(scene, octets[:-1] + end) == FAILURE4
            assert nobody_was_served(scene, target)
            await is_served(scene, target, request4(target.host, target.port, user=b"u" * 255), GRANTED4)

    run(main)


@pytest.mark.parametrize("size", [256, 4096, 60_000])
def test_cve_2002_1001_a_host_name_of_socks4a_has_a_bound(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """AnalogX's proxy overflowed on long names; here one of more than 255 octets is refused and never looked up."""
    asked = names_asked(monkeypatch)

    async def main() -> None:
        async with stage() as scene:
            target = scene.target()
            octets = request4("h" * size, target.port)
            assert await answered(scene, octets) == FAILURE4
            assert asked == []
            assert nobody_was_served(scene, target)
            await is_served(scene, target, request4("target.example", target.port), GRANTED4)
            assert asked == [b"target.example"]

    run(main)


def test_cve_2023_38545_a_slow_handshake_changes_no_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    """curl forgot in a slow handshake that a name was too long; here pace changes nothing, and what is too long is
    said at once."""
    asked = names_asked(monkeypatch)
    name = ".".join(["h" * 49] * 5)

    async def main() -> None:
        async with stage(users=ANN) as scene:
            target = scene.target()
            client = await scene.client()
            await octet_by_octet(client, RIGHT + request5(name, target.port) + b"h" * 20)
            assert await client.exactly(4) == b"\x05\x02\x01\x00"
            assert (await client.reply5()).startswith(SUCCESS5)
            assert await (await target.accept()).exactly(20) == b"h" * 20
        assert asked == [name.encode()]

    run(main)
    with pytest.raises(LocalProtocolError):
        parse_address("h" * 256, 80)


@pytest.mark.parametrize("slowly", [False, True])
def test_microsocks_messages_come_in_pieces_of_any_size(slowly: bool) -> None:
    """microsocks takes what one read brings for one message; here octets count, however they come."""

    async def main() -> None:
        async with stage() as scene:
            target = scene.target()
            octets = NO_AUTH + request5(target.host, target.port)
            await is_served(scene, target, octets, b"\x05\x00" + SUCCESS5, slowly=slowly)

    run(main)


@pytest.mark.parametrize("octets", [NO_AUTH[:1], NO_AUTH, b"\x04\x01"])
def test_microsocks_a_client_that_falls_silent_holds_nothing(octets: bytes) -> None:
    """microsocks and glider wait for a handshake for ever; here it has a limit, and all that it held is given back."""

    async def main() -> None:
        async with stage(limits=Limits(handshake=0.1)) as scene:
            client = await scene.client()
            await client.send(octets)
            await client.rest()
            record = await scene.record()
            assert (record.end, record.dialled) == ("handshake limit", None)
            assert not scene.server.engine.tasks

    run(main)


# --- where sessions lead ---


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::ffff:127.0.0.1", "0.0.0.0", "self.example"])
def test_cve_1999_0290_the_server_does_not_connect_to_itself(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """WinGate was kept busy with connections to itself; here none begins, whatever the server is called."""
    monkeypatch.setattr(resolve, "_look_up", lambda _: (ipv4("127.0.0.1"),))

    async def main() -> None:
        async with stage(**PUBLIC, allow=[ip_network("127.0.0.0/8")]) as scene:
            port = scene.place[1]
            assert await answered(scene, NO_AUTH + request5(host, port)) == b"\x05\x00" + failure5(2)
            assert [record.dialled for record in scene.records] == [None]  # a second record were the loop
            target = scene.target()
            octets = NO_AUTH + request5(target.host, target.port)
            await is_served(scene, target, octets, b"\x05\x00" + SUCCESS5)

    run(main)


def test_cve_1999_0291_a_port_alone_means_this_machine_alone() -> None:
    """WinGate came without a password and open to all; here who gives no address listens on loopback."""

    async def main() -> None:
        async with stage(listen=[":0"]) as scene:
            assert {host for host, _ in scene.server.addresses} <= {"127.0.0.1", "::1"}
            with pytest.raises(ConnectionRefusedError):
                await scene.client(("127.0.0.2", scene.place[1]))
            assert not scene.server.sessions_served

    run(main)
    assert not ServerSettings().is_public


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_xray_2025_local_socks_exposure_to_be_on_this_machine_is_no_password(host: str) -> None:
    """Programs on a telephone used the proxy of another one there, which took whoever came from loopback. Here users
    count wherever a client is, with SOCKS4 too, which cannot say a password."""

    async def main() -> None:
        async with stage(listen=[f"{host}:0"], users=ANN) as scene:
            target = scene.target()
            for octets, expected in (
                (NO_AUTH + request5(target.host, target.port), b"\x05\xff"),
                (request4(target.host, target.port, user=b"ann"), FAILURE4),
                (WRONG + request5(target.host, target.port), TURNED_AWAY),
            ):
                assert await answered(scene, octets) == expected
            assert nobody_was_served(scene, target)
            await is_let_in(scene, target)

    run(main)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "*:0", "192.0.2.1:0"])
def test_docker_dante_1_no_open_proxy_by_default(listen: str) -> None:
    """An image of Dante without a password became a relay for spam; here such a server does not start unless told."""
    with pytest.raises(ConfigError, match="open proxy"):
        hosier.Server(listen=[listen])
