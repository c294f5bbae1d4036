"""CONNECT: the truth about the target, told at the right moment, and the two joined."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
from contextlib import suppress
from ipaddress import ip_network
from typing import Any

import pytest

from hosier.engine import resolve
from hosier.engine.events import EPOLLHUP, EPOLLIN
from hosier.errors import PolicyDenied, ReplyCode, SocksError, reply_error
from hosier.protocol.address import IPV4, NAME, Address, parse_address
from hosier.protocol.auth.base import AuthStep, Outcome
from hosier.server.session import Session
from hosier.server.settings import Limits
from hosier.testing import ToyLayer

from ..harness import (
    FAILURE4,
    NO_AUTH,
    PATIENCE,
    PLATFORM,
    SUCCESS5,
    FakeEgress,
    Peer,
    Stage,
    Target,
    Word,
    WordMethod,
    failing,
    failure5,
    has_ipv6,
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

BIG = 4 << 20


def system_error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def answers(monkeypatch: pytest.MonkeyPatch, *found: Any) -> list[bytes]:
    """Has names looked up in ``found``, one after the other, the last one for good; returns what was asked."""
    asked: list[bytes] = []

    def look_up(name: bytes) -> Any:
        asked.append(name)
        return found[min(len(asked), len(found)) - 1]

    monkeypatch.setattr(resolve, "_look_up", look_up)
    return asked


def only_session(scene: Stage) -> Session:
    (session,) = scene.server.engine.tasks
    assert isinstance(session, Session)
    return session


# --- success ---


def test_socks4() -> None:
    """S4-REQ-22."""

    async def main() -> None:
        async with stage() as scene:
            target = scene.target()
            client = await scene.client()
            await client.send(request4(target.host, target.port))
            reply = await client.exactly(8)
            far = await target.accept()
            assert reply == b"\x00\x5a" + far.other[1].to_bytes(2, "big") + socket.inet_aton(far.other[0])
            await client.send(b"up")
            assert await far.exactly(2) == b"up"
            await far.send(b"down")
            assert await client.exactly(4) == b"down"
            client.close()
            assert await far.rest() == b""
            far.close()
            record = await scene.record()
        assert (record.version, record.method, record.command, record.reply) == (4, "", "CONNECT", 0)
        assert record.target == record.dialled == parse_address(target.host, target.port)
        assert (record.sent, record.received, record.end, record.user) == (2, 4, "client closed", None)

    run(main)


def test_socks4a(monkeypatch: pytest.MonkeyPatch) -> None:
    """S4A-REQ-08."""
    asked = answers(monkeypatch, (ipv4("127.0.0.1"),))

    async def main() -> None:
        async with stage() as scene:
            target = scene.target()
            client = await scene.client()
            await client.send(request4("Target.Example", target.port))
            assert (await client.exactly(8))[:2] == b"\x00\x5a"
            (await target.accept()).close()
            client.close()
            record = await scene.record()
        assert record.target == Address(NAME, b"Target.Example", target.port)
        assert record.dialled == parse_address("127.0.0.1", target.port)

    run(main)
    assert asked == [b"target.example"]


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_socks5_tells_where_it_comes_from(host: str) -> None:
    """A-09, S5-REQ-21, S5-REQ-53, B-06: BND is the source that the target sees."""

    async def main() -> None:
        async with stage() as scene:
            target = scene.target(host)
            client = await scene.client()
            reply = await client.connect(host, target.port)
            far = await target.accept()
            source, port = far.other
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            kind = b"\x04" if ":" in host else b"\x01"
            assert reply == SUCCESS5 + kind + socket.inet_pton(family, source) + port.to_bytes(2, "big")

    run(main)


def test_socks5_with_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers(monkeypatch, (ipv4("127.0.0.1"),))

    async def main() -> None:
        async with stage() as scene:
            target = scene.target()
            client = await scene.client()
            reply = await client.connect("target.example", target.port)
            far = await target.accept()
            assert reply == SUCCESS5 + b"\x01" + socket.inet_aton("127.0.0.1") + far.other[1].to_bytes(2, "big")
            client.close()
            far.close()
            record = await scene.record()
        assert record.target == Address(NAME, b"target.example", target.port)
        assert record.dialled == parse_address("127.0.0.1", target.port)

    run(main)
    assert asked == [b"target.example"]


@pytest.mark.parametrize("disguise", ["127.0.0.1", "::ffff:127.0.0.1", "[::ffff:127.0.0.1]"])
def test_literals_in_a_names_place_are_not_looked_up(disguise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """NG-REQ-16, S5-REQ-32, S4A-REQ-14."""
    asked = answers(monkeypatch, socket.gaierror(socket.EAI_NONAME, "no such name"))

    async def main() -> None:
        async with stage() as scene:
            target = scene.target()
            for version in (4, 5):
                client = await scene.client()
                if version == 4:
                    await client.send(request4(disguise, target.port, as_name=True))
                    assert (await client.exactly(8))[:2] == b"\x00\x5a"
                else:
                    await client.greet()
                    await client.send(request5(disguise, target.port, as_name=True))
                    assert (await client.reply5()).startswith(SUCCESS5)
                assert (await target.accept()).place == ("127.0.0.1", target.port)

    run(main)
    assert asked == []


@pytest.mark.parametrize("version", [4, 5])
def test_a_name_with_several_addresses(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A-41, S4A-REQ-10: the first does not answer; the second does."""
    answers(monkeypatch, (ipv4("127.0.0.3"), ipv4("127.0.0.2")))

    async def main() -> None:
        async with stage() as scene:
            target = scene.target("127.0.0.2")
            client = await scene.client()
            if version == 4:
                await client.send(request4("target.example", target.port))
                assert (await client.exactly(8))[:2] == b"\x00\x5a"
            else:
                assert (await client.connect("target.example", target.port)).startswith(SUCCESS5)
            client.close()
            (await target.accept()).close()
            record = await scene.record()
        assert record.dialled == parse_address("127.0.0.2", target.port)

    run(main)


