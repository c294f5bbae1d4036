"""The datagrams of an association (catalogue 3.8 and 3.9): what passes, under which header, and what does not."""

from __future__ import annotations

import random
from contextlib import suppress
from ipaddress import ip_network
from typing import Any

import pytest

from hosier.engine import resolve
from hosier.engine.segments import RUN_DATAGRAMS, can_segment, segment_option
from hosier.engine.udp import DatagramSocket
from hosier.errors import ReplyCode, reply_error
from hosier.policy.rules import Rule
from hosier.protocol import fragments
from hosier.server import udp_relay
from hosier.server.settings import UdpSettings

from .datagrams import Associate, Datagrams, associated, dropped, given_back, header, relay_of
from .harness import Stage, ipv4, needs_ipv6, run, stage, until

joins = pytest.mark.skipif(not can_segment(), reason="this kernel knows no UDP_SEGMENT")

PUBLIC: dict[str, Any] = {"listen": ["0.0.0.0:0"], "open": True}
NOWHERE = ("198.51.100.1", 9)


async def finished(scene: Stage, *clients: Associate) -> dict[str, int]:
    """Ends the associations; what the last one dropped."""
    for client in clients:
        client.control.close()
    await until(lambda: given_back(scene), "everything is given back")
    counts = scene.records[-1].datagrams
    assert counts is not None
    return dict(counts.dropped)


# --- targets of every form ---


@needs_ipv6
def test_every_kind_of_target_in_one_association() -> None:
    """S5-REQ-80, B-14, B-15, A-18: answers name their true sender, always by its address."""

    async def main() -> None:
        async with stage() as scene:
            client = await associated(scene)
            four, six = Datagrams(scene), Datagrams(scene, "::1")
            outer = {}
            for target, name in ((four, "127.0.0.1"), (six, "::1"), (four, "127.0.0.1"), (six, "::1")):
                client.ask((name, target.place[1]), b"to " + name.encode())
                data, outer[target] = await target.receive()
                assert data == b"to " + name.encode()
                target.send(b"from", outer[target])
                assert await client.answer() == (b"from", target.place)
            assert outer[four][0] == "127.0.0.1"
            assert outer[six][0] == "::1"
            assert await finished(scene, client) == {}

    run(main)


def test_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """B-15; and what comes while the name is looked up waits for it, in its order."""
    monkeypatch.setattr(resolve, "_look_up", lambda name: (ipv4("127.0.0.1"),) if name == b"target.example" else None)

    async def main() -> None:
        async with stage() as scene:
            client = await associated(scene)
            target = Datagrams(scene)
            for number in range(5):
                client.ask(("target.example", target.place[1]), b"%d" % number)
            for number in range(5):
                data, outer = await target.receive()
                assert data == b"%d" % number
            target.send(b"answer", outer)
            assert await client.answer() == (b"answer", target.place)
            assert await finished(scene, client) == {}

    run(main)


