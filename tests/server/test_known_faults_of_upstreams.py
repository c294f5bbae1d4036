"""Faults between a server and its upstreams, or on both sides, each kept away by a test that bears its name."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path

import pytest

from hosier.config.build import build_egress
from hosier.config.settings import ServeSettings

from .harness import NO_AUTH, SUCCESS5, Peer, Stage, Target, failure5, request4, request5, run, stage, until

OPEN_FILES = Path("/proc/self/fd")
GREETED = b"\x05\x00"
OPENINGS = (NO_AUTH + request5("127.0.0.1", 9), request5("a.example", 9), request4("127.0.0.1", 9), b"")


def spoiled(rng: random.Random, octets: bytes) -> bytes:
    """A message with some of its octets changed, cut off or multiplied, and others behind."""
    changed = bytearray(octets)
    for _ in range(rng.randrange(4)):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    kept = bytes(changed[: rng.randrange(len(changed) + 1)])
    return kept * rng.choice((1, 1, 300)) + rng.randbytes(rng.choice((0, 1, 40, 5000)))


async def through(scene: Stage, upstream: Target) -> tuple[Peer, Peer]:
    """A client that has asked for a target, and the upstream's end of what the server opened for it."""
    client = await scene.client()
    await client.greet()
    await client.send(request5("a.example", 9))
    return client, await upstream.accept()


async def ended(scene: Stage, count: int) -> None:
    await until(lambda: len(scene.records) >= count and not scene.server.sessions, "all sessions end")


def test_cve_2011_2778_whatever_a_client_sends_costs_nobody_else_anything() -> None:
    """Tor's SocksPort wrote past its buffers. Here each client gets an answer or an end, and others are served."""
    rng = random.Random(2778)

    async def main() -> None:
        async with stage() as scene:
            for count in range(1, 81):
                client = await scene.client()
                with suppress(OSError):  # it may have been sent away before all was read
                    await client.send(spoiled(rng, rng.choice(OPENINGS)))
                    client.end()
                    while await client.receive():
                        pass
                client.close()
                await ended(scene, count)
            await scene.joined()

    run(main)


def test_cve_2011_2778_whatever_an_upstream_answers_its_client_is_told_the_truth() -> None:
    """Tor as a client of a SOCKS proxy did so, too. Here what makes no sense is a failure, and success is one."""
    rng = random.Random(27782)
    answers = (GREETED + SUCCESS5 + b"\x01" + bytes(6), GREETED + failure5(1), b"\x05\xff", b"")

    async def main() -> None:
        async with stage() as outer:
            upstream = outer.target()
            settings = ServeSettings(listen=["127.0.0.1:0"], upstream=[f"socks5h://{upstream}"])
            async with stage(settings=settings, egress=build_egress(settings)) as scene:
                for count in range(1, 81):
                    client, far = await through(scene, upstream)
                    answer = spoiled(rng, rng.choice(answers))
                    await far.send(answer)
                    far.close()
                    failed = (await client.reply5())[1]
                    assert failed or answer.startswith(GREETED + SUCCESS5[:2]), answer
                    client.close()
                    await ended(scene, count)

    run(main)


@pytest.mark.skipif(not OPEN_FILES.exists(), reason="this system does not tell which files are open")
def test_3proxy_0_9_9_sockets_to_parents_are_not_leaked() -> None:
    """However it ends: the upstream refuses, goes, resets or falls silent, or the client leaves at any moment."""

    async def main() -> None:
        async with stage() as outer:
            upstream = outer.target()
            settings = ServeSettings(listen=["127.0.0.1:0"], upstream=[f"socks5h://{upstream}"])
            async with stage(settings=settings, egress=build_egress(settings)) as scene:
                before = 0
                for turn in range(12):
                    client, far = await through(scene, upstream)
                    match turn % 6:
                        case 0:
                            await far.send(b"\x05\xff")
                        case 1:
                            far.close()
                        case 2:
                            far.reset()
                        case 3:
                            await far.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                        case 4:
                            client.reset()
                        case 5:
                            await far.send(GREETED[:1])
                            client.reset()
                    if turn % 6 < 4:
                        assert (await client.reply5())[1]
                    client.close()
                    far.close()
                    await ended(scene, turn + 1)
                    if turn == 5:  # what each way needs once, it has by now
                        before = len(os.listdir(OPEN_FILES))
                assert len(os.listdir(OPEN_FILES)) == before

    run(main)
