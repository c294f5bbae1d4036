"""TLS to proxies, and within TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

import hosier
from hosier.testing import ScriptedServer, Step, receive, reset, send, stall
from hosier.testing.threaded import ThreadedServer

from ..harness import PATIENCE, SUCCESS, greeted, opening, run
from ..tls import Certificate, door

Start = Callable[..., ThreadedServer]
Place = tuple[str, int]
Run = Callable[[Coroutine[Any, Any, None]], None]

loops = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


def secured(place: Place, certificate: Certificate) -> hosier.Proxy:
    return hosier.Proxy(f"socks5h://localhost:{place[1]}", ssl_context=certificate.client)


@loops
def test_tls_to_the_proxy(run: Run, hosier_server: Start, greeter: Place, certificate: Certificate) -> None:
    with door(certificate, hosier_server().address) as place:
        proxy = secured(place, certificate)
        run(greeted(greeter, proxy=proxy))
        run(greeted(greeter, proxy=[hosier_server().url, proxy]))
        run(greeted(greeter, proxy=[proxy, hosier_server().url]))


@loops
def test_tls_in_tls_in_tls(run: Run, hosier_server: Start, greeter: Place, certificate: Certificate) -> None:
    with (
        door(certificate, hosier_server().address) as first,
        door(certificate, hosier_server().address) as second,
        door(certificate, greeter) as (_, port),
    ):
        chain = [secured(first, certificate), secured(second, certificate)]
        run(greeted(("localhost", port), proxy=chain, ssl=certificate.client))


def test_certificate_of_the_proxy_is_checked(hosier_server: Start, greeter: Place, certificate: Certificate) -> None:
    with door(certificate, hosier_server().address) as (_, port):
        with pytest.raises(hosier.ProxyConnectionError, match="no TLS with the proxy") as caught:
            run(greeted(greeter, proxy=f"socks5h+tls://localhost:{port}"))
        assert isinstance(caught.value.__cause__, ssl.SSLError)
    with ScriptedServer([stall()]) as server, pytest.raises(hosier.ProxyTimedOut) as late:
        run(hosier.aio.open_connection("example.com", 80, proxy=f"socks5h+tls://{server.url[10:]}", timeout=0.2))
    assert late.value.place is not None
    assert late.value.place.step == "TLS"


@loops
def test_early_data_behind_tls(run: Run, certificate: Certificate) -> None:
    async def main() -> None:
        reader, writer = await hosier.aio.open_connection("example.com", 80, proxy=proxy, timeout=PATIENCE)
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b"early"
        writer.close()

    with ScriptedServer(opening(send(SUCCESS + b"early"))) as server, door(certificate, server.address) as place:
        proxy = secured(place, certificate)
        run(main())


ENDS: dict[str, list[Step]] = {
    "closed": [],
    "closed in the reply": opening(send(SUCCESS[:5])),
    "reset": [receive(3), reset()],
    "refused": opening(send(b"\x05\x05\x00"), stall()),
    "broken": [receive(3), send(b"\x04\x00"), stall()],
}


@pytest.mark.parametrize("script", ENDS.values(), ids=ENDS)
def test_failures_behind_tls(script: list[Step], certificate: Certificate) -> None:
    """Typed, with their place."""
    with ScriptedServer(script) as server, door(certificate, server.address) as place:
        proxy = secured(place, certificate)
        with pytest.raises(hosier.SocksError) as caught:
            run(hosier.aio.open_connection("example.com", 80, proxy=proxy, timeout=PATIENCE))
        assert isinstance(caught.value, OSError)
        assert caught.value.errno
        assert caught.value.place is not None
