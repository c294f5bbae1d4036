"""Connections through proxies over the engine, and what a server with upstreams makes of them."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest

from hosier.client.egress import Upstreams
from hosier.client.proxy import Proxy, chain_of
from hosier.engine.endpoint import Endpoint
from hosier.engine.task import Task
from hosier.errors import (
    AuthError,
    PolicyDenied,
    ProxyConnectionError,
    ProxyTimedOut,
    RemoteProtocolError,
    ReplyError,
    TargetRefused,
)
from hosier.protocol.address import IPV4, IPV6, Address, parse_address
from hosier.testing import ScriptedServer, Step, ThreadedServer, receive, receive_request, reset, send, stall

from ...engine.harness import Lab, Run, exactly
from ...server import harness as servers
from ..harness import SUCCESS, SUCCESS4, opening, opening_with_password
from .harness import Names, Vet, connected

LOOPBACK = (IPV4, bytes((127, 0, 0, 1)))
SOMEWHERE = parse_address("192.0.2.7", 80)
NAMED = parse_address("target.example", 80)


async def said(task: Task, endpoint: Endpoint) -> tuple[Address, bytes]:
    """Where it is bound, and what it began with."""
    assert endpoint.owner is task
    return endpoint.bound, endpoint.tunnel.said if endpoint.tunnel else b""


def through(run: Run, script: list[Step], target: Address = NAMED, scheme: str = "socks5h", **more: Any) -> Any:
    """What a scripted proxy leads to: where the way is bound, what it began with, and what was dialled."""
    found: list[Any] = []

    async def main(lab: Lab) -> None:
        with ScriptedServer(script) as proxy:
            url = proxy.url.replace("socks5h", scheme)
            try:
                found.append(await connected(lab, url, target, said, **more))
            finally:
                found.append(proxy.received if proxy.conversations else b"")

    run(main)
    return found[0]


# --- what is told and what is judged ---


def test_name_is_passed_on(run: Run) -> None:
    """S4A-REQ-11, NG-REQ-26."""

    async def main(lab: Lab) -> None:
        names, vet = Names(lab.loop), Vet("192.0.2.9")
        with ScriptedServer(opening(send(SUCCESS))) as proxy:
            found = await connected(lab, proxy.url, NAMED, said, vet=vet, names=names)
            assert proxy.received.endswith(b"\x03\x0etarget.example\x00\x50")
        assert found == ((parse_address("192.0.2.9", 40000), b""), None)
        assert (names.asked, vet.seen) == ([], ["target.example:80"])

    run(main)


def test_address_is_judged(run: Run) -> None:
    vet = Vet()
    assert through(run, opening(send(SUCCESS)), SOMEWHERE, vet=vet) == (
        (parse_address("192.0.2.9", 40000), b""),
        SOMEWHERE,
    )
    assert vet.seen == ["192.0.2.7:80"]


def test_refused_address_is_never_told(run: Run) -> None:
    async def main(lab: Lab) -> None:
        with ScriptedServer([stall()]) as proxy:
            with pytest.raises(PolicyDenied):
                await connected(lab, proxy.url, SOMEWHERE, said, vet=Vet("192.0.2.7"))
            assert proxy.conversations == []

    run(main)


@pytest.mark.parametrize(("scheme", "reply"), [("socks5", SUCCESS), ("socks4", SUCCESS4)])
def test_name_is_looked_up_and_judged_where_the_scheme_says_so(run: Run, scheme: str, reply: bytes) -> None:
    script = opening(send(reply)) if scheme == "socks5" else [receive_request(), send(reply)]

    async def main(lab: Lab) -> None:
        names = Names(lab.loop, **{"target.example": (IPV4, bytes((192, 0, 2, 7)))})
        with ScriptedServer(script) as proxy:
            vet = Vet()
            url = proxy.url.replace("socks5h", scheme)
            assert (await connected(lab, url, NAMED, said, vet=vet, names=names))[1] == SOMEWHERE
            assert b"target" not in proxy.received
            assert vet.seen == ["192.0.2.7:80"]
            with pytest.raises(PolicyDenied):
                await connected(lab, url, NAMED, said, vet=Vet("192.0.2.7"), names=names)

    run(main)


def test_socks4_has_no_ipv6(run: Run) -> None:
    async def main(lab: Lab) -> None:
        names = Names(lab.loop, **{"target.example": (IPV6, bytes(15) + b"\x07")})
        for scheme, target in (
            ("socks4", NAMED),
            ("socks4", parse_address("2001:db8::7", 80)),
            ("socks4a", parse_address("2001:db8::7", 80)),
        ):
            with pytest.raises(OSError) as caught:
                await connected(lab, f"{scheme}://127.0.0.1:9", target, said, names=names)
            assert caught.value.errno == errno.EAFNOSUPPORT

    run(main)


# --- the conversation ---


def test_octets_behind_the_reply_are_kept(run: Run) -> None:
    (_, early), _ = through(run, opening(send(SUCCESS + b"220 hello\r\n"), stall()))
    assert early == b"220 hello\r\n"
    ipv6 = b"\x05\x00\x00\x04" + bytes(15) + b"\x07\x00\x50"
    (bound, early), _ = through(run, opening(send(ipv6 + b"220 hello\r\n"), stall()))
    assert (bound, early) == (parse_address("::7", 80), b"220 hello\r\n")


def test_bound_name_is_told_as_zeros(run: Run) -> None:
    (bound, _), _ = through(run, opening(send(b"\x05\x00\x00\x03\x04some\x00\x50")))
    assert bound == Address(IPV4, bytes(4), 0)


def test_password(run: Run) -> None:
    """NG-REQ-27."""
    script = opening_with_password(b"\x01\x00", send(SUCCESS + b"x"))

    async def main(lab: Lab) -> None:
        with ScriptedServer(script) as proxy:
            chain = Proxy(proxy.url, username="ann", password="open sesame")
            (_, early), _ = await connected(lab, chain, NAMED, said)
            assert early == b"x"
            assert b"\x01\x03ann\x0bopen sesame" in proxy.received

    run(main)


def test_http(run: Run) -> None:
    answer = send(b"HTTP/1.1 200 OK\r\n\r\nhello")

    async def main(lab: Lab) -> None:
        with ScriptedServer([receive(10), answer, stall()]) as proxy:

            async def hears(task: Task, endpoint: Endpoint) -> bytes:
                return await endpoint.recv(5)

            assert (await connected(lab, proxy.url.replace("socks5h", "http"), NAMED, hears))[0] == b"hello"

    run(main)


def test_unix_socket(run: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("u") / "proxy"

    async def main(lab: Lab) -> None:
        with ScriptedServer(opening(send(SUCCESS))) as proxy, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            listener.setblocking(False)

            async def pipe() -> None:
                near, _ = await lab.loop.sock_accept(listener)
                with near, socket.create_connection(proxy.address) as far:
                    far.setblocking(False)
                    for size in (3, 21):
                        await lab.loop.sock_sendall(far, await exactly(near, size))
                        await lab.loop.sock_sendall(near, await lab.loop.sock_recv(far, 99))

            piping = asyncio.create_task(pipe())
            assert (await connected(lab, f"socks5h://localhost{path}", NAMED, said))[1] is None
            await piping
        path.unlink()
        with pytest.raises(ProxyConnectionError):
            await connected(lab, f"socks5h://localhost{path}", NAMED, said)

    run(main)


def test_source_address(run: Run) -> None:
    async def main(lab: Lab) -> None:
        with ScriptedServer(opening(send(SUCCESS))) as proxy:
            for source in ("127.0.0.9", ("127.0.0.9", 0)):
                chain = Proxy(proxy.url, source_address=source)

                async def comes_from(task: Task, endpoint: Endpoint) -> object:
                    return endpoint.sock.getsockname()[0]

                assert (await connected(lab, chain, NAMED, comes_from))[0] == "127.0.0.9"

    run(main)


# --- chains ---


def test_chain_speaks_to_each_proxy_through_those_before(run: Run) -> None:
    """NG-REQ-24."""

    async def main(lab: Lab) -> None:
        with (
            ThreadedServer(users={"ann": "one"}) as first,
            ThreadedServer() as second,
            ThreadedServer(users={"bob": "two"}) as third,
            ScriptedServer([send(b"220 hello\r\n"), receive(3), send(b"bye")]) as target,
        ):
            chain = [
                first.url.replace("//", "//ann:one@"),
                second.url.replace("socks5h", "socks4a"),
                third.url.replace("//", "//bob:two@").replace("socks5h", "socks5"),
            ]

            async def talks(task: Task, endpoint: Endpoint) -> bytes:
                heard = endpoint.tunnel.said if endpoint.tunnel else b""
                while len(heard) < 11:
                    heard += await endpoint.recv(99)
                await endpoint.send_all(b"abc")
                return heard + await endpoint.recv(3)

            names = Names(lab.loop, localhost=LOOPBACK)
            found = await connected(lab, chain, parse_address("localhost", target.address[1]), talks, names=names)
            assert found[0] == b"220 hello\r\nbye"
            assert names.asked == ["localhost"]  # for the last one, which does not look names up

    run(main)


def test_next_proxy_is_looked_up_for_one_that_does_not(run: Run) -> None:
    async def main(lab: Lab) -> None:
        with ThreadedServer() as second, ScriptedServer([stall()]) as target, ThreadedServer() as first:
            names = Names(lab.loop, second=LOOPBACK)
            chain = [first.url.replace("socks5h", "socks4"), f"socks5h://second:{second.address[1]}"]
            await connected(lab, chain, parse_address(*target.address), said, names=names)
            assert names.asked == ["second"]
            names.hosts["second"] = (IPV6, bytes(16))
            with pytest.raises(OSError, match=r"looked up here .*hop 1 of 2"):
                await connected(lab, chain, parse_address(*target.address), said, names=names)

    run(main)


def test_octets_of_the_wrong_proxy_do_not_pass_for_the_next_one(run: Run) -> None:
    async def main(lab: Lab) -> None:
        script = opening(send(SUCCESS + b"\x05\x05"), stall())
        with ScriptedServer(script) as proxy, pytest.raises(RemoteProtocolError, match="hop 2 of 2"):
            await connected(lab, [proxy.url, "socks5h://second"], NAMED, said)

    run(main)


# --- failures: told with their place, and nothing stays open ---


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (opening(send(b"\x05\x05\x00\x01" + bytes(6))), TargetRefused),
        (opening(send(b"\x05\x02\x00")), ReplyError),
        ([receive(3), send(b"\x05\xff")], AuthError),
        ([receive(3), send(b"HTTP/1.1 400")], RemoteProtocolError),
        ([receive(3), reset()], ProxyConnectionError),
        ([receive(3)], RemoteProtocolError),
        (opening(), RemoteProtocolError),
    ],
)
def test_failures(run: Run, script: list[Step], kind: type[OSError]) -> None:
    with pytest.raises(kind) as caught:
        through(run, script)
    assert "socks5h://127.0.0.1" in str(caught.value)


def test_proxy_that_is_not_there(run: Run) -> None:
    async def main(lab: Lab) -> None:
        with pytest.raises(ProxyConnectionError, match="look up"):
            await connected(lab, "socks5h://nowhere.example", NAMED, said)
        with pytest.raises(ProxyConnectionError, match="onion"):
            await connected(lab, "socks5h://proxy.onion", NAMED, said)
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            port = closed.getsockname()[1]
            with pytest.raises(ProxyConnectionError, match="refused"):
                await connected(lab, f"socks5h://127.0.0.1:{port}", NAMED, said)
            chain = Proxy(f"socks5h://second:{port}", source_address="127.0.0.9")
            names = Names(lab.loop, second=LOOPBACK)
            with pytest.raises(ProxyConnectionError, match="refused"):
                await connected(lab, chain, NAMED, said, names=names)

    run(main)


def test_limits(run: Run) -> None:
    """A proxy that says nothing is at fault itself; one that was asked waits for its target."""
    with pytest.raises(ProxyTimedOut):
        through(run, [stall()], limit=0.05)
    with pytest.raises(TimeoutError) as caught:
        through(run, opening(stall()), limit=1)
    assert not isinstance(caught.value, ProxyTimedOut)


# --- a server with upstreams ---


Script = Callable[[], list[Step]]


@pytest.mark.parametrize(
    ("script", "code"),
    [
        *((opening(send(bytes((5, code, 0, 1)) + bytes(6))), code) for code in range(1, 9)),
        (opening(send(bytes((5, 99, 0, 1)) + bytes(6))), 1),
        ([receive(3), send(b"\x05\xff")], 1),
        ([receive(3), reset()], 1),
    ],
)
def test_server_passes_the_reply_on(script: list[Step], code: int) -> None:
    """Catalogue 3.5: the upstream's own number, or 1 for what says nothing about the target."""

    async def main() -> None:
        with ScriptedServer(script) as upstream:
            async with servers.stage(egress=Upstreams(chain_of(upstream.url))) as scene:
                client = await scene.client()
                assert await client.connect("target.example", 80) == servers.failure5(code)
                client.close()
                record = await scene.record()
                assert (record.reply, record.dialled) == (code, None)
                assert record.end.startswith("connect failed: ")

    servers.run(main)


