"""BIND: both replies true, one peer and the right one, and nothing left listening."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hosier.engine import bind as engine_bind
from hosier.engine import resolve
from hosier.engine.bind import PeerListener
from hosier.engine.ports import PortRange
from hosier.observe.record import SessionRecord
from hosier.protocol.address import IPV4, IPV6, Address, parse_address
from hosier.protocol.auth.base import AuthStep, Outcome
from hosier.server.session import Session
from hosier.server.settings import BindSettings, Limits
from hosier.testing import ToyLayer

from ...own_ports import own_ports
from ..harness import (
    FAILURE4,
    NO_AUTH,
    PATIENCE,
    Peer,
    Stage,
    Word,
    WordMethod,
    failure5,
    install,
    ipv4,
    needs_ipv6,
    request4,
    request5,
    run,
    stage,
    until,
    word,
)

BIND = 2
ANYONE = BindSettings(anyone=True)
VERSIONS = pytest.mark.parametrize("version", [4, 5])
BIG = 4 << 20


class Reply(NamedTuple):
    code: int
    host: str
    port: int

    @property
    def place(self) -> tuple[str, int]:
        return self.host, self.port


async def reply(client: Peer, version: int) -> Reply:
    """The next reply; a SOCKS4 success reads as 0."""
    if version == 4:
        octets = await client.exactly(8)
        assert octets[0] == 0
        host = socket.inet_ntoa(octets[4:])
        return Reply({0x5A: 0}.get(octets[1], octets[1]), host, int.from_bytes(octets[2:4], "big"))
    octets = await client.reply5()
    assert (octets[0], octets[2]) == (5, 0)
    family = socket.AF_INET if octets[3] == 1 else socket.AF_INET6
    return Reply(octets[1], socket.inet_ntop(family, octets[4:-2]), int.from_bytes(octets[-2:], "big"))


async def ask(scene: Stage, version: int, host: str, port: int = 0, *, as_name: bool = False) -> Peer:
    """A client that has sent its BIND request."""
    client = await scene.client()
    if version == 4:
        await client.send(request4(host, port, BIND, as_name=as_name))
    else:
        await client.greet()
        await client.send(request5(host, port, BIND, as_name=as_name))
    return client


async def waiting(scene: Stage, version: int, host: str = "127.0.0.1", port: int = 0) -> tuple[Peer, Reply]:
    """A client whose peer may come, and the first reply."""
    client = await ask(scene, version, host, port)
    first = await reply(client, version)
    assert first.code == 0
    return client, first


def arrive(scene: Stage, place: tuple[str, int], source: str = "") -> Peer:
    """Somebody who connects to the place, from an address: on loopback done at once, before the server sees it."""
    sock = scene.own(socket.socket(socket.AF_INET6 if ":" in place[0] else socket.AF_INET))
    sock.settimeout(PATIENCE)
    if source:
        sock.bind((source, 0))
    sock.connect(place)
    return Peer(sock)


async def joined(scene: Stage, version: int) -> tuple[Peer, Peer]:
    client, first = await waiting(scene, version)
    far = arrive(scene, first.place)
    assert (await reply(client, version)).place == far.place
    return client, far


def is_listening(place: tuple[str, int]) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in place[0] else socket.AF_INET) as probe:
        return probe.connect_ex(place) == 0


def free_port() -> int:
    """A port that nobody has, outside the range from which the kernel picks."""
    for port in own_ports():
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


def answers(monkeypatch: pytest.MonkeyPatch, *found: tuple[int, bytes]) -> None:
    monkeypatch.setattr(resolve, "_look_up", lambda _: found)


def only_session(scene: Stage) -> Session:
    (session,) = scene.server.engine.tasks
    assert isinstance(session, Session)
    return session


def expire(scene: Stage, limit: str) -> None:
    """Lets the running limit be over now, on the engine's clock."""
    session = only_session(scene)
    assert session.limit == limit
    session.on_deadline()


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Afterwards there are as many descriptors as before."""
    before = descriptors()
    yield
    await until(lambda: descriptors() == before, "every descriptor is given back")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# --- the two replies ---


@VERSIONS
def test_story(version: int) -> None:
    """B-07; S4-REQ-27, 32, 35; S5-REQ-61, 62, 64: listening before the first reply, both replies true."""

    async def main() -> None:
        async with stage() as scene:
            client, first = await waiting(scene, version)
            assert first.host == "127.0.0.1"
            far = arrive(scene, first.place)  # at once: it must be listening
            second = await reply(client, version)
            assert second == Reply(0, *far.place)
            await client.send(b"up")
            assert await far.exactly(2) == b"up"
            await far.send(b"down")
            assert await client.exactly(4) == b"down"
            far.end()
            assert await client.rest() == b""
            client.close()
            assert await far.rest() == b""
            record = await scene.record()
        assert (record.version, record.command, record.reply, record.end) == (version, "BIND", 0, "target closed")
        assert record.target == parse_address("127.0.0.1", 0)
        assert record.bound == parse_address(*first.place)
        assert record.dialled == parse_address(*second.place)
        assert (record.sent, record.received) == (2, 4)

    run(main)


def test_first_reply_comes_when_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """S5-REQ-62: there are servers that answer first and listen later."""
    order: list[str] = []
    make = PeerListener.__init__

    def listening(self: PeerListener, *arguments: Any) -> None:
        make(self, *arguments)
        order.append("listens" if is_listening(self.bound.sockaddr) else "does not listen")

    monkeypatch.setattr(PeerListener, "__init__", listening)

    async def main() -> None:
        async with stage() as scene:
            client = await ask(scene, 5, "127.0.0.1")
            await reply(client, 5)
            order.append("replied")

    run(main)
    assert order == ["listens", "replied"]


@needs_ipv6
@pytest.mark.parametrize("control", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_family_is_that_of_the_peer(control: str, host: str) -> None:
    """Not that of the control connection; and IPv6 alone where the peer is IPv6."""

    async def main() -> None:
        async with stage(listen=[f"[{control}]:0" if ":" in control else f"{control}:0"]) as scene:
            client, first = await waiting(scene, 5, host)
            assert first.host == host
            far = arrive(scene, first.place)
            assert await reply(client, 5) == Reply(0, *far.place)

    run(main)


def test_listens_only_where_the_peer_is_told() -> None:
    """Not on every address of the machine."""

    async def main() -> None:
        async with stage() as scene:
            _, first = await waiting(scene, 5)
            assert not is_listening(("127.0.0.2", first.port))
            assert is_listening(first.place)

    run(main)


@VERSIONS
@pytest.mark.parametrize("size", [1, 300_000])
def test_payload_that_comes_early_is_kept(version: int, size: int) -> None:
    """S4-REQ-41, B-17: with the request, and between the replies."""
    early, late = os.urandom(7), os.urandom(size)

    async def main() -> None:
        async with stage() as scene:
            client = await scene.client()
            if version == 4:
                await client.send(request4("127.0.0.1", 0, BIND) + early)
            else:
                await client.greet()
                await client.send(request5("127.0.0.1", 0, BIND) + early)
            first = await reply(client, version)
            sending = asyncio.ensure_future(client.send(late))
            far = arrive(scene, first.place)
            assert await far.exactly(len(early) + size) == early + late
            await sending
            assert (await reply(client, version)).code == 0

    run(main)


@VERSIONS
def test_a_big_transfer_and_its_half_closed_ends(version: int) -> None:
    """B-18."""
    data = os.urandom(BIG)

    async def main() -> None:
        async with stage() as scene:
            client, far = await joined(scene, version)
            sending = asyncio.ensure_future(far.send(data))
            client.end()
            assert await far.rest() == b""
            assert await client.exactly(BIG) == data
            await sending
            far.close()
            assert await client.rest() == b""
            record = await scene.record()
        assert (record.received, record.end) == (BIG, "client closed")

    run(main)


def test_under_a_security_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """S5-REQ-42, 51: both replies and the payload are wrapped; what came early is not lost."""
    layers: list[ToyLayer] = []

    def begin() -> Any:
        def step(_: Word | None) -> AuthStep:
            layers.append(ToyLayer())
            return AuthStep(Word(b"ok"), Outcome("ann", layers[-1]))

        return step

    install(monkeypatch, WordMethod(begin))

    async def main() -> None:
        async with stage(methods=["word"]) as scene:
            client = await scene.client()
            await client.send(b"\x05\x01\x90" + word(b"x"))
            assert await client.exactly(5) == b"\x05\x90" + word(b"ok")
            layer = ToyLayer()

            async def unwrapped(size: int) -> bytes:
                frames, plain = b"", b""
                while len(plain) < size:
                    frames += await client.receive()
                    while (found := layer.unwrap(memoryview(frames))) is not None:
                        plain += found[0]
                        frames = frames[found[1] :]
                assert not frames
                return plain

            await client.send(layer.wrap(request5("127.0.0.1", 0, BIND)))
            first = await unwrapped(10)
            await client.send(layer.wrap(b"early"))
            far = arrive(scene, ("127.0.0.1", int.from_bytes(first[8:], "big")))
            assert await far.exactly(5) == b"early"
            second = await unwrapped(10)
            assert second[:2] == b"\x05\x00"
            assert int.from_bytes(second[8:], "big") == far.place[1]
            await far.send(b"down")
            assert await unwrapped(4) == b"down"

    run(main)


# --- who may come ---


@VERSIONS
def test_another_peer_is_turned_away(version: int) -> None:
    """B-08; S4-REQ-33, S5-REQ-58, 65; A-25, A-26: told in the second reply, with its address; both closed."""

    async def main() -> None:
        async with stage() as scene:
            client, first = await waiting(scene, version, "127.0.0.2")
            stranger = arrive(scene, first.place, "127.0.0.3")
            place = stranger.place
            assert await reply(client, version) == Reply(0x5B if version == 4 else 2, *place)
            assert await client.rest() == b""
            assert await stranger.receive() == b""
            assert not is_listening(first.place)
            client.close()
            record = await scene.record()
        assert (record.reply, record.dialled) == (2, parse_address(*place))
        assert record.end == f"refused: {record.dialled} came, who was not expected"

    run(main)


@VERSIONS
def test_the_peers_port_does_not_matter(version: int) -> None:
    """S4-REQ-34: only addresses are compared."""

    async def main() -> None:
        async with stage() as scene:
            client, first = await waiting(scene, version, "127.0.0.2", 21)
            far = arrive(scene, first.place, "127.0.0.2")
            assert far.place[1] != 21
            assert await reply(client, version) == Reply(0, *far.place)

    run(main)


@VERSIONS
def test_a_second_peer_is_refused(version: int) -> None:
    """B-07; S4-REQ-36, S5-REQ-67: one peer, then the listener is gone."""

    async def main() -> None:
        async with stage() as scene:
            client, first = await waiting(scene, version)
            far = arrive(scene, first.place)
            assert (await reply(client, version)).code == 0
            assert not is_listening(first.place)
            await far.send(b"still here")
            assert await client.exactly(10) == b"still here"

    run(main)


def test_who_queues_behind_the_peer_is_reset() -> None:
    """The kernel may have taken a second connection before the first was seen."""

    async def main() -> None:
        async with stage() as scene:
            client, first = await waiting(scene, 5)
            both = [scene.own(socket.socket()) for _ in range(2)]
            for sock in both:
                sock.connect(first.place)  # within one turn of the loop: the server sees neither before the other
            assert (await reply(client, 5)).place == both[0].getsockname()
            with pytest.raises(ConnectionResetError):
                await Peer(both[1]).receive()

    run(main)


def test_a_name_stands_for_any_of_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """S4A-REQ-16, S5-REQ-68."""
    answers(monkeypatch, ipv4("127.0.0.2"), ipv4("127.0.0.3"))

    async def main() -> None:
        for version in (4, 5):
            for source in ("127.0.0.2", "127.0.0.3", "127.0.0.4"):
                async with stage() as scene:
                    client, first = await waiting(scene, version, "peer.example")
                    far = arrive(scene, first.place, source)
                    second = await reply(client, version)
                    assert second.place == far.place
                    assert (second.code == 0) == (source != "127.0.0.4")

    run(main)


@needs_ipv6
@pytest.mark.parametrize("source", ["127.0.0.1", "::1"])
def test_a_name_of_both_families_is_waited_for_in_both(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one port; the reply tells the family that the name has first."""
    answers(monkeypatch, (IPV6, bytes(15) + b"\x01"), ipv4("127.0.0.1"))

    async def main() -> None:
        async with stage() as scene:
            client, first = await waiting(scene, 5, "peer.example")
            assert first.host == "::1"
            far = arrive(scene, (source, first.port))
            assert await reply(client, 5) == Reply(0, *far.place)
            assert not is_listening(("::1", first.port))
            assert not is_listening(("127.0.0.1", first.port))

    run(main)