# --- payload ---


def all_at_once(version: int, target: Target) -> tuple[bytes, int]:
    """All that a client says before its payload, and how many octets answer it."""
    if version == 4:
        return request4(target.host, target.port), 8
    return NO_AUTH + request5(target.host, target.port), 2 + 10


@pytest.mark.parametrize("size", [1, 4096, 300_000])
@pytest.mark.parametrize("version", [4, 5])
def test_payload_in_the_same_segment_as_the_request(version: int, size: int) -> None:
    """S4-REQ-11, B-17."""
    payload = os.urandom(size)

    async def main() -> None:
        async with stage() as scene:
            target = scene.target()
            client = await scene.client()
            handshake, size_of_answer = all_at_once(version, target)
            await client.send(handshake + payload)
            far = await target.accept()
            assert await far.exactly(size) == payload
            await client.exactly(size_of_answer)
            client.end()
            assert await far.rest() == b""
            far.close()
            assert await client.rest() == b""
            record = await scene.record()
        assert (record.sent, record.received) == (size, 0)

    run(main)


def test_payload_of_a_target_that_speaks_first() -> None:
    """B-17, the other way: nothing of it comes before the reply, nothing is lost behind it."""

    async def main() -> None:
        async with stage() as scene:
            target = scene.target()
            client = await scene.client()
            await client.send(NO_AUTH + request5(target.host, target.port))
            far = await target.accept()
            await far.send(b"220 hello\r\n")
            far.close()
            data = await client.rest()
            assert data[:5] == b"\x05\x00" + SUCCESS5
            assert data[12:] == b"220 hello\r\n"

    run(main)


def test_client_ends_and_the_target_goes_on() -> None:
    """A-40, S5-REQ-57, B-18."""
    payload = os.urandom(BIG)

    async def main() -> None:
        async with stage() as scene:
            client, far = await scene.joined()
            await client.send(b"question")
            client.end()
            assert await far.rest() == b"question"
            sending = asyncio.ensure_future(far.send(payload))
            assert await client.exactly(BIG) == payload
            await sending
            far.close()
            assert await client.rest() == b""
            record = await scene.record()
        assert (record.sent, record.received, record.end) == (8, BIG, "client closed")

    run(main)


def test_target_ends_and_the_client_goes_on() -> None:
    """A-40, S5-REQ-57, B-18."""
    payload = os.urandom(BIG)

    async def main() -> None:
        async with stage() as scene:
            client, far = await scene.joined()
            await far.send(b"banner")
            far.end()
            assert await client.rest() == b"banner"
            sending = asyncio.ensure_future(client.send(payload))
            assert await far.exactly(BIG) == payload
            await sending
            client.close()
            assert await far.rest() == b""
            record = await scene.record()
            assert scene.server.octets_relayed == BIG + 6
        assert (record.sent, record.received, record.end) == (BIG, 6, "target closed")

    run(main)


