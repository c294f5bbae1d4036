"""UDP ASSOCIATE: who gets an association, where it is, and when it ends."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from typing import Any

import pytest

from hosier.engine.segments import Traffic
from hosier.observe.counts import value_of
from hosier.protocol.address import parse_address
from hosier.protocol.auth.base import AuthStep, Outcome
from hosier.server.settings import Limits, UdpSettings
from hosier.server.udp_relay import UdpRelay
from hosier.testing import ToyLayer

from ..datagrams import (
    UDP_ASSOCIATE,
    Associate,
    Datagrams,
    associated,
    bound,
    dropped,
    given_back,
    header,
    refused,
    relay_of,
    relays,
)
from ..harness import (
    FAILURE4,
    Peer,
    Stage,
    Word,
    WordMethod,
    failing,
    install,
    login,
    needs_ipv6,
    request4,
    request5,
    run,
    stage,
    until,
    word,
)


async def exchange(client: Associate, target: Datagrams, data: bytes = b"question") -> None:
    """There and back."""
    client.ask(target.place, data)
    found, place = await target.receive()
    assert found == data
    target.send(data.upper(), place)
    assert await client.answer() == (data.upper(), target.place)


async def ended(scene: Stage) -> None:
    await until(lambda: given_back(scene), "the association ends")


# --- where it is ---


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_the_reply_tells_where_to_send(host: str) -> None:
    """S5-REQ-74, S5-REQ-77, A-10, A-18: the address of the control connection, never zeros."""

    async def main() -> None:
        async with stage(listen=[f"[{host}]:0" if ":" in host else f"{host}:0"]) as scene:
            client = await associated(scene)
            assert client.relay[0] == host
            assert client.relay[1] != 0
            await exchange(client, Datagrams(scene))
            client.control.close()
            record = await scene.record()
        assert (record.command, record.reply, record.end) == ("UDP_ASSOCIATE", 0, "client closed")

    run(main)


def test_the_address_of_the_control_connection() -> None:
    """S5-REQ-77: also where the server listens on every address."""

    async def main() -> None:
        async with stage(listen=["0.0.0.0:0"], open=True) as scene:
            client = await associated(scene, place=("127.0.0.3", scene.place[1]))
            assert client.relay[0] == "127.0.0.3"
            client.control.close()
            await ended(scene)

    run(main)


def test_what_is_advertised_is_told() -> None:
    """A-11: behind NAT; the socket is where it is, and the log has what was told."""

    async def main() -> None:
        async with stage(advertise=["203.0.113.7"]) as scene:
            client = await associated(scene)
            host, port = client.relay
            assert host == "203.0.113.7"
            client.relay = "127.0.0.1", port
            await exchange(client, Datagrams(scene))
            client.control.close()
            record = await scene.record()
        assert record.bound == parse_address("203.0.113.7", port)

    run(main)


def test_a_port_of_the_range() -> None:
    """S5-REQ-77: and reply 1 when all are taken."""

    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        async with stage(ports=f"{port}-{port}") as scene:
            client = await associated(scene)
            assert client.relay == ("127.0.0.1", port)
            assert await refused(scene) == 1
            client.control.close()
            await ended(scene)

    run(main)


def test_one_socket_each() -> None:
    """Two associations share nothing: what one client sends, or is sent, the other never sees."""

    async def main() -> None:
        async with stage() as scene:
            target = Datagrams(scene)
            ann, bob = await associated(scene), await associated(scene)
            assert ann.relay != bob.relay
            await exchange(ann, target, b"ann")
            await exchange(bob, target, b"bob")
            assert ann.has_nothing()
            for client in (ann, bob):
                client.control.close()
            await ended(scene)

    run(main)


# --- what the client announces ---


def test_an_announced_port_is_the_only_one() -> None:
    """S5-REQ-73, S5-REQ-85."""

    async def main() -> None:
        async with stage() as scene:
            target = Datagrams(scene)
            real = Datagrams(scene)
            for announced in (real.place, ("0.0.0.0", real.place[1])):
                other = await associated(scene, announced)
                other.ask(target.place, b"from another port")
                real.send(b"\0\0\0\x01\x7f\0\0\x01" + target.place[1].to_bytes(2, "big") + b"real", other.relay)
                assert (await target.receive())[0] == b"real"
                assert target.has_nothing()
                other.control.close()
            await ended(scene)

    run(main)


@pytest.mark.parametrize("announced", [("192.0.2.1", 53), ("2001:db8::1", 53), ("dns.example", 53), ("192.0.2.1", 0)])
def test_an_announced_target_is_ignored(announced: tuple[str, int]) -> None:
    """A-13: clients that put their target there, or what a router has changed, work like those that send zeros."""

    async def main() -> None:
        async with stage() as scene:
            client = await associated(scene, announced)
            await exchange(client, Datagrams(scene))
            client.control.close()
            record = await scene.record()
        assert record.target is not None
        assert (record.target.host, record.target.port) == announced

    run(main)


# --- who gets one ---


def test_switched_off() -> None:
    async def main() -> None:
        async with stage(udp=UdpSettings(enabled=False)) as scene:
            assert await refused(scene) == 2
            record = await scene.record()
        assert record.end == "refused: UDP ASSOCIATE is switched off"
        assert record.datagrams is None

    run(main)


def test_not_for_socks4() -> None:
    async def main() -> None:
        async with stage() as scene:
            client = await scene.client()
            await client.send(request4("127.0.0.1", 80, UDP_ASSOCIATE))
            assert await client.rest() == FAILURE4

    run(main)


def test_under_a_security_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """S5-REQ-82: the datagrams are protected like the rest."""
    install(monkeypatch, WordMethod(lambda: lambda _: AuthStep(Word(b"ok"), Outcome("ann", ToyLayer()))))
    layer = ToyLayer()

    async def main() -> None:
        async with stage(methods=["word"]) as scene:
            control = await scene.client()
            await control.send(b"\x05\x01\x90" + word(b"x"))
            assert await control.exactly(5) == b"\x05\x90" + word(b"ok")
            await control.send(layer.wrap(request5("0.0.0.0", 0, UDP_ASSOCIATE)))
            found = layer.unwrap(await control.exactly(len(layer.wrap(bytes(10)))))
            assert found is not None
            client, target = Associate(scene, control, bound(found[0]), "127.0.0.1"), Datagrams(scene)
            client.send(layer.wrap_datagram(header(*target.place) + b"question"), client.relay)
            question, back = await target.receive()
            assert question == b"question"
            target.send(b"answer", back)
            answer, _ = await client.receive()
            assert layer.unwrap_datagram(answer) == header(*target.place) + b"answer"
            control.close()
            record = await scene.record()
            await until(lambda: given_back(scene), "all is given back")
        assert (record.reply, record.user) == (0, "ann")
        assert record.datagrams is not None
        assert record.datagrams[:2] == (1, 1)

    run(main)


def test_a_quota_in_all() -> None:
    """And what ends makes room."""

    async def main() -> None:
        async with stage(udp=UdpSettings(associations=2)) as scene:
            first = await associated(scene)
            second = await associated(scene)
            assert await refused(scene) == 1
            first.control.close()
            await until(lambda: scene.server.associations.in_use == 1, "room")
            third = await associated(scene)
            for client in (second, third):
                client.control.close()
            await ended(scene)

    run(main)


def test_a_quota_for_each_address() -> None:
    async def main() -> None:
        async with stage(udp=UdpSettings(per_user=1)) as scene:
            first = await associated(scene)
            assert await refused(scene) == 1
            assert value_of(scene.server.meter.counts.cells, "limits_hit", "associations") == 1
            first.control.close()
            await ended(scene)
            again = await associated(scene)
            again.control.close()
            await ended(scene)

    run(main)


def test_a_quota_for_each_user() -> None:
    async def user(scene: Stage, name: bytes) -> tuple[Peer, int]:
        client = await scene.client()
        await client.send(b"\x05\x01\x02" + login(name, b"secret") + request5("0.0.0.0", 0, UDP_ASSOCIATE))
        assert await client.exactly(4) == b"\x05\x02\x01\x00"
        return client, (await client.reply5())[1]

    async def main() -> None:
        async with stage(users={"ann": "secret", "bob": "secret"}, udp=UdpSettings(per_user=1)) as scene:
            ann, code = await user(scene, b"ann")
            assert code == 0
            assert (await user(scene, b"ann"))[1] == 1
            bob, code = await user(scene, b"bob")
            assert code == 0
            ann.close()
            bob.close()
            await until(lambda: not scene.server.associations.in_use, "both end")

    run(main)


@pytest.mark.parametrize(("code", "reply"), [(errno.EMFILE, 1), (errno.EADDRINUSE, 1), (errno.EAFNOSUPPORT, 8)])
def test_no_socket_to_be_had(monkeypatch: pytest.MonkeyPatch, code: int, reply: int) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(sys.modules["hosier.server.commands.associate"], "datagram_socket", fail)

    async def main() -> None:
        async with stage() as scene:
            assert await refused(scene) == reply
            record = await scene.record()
            assert given_back(scene)
        assert record.end == f"associate failed: {os.strerror(code)}"

    run(main)


def test_no_way_out() -> None:
    """An egress that cannot is told truthfully, and nothing of the half of it is left."""

    async def main() -> None:
        async with stage() as scene:
            scene.server.egress = failing(scene.server, OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH)))
            watched = scene.server.engine.sockets
            assert await refused(scene) == 4
            await scene.record()
            assert given_back(scene)
            assert scene.server.engine.sockets == watched

    run(main)


# --- when it ends ---


@pytest.mark.parametrize("how", ["close", "reset", "half"])
def test_it_ends_with_the_control_connection(how: str) -> None:
    """B-11, S5-REQ-78: at once, in both directions, also if only the client's half has ended."""

    async def main() -> None:
        async with stage() as scene:
            target = Datagrams(scene)
            client = await associated(scene)
            await exchange(client, target)
            client.ask(target.place, b"last")
            _, outer = await target.receive()
            {"close": client.control.close, "reset": client.control.reset, "half": client.control.end}[how]()
            record = await scene.record()
            assert given_back(scene)
            client.ask(target.place, b"too late")
            target.send(b"too late", outer)
            for place in (client.relay, outer):  # nobody has these ports any more
                free = Datagrams(scene, "127.0.0.1", place[1])
                free.sock.close()
            assert target.has_nothing()
            assert client.has_nothing()
        assert record.datagrams is not None
        assert (record.datagrams.sent, record.datagrams.received) == (2, 1)
        assert (record.sent, record.received) == (len("question" + "last"), len("question"))
        assert scene.server.octets_relayed == record.sent + record.received
        assert record.end.startswith("client")

    run(main)