@needs_ipv6
def test_socks4_waits_for_the_ipv4_addresses_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its replies cannot carry others."""
    answers(monkeypatch, (IPV6, bytes(15) + b"\x01"), ipv4("127.0.0.1"))

    async def main() -> None:
        async with stage() as scene:
            client, first = await waiting(scene, 4, "peer.example")
            assert first.host == "127.0.0.1"
            assert not is_listening(("::1", first.port))
            far = arrive(scene, first.place)
            assert await reply(client, 4) == Reply(0, *far.place)

    run(main)


@pytest.mark.parametrize("host", ["::1", "[::1]", "::", "peer.example"])
def test_socks4_cannot_wait_for_ipv6(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, (IPV6, bytes(15) + b"\x01"))

    async def main() -> None:
        async with stage(bind=ANYONE) as scene:
            client = await ask(scene, 4, host, as_name=True)
            assert await client.exactly(8) == FAILURE4
            assert await client.rest() == b""
            client.close()
            record = await scene.record()
        assert (record.reply, record.end) == (8, "refused: SOCKS4 cannot tell an IPv6 address")

    run(main)


@pytest.mark.parametrize("disguise", ["::ffff:127.0.0.1", "[::ffff:127.0.0.1]", "127.0.0.1"])
def test_disguised_addresses_are_what_they_are(disguise: str) -> None:
    """S5-REQ-58, A-19, A-22: compared after unmapping."""

    async def main() -> None:
        async with stage() as scene:
            client = await ask(scene, 5, disguise, as_name=True)
            first = await reply(client, 5)
            assert first.host == "127.0.0.1"
            far = arrive(scene, first.place)
            assert await reply(client, 5) == Reply(0, *far.place)

    run(main)


@VERSIONS
@pytest.mark.parametrize("zeros", [(IPV4, bytes(4)), (IPV6, bytes(16)), (IPV6, bytes(10) + b"\xff\xff" + bytes(4))])
def test_a_name_that_stands_for_zeros_lets_nobody_in(
    version: int, zeros: tuple[int, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a request that says so itself means anyone; who owns a name must not decide it."""
    answers(monkeypatch, zeros)

    async def main() -> None:
        async with stage(bind=ANYONE) as scene:
            client = await ask(scene, version, "peer.example")
            assert (await reply(client, version)).code == (0x5B if version == 4 else 2)
            client.close()
            record = await scene.record()
        assert record.bound is None

    run(main)