@pytest.mark.parametrize("version", [4, 5])
def test_urgent_data_is_ordinary_data(version: int) -> None:
    """A-40: from the first octet to the last, both ways."""

    async def main() -> None:
        async with stage() as scene:
            target = scene.target()
            client = await scene.client()
            handshake, size_of_answer = all_at_once(version, target)
            for octet in handshake + b"up":
                client.sock.send(bytes((octet,)), socket.MSG_OOB)
                await asyncio.sleep(0)
            far = await target.accept()
            assert await far.exactly(2) == b"up"
            for octet in b"down":
                far.sock.send(bytes((octet,)), socket.MSG_OOB)
            far.end()
            assert (await client.rest())[size_of_answer:] == b"down"
            client.sock.send(b"on", socket.MSG_OOB)
            client.end()
            assert await far.rest() == b"on"

    run(main)


@pytest.mark.parametrize("who", ["client", "target"])
def test_a_reset_is_passed_on(who: str) -> None:
    async def main() -> None:
        async with stage() as scene:
            client, far = await scene.joined()
            breaking, other = (client, far) if who == "client" else (far, client)
            breaking.reset()
            with pytest.raises(ConnectionResetError):
                await other.rest()
            record = await scene.record()
        assert record.end == f"{who} reset"

    run(main)


@pytest.mark.patient
def test_idle_limit() -> None:
    async def main() -> None:
        async with stage(limits=Limits(idle=0.2)) as scene:
            client, far = await scene.joined()
            for peer in (client, far):
                with suppress(ConnectionResetError):
                    assert await peer.rest() == b""
            record = await scene.record()
        assert (record.end, record.reply) == ("idle limit", 0)

    run(main)


# --- success never early ---


@pytest.mark.parametrize("version", [4, 5])
def test_a_client_that_does_not_wait_is_not_told_success_early(version: int) -> None:
    """S4-REQ-13, S5-REQ-56: what it sends while the target is not connected wakes nobody, and none of it is lost."""

    async def main() -> None:
        async with stage() as scene:
            gate = asyncio.get_running_loop().create_future()

            async def wait(_: Address) -> None:
                await gate

            scene.server.egress = egress = FakeEgress(scene.server, wait)
            target = scene.target()
            client = await scene.client()
            if version == 4:
                await client.send(request4(target.host, target.port))
            else:
                await client.greet()
                await client.send(request5(target.host, target.port))
            await until(lambda: egress.asked, "the request is there")
            session = only_session(scene)
            for number in range(3):
                if number == 0 or PLATFORM.engine == "epoll":  # the portable one tells once, until it is read
                    session.client.seen = 0
                await client.send(b"early ")
                if session.client.heard:  # nobody had to wait for the one message of SOCKS4
                    await until(lambda: session.client.seen & EPOLLIN, "the engine sees the edge")
            client.end()
            assert client.has_nothing()
            assert target.was_left_alone()
            gate.set_result(None)
            if version == 4:
                assert (await client.exactly(8))[:2] == b"\x00\x5a"
            else:
                assert (await client.reply5()).startswith(SUCCESS5)
            far = await target.accept()
            assert await far.rest() == b"early " * 3

    run(main)