def test_what_comes_on_the_control_connection_is_discarded() -> None:
    """A-17, S5-REQ-79: a little with the request, much later; nobody waits for it to end."""

    async def main() -> None:
        async with stage() as scene:
            target = Datagrams(scene)
            control = await scene.client()
            await control.greet()
            await control.send(request5("0.0.0.0", 0, UDP_ASSOCIATE) + b"early")
            client = Associate(scene, control, bound(await control.reply5()), "127.0.0.1")
            flood = asyncio.ensure_future(control.send(bytes(16 << 20)))
            await exchange(client, target)
            await flood
            await exchange(client, target)
            control.close()
            await ended(scene)

    run(main)


def test_idle_limit() -> None:
    """An association that is held for ever, but not used."""

    async def main() -> None:
        async with stage(udp=UdpSettings(idle=0.2)) as scene:
            client = await associated(scene)
            record = await scene.record()
            assert given_back(scene)
            assert await client.control.rest() == b""
        assert record.end == "idle limit"

    run(main)


def test_datagrams_postpone_the_idle_limit() -> None:
    """Those of either side, but none of a stranger's."""

    async def main() -> None:
        async with stage(udp=UdpSettings(idle=1000)) as scene:
            target = Datagrams(scene)
            client = await associated(scene)
            session = next(iter(scene.server.engine.tasks))
            stranger = Datagrams(scene, "127.0.0.2")

            session.deadline = 0.0
            stranger.send(b"\0\0\0\x01\x7f\0\0\x01\0\x35stranger", client.relay)
            await dropped(scene, "stranger")
            assert session.deadline == 0.0

            client.ask(target.place, b"up")
            _, outer = await target.receive()
            assert session.deadline > scene.server.engine.now + 900

            session.deadline = 0.0
            target.send(b"down", outer)
            await client.answer()
            assert session.deadline > scene.server.engine.now + 900
            client.control.close()
            await ended(scene)

    run(main)