LOOPBACK_IN_DISGUISE = (
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "127.0.0.1.",
    "127.0.0.1 x",
    "::1%lo",
)


@pytest.mark.parametrize("host", ["127.0.0.1", *LOOPBACK_IN_DISGUISE])
def test_server_refuses_an_address_in_whatever_text(host: str) -> None:
    """S5-REQ-32, B-27: nobody here looks the name up, and who does would take it for the address that is denied."""

    async def main() -> None:
        with ScriptedServer([stall()]) as upstream:
            deny = [ip_network("127.0.0.0/8"), ip_network("::1")]
            async with servers.stage(egress=Upstreams(chain_of(upstream.url)), deny=deny) as scene:
                client = await scene.client()
                await client.greet()
                await client.send(servers.request5(host, 80, as_name=True))
                assert await client.reply5() == servers.failure5(2)
                client.close()
                assert (await scene.record()).end.startswith("refused: ")
            assert not upstream.conversations

    servers.run(main)


@pytest.mark.parametrize("version", [4, 5])
def test_server_passes_on_what_it_has_judged(version: int) -> None:
    """The address, not the text that stood for it."""

    async def main() -> None:
        with ScriptedServer(opening(send(SUCCESS))) as upstream:
            async with servers.stage(egress=Upstreams(chain_of(upstream.url))) as scene:
                client = await scene.client()
                if version == 5:
                    await client.greet()
                    await client.send(servers.request5("0xc0.02.519", 80, as_name=True))
                    assert await client.reply5() == SUCCESS
                else:
                    await client.send(servers.request4("0xc0.02.519", 80, as_name=True))
                    assert (await client.exactly(8))[:2] == b"\x00\x5a"
                client.close()
                record = await scene.record()
                assert (str(record.target), str(record.dialled)) == ("0xc0.02.519:80", "192.2.2.7:80")
            assert upstream.received.endswith(b"\x05\x01\x00\x01\xc0\x02\x02\x07\x00\x50")

    servers.run(main)


