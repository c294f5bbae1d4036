"""Every awkward thing that a proxy may do, in every world of I/O: the right result, or a typed error in time."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

import hosier
from hosier.testing import (
    ScriptedServer,
    Step,
    receive,
    receive_credentials,
    receive_greeting,
    receive_request,
    reset,
    send,
    stall,
)

from .harness import SUCCESS, SUCCESS4, Connect, exactly, opening, opening_with_password, worlds

SHORT = 0.3
"""Seconds for what must end because of a limit."""

LONG_ENOUGH = 1.5
"""The same for what must come some steps far before it ends, though the machine has other things to do."""

REPLIES = {
    "IPv4": SUCCESS,
    "IPv6": bytes.fromhex("05000004") + bytes(15) + b"\x01\x9c\x40",
    "name": b"\x05\x00\x00\x03\x0bproxy.local\x9c\x40",
    "name of one octet": b"\x05\x00\x00\x03\x01x\x9c\x40",
    "name of 255 octets": b"\x05\x00\x00\x03\xff" + b"n" * 255 + b"\x9c\x40",
    "reserved octet": b"\x05\x00\x77" + SUCCESS[3:],
}


@worlds
@pytest.mark.parametrize("octet_by_octet", [False, True], ids=["whole", "octets"])
@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
def test_early_data_is_not_lost(connect: Connect, reply: bytes, octet_by_octet: bool) -> None:
    """What comes with the reply is still there to be read, however it is cut."""
    script = opening(send(reply + b"220 hello", octet_by_octet=octet_by_octet), stall())
    with ScriptedServer(script) as server, connect(server.url, "example.com", 80) as sock:
        assert exactly(sock, 9) == b"220 hello"


@worlds
def test_early_data_of_socks4(connect: Connect) -> None:
    script = [receive_request(), send(SUCCESS4 + b"early"), stall()]
    with ScriptedServer(script) as server, connect(server.url.replace("5h", "4a"), "example.com", 80) as sock:
        assert exactly(sock, 5) == b"early"
        assert server.received == b"\x04\x01\x00\x50\x00\x00\x00\x01\x00example.com\x00"


@worlds
def test_everything_octet_by_octet(connect: Connect) -> None:
    script = opening_with_password(b"\x01\x00", send(SUCCESS, octet_by_octet=True), stall())
    script[1] = send(b"\x05\x02", octet_by_octet=True)
    script[3] = send(b"\x01\x00", octet_by_octet=True)
    with ScriptedServer(script) as server:
        connect(hosier.Proxy(server.url, username="ann", password="x"), "example.com", 80).close()


@worlds
def test_everything_at_once(connect: Connect) -> None:
    """A proxy that does not wait for us, and a target that does not either."""
    with (
        ScriptedServer([send(b"\x05\x00" + SUCCESS + b"early"), stall()]) as server,
        connect(server.url, "example.com", 80) as sock,
    ):
        assert exactly(sock, 5) == b"early"


CODES = [
    (1, hosier.ReplyError, errno.EIO),
    (2, hosier.ReplyError, errno.EACCES),
    (3, hosier.TargetUnreachable, errno.ENETUNREACH),
    (4, hosier.TargetUnreachable, errno.EHOSTUNREACH),
    (5, ConnectionRefusedError, errno.ECONNREFUSED),
    (6, TimeoutError, errno.ETIMEDOUT),
    (7, hosier.ReplyError, errno.EOPNOTSUPP),
    (8, hosier.ReplyError, errno.EAFNOSUPPORT),
    (9, hosier.ReplyError, errno.EIO),
    (0xF0, hosier.ReplyError, errno.EIO),
    (0xFF, hosier.ReplyError, errno.EIO),
]


@worlds
@pytest.mark.parametrize("size", [2, 3, 4, 10])
@pytest.mark.parametrize(("code", "kind", "number"), CODES, ids=lambda value: str(value))
def test_refusals(connect: Connect, code: int, kind: type[OSError], number: int, size: int) -> None:
    """At once, also where the proxy sends no more than the code and then says nothing; unknown codes are kept."""
    reply = (bytes((5, code, 0, 1)) + bytes(6))[:size]
    with ScriptedServer(opening(send(reply), stall())) as server:
        with pytest.raises(kind) as caught:
            connect(server.url, "example.com", 80)
        error = caught.value
        assert isinstance(error, hosier.ReplyError)
        assert (error.code, error.errno) == (code, number)
        assert error.place == (server.url, 1, 1, "reply", "example.com:80")


@worlds
@pytest.mark.parametrize("code", [0x5B, 0x5C, 0x5D, 0x00, 0x77])
def test_refusals_of_socks4(connect: Connect, code: int) -> None:
    """S4A-REQ-01, 02, 19: the name is said by 0.0.0.1, and who refuses is not asked again with an address."""
    with ScriptedServer([receive_request(), send(bytes((0, code)) + bytes(6)), stall()]) as server:
        with pytest.raises(hosier.ReplyError) as caught:
            connect(server.url.replace("5h", "4a"), "example.com", 80)
        assert caught.value.code == (code or 0x5B)
        assert server.received == b"\x04\x01\x00\x50\x00\x00\x00\x01\x00example.com\x00"
        assert len(server.conversations) == 1


STALLS: dict[str, tuple[list[Step], str]] = {
    "at the greeting": ([stall()], "method"),
    "in the method": ([receive_greeting(), send(b"\x05"), stall()], "method"),
    "at the credentials": ([receive_greeting(), send(b"\x05\x02"), stall()], "authentication"),
    "in the status": ([receive_greeting(), send(b"\x05\x02\x01"), stall()], "authentication"),
    "at the request": (opening(stall()), "reply"),
    "in the reply": (opening(send(SUCCESS[:4]), stall()), "reply"),
    "before the last octet": (opening(send(SUCCESS[:9]), stall()), "reply"),
}


@worlds
@pytest.mark.parametrize(("script", "step"), STALLS.values(), ids=STALLS)
def test_stalls(connect: Connect, script: list[Step], step: str) -> None:
    """One limit for all steps, and the error says which one it was."""
    with ScriptedServer(script) as server:
        proxy = hosier.Proxy(server.url, username="ann", password="SeCrEt")
        with pytest.raises(TimeoutError, match="no result within") as caught:
            connect(proxy, "example.com", 80, timeout=LONG_ENOUGH)
        error = caught.value
        assert isinstance(error, hosier.ProxyTimedOut)
        assert error.errno == errno.ETIMEDOUT
        assert error.place is not None
        assert error.place.step == step


PASSWORD_WORKED = [receive_greeting(), send(b"\x05\x02"), receive_credentials(), send(b"\x01\x00"), receive_request()]

# Where a stall, and where an end, may fall in the words of other protocols, and under a password.
OTHERS: dict[str, tuple[str, list[Step], bytes]] = {
    "SOCKS4": ("socks4://", [receive_request()], SUCCESS4),
    "SOCKS4a": ("socks4a://", [receive_request()], SUCCESS4),
    "method": ("socks5h://ann:x@", [receive_greeting()], b"\x05\x02"),
    "status": ("socks5h://ann:x@", PASSWORD_WORKED[:3], b"\x01\x00"),
    "reply to a known user": ("socks5h://ann:x@", PASSWORD_WORKED, SUCCESS),
    "reply with a name": ("socks5h://", opening(), REPLIES["name"]),
    "reply with IPv6": ("socks5h://", opening(), REPLIES["IPv6"]),
    "HTTP": ("http://", [receive(40)], b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n"),
}


def within_others() -> Iterator[object]:
    for name, (scheme, script, answer) in OTHERS.items():
        for size in range(len(answer)):
            yield pytest.param(scheme, [*script, send(answer[:size])], id=f"{name}, {size} octets")


@worlds
@pytest.mark.parametrize(("scheme", "script"), list(within_others()))
def test_ends_at_each_octet(connect: Connect, scheme: str, script: list[Step]) -> None:
    """Of every protocol's answers, in one piece and octet by octet: a typed error at once."""
    with (
        ScriptedServer(script) as server,
        pytest.raises(hosier.RemoteProtocolError, match="closed the connection") as caught,
    ):
        connect(f"{scheme}127.0.0.1:{server.address[1]}", "192.0.2.1", 80)
    assert caught.value.place is not None
    assert caught.value.errno == errno.EPROTO


