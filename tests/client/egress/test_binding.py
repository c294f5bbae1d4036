"""BIND through proxies: by a server with upstreams, and where a proxy misbehaves."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import pytest

from hosier.client.egress import ProxiedEgress, Upstreams
from hosier.client.proxy import chain_of
from hosier.engine.endpoint import Endpoint
from hosier.engine.task import Task
from hosier.errors import RemoteProtocolError, ReplyCode, TargetTimedOut, reply_code_for
from hosier.protocol.address import UNSPECIFIED, Address, parse_address
from hosier.server.settings import BindSettings, Limits
from hosier.testing import ScriptedServer, Step, ThreadedServer, receive, receive_request, send, stall

from ...engine.harness import Lab, Run
from ...server import harness as servers
from ..harness import SUCCESS, SUCCESS4, opening
from .harness import Names, Vet, walked

PEER = parse_address("192.0.2.7", 0)
CAME = bytes.fromhex("05000001c0000207 1234")
ZEROS = b"\x05\x00\x00\x01" + bytes(6)


# --- the wait itself ---


def waited(
    run: Run, script: Sequence[Step], scheme: str = "socks5h", peer: Address = PEER, leave: bool = False
) -> tuple[Address, object]:
    """Where a scripted proxy listens, and who came there with which first octets; None if the client left."""
    found: list[tuple[Address, object]] = []

    async def main(lab: Lab) -> None:
        with ScriptedServer(script) as proxy:
            outer, inner = lab.pair()

            async def way(task: Task) -> tuple[Address, object]:
                control = Endpoint(lab.engine, inner, task)
                egress = ProxiedEgress(lab.engine, Names(lab.loop), proxy.url.replace("socks5h", scheme))
                task.set_limit("bind", 30)
                try:
                    binding = await egress.bind(task, peer, UNSPECIFIED, Vet())
                    if leave:
                        outer.close()
                    try:
                        arrival = await binding.accept(control)
                    finally:
                        binding.close()
                    if arrival is None:
                        return binding.bound, None
                    far, came = arrival
                    assert far.owner is control.owner is task
                    assert binding.expects(came)
                    binding.close()  # not ours any more: it stays open
                    assert not far.closed
                    assert far.bound == binding.bound
                    heard = far.tunnel.said if far.tunnel else b""
                    far.close()
                    return binding.bound, (came, heard)
                finally:
                    control.close()

            found.append(await walked(lab, way))

    run(main)
    return found[0]


def test_both_answers(run: Run) -> None:
    bound, came = waited(run, opening(send(SUCCESS), send(CAME + b"hello"), stall()))
    assert bound == parse_address("192.0.2.9", 40000)
    assert came == (parse_address("192.0.2.7", 0x1234), b"hello")


def test_both_answers_at_once(run: Run) -> None:
    assert waited(run, opening(send(SUCCESS + CAME + b"hello"), stall()))[1] == (
        parse_address("192.0.2.7", 0x1234),
        b"hello",
    )


def test_both_answers_in_octets(run: Run) -> None:
    script = opening(send(SUCCESS + CAME, octet_by_octet=True), stall())
    assert waited(run, script)[1] == (parse_address("192.0.2.7", 0x1234), b"")


def test_socks4(run: Run) -> None:
    script = [receive_request(), send(SUCCESS4), send(SUCCESS4), stall()]
    bound, came = waited(run, script, "socks4a")
    assert (bound, came) == (parse_address("192.0.2.9", 40000), (parse_address("192.0.2.9", 40000), b""))


def test_zeros(run: Run) -> None:
    """The proxy's own address in the first answer; in the second one, nobody knows."""
    listening = b"\x05\x00\x00\x01\0\0\0\0\x12\x34"
    bound, came = waited(run, opening(send(listening), send(ZEROS)), peer=UNSPECIFIED)
    assert (bound, came) == (parse_address("127.0.0.1", 0x1234), (UNSPECIFIED, b""))


def test_client_leaves(run: Run) -> None:
    assert waited(run, opening(send(SUCCESS), stall()), leave=True)[1] is None


def test_nobody_came(run: Run) -> None:
    with pytest.raises(TargetTimedOut, match="reply"):
        waited(run, opening(send(SUCCESS), send(b"\x05\x06\x00\x01" + bytes(6))))


def test_name_in_the_place_of_the_peer(run: Run) -> None:
    with pytest.raises(RemoteProtocolError, match="name"):
        waited(run, opening(send(SUCCESS), send(b"\x05\x00\x00\x03\x04name\x00\x50")))


def test_proxy_goes(run: Run) -> None:
    with pytest.raises(RemoteProtocolError, match="closed"):
        waited(run, opening(send(SUCCESS)))