# --- anyone ---


@VERSIONS
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::ffff:0.0.0.0"])
def test_zeros_are_refused_by_default(version: int, host: str) -> None:
    """S5-REQ-58, A-31: anyone may come only if the policy says so."""
    if version == 4 and ":" in host:
        return

    async def main() -> None:
        async with stage() as scene:
            client = await ask(scene, version, host)
            assert await client.rest() == (FAILURE4 if version == 4 else failure5(2))
            client.close()
            record = await scene.record()
        assert record.end == "refused: BIND without the peer's address would let anyone in"

    run(main)


@VERSIONS
def test_anyone(version: int) -> None:
    """S5-REQ-58, A-31, with the setting; S5-REQ-62: never zeros, but where the client reached us."""

    async def main() -> None:
        async with stage(bind=ANYONE) as scene:
            client, first = await waiting(scene, version, "0.0.0.0")
            assert first.host == "127.0.0.1"
            far = arrive(scene, ("127.0.0.5", first.port), "127.0.0.6")
            assert await reply(client, version) == Reply(0, *far.place)

    run(main)


@needs_ipv6
def test_anyone_of_the_other_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """S5-REQ-62: the control connection's address does not fit; the one on the way to anywhere is told."""
    monkeypatch.setitem(engine_bind.SOMEWHERE, IPV6, parse_address("::1", 9))

    async def main() -> None:
        async with stage(bind=ANYONE) as scene:
            client, first = await waiting(scene, 5, "::")
            assert first.host == "::1"
            far = arrive(scene, first.place)
            assert await reply(client, 5) == Reply(0, *far.place)

    run(main)