@worlds
@pytest.mark.parametrize("name", OTHERS)
def test_stalls_of_others(connect: Connect, name: str) -> None:
    scheme, script, answer = OTHERS[name]
    for size in (0, len(answer) - 1):
        with (
            ScriptedServer([*script, send(answer[:size]), stall()]) as server,
            pytest.raises(hosier.ProxyTimedOut) as caught,
        ):
            connect(f"{scheme}127.0.0.1:{server.address[1]}", "192.0.2.1", 80, timeout=SHORT)
        assert caught.value.place is not None


@worlds
@pytest.mark.parametrize("name", [name for name in OTHERS if name not in ("method", "status")])
def test_others_octet_by_octet(connect: Connect, name: str) -> None:
    """The good case of each, with what the target says right behind it."""
    scheme, script, answer = OTHERS[name]
    with (
        ScriptedServer([*script, send(answer + b"220 hello", octet_by_octet=True), stall()]) as server,
        connect(f"{scheme}127.0.0.1:{server.address[1]}", "192.0.2.1", 80) as sock,
    ):
        assert exactly(sock, 9) == b"220 hello"


@worlds
def test_a_stall_of_a_later_proxy(connect: Connect) -> None:
    """The one limit is for the whole chain, and the error names the hop."""
    script = opening(send(SUCCESS), receive_greeting(), send(b"\x05\x00"), receive_request(), stall())
    with ScriptedServer(script) as server:
        with pytest.raises(hosier.ProxyTimedOut) as caught:
            connect([server.url, "socks5h://two.example"], "example.com", 80, timeout=LONG_ENOUGH)
        assert caught.value.place == ("socks5h://two.example:1080", 2, 2, "reply", "example.com:80")