def full_queue(scene: Stage) -> socket.socket:
    """A listener that neither accepts nor refuses whoever connects now."""
    listener = scene.own(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    for _ in range(4):
        sock = scene.own(socket.socket())
        sock.setblocking(False)
        sock.connect_ex(listener.getsockname())
    return listener


@pytest.mark.patient
def test_a_client_that_does_not_wait_while_the_kernel_connects() -> None:
    """S5-REQ-56, with a target whose queue is full, so that it neither accepts nor refuses."""

    async def main() -> None:
        async with stage(limits=Limits(connect=1000)) as scene:
            full = full_queue(scene)
            client = await scene.client()
            await client.greet()
            await client.send(request5(*full.getsockname()))
            await until(lambda: scene.server.engine.sockets == 3, "listener, client and target are watched")
            session = only_session(scene)
            session.client.seen = 0
            await client.send(b"early")
            await until(lambda: session.client.seen & EPOLLIN, "the engine sees the edge")
            assert client.has_nothing()
            client.end()
            session.on_deadline()
            assert await client.rest() == failure5(6)
            record = await scene.record()
        assert (record.reply, record.end, record.dialled) == (6, "connect failed: connect limit", None)

    run(main)


def test_a_client_that_leaves_while_the_kernel_connects() -> None:
    """Its reset ends the session and the attempt at once, long before the connect limit."""

    async def main() -> None:
        async with stage(limits=Limits(connect=10 * PATIENCE)) as scene:
            full = full_queue(scene)
            client = await scene.client()
            await client.greet()
            await client.send(request5(*full.getsockname()))
            await until(lambda: scene.server.engine.sockets == 3, "listener, client and target are watched")
            client.reset()
            record = await scene.record()
            await until(lambda: scene.server.engine.sockets == 1, "only the listener is left")
        assert (record.reply, record.end, record.dialled) == (None, "client left before the answer", None)

    run(main)


def test_a_client_that_leaves_while_the_target_is_awaited() -> None:
    """Nobody connects for it any more."""

    async def main() -> None:
        async with stage() as scene:

            async def wait(_: Address) -> None:
                await asyncio.get_running_loop().create_future()

            scene.server.egress = egress = FakeEgress(scene.server, wait)
            target = scene.target()
            client = await scene.client()
            await client.greet()
            await client.send(request5(target.host, target.port))
            await until(lambda: egress.asked, "the request is there")
            client.reset()
            record = await scene.record()
            assert target.was_left_alone()
        assert (record.reply, record.end, record.dialled) == (None, "client left before the answer", None)

    run(main)


class SlowNames:
    """Stands in for the look-up of names: answers come when the test lets them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[bytes] = []
        self._go = threading.Event()
        monkeypatch.setattr(resolve, "_look_up", self._look_up)

    def release(self) -> None:
        self._go.set()

    def _look_up(self, name: bytes) -> Any:
        self.asked.append(name)
        assert self._go.wait(PATIENCE)
        return (ipv4("127.0.0.1"),)


@pytest.mark.parametrize("pipelined", [False, True])
def test_a_client_that_leaves_while_its_target_is_looked_up(monkeypatch: pytest.MonkeyPatch, pipelined: bool) -> None:
    """It is noticed at once, and what waited for a thread is not asked any more. One that has only ended its stream
    still waits for the reply."""
    names = SlowNames(monkeypatch)
    monkeypatch.setattr(resolve, "THREADS", 1)

    async def main() -> None:
        async with stage() as scene:
            target = scene.target()

            async def client(name: str) -> Peer:
                found = await scene.client()
                if pipelined:
                    await found.send(NO_AUTH + request5(name, target.port))
                    assert await found.exactly(2) == b"\x05\x00"
                else:
                    await found.greet()
                    await found.send(request5(name, target.port))
                return found

            waiting = scene.server._resolver._waiting
            first = await client("first")
            await until(lambda: names.asked, "the first one's name is asked for")
            leaver = await client("leaver")
            patient = await client("patient")
            await until(lambda: waiting.size == 2, "two names wait")
            patient.end()
            leaver.reset()
            first.reset()
            await until(lambda: len(scene.records) == 2, "their sessions end")
            assert waiting.size == 1
            names.release()
            assert (await patient.exactly(10)).startswith(SUCCESS5)
            (await target.accept()).close()
            assert await patient.rest() == b""
            await until(lambda: not scene.server.sessions, "the last session ends")
        assert names.asked == [b"first", b"patient"]
        assert [record.end for record in scene.records[:2]] == ["client left before the answer"] * 2
        assert [record.reply for record in scene.records] == [None, None, 0]

    try:
        run(main)
    finally:
        names.release()


def test_a_client_that_has_left_before_its_target_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    names = SlowNames(monkeypatch)

    async def main() -> None:
        async with stage() as scene:
            admit = scene.server.admit

            def leaves(session: Session) -> None:
                admit(session)
                session.client.seen |= EPOLLHUP

            monkeypatch.setattr(scene.server, "admit", leaves)
            client = await scene.client()
            await client.greet()
            await client.send(request5("gone.example", 80))
            assert await client.receive() == b""
            assert (await scene.record()).end == "client left before the answer"

    run(main)
    assert not names.asked


def test_who_asks_for_many_names_waits_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user with more slow names than there may be, and another one with one."""
    names = SlowNames(monkeypatch)
    monkeypatch.setattr(resolve, "PENDING_EACH", 20)

    def believe(name: Word | None) -> AuthStep:
        assert name is not None
        return AuthStep(Word(b"ok"), Outcome(name.text.decode()))

    install(monkeypatch, WordMethod(lambda: believe))

    async def main() -> None:
        async with stage(methods=["word"]) as scene:

            async def client(user: bytes, name: str) -> Peer:
                found = await scene.client()
                await found.send(b"\x05\x01\x90")
                assert await found.exactly(2) == b"\x05\x90"
                await found.send(word(user))
                assert await found.exactly(len(word(b"ok"))) == word(b"ok")
                await found.send(request5(name, 80))
                return found

            most = resolve.THREADS_EACH + resolve.PENDING_EACH
            for number in range(most):
                await client(b"greedy", f"{number}.slow.example")
            await until(lambda: scene.server._resolver._waiting.size == resolve.PENDING_EACH, "its share is full")
            refused = await client(b"greedy", "one-more.slow.example")
            assert await refused.exactly(10) == failure5(4)
            await client(b"modest", "one.example")
            await until(lambda: b"one.example" in names.asked, "the other one's name is asked for")
            assert len(names.asked) == resolve.THREADS_EACH + 1

    try:
        run(main)
    finally:
        names.release()


# --- failures (conformance catalogue 3.5) ---

FAILURES: list[tuple[BaseException, int]] = [
    (system_error(errno.ECONNREFUSED), 5),
    (system_error(errno.ECONNRESET), 5),
    (system_error(errno.ECONNABORTED), 5),
    (system_error(errno.ENETUNREACH), 3),
    (system_error(errno.ENETDOWN), 3),
    (system_error(errno.EHOSTUNREACH), 4),
    (system_error(errno.EHOSTDOWN), 4),
    (system_error(errno.ETIMEDOUT), 6),
    (TimeoutError("too slow"), 6),
    (system_error(errno.EACCES), 2),
    (system_error(errno.EPERM), 2),
    (system_error(errno.EAFNOSUPPORT), 8),
    (system_error(errno.EMFILE), 1),
    (system_error(errno.EINVAL), 1),
    (OSError("no number"), 1),
    (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), 4),
    (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), 4),
    (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure"), 4),
    (socket.gaierror(socket.EAI_FAMILY, "ai_family not supported"), 8),
    (socket.gaierror(socket.EAI_MEMORY, "Memory allocation failure"), 1),
    *((reply_error(code), code) for code in range(1, 9)),
    (reply_error(0x5B), 1),
    (reply_error(0x5D), 2),
    (reply_error(0x77), 1),
]