# --- what the policy says ---


@VERSIONS
def test_a_forbidden_peer_is_not_waited_for(version: int) -> None:
    """S4-REQ-31, S5-REQ-58: the request is judged as one for CONNECT is; the port plays no part."""

    async def main() -> None:
        async with stage(deny=[ip_network("192.0.2.0/24")]) as scene:
            client = await ask(scene, version, "192.0.2.7")
            assert await client.rest() == (FAILURE4 if version == 4 else failure5(2))
            client.close()
            record = await scene.record()
        assert (record.reply, record.bound) == (2, None)
        assert record.end == "refused: 192.0.2.7 is in 192.0.2.0/24, which is denied"

    run(main)


def test_inner_networks_are_protected() -> None:
    """Beyond loopback, as for CONNECT."""

    async def main() -> None:
        async with stage(listen=["0.0.0.0:0"], open=True) as scene:
            client = await ask(scene, 5, "127.0.0.1")
            assert await client.rest() == failure5(2)

    run(main)


def test_only_the_allowed_addresses_of_a_name_may_come(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, ipv4("127.0.0.2"), ipv4("127.0.0.3"))

    async def main() -> None:
        async with stage(deny=[ip_network("127.0.0.2/32")]) as scene:
            client, first = await waiting(scene, 5, "peer.example")
            far = arrive(scene, first.place, "127.0.0.2")
            assert await reply(client, 5) == Reply(2, *far.place)

    run(main)


