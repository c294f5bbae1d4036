"""Faults in how others are run, limited and watched, each kept away from this one by a test that bears its name."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from typing import Any

import pytest

from hosier.config.settings import AdminSettings, ServeSettings
from hosier.errors import ConfigError
from hosier.observe.admin import AdminListener, Page, text_answer
from hosier.observe.counts import Counts, value_of
from hosier.policy.budgets import Budget
from hosier.policy.networks import parse_network
from hosier.server.settings import ListenAddress, ServerSettings

from .datagrams import Datagrams, associated
from .harness import SUCCESS5, failure5, login, request5, run, stage, until

NOT_ALLOWED = failure5(2)


# --- the admin pages ---


def test_3proxy_cve_2019_14495_admin_page_that_broken_requests_bring_down() -> None:
    """Off by default; where it is on, whatever strangers send costs nobody anything, and it goes on."""
    assert ServeSettings().admin.places == []
    pages = {"/": Page(lambda: asyncio.sleep(0, text_answer("ok")))}
    rng = random.Random(14495)

    def broken() -> bytes:
        kind = rng.randrange(4)
        if kind == 0:
            return rng.randbytes(rng.randrange(1, 20_000))
        if kind == 1:
            return b"GET /" + b"A" * rng.randrange(1, 100_000) + b" HTTP/1.1\r\n\r\n"
        if kind == 2:
            return b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * rng.randrange(1, 2000) + b"\r\n"
        return b"GET / HTTP/1.1\r\nAuthorization: Basic " + b"A" * rng.randrange(1, 5000) + b"\r\n\r\n"

    async def ask(port: int, octets: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(octets)
            writer.write_eof()
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async def main() -> None:
        async with AdminListener([("127.0.0.1", 0)], pages, "token") as listener:
            port = int(listener.addresses[0].rpartition(":")[2])
            for _ in range(200):
                answer = await ask(port, broken())
                assert not answer or answer.split()[1] in (b"400", b"401", b"404", b"431"), answer[:100]
            good = b"GET / HTTP/1.1\r\nAuthorization: Bearer token\r\n\r\n"
            assert (await ask(port, good)).endswith(b"ok\n")

    run(main)


def test_docker_dante_open_to_all_goes_for_the_admin_pages_too() -> None:
    """An image that asked nobody for anything: here, no address that others reach is without a token."""
    for place in ("*:9180", "0.0.0.0:9180", "[::]:9180", "192.0.2.1:9180"):
        with pytest.raises(ConfigError, match="would tell strangers who does what"):
            AdminSettings(place=place)
        assert AdminSettings(place=place, token="secret").places


def test_wingate_clients_that_come_from_inside_reach_no_admin_page() -> None:
    """Through the proxy they come from this machine, where no token is needed: not even if loopback is allowed."""

    class Settings(ServerSettings):
        own_places = (ListenAddress("127.0.0.1", 9180), ListenAddress("::1", 9180))

    async def main() -> None:
        settings = Settings(listen=["127.0.0.1:0"], allow=[parse_network("127.0.0.0/8")])
        async with stage(settings=settings) as scene:
            for host in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "localhost"):
                client = await scene.client()
                assert await client.connect(host, 9180) == NOT_ALLOWED, host
                client.close()

    run(main)


# --- privileges ---


@pytest.mark.skipif(os.getuid() != 0, reason="only root has privileges to give up")
def test_dante_1_4_3_setgroups_was_forgotten() -> None:
    """Supplementary groups of root's stayed: here none does, and the server would not run if one did."""
    program = (
        "import os\nfrom hosier.server.privileges import drop_privileges, identity_of\n"
        "os.setgroups([0, 4, 6, 27])\ndrop_privileges(identity_of('nobody'))\n"
        "print(set(os.getgroups()) & {0, 4, 6, 27})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# --- limits ---


def test_gost_457_a_limiter_that_breaks_sessions() -> None:
    """Through a limit all octets arrive, in order, both ways at once, up to an orderly end."""
    octets = random.Random(457).randbytes(300_000)

    async def main() -> None:
        async with stage(budgets={"fair": Budget(up="1MB", down="1MB")}) as scene:
            client, target = await scene.joined()

            async def say(peer: Any) -> None:
                await peer.send(octets)
                peer.end()

            found = await asyncio.gather(client.rest(), target.rest(), say(client), say(target))
            assert found[0] == found[1] == octets
            record = await scene.record()
            assert (record.sent, record.received) == (len(octets), len(octets))
            assert record.end in ("client closed", "target closed")

    run(main)


def test_3proxy_limits_that_datagrams_of_another_target_escape() -> None:
    """Limits were chosen for the first target of an association: here all of its datagrams draw on them."""

    async def main() -> None:
        async with stage(budgets={"slow": Budget(up="1k")}, counts=Counts()) as scene:
            client = await associated(scene)
            targets = [Datagrams(scene) for _ in range(5)]
            for target in targets:
                for _ in range(2):
                    client.ask(target.place, b"x" * 20_000)
            cells = scene.server.meter.counts.cells
            await until(lambda: value_of(cells, "datagrams_dropped", "bandwidth") == 7, "all but a burst are dropped")

    run(main)


@pytest.mark.slow
def test_hev_xray_sslocal_passwords_in_what_is_shown() -> None:
    """They print what was tried: neither metrics nor status hold a password, and no label holds a name."""
    from hosier.observe.prometheus import exposition
    from hosier.server.snapshot import snapshot

    async def main() -> None:
        async with stage(users={"ann": "open sesame"}, counts=Counts()) as scene:
            target = scene.target()
            client = await scene.client()
            await client.send(b"\x05\x01\x02" + login(b"ann", b"open sesame") + request5("127.0.0.1", target.port))
            assert (await client.exactly(14))[4:7] == SUCCESS5
            other = await scene.client()
            await other.send(b"\x05\x01\x02" + login(b"mallory", b"close sesame"))
            await until(lambda: scene.records, "it is refused")
            metrics = exposition(scene.server.meter.counts.cells, {}, "1")[1].decode()
            assert "sesame" not in metrics + str(snapshot(scene.server))
            assert "ann" not in metrics
            assert "mallory" not in metrics

    run(main)
