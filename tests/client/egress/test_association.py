"""Datagrams through proxies: by a server with upstreams, and where a proxy misbehaves."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hosier.client.egress import Upstreams
from hosier.client.egress.association import HeaderLane
from hosier.client.proxy import chain_of
from hosier.engine import resolve
from hosier.engine.segments import RUN_OCTETS, Pieces
from hosier.protocol.address import parse_address
from hosier.protocol.udp import encode_header
from hosier.server.settings import UdpSettings
from hosier.testing import ScriptedServer, ThreadedServer, send, stall

from ...server.datagrams import Associate, Datagrams, associated, dropped, header, refused, relay_of
from ...server.harness import Stage, ipv4, needs_ipv6, run, stage, until
from ..harness import opening


@asynccontextmanager
async def upstream_of(*chain: str, **fields: Any) -> AsyncIterator[Stage]:
    async with stage(egress=Upstreams(chain_of(list(chain))), **fields) as scene:
        yield scene


async def exchange(client: Associate, target: Datagrams, name: str = "", data: bytes = b"question") -> None:
    """There and back; the answer names its sender."""
    client.ask((name or target.place[0], target.place[1]), data)
    got, relay = await target.receive()
    assert got == data
    target.send(b"answer to " + data, relay)
    assert await client.answer() == (b"answer to " + data, target.place)


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_through_so_many(hops: int) -> None:
    async def main() -> None:
        with ThreadedServer() as one, ThreadedServer(users={"ann": "one"}) as two, ThreadedServer() as three:
            chain = [three.url, two.url.replace("//", "//ann:one@"), one.url][-hops:]
            async with upstream_of(*chain) as scene:
                client = await associated(scene)
                first, second = Datagrams(scene), Datagrams(scene, "127.0.0.3")
                for target in (first, second, first):
                    await exchange(client, target)
                await exchange(client, first, "localhost")
                client.control.close()
                record = await scene.record()
                assert (record.end, record.datagrams and record.datagrams[:2]) == ("client closed", (4, 4))
                assert (record.sent, record.received) == (4 * 8, 4 * 18)
                await until(lambda: len(one.records) == 1, "the last one's association ends")

    run(main)


@needs_ipv6
def test_ipv6_target_through_ipv4_relays() -> None:
    async def main() -> None:
        with ThreadedServer() as one, ThreadedServer(listen=["[::1]:0"]) as two:
            async with upstream_of(one.url, two.url) as scene:
                client = await associated(scene)
                await exchange(client, Datagrams(scene, "::1"))

    run(main)


def test_many_in_a_row_arrive_in_order() -> None:
    async def main() -> None:
        with ThreadedServer() as one, ThreadedServer() as two:
            async with upstream_of(one.url, two.url) as scene:
                client, target = await associated(scene), Datagrams(scene)
                await exchange(client, target)
                for start in range(0, 400, 20):
                    batch = [bytes((index & 0xFF,)) * 1200 for index in range(start, start + 20)]
                    for data in batch:
                        client.ask(target.place, data)
                    got = [await target.receive() for _ in batch]
                    assert [data for data, _ in got] == batch
                    for data, relay in got:
                        target.send(data, relay)
                    assert [(await client.answer())[0] for _ in batch] == batch

    run(main)


def test_names_are_looked_up_where_the_scheme_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with ThreadedServer() as one:
            async with upstream_of(one.url.replace("socks5h", "socks5")) as scene:
                monkeypatch.setattr(resolve, "_look_up", lambda _: (ipv4("127.0.0.1"),))
                client, target = await associated(scene), Datagrams(scene)
                await exchange(client, target, "target.example")
                client.control.close()
                await scene.record()
                await until(lambda: one.records, "the upstream's session ends")

    run(main)


def test_stranger_may_not_answer_unless_names_hide_who_may() -> None:
    async def main() -> None:
        with ThreadedServer(udp=UdpSettings(filtering="endpoint-independent")) as one:
            async with upstream_of(one.url) as scene:
                client, target, stranger = await associated(scene), Datagrams(scene), Datagrams(scene, "127.0.0.3")
                client.ask(target.place, b"x")
                _, relay = await target.receive()
                stranger.send(b"y", relay)
                await dropped(scene, "unexpected sender")
                await exchange(client, target, "localhost")
                stranger.send(b"z", relay)
                assert await client.answer() == (b"z", stranger.place)

    run(main)


def test_refused_targets_are_not_passed_on() -> None:
    async def main() -> None:
        from ipaddress import ip_network

        with ThreadedServer() as one:
            async with upstream_of(one.url, deny=[ip_network("127.0.0.3/32")]) as scene:
                client, target = await associated(scene), Datagrams(scene)
                for text in ("127.0.0.3", "127.3", "0x7f.0.0.3", "127.0.0.3."):
                    client.ask((text, 9), b"x")
                await dropped(scene, "refused target", 4)
                await exchange(client, target)

    run(main)


def test_association_ends_with_the_upstreams() -> None:
    async def main() -> None:
        with ThreadedServer(udp=UdpSettings(idle=0.3)) as one:
            async with upstream_of(one.url) as scene:
                client = await associated(scene)
                assert await client.control.rest() == b""
                assert (await scene.record()).end.startswith("upstream lost: ")

    run(main)


@pytest.mark.parametrize(
    ("urls", "reason"),
    [
        (["socks4a://127.0.0.1:9"], "only SOCKS5 has them"),
        (["socks4://127.0.0.1:9"], "only SOCKS5 has them"),
        (["http://127.0.0.1:9"], "only SOCKS5 has them"),
        (["socks5h://127.0.0.1:9", "https://127.0.0.1:9"], "only SOCKS5 has them"),
        (["socks5h://localhost/run/proxy"], "nothing but a stream leads through a unix socket"),
        (["socks5h+tls://127.0.0.1:9"], "they would go beside TLS, in the clear"),
        (["socks5h+gssapi://localhost:9", "socks5h://127.0.0.1:9"], "Kerberos protects them towards a single upstream"),
    ],
)
def test_proxies_without_datagrams(urls: list[str], reason: str) -> None:
    """The client is told by reply 7, the log why; nobody is dialled, and nothing goes unprotected instead."""

    async def main() -> None:
        async with upstream_of(*urls) as scene:
            assert await refused(scene) == 7
            found = re.search(r"no datagrams through \S+: (.*?)(?: \(|:)", (await scene.record()).end)
            assert found is not None
            assert found[1].startswith(reason)

    run(main)


def test_upstream_refuses() -> None:
    async def main() -> None:
        with ThreadedServer(udp=UdpSettings(enabled=False)) as one, ThreadedServer() as two:
            for chain in ([one.url], [two.url, one.url]):
                async with upstream_of(*chain) as scene:
                    assert await refused(scene) == 2
            await until(lambda: len(two.records) == 2, "the sessions at the other one end")

    run(main)


# --- relays that misbehave ---


@asynccontextmanager
async def scripted(relay_reply: bytes, *, hops: int = 1) -> AsyncIterator[tuple[Stage, Associate]]:
    """An association with a proxy whose relay is the test's."""
    with ScriptedServer(opening(send(relay_reply), stall())) as proxy, ThreadedServer() as real:
        async with upstream_of(*[real.url] * (hops - 1), proxy.url) as scene:
            yield scene, await associated(scene)