def test_anyone_is_nobody_who_is_denied() -> None:
    """The peer that comes is judged as well."""

    async def main() -> None:
        async with stage(bind=ANYONE, deny=[ip_network("127.0.0.3/32")]) as scene:
            client, first = await waiting(scene, 5, "0.0.0.0")
            far = arrive(scene, first.place, "127.0.0.3")
            assert await reply(client, 5) == Reply(2, *far.place)
            client.close()
            record = await scene.record()
        assert record.end == "refused: 127.0.0.3 is in 127.0.0.3/32, which is denied"

    run(main)


@VERSIONS
def test_switched_off(version: int) -> None:
    """By policy, so the reply is 02 and not 07 (catalogue 3.5)."""

    async def main() -> None:
        async with stage(bind=BindSettings(enabled=False)) as scene:
            client = await ask(scene, version, "127.0.0.1")
            assert await client.rest() == (FAILURE4 if version == 4 else failure5(2))
            client.close()
            record = await scene.record()
        assert (record.reply, record.end) == (2, "refused: BIND is switched off")

    run(main)


# --- ports and addresses ---


@pytest.mark.parametrize(
    ("version", "host", "ports", "granted"),
    [
        (5, "0.0.0.0", None, True),
        (4, "0.0.0.0", None, True),
        (5, "127.0.0.1", None, False),
        (5, "127.0.0.1", "range", True),
        (5, "0.0.0.0", "range", True),
        (4, "127.0.0.1", "range", False),
        (5, "0.0.0.0", "other", False),
    ],
)
def test_a_wished_port(version: int, host: str, ports: str | None, granted: bool) -> None:
    """A-24, S5-REQ-60, S4-REQ-26, 42: where anyone may come, or where the range of ports holds it; in SOCKS4 the port
    of a request that names its peer is not a wish."""
    wished = free_port()
    allowed = {None: None, "range": PortRange(wished - 1, wished + 500), "other": PortRange(30_001, 30_500)}[ports]

    async def main() -> None:
        async with stage(bind=ANYONE, ports=allowed) as scene:
            client, first = await waiting(scene, version, host, wished)
            if granted:
                assert first.port == wished
            elif allowed is None or wished not in allowed:
                assert first.port != wished
            assert allowed is None or first.port in allowed
            far = arrive(scene, first.place)
            assert await reply(client, version) == Reply(0, *far.place)

    run(main)