@pytest.mark.parametrize(("error", "code"), FAILURES, ids=lambda value: str(value))
def test_failures(error: OSError, code: int, caplog: pytest.LogCaptureFixture) -> None:
    """A-08, A-29, A-38, A-39, S5-REQ-41, 43: table of 3.5, to both versions; the log has the code and the reason."""
    caplog.set_level("INFO", "hosier")

    async def main() -> None:
        async with stage() as scene:
            scene.server.egress = failing(scene.server, error)
            client = await scene.client()
            await client.greet()
            await client.send(request5("192.0.2.1", 80))
            client.end()
            assert await client.rest() == failure5(code)
            record = await scene.record()
            assert (record.reply, record.command, record.dialled) == (code, "CONNECT", None)
            assert record.end == f"connect failed: {error.strerror or error}"
            assert f" 192.0.2.1:80: {record.end}" in caplog.text
            scene.records.clear()

            client = await scene.client()
            await client.send(request4("192.0.2.1", 80))
            client.end()
            assert await client.rest() == FAILURE4
            record = await scene.record()
            assert (record.version, record.reply) == (4, code)

    run(main)


def test_an_egress_that_refuses_at_once() -> None:
    """An egress may raise when it is called, before there is anything to await."""

    class Stubborn:
        def connect(self, *_: object) -> Any:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

        def associate(self, *_: object, **__: object) -> Any:
            raise NotImplementedError

    async def main() -> None:
        async with stage() as scene:
            scene.server.egress = Stubborn()  # type: ignore[assignment]  # it has no other verb
            client = await scene.client()
            assert await client.connect("192.0.2.1", 80) == failure5(5)

    run(main)