def reply_with(place: tuple[str, int]) -> bytes:
    return b"\x05\x00" + encode_header(parse_address(*place))[2:]


async def asked(client: Associate, relay: Datagrams) -> tuple[str, int]:
    """Where the relay is to answer, after the client has sent to a target."""
    client.ask(("192.0.2.7", 7), b"question")
    data, place = await relay.receive()
    assert data == header("192.0.2.7", 7) + b"question"
    return place


@pytest.fixture
def relay() -> Any:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


class Given(Datagrams):
    """A socket that is there already."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock


@pytest.mark.parametrize("told", ["address", "zeros", "name"])
def test_where_the_relay_is_told(relay: socket.socket, told: str) -> None:
    async def main() -> None:
        ours = Given(relay)
        host = {"address": "127.0.0.1", "zeros": "0.0.0.0", "name": "localhost"}[told]
        async with scripted(reply_with((host, ours.place[1]))) as (_, client):
            place = await asked(client, ours)
            ours.send(header("192.0.2.7", 7) + b"answer", place)
            assert await client.answer() == (b"answer", ("192.0.2.7", 7))

    run(main)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\0\0",
        header("192.0.2.7", 7)[:-1],
        b"\0\0\0\x09" + bytes(20),
        header("192.0.2.7", 7, 1) + b"a fragment",
        b"\0\0\0\x03\0\0\x07x",
    ],
)
def test_malformed_datagrams(relay: socket.socket, packet: bytes) -> None:
    async def main() -> None:
        ours = Given(relay)
        async with scripted(reply_with(ours.place)) as (scene, client):
            place = await asked(client, ours)
            ours.send(packet, place)
            await until(lambda: relay_of(scene).counts().dropped, "it is dropped")
            assert dict(relay_of(scene).counts().dropped) == {"malformed": 1}
            ours.send(header("192.0.2.7", 7) + b"answer", place)
            assert await client.answer() == (b"answer", ("192.0.2.7", 7))

    run(main)


def test_header_of_one_proxy_is_not_that_of_two(relay: socket.socket) -> None:
    async def main() -> None:
        ours = Given(relay)
        async with scripted(reply_with(ours.place), hops=2) as (scene, client):
            place = await asked(client, ours)
            for packet in (b"", b"\0\0\0", b"\0\0\0\x09" + bytes(20), header("192.0.2.7", 7)[:-3]):
                ours.send(packet, place)
            await dropped(scene, "malformed", 4)
            ours.send(header("192.0.2.7", 7) + b"answer", place)
            assert await client.answer() == (b"answer", ("192.0.2.7", 7))

    run(main)


def test_sender_that_is_a_name(relay: socket.socket) -> None:
    """Some proxies name whom the client asked for."""

    async def main() -> None:
        ours = Given(relay)
        async with scripted(reply_with(ours.place)) as (_, client):
            client.ask(("target.example", 7), b"question")
            _, place = await ours.receive()
            ours.send(header("target.example", 7) + b"answer", place)
            assert await client.answer() == (b"answer", ("target.example", 7))

    run(main)


def test_others_are_not_heard(relay: socket.socket) -> None:
    async def main() -> None:
        ours = Given(relay)
        async with scripted(reply_with(ours.place)) as (scene, client):
            place = await asked(client, ours)
            Datagrams(scene).send(header("192.0.2.7", 7) + b"forged", place)
            ours.send(header("192.0.2.7", 7) + b"answer", place)
            assert await client.answer() == (b"answer", ("192.0.2.7", 7))

    run(main)


# --- a lane alone ---


class Way:
    """Writes down what is sent."""

    place = None

    def __init__(self) -> None:
        self.runs: list[tuple[list[bytes], int]] = []

    def send(self, pieces: Pieces, width: int) -> None:
        self.runs.append(([bytes(piece) for piece in pieces], width))


@pytest.mark.parametrize(
    ("pieces", "width", "expected"),
    [
        ([b"a"], 1, [b"H", b"a"]),
        ([b"a", b"b"], 1, [b"H", b"a", b"H", b"b"]),
        ([b"h", b"a", b"i", b"b"], 2, [b"H", b"h", b"a", b"H", b"i", b"b"]),
    ],
)
def test_each_datagram_bears_the_header(pieces: Sequence[bytes], width: int, expected: list[bytes]) -> None:
    way = Way()
    HeaderLane(way, b"H", None).send(pieces, width)
    assert way.runs == [(expected, width + 1)]


def test_run_that_has_become_too_large_goes_in_parts() -> None:
    way, data = Way(), [bytes((index,)) * 1000 for index in range(64)] + [b"end"]
    HeaderLane(way, bytes(262), None).send(data, 1)
    assert [piece for run, _ in way.runs for piece in run[1::2]] == data
    assert len(way.runs) == 2
    assert all(sum(map(len, run)) <= RUN_OCTETS for run, _ in way.runs)
    way = Way()
    HeaderLane(way, bytes(262), None).send([bytes(65_400)], 1)  # too large: who sends it says so
    assert len(way.runs) == 1