def test_a_wished_port_that_is_taken() -> None:
    """It is a wish: the reply tells another one."""

    async def main() -> None:
        async with stage(bind=ANYONE) as scene:
            target = scene.target()
            _, first = await waiting(scene, 5, "0.0.0.0", target.port)
            assert first.port not in (0, target.port)
            assert target.was_left_alone()

    run(main)


def test_ports_of_services_are_nobodys_to_wish_for() -> None:
    async def main() -> None:
        async with stage(bind=ANYONE) as scene:
            _, first = await waiting(scene, 5, "0.0.0.0", 1023)
            assert first.port != 1023

    run(main)


@VERSIONS
def test_a_range_that_is_used_up(version: int) -> None:
    """A clear reason in the log, and a port that is free again can be had again, though connections remain there."""
    port = free_port()

    async def main() -> None:
        async with stage(ports=PortRange(port, port)) as scene:
            client, first = await waiting(scene, version)
            assert first.port == port
            other = await ask(scene, version, "127.0.0.1")
            assert await other.rest() == (FAILURE4 if version == 4 else failure5(1))
            other.close()
            await until(lambda: scene.records, "the refused one ends")
            assert (scene.records[0].reply, scene.records[0].end) == (1, f"bind failed: no free port in {port}-{port}")
            far = arrive(scene, first.place)
            assert (await reply(client, version)).code == 0
            third, first = await waiting(scene, version)
            assert first.port == port
            assert arrive(scene, first.place).place == (await reply(third, version)).place
            far.close()

    run(main)


@VERSIONS
@pytest.mark.parametrize("entry", ["192.0.2.77", "127.0.0.1=192.0.2.77"])
def test_an_advertised_address(version: int, entry: str) -> None:
    """A-11, S4-REQ-29, S5-REQ-62: told in the place of our own; the listener stays where it was."""

    async def main() -> None:
        async with stage(advertise=[entry]) as scene:
            client, first = await waiting(scene, version)
            assert first.host == "192.0.2.77"
            far = arrive(scene, ("127.0.0.1", first.port))
            assert await reply(client, version) == Reply(0, *far.place)
            far.close()
            client.close()
            record = await scene.record()
        assert record.bound == parse_address(*first.place)

    run(main)


# --- failures ---


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (socket.gaierror(socket.EAI_NONAME, "no such name"), 4),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), 1),
        (OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)), 1),
        (OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH)), 3),
        (OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT)), 8),
        (OSError(errno.EACCES, os.strerror(errno.EACCES)), 2),
    ],
    ids=str,
)
@VERSIONS
def test_failures_before_the_first_reply(version: int, error: OSError, code: int) -> None:
    """S4-REQ-31, catalogue 3.5."""

    class Failing:
        def bind(self, *_: Any) -> Any:
            raise error

    async def main() -> None:
        async with stage() as scene:
            scene.server.egress = Failing()  # type: ignore[assignment]
            client = await ask(scene, version, "127.0.0.1")
            assert await client.rest() == (FAILURE4 if version == 4 else failure5(code))
            client.close()
            record = await scene.record()
        assert (record.reply, record.end) == (code, f"bind failed: {error.strerror}")

    run(main)


@VERSIONS
def test_a_name_that_does_not_resolve(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "_look_up", lambda _: socket.gaierror(socket.EAI_NONAME, "no such name"))

    async def main() -> None:
        async with stage() as scene:
            client = await ask(scene, version, "peer.example")
            assert await client.rest() == (FAILURE4 if version == 4 else failure5(4))

    run(main)