def test_denied_in_the_words_of_the_rule(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "hosier")

    async def main() -> None:
        async with stage() as scene:
            denied: SocksError = PolicyDenied("not today", advice="come back", code=ReplyCode.HOST_UNREACHABLE)
            scene.server.egress = failing(scene.server, denied)
            client = await scene.client()
            assert await client.connect("192.0.2.1", 80) == failure5(4)
            client.close()
            record = await scene.record()
        assert (record.end, record.reply) == ("refused: not today", 4)

    run(main)
    assert " 192.0.2.1:80: not today; come back" in caplog.text


def test_a_port_that_refuses() -> None:
    """B-05."""

    async def main() -> None:
        async with stage() as scene:
            with socket.socket() as sock:
                sock.bind(("127.0.0.1", 0))  # bound, so nobody else takes it; not listening
                client = await scene.client()
                assert await client.connect(*sock.getsockname()) == failure5(5)
                client.close()
            record = await scene.record()
        assert record.end == "connect failed: Connection refused"

    run(main)


@pytest.mark.parametrize("version", [4, 5])
def test_a_name_that_does_not_resolve(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """B-05, S4A-REQ-09."""
    answers(monkeypatch, socket.gaierror(socket.EAI_NONAME, "Name or service not known"))

    async def main() -> None:
        async with stage() as scene:
            client = await scene.client()
            if version == 4:
                await client.send(request4("nowhere.invalid", 80))
                assert await client.rest() == FAILURE4
            else:
                assert await client.connect("nowhere.invalid", 80) == failure5(4)
            client.close()
            record = await scene.record()
        assert record.end == "connect failed: Name or service not known"

    run(main)


def test_a_silent_host() -> None:
    """B-05: the connect limit, look-up and connect together."""

    async def main() -> None:
        async with stage(limits=Limits(connect=0.2)) as scene:

            async def wait(_: Address) -> None:
                await asyncio.get_running_loop().create_future()

            scene.server.egress = FakeEgress(scene.server, wait)
            client = await scene.client()
            assert await client.connect("192.0.2.1", 80) == failure5(6)
            client.close()
            record = await scene.record()
        assert record.end == "connect failed: connect limit"

    run(main)


@pytest.mark.parametrize("version", [4, 5])
def test_after_a_failure_it_closes_though_the_client_keeps_sending(version: int) -> None:
    """S5-REQ-49, B-02, B-04: the reply arrives whole, also if the client reads it late."""

    async def main() -> None:
        async with stage(limits=Limits(linger=2)) as scene:
            scene.server.egress = failing(scene.server, system_error(errno.ECONNREFUSED))
            client = await scene.client()
            if version == 5:
                await client.greet()
            await client.send((request5 if version == 5 else request4)("192.0.2.1", 80) + bytes(1 << 20))
            assert await client.rest() == (failure5(5) if version == 5 else FAILURE4)
            with pytest.raises(OSError):  # noqa: PT012  # some send after the close finds out
                while True:
                    await client.send(bytes(1 << 16))
                    await asyncio.sleep(0)
            record = await scene.record()
        assert record.reply == 5

    run(main)


def test_after_a_failure_it_closes_though_the_client_only_waits() -> None:
    """S5-REQ-49, B-02: the server's end comes with the reply, and the session does not outlive the linger limit."""

    async def main() -> None:
        async with stage(limits=Limits(linger=0.2)) as scene:
            scene.server.egress = failing(scene.server, system_error(errno.ENETUNREACH))
            client = await scene.client()
            await client.greet()
            await client.send(request5("192.0.2.1", 80))
            assert await client.rest() == failure5(3)
            record = await scene.record()  # the client keeps its side open
        assert record.end == "connect failed: Network is unreachable"

    run(main)


# --- rules (B-27, B-28) ---

PUBLIC: dict[str, Any] = {"listen": ["0.0.0.0:0"], "open": True}

WAYS_TO_LOOPBACK = [
    ("127.0.0.1", False),
    ("127.0.0.1", True),
    ("::ffff:127.0.0.1", False),
    ("::ffff:127.0.0.1", True),
    ("[::ffff:7f00:1]", True),
    ("::127.0.0.1", False),
    ("64:ff9b::7f00:1", False),
    ("2002:7f00:1::", False),
    ("::1", False),
    ("::1", True),
    ("0.0.0.0", False),
    ("0.0.0.0", True),
    ("::", False),
    ("[::]", True),
    ("::ffff:0.0.0.0", False),
    ("localhost", True),
    ("LocalHost.", True),
    ("127.1", True),
    ("2130706433", True),
    ("0x7f.0.0.1", True),
]


@pytest.mark.parametrize(("host", "as_name"), WAYS_TO_LOOPBACK, ids=str)
def test_no_way_round_to_loopback(host: str, as_name: bool, caplog: pytest.LogCaptureFixture) -> None:
    """B-27: mapped addresses, literal names and the unspecified address."""
    caplog.set_level("INFO", "hosier")

    async def main() -> None:
        async with stage(**PUBLIC) as scene:
            target = scene.target()
            client = await scene.client()
            await client.greet()
            await client.send(request5(host, target.port, as_name=as_name))
            assert await client.reply5() == failure5(2)
            client.close()
            record = await scene.record()
            assert target.was_left_alone()
        assert record.end.startswith("refused: ")
        assert record.dialled is None

    run(main)
    assert record_of_refusal(caplog)


def record_of_refusal(caplog: pytest.LogCaptureFixture) -> str:
    """The one line that the operator saw."""
    (line,) = [record.getMessage() for record in caplog.records if record.name == "hosier"]
    return line


def test_refusal_comes_with_advice(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "hosier")
    places: list[str] = []

    async def main() -> None:
        async with stage(**PUBLIC) as scene:
            client = await scene.client()
            places.append(f"127.0.0.1:{client.place[1]}")
            assert await client.connect("127.0.0.1", 80) == failure5(2)

    run(main)
    assert record_of_refusal(caplog) == (
        f"{places[0]} 127.0.0.1:80: 127.0.0.1 is in 127.0.0.0/8 (loopback); allow it with --allow 127.0.0.0/8"
    )


def test_socks4_is_refused_by_the_same_rules() -> None:
    async def main() -> None:
        async with stage(**PUBLIC) as scene:
            target = scene.target()
            for as_name in (False, True):
                client = await scene.client()
                await client.send(request4("127.0.0.1", target.port, as_name=as_name))
                assert await client.exactly(8) == FAILURE4
                assert await client.rest() == b""
            assert target.was_left_alone()

    run(main)


def test_the_server_itself_is_no_target() -> None:
    """S5-REQ-39, B-27: not even with its network allowed, and not under another of the machine's addresses."""

    async def main() -> None:
        async with stage(**PUBLIC, allow=[ip_network("127.0.0.0/8"), ip_network("::/0")]) as scene:
            port = scene.place[1]
            for host in ("127.0.0.1", "127.0.0.2", "::ffff:127.0.0.1", "127.1", "0.0.0.0", "localhost"):
                client = await scene.client()
                await client.greet()
                await client.send(request5(host, port))
                reply = await client.reply5()
                # A name may have an IPv6 address besides, where this server does not listen.
                assert reply in ((failure5(2), failure5(5)) if host == "localhost" else (failure5(2),)), host
            target = scene.target()
            client = await scene.client()
            assert (await client.connect(target.host, target.port)).startswith(SUCCESS5)

    run(main)


def test_a_server_on_loopback_is_no_target_of_itself() -> None:
    async def main() -> None:
        async with stage() as scene:
            client = await scene.client()
            assert await client.connect(*scene.place) == failure5(2)
            client.close()
            record = await scene.record()
        assert record.end == f"refused: 127.0.0.1:{record.target.port if record.target else 0} is this server itself"

    run(main)


def test_port_0_is_no_target() -> None:
    """A-23."""

    async def main() -> None:
        async with stage() as scene:
            client = await scene.client()
            assert await client.connect("127.0.0.1", 0) == failure5(2)

    run(main)


def test_nowhere_is_no_target_for_socks4() -> None:
    """S4-REQ-24."""

    async def main() -> None:
        async with stage() as scene:
            target = scene.target()
            for host, port in (("0.0.0.0", target.port), (target.host, 0)):
                client = await scene.client()
                await client.send(request4(host, port))
                assert await client.rest() == FAILURE4
                client.close()
            assert target.was_left_alone()

    run(main)


def test_deny_goes_before_allow() -> None:
    async def main() -> None:
        networks = [ip_network("127.0.0.2/32")]
        async with stage(deny=networks, allow=networks) as scene:
            target = scene.target("127.0.0.2")
            client = await scene.client()
            assert await client.connect(target.host, target.port) == failure5(2)
            assert target.was_left_alone()

    run(main)


def test_a_name_that_changes_its_mind(monkeypatch: pytest.MonkeyPatch) -> None:
    """B-28: the address that was judged is the one that is dialled; no second look-up comes between."""
    good, bad = (ipv4("127.0.0.2"),), (ipv4("127.0.0.1"),)
    asked = answers(monkeypatch, good, bad)

    async def main() -> None:
        async with stage(**PUBLIC, allow=[ip_network("127.0.0.2/32")]) as scene:
            secret = scene.target("127.0.0.1")
            target = scene.target("127.0.0.2", secret.port)
            client = await scene.client()
            assert (await client.connect("rebind.example", target.port)).startswith(SUCCESS5)
            await target.accept()
            assert asked == [b"rebind.example"]

            scene.server._resolver._cache.clear()  # as after its time
            client = await scene.client()
            assert await client.connect("rebind.example", target.port) == failure5(2)
            assert len(asked) == 2
            assert secret.was_left_alone()

    run(main)


def test_of_several_addresses_only_the_allowed_are_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    """B-28."""
    answers(monkeypatch, (ipv4("127.0.0.1"), (4, bytes(10) + b"\xff\xff\x7f\0\0\x01"), ipv4("127.0.0.2")))

    async def main() -> None:
        async with stage(**PUBLIC, allow=[ip_network("127.0.0.2/32")]) as scene:
            secret = scene.target("127.0.0.1")
            target = scene.target("127.0.0.2", secret.port)
            client = await scene.client()
            assert (await client.connect("mixed.example", target.port)).startswith(SUCCESS5)
            client.close()
            (await target.accept()).close()
            record = await scene.record()
            assert secret.was_left_alone()
        assert record.dialled == Address(IPV4, socket.inet_aton("127.0.0.2"), target.port)

    run(main)


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
def test_clients_come_over_ipv6() -> None:
    async def main() -> None:
        async with stage(listen=["[::1]:0"]) as scene:
            client, far = await scene.joined()
            await client.send(b"six")
            assert await far.exactly(3) == b"six"
            client.close()
            far.close()
            record = await scene.record()
        assert record.client[0] == "::1"

    run(main)


# --- under a security layer ---


async def layered(scene: Stage) -> tuple[Peer, Peer]:
    """A client under a layer, and its target; both replies were wrapped."""
    layer = ToyLayer()
    target = scene.target()
    client = await scene.client()
    await client.send(b"\x05\x01\x90")
    assert await client.exactly(2) == b"\x05\x90"
    await client.send(word(b"x"))
    assert await client.exactly(3) == word(b"ok")
    await client.send(layer.wrap(request5(target.host, target.port)))
    found = layer.unwrap(await client.exactly(len(layer.wrap(failure5(1)))))
    assert found is not None
    assert found[0].startswith(SUCCESS5)
    return client, await target.accept()


def install_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, WordMethod(lambda: lambda _: AuthStep(Word(b"ok"), Outcome("ann", ToyLayer()))))