def test_the_handshake_limit_does_not_end_it() -> None:
    async def main() -> None:
        async with stage(limits=Limits(handshake=20), udp=UdpSettings(idle=1000)) as scene:
            client = await associated(scene)
            session = next(iter(scene.server.engine.tasks))
            assert session.limit == "idle"
            await exchange(client, Datagrams(scene))
            client.control.close()
            await ended(scene)

    run(main)


def test_keep_alive() -> None:
    """S5-REQ-79: the control connection is silent, so the kernel asks whether the client still lives."""

    async def main() -> None:
        async with stage() as scene:
            client = await associated(scene)
            await exchange(client, Datagrams(scene))
            near = relay_of(scene).near.sock
            assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            client.control.close()
            await ended(scene)

    run(main)


def test_a_server_that_stops_ends_all() -> None:
    async def main() -> None:
        async with stage() as scene:
            client = await associated(scene)
            await exchange(client, Datagrams(scene))
            await scene.server.close()
            assert given_back(scene)
            assert not relays(scene)
            (record,) = scene.records
        assert record.end == "server stopped"

    run(main)


def test_nothing_else_in_the_record_of_a_stream() -> None:
    async def main() -> None:
        async with stage() as scene:
            client, far = await scene.joined()
            client.close()
            far.close()
            assert (await scene.record()).datagrams is None
        assert Traffic().dropped == {}

    run(main)


def test_a_socket_that_the_engine_cannot_watch_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system has bounds for what is watched, too."""

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def main() -> None:
        async with stage(udp=UdpSettings(per_user=1)) as scene:
            with monkeypatch.context() as patch:
                patch.setattr(UdpRelay, "_entrance", full)
                assert await refused(scene) == 1
            assert scene.server.associations.in_use == 0
            await associated(scene)

    run(main)