@VERSIONS
def test_nobody_comes(version: int) -> None:
    """B-09; S4-REQ-37…39, S5-REQ-66: at the limit a second reply, then the end; the listener is gone."""

    async def main() -> None:
        async with stage() as scene:
            client, first = await waiting(scene, version)
            expire(scene, "bind")
            assert await client.rest() == (FAILURE4 if version == 4 else failure5(6))
            assert not is_listening(first.place)
            client.close()
            record = await scene.record()
        assert (record.reply, record.end, record.dialled) == (6, "bind limit", None)
        assert record.bound == parse_address(*first.place)

    run(main)


def test_the_limit_is_two_minutes() -> None:
    """S4-REQ-37; counted from the first reply, not from the request's arrival."""

    async def main() -> None:
        async with stage() as scene:
            await waiting(scene, 5)
            session = only_session(scene)
            await until(lambda: session.limit == "bind", "it waits for the peer")
            left = session.deadline - scene.server.engine.now
            assert left <= 120 + 1e-6  # sums of floats are rounded
            assert session.deadline >= session.started + 120

    run(main)
    assert Limits().bind == 120


def test_a_look_up_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is under the limit for connecting; nothing listens yet."""

    async def main() -> None:
        asked = asyncio.Event()

        async def resolve_never(*_: Any) -> Any:
            asked.set()
            await asyncio.Event().wait()

        async with stage() as scene:
            monkeypatch.setattr(scene.server._resolver, "resolve", resolve_never)
            client = await ask(scene, 5, "peer.example")
            await asked.wait()
            expire(scene, "connect")
            assert await client.rest() == failure5(6)
            client.close()
            record = await scene.record()
        assert (record.end, record.bound) == ("bind failed: connect limit", None)

    run(main)


@VERSIONS
def test_accept_fails_without_descriptors(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is told, and the other sessions go on."""

    def fail(_: PeerListener) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def main() -> None:
        async with stage() as scene:
            client, first = await waiting(scene, version)
            await until(lambda: only_session(scene).limit == "bind", "it waits")
            monkeypatch.setattr(PeerListener, "_arrival", fail)
            arrive(scene, first.place)
            assert await client.rest() == (FAILURE4 if version == 4 else failure5(1))
            client.close()
            record = await scene.record()
        assert record.end == f"bind failed: {os.strerror(errno.EMFILE)}"

    run(main)


# --- the client ---


def leave_by_closing(client: Peer) -> None:
    client.close()


def leave_by_reset(client: Peer) -> None:
    client.reset()


def leave_by_half_close(client: Peer) -> None:
    client.end()


LEAVING = (leave_by_closing, leave_by_reset, leave_by_half_close)


@VERSIONS
@pytest.mark.parametrize("leave", LEAVING)
def test_the_client_leaves(version: int, leave: Callable[[Peer], None]) -> None:
    """B-10; S4-REQ-40, S5-REQ-67: the listener goes at once."""
    client_leaves(version, leave, b"")


@pytest.mark.linux
@VERSIONS
@pytest.mark.parametrize("leave", LEAVING)
def test_the_client_leaves_after_early_octets(version: int, leave: Callable[[Peer], None]) -> None:
    """Whatever was sent before. No other system tells of an end before all that came before it was read."""
    client_leaves(version, leave, b"early")


def client_leaves(version: int, leave: Callable[[Peer], None], early: bytes) -> None:
    async def main() -> None:
        async with stage() as scene:
            client, first = await waiting(scene, version)
            await until(lambda: only_session(scene).limit == "bind", "it waits")
            if early:
                await client.send(early)
            leave(client)
            record = await scene.record()
            assert not is_listening(first.place)
        assert record.end == "client left before the peer came"
        assert (record.reply, record.dialled, record.sent) == (0, None, 0)

    run(main)


def test_a_client_that_ends_with_its_request() -> None:
    """Whoever cannot be there for the second reply needs no listener."""

    async def main() -> None:
        async with stage() as scene:
            client = await scene.client()
            await client.send(NO_AUTH + request5("127.0.0.1", 0, BIND))
            client.end()
            record = await scene.record()
        assert record.end == "client left before the peer came"

    run(main)


