"""A UDP association under a security layer: what passes is what is genuine, and each is so once."""

from __future__ import annotations

import pytest

from hosier.engine.layered_datagrams import NOT_GENUINE
from hosier.errors import RemoteProtocolError
from hosier.protocol.auth.base import AuthStep, Outcome
from hosier.server.settings import UdpSettings
from hosier.testing import ToyLayer

from .datagrams import UDP_ASSOCIATE, Associate, Datagrams, bound, dropped, given_back, header, relay_of
from .harness import Stage, Word, WordMethod, install, request5, run, stage, until, word


class Once(ToyLayer):
    """The toy layer, and each datagram counts once; it may come late."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[bytes] = set()

    def unwrap_datagram(self, data: bytes) -> bytes:
        if data in self.seen:
            raise RemoteProtocolError("it came before")
        plain = super().unwrap_datagram(data)
        self.seen.add(data)
        return plain


@pytest.fixture(autouse=True)
def method(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, WordMethod(lambda: lambda _: AuthStep(Word(b"ok"), Outcome("ann", Once()))))


class Protected(Associate):
    """The client of an association under the layer."""

    def frame(self, target: Datagrams, data: bytes, fragment: int = 0) -> bytes:
        return ToyLayer().wrap_datagram(header(*target.place, fragment) + data)

    def tell(self, target: Datagrams, data: bytes) -> None:
        self.send(self.frame(target, data), self.relay)

    async def heard(self) -> bytes:
        return ToyLayer().unwrap_datagram((await self.receive())[0])


async def protected(scene: Stage) -> Protected:
    layer, control = ToyLayer(), await scene.client()
    await control.send(b"\x05\x01\x90" + word(b"x"))
    assert await control.exactly(5) == b"\x05\x90" + word(b"ok")
    await control.send(layer.wrap(request5("0.0.0.0", 0, UDP_ASSOCIATE)))
    found = layer.unwrap(await control.exactly(len(layer.wrap(bytes(10)))))
    assert found is not None
    return Protected(scene, control, bound(found[0]), "127.0.0.1")


def test_both_ways_and_counts() -> None:
    """Octets of payload are counted, as without a layer."""

    async def main() -> None:
        async with stage(methods=["word"]) as scene:
            client, target = await protected(scene), Datagrams(scene)
            for count in (1, 2, 3):
                client.tell(target, b"question %d" % count)
                data, back = await target.receive()
                assert data == b"question %d" % count
                target.send(b"answer %d" % count, back)
                assert await client.heard() == header(*target.place) + b"answer %d" % count
            relay = relay_of(scene)
            assert (relay.up.datagrams, relay.up.payload, relay.down.datagrams, relay.down.payload) == (3, 30, 3, 24)
            assert relay.counts().dropped == {}
            client.control.close()
            await until(lambda: given_back(scene), "everything is given back")

    run(main)


@pytest.mark.parametrize("follow", [False, True])
def test_what_is_not_genuine(follow: bool) -> None:
    """In clear, spoiled, cut, longer, again: dropped, with a count, before and after the client is known."""

    async def main() -> None:
        async with stage(methods=["word"], udp=UdpSettings(follow=follow)) as scene:
            client, target = await protected(scene), Datagrams(scene)
            frame = client.frame(target, b"genuine")
            wrong = [
                header(*target.place) + b"in clear",
                frame[:4] + b"\x56" + frame[5:],
                frame[:-1],
                frame + b"x",
                b"",
                b"\x01",
            ]
            for packet in wrong:
                client.send(packet, client.relay)
            await dropped(scene, NOT_GENUINE, len(wrong))
            assert target.has_nothing()
            client.send(frame, client.relay)
            assert (await target.receive())[0] == b"genuine"
            for packet in [*wrong, frame]:
                client.send(packet, client.relay)
            await dropped(scene, NOT_GENUINE, 2 * len(wrong) + 1)
            client.tell(target, b"still there")
            assert (await target.receive())[0] == b"still there"
            client.send(ToyLayer().wrap_datagram(b"no header"), client.relay)
            client.send(ToyLayer().wrap_datagram(b""), client.relay)
            await dropped(scene, "malformed", 2)

    run(main)


def test_late_is_genuine() -> None:
    async def main() -> None:
        async with stage(methods=["word"]) as scene:
            client, target = await protected(scene), Datagrams(scene)
            first, second = client.frame(target, b"first"), client.frame(target, b"second")
            for packet in (second, first, second):
                client.send(packet, client.relay)
            assert [(await target.receive())[0] for _ in range(2)] == [b"second", b"first"]
            await dropped(scene, NOT_GENUINE)

    run(main)


@pytest.mark.parametrize("follow", [False, True])
def test_a_strangers_copy_does_not_spoil_the_original(follow: bool) -> None:
    async def main() -> None:
        async with stage(methods=["word"], udp=UdpSettings(follow=follow)) as scene:
            client, target = await protected(scene), Datagrams(scene)
            frame = client.frame(target, b"genuine")
            stranger = Datagrams(scene, "127.0.0.9")
            stranger.send(frame, client.relay)
            await dropped(scene, "stranger")
            client.send(frame, client.relay)
            assert (await target.receive())[0] == b"genuine"

    run(main)


def test_a_client_that_moves() -> None:
    async def main() -> None:
        async with stage(methods=["word"], udp=UdpSettings(follow=True)) as scene:
            client, target = await protected(scene), Datagrams(scene)
            client.tell(target, b"one")
            await target.receive()
            moved = Protected(scene, client.control, client.relay, "127.0.0.1")
            moved.tell(target, b"two")
            data, back = await target.receive()
            assert data == b"two"
            target.send(b"answer", back)
            assert await moved.heard() == header(*target.place) + b"answer"
            assert client.has_nothing()

    run(main)


def test_sizes() -> None:
    """GS-REQ-42: up to the layer's limit, frame included; what is larger is dropped, and not cut."""

    async def main() -> None:
        async with stage(methods=["word"]) as scene:
            client, target = await protected(scene), Datagrams(scene)
            most = ToyLayer.max_datagram - len(header(*target.place))
            client.tell(target, bytes(most))
            data, back = await target.receive()
            assert len(data) == most
            target.send(bytes(most + 1), back)
            await dropped(scene, "too large")
            target.send(bytes(most), back)
            assert len(await client.heard()) == ToyLayer.max_datagram

    run(main)


def test_fragments() -> None:
    """Each fragment is a datagram of its own; they are put together above the layer."""

    async def main() -> None:
        async with stage(methods=["word"]) as scene:
            client, target = await protected(scene), Datagrams(scene)
            client.send(client.frame(target, b"in two ", 1), client.relay)
            client.send(client.frame(target, b"pieces", 0x82), client.relay)
            assert (await target.receive())[0] == b"in two pieces"

    run(main)


def test_many_at_once() -> None:
    """Runs of one size, both ways."""

    async def main() -> None:
        async with stage(methods=["word"]) as scene:
            client, target = await protected(scene), Datagrams(scene)
            for number in range(200):
                client.tell(target, b"%03d" % number * 300)
            got = [await target.receive() for _ in range(200)]
            assert [data[:3] for data, _ in got] == [b"%03d" % number for number in range(200)]
            for data, back in got:
                target.send(data, back)
            for number in range(200):
                assert await client.heard() == header(*target.place) + b"%03d" % number * 300

    run(main)