@worlds
def test_dribble_does_not_stretch_the_limit(connect: Connect) -> None:
    """The limit is for everything together: an octet now and then does not start it anew."""
    more = ScriptedServer(opening(*[step for i in range(9) for step in (send(SUCCESS[i : i + 1]), _pause)], stall()))
    with more as server, pytest.raises(hosier.ProxyTimedOut):
        connect(server.url, "example.com", 80, timeout=SHORT)


def _pause(conversation: object) -> None:
    """Less than the limit, but nine of them are more."""
    import threading

    threading.Event().wait(SHORT / 3)


ENDS: dict[str, list[Step]] = {
    "at once": [],
    "after the greeting": [receive_greeting()],
    "in the method": [receive_greeting(), send(b"\x05")],
    **{f"after {size} octets of the reply": opening(send(SUCCESS[:size])) for size in range(10)},
    "with a reset": [receive_greeting(), reset()],
    "with a reset in the reply": opening(send(SUCCESS[:3]), reset()),
}


@worlds
@pytest.mark.parametrize("script", ENDS.values(), ids=ENDS)
def test_proxy_that_ends(connect: Connect, script: list[Step]) -> None:
    """A-27: a failed connect, not an empty stream."""
    with ScriptedServer(script) as server:
        with pytest.raises(OSError, match=r"closed the connection|broke") as caught:
            connect(server.url, "example.com", 80)
        assert isinstance(caught.value, hosier.RemoteProtocolError | hosier.ProxyConnectionError)
        assert caught.value.errno in (errno.EPROTO, errno.ECONNRESET, errno.EPIPE)
        assert caught.value.place is not None


@worlds
@pytest.mark.parametrize("size", range(8))
def test_socks4_proxy_that_ends(connect: Connect, size: int) -> None:
    with (
        ScriptedServer([receive_request(), send(SUCCESS4[:size])]) as server,
        pytest.raises(hosier.RemoteProtocolError, match="closed the connection"),
    ):
        connect(server.url.replace("5h", "4"), "192.0.2.1", 80)


BROKEN: dict[str, tuple[list[Step], str]] = {
    "another version": ([receive_greeting(), send(b"\x04\x00"), stall()], "version 4"),
    "HTTP": ([receive_greeting(), send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), stall()], "version 72"),
    "a method that was not offered": ([receive_greeting(), send(b"\x05\x02"), stall()], "not offered"),
    "another version of the reply": (opening(send(b"\x04\x00\x00\x01"), stall()), "version 4"),
    "unknown ATYP": (opening(send(b"\x05\x00\x00\x05" + bytes(6)), stall()), "address type 0x05"),
    "a name of no octets": (opening(send(b"\x05\x00\x00\x03\x00\x00\x50" + bytes(1)), stall()), "empty"),
}


@worlds
@pytest.mark.parametrize(("script", "words"), BROKEN.values(), ids=BROKEN)
def test_broken_protocol(connect: Connect, script: list[Step], words: str) -> None:
    with ScriptedServer(script) as server:
        with pytest.raises(hosier.RemoteProtocolError, match=words) as caught:
            connect(server.url, "example.com", 80)
        assert caught.value.errno == errno.EPROTO