def test_a_client_that_is_lost_before_the_first_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing stays open when the reply cannot be sent."""

    async def main() -> None:
        async with stage() as scene, nothing_left():
            client = await scene.client()
            await client.greet()
            session = only_session(scene)

            def lost(_: bytes) -> bytes:
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

            monkeypatch.setattr(type(session.client), "send_some", lambda _, data: lost(data))
            await client.send(request5("127.0.0.1", 0, BIND))
            record = await scene.record()
            client.close()
            monkeypatch.undo()
        assert record.end == f"client lost: {os.strerror(errno.EPIPE)}"

    run(main)


def test_early_payload_does_not_wake_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays with the kernel: nothing is read, nothing piles up here."""
    resumed: list[bytes] = []

    async def main() -> None:
        async with stage() as scene:
            client, first = await waiting(scene, 5)
            session = only_session(scene)
            await until(lambda: session.limit == "bind", "it waits")
            resume = Session.resume

            def count(self: Session) -> None:
                resumed.append(b"")
                resume(self)

            monkeypatch.setattr(Session, "resume", count)
            await client.send(b"x" * 1000)
            await until(lambda: session.client.seen & 1, "the edge is seen")
            assert not resumed
            far = arrive(scene, first.place)
            assert await far.exactly(1000) == b"x" * 1000

    run(main)


# --- many ---


@pytest.mark.linux
def test_a_thousand_waiting() -> None:
    """Each holds two descriptors and no more; when they leave, or time is up, nothing is left."""
    many = 1000

    async def main() -> None:
        async with stage(limits=Limits(bind=3600)) as scene, nothing_left():
            before = descriptors()
            clients: list[Peer] = []
            places: set[tuple[str, int]] = set()
            for _ in range(many):
                client, first = await waiting(scene, 4)
                clients.append(client)
                places.add(first.place)
            assert len(places) == many
            assert descriptors() - before == 3 * many  # one of the three is the client's own
            await until(lambda: scene.server.engine.sockets == 2 * many + 1, "all wait")
            for client in clients[::2]:
                client.close()
            await until(lambda: scene.server.sessions == many // 2, "half of them end")
            for session in list(scene.server.engine.tasks):
                session.on_deadline()
            for client in clients[1::2]:
                assert await client.rest() == FAILURE4
                client.close()
            await until(lambda: not scene.server.sessions, "all end")
        assert {record.end for record in scene.records} == {"client left before the peer came", "bind limit"}

    run(main)


def test_closing_the_server_closes_the_listeners() -> None:
    async def main() -> None:
        async with stage() as scene:
            _, first = await waiting(scene, 5)
            await scene.server.close()
            assert not is_listening(first.place)
            record: SessionRecord = await scene.record()
        assert record.end == "server stopped"

    run(main)


def test_with_names_over_an_own_way_out() -> None:
    """The command knows only the three verbs: whoever provides ``bind`` says where and who."""
    told: Sequence[Address] = (parse_address("192.0.2.1", 4321),)

    class Elsewhere:
        bound = told[0]
        closed = 0

        def expects(self, _: Address) -> bool:
            return True

        async def accept(self, _: Any) -> None:
            return None

        def close(self) -> None:
            self.closed += 1

    binding = Elsewhere()

    class Egress:
        async def bind(self, task: Any, peer: Address, near: Address, vet: Any, sources: Any) -> Any:
            assert sources is None
            assert peer == Address(IPV4, bytes((192, 0, 2, 9)), 0)
            assert vet((peer,)) == (peer,) or list(vet((peer,))) == [peer]
            assert near.host == "127.0.0.1"
            return binding

    async def main() -> None:
        async with stage() as scene:
            scene.server.egress = Egress()  # type: ignore[assignment]
            client, first = await waiting(scene, 5, "192.0.2.9", 21)
            assert first.place == told[0].sockaddr
            assert await client.rest() == b""
        assert binding.closed

    run(main)