@pytest.mark.parametrize("host", ["127.0.0.1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("as_name", [False, True])
def test_an_address_in_disguise(host: str, as_name: bool) -> None:
    """A-19, A-22: a mapped address is its IPv4 one, a literal in a name's place is an address."""

    async def main() -> None:
        async with stage() as scene:
            client = await associated(scene)
            target = Datagrams(scene)
            port = target.place[1].to_bytes(2, "big")
            name = b"\0\0\0\x03" + bytes((len(host),)) + host.encode() + port
            client.send((name if as_name else header(host, target.place[1])) + b"hidden", client.relay)
            data, outer = await target.receive()
            assert data == b"hidden"
            target.send(b"seen", outer)
            assert await client.answer() == (b"seen", target.place)
            await finished(scene, client)

    run(main)


@pytest.mark.parametrize("size", [0, 1, 1200, 65507 - 10])
def test_whole_datagrams(size: int) -> None:
    """B-16, S5-REQ-81: as large as fits with the header, each way; nothing is cut."""

    async def main() -> None:
        async with stage() as scene:
            client = await associated(scene)
            target = Datagrams(scene)
            data = random.Random(size).randbytes(size)
            client.ask(target.place, data)
            found, outer = await target.receive()
            assert found == data
            target.send(data, outer)
            assert await client.answer() == (data, target.place)
            assert await finished(scene, client) == {}

    run(main)


@needs_ipv6
@pytest.mark.parametrize(("host", "size"), [("::1", 65507 - 22), ("localhost", 65507 - 16)])
def test_whole_datagrams_under_larger_headers(host: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """B-16."""
    monkeypatch.setattr(resolve, "_look_up", lambda _: (ipv4("127.0.0.1"),))

    async def main() -> None:
        async with stage() as scene:
            client = await associated(scene)
            target = Datagrams(scene, "::1" if host == "::1" else "127.0.0.1")
            client.ask((host, target.place[1]), bytes(size))
            assert (await target.receive())[0] == bytes(size)
            await finished(scene, client)

    run(main)


def test_an_answer_that_no_longer_fits_is_dropped() -> None:
    """S5-REQ-83: with its header it would be larger than a datagram can be."""

    async def main() -> None:
        async with stage() as scene:
            client = await associated(scene)
            target = Datagrams(scene)
            client.ask(target.place, b"more!")
            _, outer = await target.receive()
            target.send(bytes(65507 - 9), outer)
            target.send(b"small", outer)
            assert await client.answer() == (b"small", target.place)
            assert await finished(scene, client) == {"too large": 1}

    run(main)


# --- who the client is ---


def test_another_address_never_gets_in() -> None:
    """B-12, S5-REQ-84: not even if it comes first."""

    async def main() -> None:
        async with stage() as scene:
            target = Datagrams(scene)
            client = await associated(scene)
            stranger = Datagrams(scene, "127.0.0.2")
            stranger.send(header(*target.place) + b"first", client.relay)
            await dropped(scene, "stranger")
            client.ask(target.place, b"client")
            data, outer = await target.receive()
            assert data == b"client"
            with suppress(ConnectionRefusedError):
                stranger.send(header(*target.place) + b"later", client.relay)
            target.send(b"answer", outer)
            assert await client.answer() == (b"answer", target.place)
            await client.proof(target)
            assert stranger.has_nothing()
            assert await finished(scene, client) == {"stranger": 1}

    run(main)


def test_the_first_valid_datagram_fixes_the_port() -> None:
    """S5-REQ-85, S5-REQ-86, A-12, A-14."""

    async def main() -> None:
        async with stage() as scene:
            target = Datagrams(scene)
            client = await associated(scene)
            other = Datagrams(scene)
            other.send(b"not a datagram", client.relay)  # fixes nothing
            client.ask(target.place, b"mine")
            data, outer = await target.receive()
            assert data == b"mine"
            other.send(header(*target.place) + b"other", client.relay)
            target.send(b"answer", outer)
            assert await client.answer() == (b"answer", target.place)
            await client.proof(target)
            assert target.has_nothing()
            dropped_ones = await finished(scene, client)
            assert dropped_ones.pop("malformed") == 1
            assert dropped_ones.keys() <= {"stranger"}  # unless the kernel has dropped it before

    run(main)


def test_a_socket_that_nobody_has_sent_to_answers_nobody() -> None:
    """S5-REQ-86: there is no way out before the client has used it, so nothing can come in."""

    async def main() -> None:
        async with stage() as scene:
            client = await associated(scene)
            engine = scene.server.engine
            before = engine.sockets
            client.send(b"garbage", client.relay)
            await dropped(scene, "malformed")
            assert engine.sockets == before
            client.ask(Datagrams(scene).place, b"x")
            await until(lambda: engine.sockets == before + 1, "the socket for IPv4 targets, and no other")
            await finished(scene, client)

    run(main)


def test_following_the_client_to_another_port() -> None:
    """A-14: where NAT may give it another one; the address is still fixed."""

    async def main() -> None:
        async with stage(udp=UdpSettings(follow=True)) as scene:
            target = Datagrams(scene)
            client = await associated(scene)
            moved = Associate(scene, client.control, client.relay, "127.0.0.1")
            stranger = Datagrams(scene, "127.0.0.2")
            for one in (client, moved, client):
                one.ask(target.place, b"here")
                data, outer = await target.receive()
                stranger.send(header(*target.place) + b"stranger", client.relay)
                Datagrams(scene).send(b"garbage moves nothing", client.relay)
                target.send(data, outer)
                assert await one.answer() == (b"here", target.place)
            assert await finished(scene, client) == {"stranger": 3, "malformed": 3}

    run(main)


# --- what is dropped ---

GARBAGE = {
    "nothing": b"",
    "one octet": b"\0",
    "no address type": b"\0\0\0",
    "no address": b"\0\0\0\x01",
    "half an address": b"\0\0\0\x01\x7f\0\0",
    "no port": b"\0\0\0\x01\x7f\0\0\x01\0",
    "half an IPv6 address": b"\0\0\0\x04" + bytes(16),
    "half a name": b"\0\0\0\x03\x09short\0\x35",
    "an empty name": b"\0\0\0\x03\0\0\x35x",
    "a name with a zero octet": b"\0\0\0\x03\x03a\0b\0\x35x",
    "an unknown type": b"\0\0\0\x05\x7f\0\0\x01\0\x35x",
    "another unknown type": b"\0\0\0\xff" + bytes(300),
    "noise": random.Random(1).randbytes(1000),
}


def test_garbage_does_not_end_it() -> None:
    """B-13, S5-REQ-87, A-42."""

    async def main() -> None:
        async with stage() as scene:
            target = Datagrams(scene)
            client = await associated(scene)
            for count, packet in enumerate(GARBAGE.values(), 1):
                client.send(packet, client.relay)
                await dropped(scene, "malformed", count)
            await client.proof(target)
            for packet in GARBAGE.values():
                client.send(packet, client.relay)
            await client.proof(target)
            assert await finished(scene, client) == {"malformed": 2 * len(GARBAGE)}

    run(main)


@pytest.mark.parametrize("strict", [False, True])
def test_reserved_octets(strict: bool) -> None:
    """A-04: tolerated, unless the server is strict."""

    async def main() -> None:
        async with stage(strict=strict) as scene:
            target = Datagrams(scene)
            client = await associated(scene)
            client.send(b"\x01\x02" + header(*target.place)[2:] + b"reserved", client.relay)
            client.ask(target.place, b"plain")
            data, _ = await target.receive()
            assert data == (b"plain" if strict else b"reserved")
            assert await finished(scene, client) == ({"malformed": 1} if strict else {})

    run(main)


@pytest.mark.parametrize("target", ["10.1.2.3", "169.254.169.254", "::1", "::ffff:10.1.2.3", "127.0.0.1", "fe80::1"])
def test_refused_targets(target: str) -> None:
    """S5-REQ-87, A-20, B-27: judged for each target, and others go on."""

    async def main() -> None:
        async with stage(**PUBLIC, allow=[ip_network("127.0.0.2/32")]) as scene:
            allowed = Datagrams(scene, "127.0.0.2")
            victim = Datagrams(scene, "127.0.0.1")
            client = await associated(scene)
            for _ in range(3):
                client.ask((target, victim.place[1]), b"let me in")
                await client.proof(allowed)
            assert victim.has_nothing()
            assert await finished(scene, client) == {"refused target": 3}

    run(main)


def test_a_name_is_judged_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """B-28: after the look-up, and what was judged is what is sent to."""
    found: list[Any] = [(ipv4("127.0.0.1"),), (ipv4("127.0.0.1"), ipv4("127.0.0.2"))]
    monkeypatch.setattr(resolve, "_look_up", lambda name: found[name == b"mixed.example"])

    async def main() -> None:
        async with stage(**PUBLIC, allow=[ip_network("127.0.0.2/32")]) as scene:
            allowed = Datagrams(scene, "127.0.0.2")
            victim = Datagrams(scene, "127.0.0.1", allowed.place[1])
            client = await associated(scene)
            client.ask(("inner.example", victim.place[1]), b"let me in")
            await dropped(scene, "refused target")
            client.ask(("mixed.example", victim.place[1]), b"to the second")
            assert (await allowed.receive())[0] == b"to the second"
            assert victim.has_nothing()
            await finished(scene, client)

    run(main)


def test_port_zero_and_the_unspecified_address() -> None:
    """S5-REQ-87: no setting allows them."""

    async def main() -> None:
        async with stage() as scene:
            client = await associated(scene)
            for count, target in enumerate((("127.0.0.1", 0), ("0.0.0.0", 53), ("224.0.0.251", 5353)), 1):
                client.ask(target, b"x")
                await dropped(scene, "refused target", count)
            await finished(scene, client)

    run(main)


def test_refusals_are_explained_but_not_without_end(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with stage(**PUBLIC) as scene:
            client = await associated(scene)
            for number in range(50):
                client.ask(("10.0.0.1", 1 + number), b"x")
                await dropped(scene, "refused target", number + 1)
            await finished(scene, client)

    with caplog.at_level("INFO", "hosier"):
        run(main)
    lines = [line for line in caplog.messages if "10.0.0.1" in line]
    assert len(lines) == udp_relay.EXPLAINED
    assert lines[0].endswith("; allow it with --allow 10.0.0.0/8")


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ([], "10.0.0.1 is in 10.0.0.0/8 (private)"),
        ([Rule(action="deny", networks=[ip_network("10.0.0.0/8")]), Rule(action="allow")], "rule 1 denies it"),
        ([Rule(action="deny", names=["inner.example"]), Rule(action="allow")], "rule 1 denies it"),
    ],
)
def test_why_a_name_is_refused_is_explained_when_it_is_known(
    rules: list[Rule], why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, whether that is before it is looked up or afterwards."""
    monkeypatch.setattr(resolve, "_look_up", lambda _: (ipv4("10.0.0.1"),))

    async def main() -> None:
        async with stage(**PUBLIC, rules=rules) as scene:
            client = await associated(scene)
            client.ask(("inner.example", 53), b"x")
            await dropped(scene, "refused target")
            await finished(scene, client)

    with caplog.at_level("INFO", "hosier"):
        run(main)
    (line,) = [line for line in caplog.messages if "datagrams refused" in line]
    assert f"datagrams refused: {why}" in line


def test_an_egress_without_a_way() -> None:
    """A family that cannot be had is no reason to end what another one carries."""

    async def main() -> None:
        async with stage() as scene:
            client = await associated(scene)
            relay = relay_of(scene)
            lane = relay.far.lane

            def no_ipv6(target: Any, vet: Any, sources: Any = None) -> Any:
                if target.kind == 4:
                    raise reply_error(ReplyCode.NETWORK_UNREACHABLE)
                return lane(target, vet, sources)

            class Way:
                def __init__(self) -> None:
                    self.lane, self.close = no_ipv6, far.close

            far = relay.far
            relay.far = Way()
            client.ask(("2001:db8::1", 53), b"x")
            await dropped(scene, "unreachable")
            await client.proof(Datagrams(scene))
            await finished(scene, client)

    run(main)


# --- who may answer ---


@pytest.mark.parametrize(
    ("filtering", "heard"),
    [
        ("endpoint-independent", [b"same", b"port", b"host"]),
        ("address", [b"same", b"port"]),
        ("address-and-port", [b"same"]),
    ],
)
def test_who_may_answer(filtering: Any, heard: list[bytes]) -> None:
    """A-15, in the terms of RFC 4787: the mapping is endpoint-independent, the filtering as chosen."""

    async def main() -> None:
        async with stage(udp=UdpSettings(filtering=filtering)) as scene:
            target, again = Datagrams(scene), Datagrams(scene)
            port = Datagrams(scene)
            host = Datagrams(scene, "127.0.0.2")
            client = await associated(scene)
            client.ask(target.place, b"hello")
            _, outer = await target.receive()
            for sender, data in ((host, b"host"), (port, b"port"), (target, b"same")):
                sender.send(data, outer)
            found = [await client.answer() for _ in heard]
            places = {b"same": target.place, b"port": port.place, b"host": host.place}
            assert sorted(found) == sorted((data, places[data]) for data in heard)
            client.ask(again.place, b"to another target")
            assert (await again.receive())[1] == outer, "mapping is endpoint-independent"
            refused_ones = 3 - len(heard)
            assert await finished(scene, client) == ({"unexpected sender": refused_ones} if refused_ones else {})

    run(main)


@pytest.mark.parametrize("rules", [(), (Rule(action="allow", networks=[ip_network("127.0.0.0/8")]),)])
def test_the_servers_own_port_is_another_ones_for_datagrams(rules: Any) -> None:
    """What listens at its number by UDP is not the server, which is no target by TCP only."""

    async def main() -> None:
        for _ in range(9):
            async with stage(**PUBLIC, allow=[ip_network("127.0.0.0/8")], rules=rules) as scene:
                try:
                    target = Datagrams(scene, "127.0.0.77", scene.place[1])
                except OSError:  # somebody else has this one
                    continue
                client = await associated(scene)
                client.ask(target.place, b"question")
                data, outer = await target.receive()
                target.send(b"answer to " + data, outer)
                assert await client.answer() == (b"answer to question", target.place)
                relay_of(scene).judge_again()
                client.ask(target.place, b"again")
                assert (await target.receive())[0] == b"again"
                assert await finished(scene, client) == {}
                return
        raise AssertionError("no port was free")

    run(main)


def test_answers_that_nobody_wants_keep_nothing_alive() -> None:
    async def main() -> None:
        async with stage(udp=UdpSettings(idle=1000)) as scene:
            target, stranger = Datagrams(scene), Datagrams(scene, "127.0.0.2")
            client = await associated(scene)
            client.ask(target.place, b"hello")
            _, outer = await target.receive()
            session = next(iter(scene.server.engine.tasks))
            session.deadline = 0.0
            stranger.send(b"are you still there?", outer)
            await dropped(scene, "unexpected sender")
            assert session.deadline == 0.0
            await finished(scene, client)

    run(main)


def test_a_socket_that_cannot_be_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the senders are looked at one by one; nothing else changes."""

    def fail(*_: Any) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(DatagramSocket, "connect", fail)

    async def main() -> None:
        async with stage() as scene:
            target = Datagrams(scene)
            client = await associated(scene)
            for data in (b"one", b"two"):
                client.ask(target.place, data)
                found, outer = await target.receive()
                assert found == data
                Datagrams(scene).send(header(*target.place) + b"another port", client.relay)
                target.send(data, outer)
                assert await client.answer() == (data, target.place)
            assert await finished(scene, client) == {"stranger": 2}

    run(main)


def test_a_target_that_is_in_use_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the way to it, nor that it may answer, however long the association lives (RFC 4787 §4.3, §5)."""

    async def main() -> None:
        async with stage() as scene:
            target, silent = Datagrams(scene), Datagrams(scene, "127.0.0.2")
            client = await associated(scene)
            relay = relay_of(scene)
            client.ask(silent.place, b"never again")
            _, outer = await silent.receive()
            for _ in range(6):
                relay._age_at = 0.0
                client.ask(target.place, b"one way")
                await target.receive()
            target.send(b"at last", outer)
            assert await client.answer() == (b"at last", target.place)
            silent.send(b"too late", outer)
            await dropped(scene, "unexpected sender")
            assert len(relay._lanes) == 1
            await finished(scene, client)

    run(main)


def test_many_targets_are_forgotten_in_time() -> None:
    async def main() -> None:
        async with stage(udp=UdpSettings(targets=100)) as scene:
            client = await associated(scene)
            target = Datagrams(scene)
            relay = relay_of(scene)
            for number in range(2000):
                client.ask(("127.1.0.1", 1 + number), b"x")
                if not number % 20:
                    await client.proof(target)
            await client.proof(target)
            assert max(len(relay._lanes), len(relay._answerers)) <= 100
            await finished(scene, client)

    run(main)


# --- fragments ---


def test_fragments_are_put_together() -> None:
    """S5-REQ-88, S5-REQ-90, S5-REQ-95."""

    async def main() -> None:
        async with stage() as scene:
            target = Datagrams(scene)
            client = await associated(scene)
            for _ in range(2):
                for number, part in ((1, b"one "), (2, b"two "), (0x83, b"three")):
                    client.ask(target.place, part, number)
                data, outer = await target.receive()
                assert data == b"one two three"
            client.ask(target.place, b"single", 0x81)
            assert (await target.receive())[0] == b"single"
            target.send(b"answer", outer)
            assert await client.answer() == (b"answer", target.place)
            assert await finished(scene, client) == {}
            assert scene.records[-1].sent == 2 * 13 + 6

    run(main)


def test_fragments_to_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "_look_up", lambda _: (ipv4("127.0.0.1"),))

    async def main() -> None:
        async with stage() as scene:
            target = Datagrams(scene)
            client = await associated(scene)
            client.ask(("target.example", target.place[1]), b"a", 1)
            client.ask(("target.example", target.place[1]), b"b", 0x82)
            assert (await target.receive())[0] == b"ab"
            await finished(scene, client)

    run(main)


def test_fragments_are_dropped_where_they_are_not_wanted() -> None:
    """S5-REQ-89, A-16: every one of them."""

    async def main() -> None:
        async with stage(udp=UdpSettings(reassemble=False)) as scene:
            target = Datagrams(scene)
            client = await associated(scene)
            for number in (1, 2, 0x83, 0x81, 0x80, 0xFF):
                client.ask(target.place, b"part", number)
            client.ask(target.place, b"whole")
            assert (await target.receive())[0] == b"whole"
            assert await finished(scene, client) == {"fragment": 6}

    run(main)


def test_an_empty_fragment_is_one() -> None:
    """S5-REQ-91: it holds no octet, and yet it is a sequence that can be ended."""

    async def main() -> None:
        async with stage() as scene:
            target = Datagrams(scene)
            client = await associated(scene)
            client.ask(target.place, b"", 1)
            client.ask(target.place, b"alone")
            client.ask(target.place, b"b", 0x82)
            assert (await target.receive())[0] == b"alone"
            await dropped(scene, "fragment", 2)
            client.ask(target.place, b"", 1)
            client.ask(target.place, b"c", 0x82)
            assert (await target.receive())[0] == b"c"
            await finished(scene, client)

    run(main)


@pytest.mark.parametrize("together", [True, False])
def test_a_datagram_that_stands_alone_ends_a_sequence(together: bool) -> None:
    """S5-REQ-91, S5-REQ-96: it is delivered; what had come of the sequence is abandoned, within a batch, too."""

    async def main() -> None:
        async with stage() as scene:
            target = Datagrams(scene)
            client = await associated(scene)
            await client.proof(target)
            relay = relay_of(scene)
            client.ask(target.place, b"a", 1)
            if not together:
                await until(lambda: relay._reassembly.held, "the fragment")
            client.ask(target.place, b"alone")
            client.ask(target.place, b"b", 0x82)
            assert (await target.receive())[0] == b"alone"
            await dropped(scene, "fragment", 2)
            client.ask(target.place, b"x", 1)
            client.ask(target.place, b"y", 0x82)
            assert (await target.receive())[0] == b"xy"
            await finished(scene, client)

    run(main)


def test_the_timer_gives_back_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """S5-REQ-91, S5-REQ-92: also if nothing more comes; and a sequence that began later keeps its time."""
    for module in (fragments, udp_relay):
        monkeypatch.setattr(module, "REASSEMBLY_SECONDS", 0.2)

    async def main() -> None:
        async with stage() as scene:
            target = Datagrams(scene)
            client = await associated(scene)
            engine = scene.server.engine
            client.ask(target.place, bytes(1000), 1)
            await until(lambda: engine.held == 1000, "the fragment")
            client.ask(target.place, bytes(500), 1)
            await until(lambda: not engine.held, "the duplicate changes nothing; the time is over")
            client.ask(target.place, b"a", 1)
            client.ask(target.place, b"b", 0x82)
            assert (await target.receive())[0] == b"ab"
            client.ask(target.place, bytes(700), 1)
            await until(lambda: engine.held == 700, "the next sequence")
            await until(lambda: not engine.held, "which ends as well")
            await finished(scene, client)

    run(main)


def test_a_flood_of_fragments_is_bounded() -> None:
    """S5-REQ-97: by the size of a datagram, and by what the engine may hold in all."""

    async def main() -> None:
        async with stage() as scene:
            target = Datagrams(scene)
            engine = scene.server.engine
            clients = [await associated(scene) for _ in range(4)]
            engine.held_limit = engine.room = 100_000
            for _ in range(20):
                for client in clients:
                    for number in range(1, 4):
                        client.ask(target.place, bytes(20_000), number)
                        assert engine.room >= 0
            for client in clients:
                await client.proof(target)
            assert engine.held == 0
            await finished(scene, *clients)

    run(main)


# --- runs ---


def scattered(seed: int, places: list[tuple[str, int]], count: int) -> list[tuple[tuple[str, int], bytes]]:
    """Datagrams in runs of every length, of one size and of several, to places in turn."""
    chance = random.Random(seed)
    found: list[tuple[tuple[str, int], bytes]] = []
    while len(found) < count:
        place, size = chance.choice(places), chance.choice((0, 1, 10, 300, 1200, 1400))
        for _ in range(chance.choice((1, 2, 5, 40))):
            short = chance.random() < 0.1
            found.append((place, chance.randbytes(chance.randrange(size) if short and size else size)))
    return found[:count]


@needs_ipv6
@pytest.mark.parametrize("seed", range(4))
def test_runs_keep_every_datagram_whole_and_in_order(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """To several targets of every kind, and back."""
    monkeypatch.setattr(resolve, "_look_up", lambda _: (ipv4("127.0.0.1"),))

    async def main() -> None:
        async with stage(udp=UdpSettings(buffer=4 << 20)) as scene:
            targets = [Datagrams(scene), Datagrams(scene, "::1"), Datagrams(scene)]
            places = [targets[0].place, targets[1].place, ("name.example", targets[2].place[1])]
            client = await associated(scene)
            for place, target in zip(places, targets, strict=True):
                client.ask(place, b"begin")
                _, _ = await target.receive()
            plan = scattered(seed, places, 600)
            for start in range(0, len(plan), 100):
                for place, data in plan[start : start + 100]:
                    client.ask(place, data)
                for place, data in plan[start : start + 100]:
                    target = targets[places.index(place)]
                    found, outer = await target.receive()
                    assert found == data
                    target.send(found, outer)
                back = [await client.answer() for _ in plan[start : start + 100]]
                for place, target in zip(places, targets, strict=True):
                    expected = [data for one, data in plan[start : start + 100] if one == place]
                    assert [data for data, sender in back if sender == target.place] == expected
            assert await finished(scene, client) == {}

    run(main)


@joins
def test_runs_that_the_kernel_has_joined() -> None:
    """A client and a target that send with segmentation offload: each datagram is judged by its own header."""

    async def main() -> None:
        async with stage() as scene:
            first, second = Datagrams(scene), Datagrams(scene)
            client = await associated(scene)
            relay = relay_of(scene)
            client.ask(first.place, b"begin")
            _, outer = await first.receive()
            to = [header(*first.place), header(*second.place)]
            for step in range(60):
                whole = [to[0] + b"%04d" % number for number in range(32)]
                mixed = [to[number % 2] + b"%04d" % number for number in range(8)] + [b"\xff" * 14, to[0] + b"x"]
                for packets in (whole, mixed):
                    client.sock.sendmsg(packets, segment_option(14), 0, client.relay)
                expected = [packet[10:] for packet in whole + mixed if packet[:10] == to[0]]
                assert [(await first.receive())[0] for _ in expected] == expected
                assert [(await second.receive())[0] for _ in range(4)] == [b"%04d" % n for n in (1, 3, 5, 7)]
                answers = [b"%05d" % (step + number) for number in range(40)] + [b"end"]
                first.sock.sendmsg(answers, segment_option(5), 0, outer)
                assert [await client.answer() for _ in answers] == [(data, first.place) for data in answers]
            assert relay._inner._joining.on
            assert await finished(scene, client) == {"malformed": 60}

    run(main)


@joins
@pytest.mark.parametrize("count", [RUN_DATAGRAMS, 54, 2])
def test_joined_runs_of_every_length(count: int) -> None:
    """With the header that each gets, a run of answers may be more than one send can carry."""

    async def main() -> None:
        async with stage() as scene:
            target = Datagrams(scene)
            client = await associated(scene)
            client.ask(target.place, b"begin")
            _, outer = await target.receive()
            size = 65_400 // count if count < RUN_DATAGRAMS else 100
            for step in range(40):
                answers = [random.Random(step * 100 + number).randbytes(size) for number in range(count)]
                target.sock.sendmsg(answers, segment_option(size), 0, outer)
                assert [await client.answer() for _ in answers] == [(data, target.place) for data in answers]
            assert await finished(scene, client) == {}

    run(main)


# --- what ICMP says ---


def test_a_closed_port_disturbs_nobody() -> None:
    async def main() -> None:
        async with stage() as scene:
            target, gone = Datagrams(scene), Datagrams(scene)
            nowhere = gone.place
            gone.sock.close()
            client = await associated(scene)
            for number in range(20):
                client.ask(nowhere, b"anybody?")
                client.ask(target.place, b"%d" % number)
                assert (await target.receive())[0] == b"%d" % number
            relay = relay_of(scene)
            await until(lambda: relay.counts().dropped.get("icmp error"), "what ICMP said")
            assert relay.counts().dropped.keys() == {"icmp error"}
            await finished(scene, client)

    run(main)


def test_a_client_that_is_gone_disturbs_nobody() -> None:
    """Its control connection counts, not its UDP socket."""

    async def main() -> None:
        async with stage() as scene:
            target = Datagrams(scene)
            client = await associated(scene)
            client.ask(target.place, b"hello")
            _, outer = await target.receive()
            client.sock.close()
            for _ in range(3):
                target.send(b"anybody?", outer)
            relay = relay_of(scene)
            await until(lambda: relay.counts().dropped.get("icmp error"), "what ICMP said")
            await finished(scene, client)

    run(main)