@worlds
@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("ann", ""),
        ("", ""),
        ("n" * 128, "x"),
        ("n" * 255, "p" * 255),
        ("\u00e4nne", "p\u00e4ssw\u00f6rd"),
        (b"\xff\x00", b"\x00\xff"),
    ],
)
def test_credentials(connect: Connect, username: str | bytes, password: str | bytes) -> None:
    """Long, empty, not ASCII: as they are."""
    with ScriptedServer(opening_with_password(b"\x01\x00", send(SUCCESS), stall())) as server:
        connect(hosier.Proxy(server.url, username=username, password=password), "example.com", 80).close()
        name, secret = (text.encode() if isinstance(text, str) else text for text in (username, password))
        message = b"\x01" + bytes((len(name),)) + name + bytes((len(secret),)) + secret
        assert server.received.startswith(b"\x05\x02\x00\x02" + message)


@worlds
@pytest.mark.parametrize(
    "script",
    [opening_with_password(b"\x01\x01"), opening_with_password(b"\x01\xff"), [receive_greeting(), send(b"\x05\xff")]],
)
def test_refused_credentials(connect: Connect, script: list[Step]) -> None:
    """UP-REQ-15."""
    with ScriptedServer([*script, stall()]) as server:
        proxy = hosier.Proxy(server.url, username="ann", password="SeCrEt")
        with pytest.raises(PermissionError) as caught:
            connect(proxy, "example.com", 80)
        assert isinstance(caught.value, hosier.AuthError)
        assert caught.value.errno == errno.EACCES
        assert "SeCrEt" not in f"{caught.value} {caught.value!r} {vars(caught.value)}"


@worlds
def test_nothing_but_no_authentication_is_offered_without_credentials(connect: Connect) -> None:
    with ScriptedServer(opening(send(SUCCESS), stall())) as server:
        connect(server.url, "example.com", 80).close()
        assert server.received.startswith(b"\x05\x01\x00\x05\x01\x00\x03\x0bexample.com\x00\x50")


@worlds
def test_long_names(connect: Connect) -> None:
    """255 octets are sent as they are; 256 are refused before anything is."""
    with ScriptedServer(opening(send(SUCCESS), stall())) as server:
        connect(server.url, "n" * 255, 80).close()
        assert server.received.endswith(b"\xff" + b"n" * 255 + b"\x00\x50")
        with pytest.raises(hosier.LocalProtocolError, match="1 to 255 octets"):
            connect(server.url, "n" * 256, 80)
        assert len(server.conversations) == 1


@worlds
def test_socks4_without_room_for_ipv6(connect: Connect) -> None:
    with ScriptedServer([stall()]) as server, pytest.raises(hosier.LocalProtocolError, match="IPv6"):
        connect(server.url.replace("5h", "4a"), "::1", 80)


@worlds
def test_nobody_listens(connect: Connect) -> None:
    """The proxy is not there: that is not the target's refusal."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(hosier.ProxyConnectionError) as caught:
        connect(f"127.0.0.1:{port}", "example.com", 80)
    assert not isinstance(caught.value, ConnectionRefusedError)
    assert caught.value.errno == errno.ECONNREFUSED
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert caught.value.place is not None
    assert caught.value.place.step == "connect"


@worlds
def test_proxy_with_no_address(connect: Connect) -> None:
    with pytest.raises(hosier.ProxyConnectionError, match=r"cannot look up the proxy name\.invalid") as caught:
        connect("name.invalid", "example.com", 80)
    assert caught.value.errno == errno.EHOSTUNREACH


@worlds
def test_no_time_at_all(connect: Connect) -> None:
    with ScriptedServer([stall()]) as server, pytest.raises(hosier.ProxyTimedOut):
        connect(server.url, "example.com", 80, timeout=0)


@worlds
def test_hops_are_named(connect: Connect) -> None:
    """Which of three proxies failed, at which step; names travel to the last one."""
    last = ScriptedServer([receive_greeting(), send(b"\x05\xff"), stall()])
    tunnel = [receive(3), send(b"\x05\x00"), receive_request(), send(SUCCESS)]
    with last, ScriptedServer([*tunnel, receive(3), send(b"\x05\x00"), receive_request(), send(b"\x05\x05")]) as first:
        with pytest.raises(hosier.TargetRefused) as caught:
            connect([first.url, "socks5h://two.example", "socks5h://three.example:1081"], "example.com", 80)
        assert caught.value.place == ("socks5h://two.example:1080", 2, 3, "reply", "example.com:80")
        assert b"\x0btwo.example\x04\x38" in first.received
        assert first.received.endswith(b"\x0dthree.example\x04\x39")
