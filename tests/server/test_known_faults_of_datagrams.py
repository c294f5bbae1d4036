"""Faults that other servers had or have in what they relay for whom, each kept away by a test that bears its name."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_network
from typing import Any

import pytest

from hosier.engine import resolve
from hosier.server.settings import UdpSettings

from .datagrams import UDP_ASSOCIATE, Associate, Datagrams, Place, associated, bound, dropped, header
from .harness import NO_AUTH, Stage, failure5, ipv4, login, request5, run, stage, until

PUBLIC: dict[str, Any] = {"listen": ["0.0.0.0:0"], "open": True}


async def is_unreachable(scene: Stage, data: bytes, place: Place) -> None:
    """The kernel says that nobody listens for datagrams there."""
    sender = Datagrams(scene)
    sender.sock.connect(place)
    sender.sock.send(data)
    with pytest.raises(ConnectionRefusedError):
        await sender.receive()


def test_v2fly_2021_no_datagram_passes_without_a_login() -> None:
    """v2ray relayed datagrams for anyone who knew the port; here each login has its port, and it ends with it."""

    async def main() -> None:
        async with stage(users={"ann": "open sesame"}) as scene:
            target = Datagrams(scene)
            smuggled = header(*target.place) + b"smuggled"
            await is_unreachable(scene, smuggled, scene.place)

            stranger = await scene.client()
            await stranger.send(b"\x05\x01\x02" + login(b"ann", b"x") + request5("0.0.0.0", 0, UDP_ASSOCIATE))
            assert await stranger.rest() == b"\x05\x02\x01\x01"
            stranger.close()

            control = await scene.client()
            await control.send(b"\x05\x01\x02" + login(b"ann", b"open sesame") + request5("0.0.0.0", 0, UDP_ASSOCIATE))
            assert await control.exactly(4) == b"\x05\x02\x01\x00"
            ann = Associate(scene, control, bound(await control.reply5()), "127.0.0.1")
            Datagrams(scene, "127.0.0.2").send(smuggled, ann.relay)
            await dropped(scene, "stranger")
            ann.ask(target.place, b"ann's")
            assert (await target.receive())[0] == b"ann's"
            assert target.has_nothing()

            control.close()
            await until(lambda: not scene.server.sessions, "the association ends")
            await is_unreachable(scene, smuggled, ann.relay)
            assert target.has_nothing()

    run(main)


def test_things_go_0_1_0_datagrams_are_taken_only_where_the_client_came() -> None:
    """things-go listened for datagrams on every address; here only on the one that the client is connected to."""

    async def main() -> None:
        async with stage(**PUBLIC, allow=[ip_network("127.0.0.0/8")]) as scene:
            target = Datagrams(scene)
            client = await associated(scene)
            assert client.relay[0] == "127.0.0.1"
            await is_unreachable(scene, header(*target.place) + b"smuggled", ("127.0.0.2", client.relay[1]))
            client.ask(target.place, b"client's")
            assert (await target.receive())[0] == b"client's"
            assert target.has_nothing()

    run(main)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_gost_pr_58_datagrams_of_others_are_not_relayed(host: str) -> None:
    """gost relayed for whoever sent to an association's port; here only for its client."""

    async def main() -> None:
        async with stage() as scene:
            target = Datagrams(scene)
            client = await associated(scene)
            client.ask(target.place, b"client's")
            _, outer = await target.receive()
            stranger = Datagrams(scene, host)
            with suppress(ConnectionRefusedError):
                stranger.send(header(*target.place) + b"smuggled", client.relay)
            target.send(b"answer", outer)
            assert await client.answer() == (b"answer", target.place)
            client.ask(target.place, b"more")
            assert (await target.receive())[0] == b"more"
            assert target.has_nothing()
            assert stranger.has_nothing()

    run(main)