def test_server_relays_both_ways_and_tells_the_upstreams_address() -> None:
    async def main() -> None:
        with ThreadedServer(users={"ann": "one"}) as upstream:
            chain = chain_of(upstream.url.replace("//", "//ann:one@"))
            async with servers.stage(egress=Upstreams(chain)) as scene:
                target = scene.target()
                client = await scene.client()
                await client.greet()
                await client.send(servers.request5("localhost", target.port) + b"early")
                reply = await client.reply5()
                far = await target.accept()
                host, port = far.other
                assert reply == b"\x05\x00\x00\x01" + socket.inet_aton(host) + port.to_bytes(2, "big")
                assert await far.exactly(5) == b"early"
                await far.send(b"x" * 100_000)
                far.end()
                assert await client.rest() == b"x" * 100_000
                client.close()
                assert await far.rest() == b""
                record = await scene.record()
                assert (record.sent, record.received) == (5, 100_000)

    servers.run(main)


def test_server_hands_on_what_came_with_the_reply() -> None:
    async def main() -> None:
        with ScriptedServer(opening(send(SUCCESS + b"220 hello\r\n"), receive(4), send(b"bye"))) as upstream:
            async with servers.stage(egress=Upstreams(chain_of(upstream.url))) as scene:
                client = await scene.client()
                assert await client.connect("target.example", 80) == SUCCESS
                assert await client.exactly(11) == b"220 hello\r\n"
                await client.send(b"quit")
                assert await client.rest() == b"bye"
                client.close()
                assert (await scene.record()).received == 14

    servers.run(main)