def test_a_layer_protects_all_that_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """S5-REQ-27, S5-REQ-42, 51: the reply and the payload of both directions; the record counts payload."""
    install_layer(monkeypatch)

    async def main() -> None:
        async with stage(methods=["word"]) as scene:
            client, far = await layered(scene)
            layer = ToyLayer()
            await client.send(layer.wrap(b"question") + layer.wrap(b"!"))
            assert await far.exactly(9) == b"question!"
            await far.send(b"answer")
            assert await client.exactly(len(layer.wrap(b"answer"))) == layer.wrap(b"answer")
            client.close()
            far.close()
            record = await scene.record()
            assert scene.server.octets_relayed == 15
        assert (record.user, record.sent, record.received) == ("ann", 9, 6)

    run(main)


def test_a_broken_frame_ends_the_session(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    install_layer(monkeypatch)
    caplog.set_level("INFO", "hosier")

    async def main() -> None:
        async with stage(methods=["word"]) as scene:
            client, far = await layered(scene)
            await client.send(b"\x01\x03\x00\x01x")
            for peer in (client, far):
                with suppress(ConnectionResetError):
                    assert await peer.rest() == b""
            record = await scene.record()
        assert record.end == "security layer: token is not wrapped"
        assert record_of_refusal(caplog).endswith(f" {record.target}: {record.end}")

    run(main)