@pytest.mark.parametrize(("host", "announced"), [("127.0.0.2", False), ("127.0.0.1", True)])
def test_hev_first_sender_wins_nothing(host: str, announced: bool) -> None:
    """hev takes the first who sends for the client; here neither another address nor, where the client has announced
    its port, another port gets in by being early."""

    async def main() -> None:
        async with stage() as scene:
            target, mine = Datagrams(scene), Datagrams(scene)
            client = await associated(scene, mine.place if announced else ("0.0.0.0", 0))
            stranger = Datagrams(scene, host)
            with suppress(ConnectionRefusedError):
                stranger.send(header(*target.place) + b"smuggled", client.relay)
            mine.send(header(*target.place) + b"client's", client.relay)
            data, outer = await target.receive()
            assert data == b"client's"
            target.send(b"answer", outer)
            assert await mine.receive() == (header(*target.place) + b"answer", client.relay)
            assert target.has_nothing()
            assert stranger.has_nothing()

    run(main)


def test_meow_rs_274_many_targets_cost_one_socket() -> None:
    """meow-rs opened a socket for every target without end; here they share one, and the oldest are forgotten."""

    async def main() -> None:
        async with stage(udp=UdpSettings(targets=4, filtering="address-and-port")) as scene:
            client, engine = await associated(scene), scene.server.engine
            before = engine.sockets
            targets = [Datagrams(scene) for _ in range(50)]
            for target in targets:
                client.ask(target.place, b"one of many")
                data, outer = await target.receive()
                assert data == b"one of many"
            assert engine.sockets == before + 1
            targets[0].send(b"late", outer)
            await dropped(scene, "unexpected sender")
            assert client.has_nothing()

    run(main)


def test_dante_1_3_1_each_datagram_is_judged() -> None:
    """Dante let forbidden datagrams pass once the client might send any; here a permission is for one target only."""

    async def main() -> None:
        async with stage(deny=[ip_network("127.0.0.2/32")]) as scene:
            allowed = Datagrams(scene)
            denied = Datagrams(scene, "127.0.0.2", allowed.place[1])
            client = await associated(scene)
            for count in range(1, 4):
                client.ask(allowed.place, b"allowed")
                assert (await allowed.receive())[0] == b"allowed"
                client.ask(denied.place, b"smuggled")
                await dropped(scene, "refused target", count)
            assert denied.has_nothing()

    run(main)


@pytest.mark.parametrize("early", [b"early", b"e" * 3000])
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_dante_1_3_1_payload_before_the_reply(host: str, early: bytes) -> None:
    """Dante stumbled over clients that do not wait; here what comes early arrives once and whole, or nowhere."""

    async def main() -> None:
        async with stage(deny=[ip_network("127.0.0.2/32")]) as scene:
            target = scene.target(host)
            client = await scene.client()
            await client.send(NO_AUTH + request5(host, target.port) + early)
            assert await client.exactly(2) == b"\x05\x00"
            reply = await client.reply5()
            client.end()
            if host == "127.0.0.1":
                assert reply[1] == 0
                assert await (await target.accept()).rest() == early
            else:
                assert reply == failure5(2)
                assert await client.rest() == b""
                assert target.was_left_alone()

    run(main)


INNER = [
    ("127.0.0.1", ""),
    ("0.0.0.1", ""),
    ("10.0.0.1", ""),
    ("100.100.100.200", ""),
    ("169.254.169.254", ""),
    ("::1", ""),
    ("fd00:ec2::254", ""),
    ("fe80::1", ""),
    ("::ffff:169.254.169.254", ""),
    ("::169.254.169.254", ""),
    ("64:ff9b::a9fe:a9fe", ""),
    ("2002:a9fe:a9fe::", ""),
    ("metadata.example", "169.254.169.254"),
    ("rebind.example", "127.0.0.1"),
]


@pytest.mark.parametrize(("host", "stands_for"), INNER, ids=str)
def test_squid_1161_strangers_do_not_reach_inner_networks(
    host: str, stands_for: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Squid led its clients to localhost and to cloud metadata; here a public server does not, in any disguise."""
    monkeypatch.setattr(resolve, "_look_up", lambda _: (ipv4(stands_for),))

    async def main() -> None:
        async with stage(**PUBLIC) as scene:
            target = scene.target()
            client = await scene.client()
            assert await client.connect(host, target.port) == failure5(2)
            client.close()
            record = await scene.record()
            assert record.dialled is None
            assert target.was_left_alone()

            inner = Datagrams(scene)
            associate = await associated(scene)
            associate.ask((host, inner.place[1]), b"smuggled")
            await dropped(scene, "refused target")
            assert inner.has_nothing()

    run(main)