def test_http_has_none(run: Run) -> None:
    with pytest.raises(OSError) as caught:
        waited(run, [stall()], "http")
    assert reply_code_for(caught.value) == ReplyCode.COMMAND_NOT_SUPPORTED


# --- a server with upstreams ---


def reply_place(reply: bytes) -> tuple[str, int]:
    family = socket.AF_INET if reply[3] == 1 else socket.AF_INET6
    return socket.inet_ntop(family, reply[4:-2]), int.from_bytes(reply[-2:], "big")


def connected_from(scene: servers.Stage, place: tuple[str, int], source: str) -> servers.Peer:
    sock = scene.own(socket.socket())
    sock.settimeout(servers.PATIENCE)
    sock.bind((source, 0))
    sock.connect(place)
    return servers.Peer(sock)


@pytest.mark.parametrize("hops", [1, 2])
def test_server_binds_at_the_last_upstream(hops: int) -> None:
    async def main() -> None:
        with ThreadedServer() as first, ThreadedServer(users={"ann": "one"}) as last:
            chain = chain_of([first.url, last.url.replace("//", "//ann:one@")][-hops:])
            async with servers.stage(egress=Upstreams(chain)) as scene:
                client = await scene.client()
                await client.greet()
                await client.send(servers.request5("127.0.0.3", 0, 2))
                listening = await client.reply5()
                assert listening[1] == 0
                peer = connected_from(scene, reply_place(listening), "127.0.0.3")
                came = await client.reply5()
                assert (came[1], reply_place(came)) == (0, peer.place)
                await peer.send(b"hello")
                assert await client.exactly(5) == b"hello"
                await client.send(b"x" * 100_000)
                client.end()
                assert await peer.rest() == b"x" * 100_000
                host, port = peer.place
                peer.close()
                record = await scene.record()
                assert (record.sent, record.received, str(record.dialled)) == (100_000, 5, f"{host}:{port}")

    servers.run(main)


def test_server_tells_that_the_wrong_one_came() -> None:
    async def main() -> None:
        with ThreadedServer() as upstream:
            async with servers.stage(egress=Upstreams(chain_of(upstream.url))) as scene:
                client = await scene.client()
                await client.greet()
                await client.send(servers.request5("127.0.0.3", 0, 2))
                connected_from(scene, reply_place(await client.reply5()), "127.0.0.4")
                assert await client.reply5() == servers.failure5(2)
                client.close()
                assert (await scene.record()).end.startswith("bind failed: ")

    servers.run(main)


def test_server_tells_what_the_upstream_says_of_bind() -> None:
    async def main() -> None:
        with ThreadedServer(bind=BindSettings(enabled=False)) as upstream:
            async with servers.stage(egress=Upstreams(chain_of(upstream.url))) as scene:
                client = await scene.client()
                await client.greet()
                await client.send(servers.request5("127.0.0.3", 0, 2))
                assert await client.reply5() == servers.failure5(2)

    servers.run(main)


def test_server_gives_up_with_its_client_and_at_its_limit() -> None:
    async def main() -> None:
        with ThreadedServer() as upstream:
            limits = Limits(bind=0.1)
            async with servers.stage(egress=Upstreams(chain_of(upstream.url)), limits=limits) as scene:
                client = await scene.client()
                await client.greet()
                await client.send(servers.request5("127.0.0.3", 0, 2))
                place = reply_place(await client.reply5())
                assert await client.reply5() == servers.failure5(6)
                await servers.until(lambda: not _listens(place), "the upstream stops listening")

    servers.run(main)


def test_socks4_client_cannot_be_told_an_ipv6_address() -> None:
    async def main() -> None:
        script = opening(send(b"\x05\x00\x00\x04" + bytes(15) + b"\x01\x12\x34"), stall())
        with ScriptedServer(script) as upstream:
            async with servers.stage(egress=Upstreams(chain_of(upstream.url))) as scene:
                client = await scene.client()
                await client.send(servers.request4("name.example", 1, 2))
                assert await client.exactly(8) == servers.FAILURE4

    servers.run(main)


def test_peer_that_is_not_told_is_not_judged() -> None:
    async def main() -> None:
        with ScriptedServer(opening(send(SUCCESS), send(ZEROS), receive(3), send(b"bye"))) as upstream:
            async with servers.stage(egress=Upstreams(chain_of(upstream.url))) as scene:
                client = await scene.client()
                await client.greet()
                await client.send(servers.request5("192.0.2.7", 0, 2))
                await client.reply5()
                assert await client.reply5() == ZEROS
                await client.send(b"abc")
                assert await client.rest() == b"bye"

    servers.run(main)


def _listens(place: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(place) == 0
