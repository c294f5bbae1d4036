"""Kerberos contexts of both roles, with a real key distribution centre."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hosier.auth.kerberos import KerberosAcceptor, KerberosInitiator, KerberosMethod, place_of_tickets
from hosier.errors import ConfigError, RemoteProtocolError
from hosier.protocol.auth.base import AuthStep, Outcome
from hosier.protocol.auth.gssapi import GssapiMessage, MessageType
from hosier.protocol.auth.gssapi_layer import GssapiLayer, Level

from ..kerberos_realm import Realm

needs_realm = pytest.mark.real


@pytest.fixture
def home(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> Realm:
    """This process takes part in the realm, as ann and as the service."""
    for name, value in realm.environment.items():
        monkeypatch.setenv(name, value)
    return realm


def acceptor(**options: Any) -> KerberosAcceptor:
    options.setdefault("identify", lambda principal: principal)
    return KerberosAcceptor(**options)


def initiator(host: str = "localhost", **options: Any) -> KerberosInitiator:
    return KerberosInitiator(host, **options)


Change = Callable[[GssapiMessage], GssapiMessage]


def negotiate(
    client: KerberosInitiator, server: KerberosAcceptor, change: Change = lambda message: message
) -> tuple[Outcome, Outcome]:
    """What a client and a server come to; ``change`` may spoil what the client sends."""

    async def talk() -> tuple[Outcome, Outcome]:
        client_side = KerberosMethod(initiator=client).client_exchange()
        server_side = KerberosMethod(server).server_exchange()
        step = client_side.step(None)
        while True:
            if step.outcome is not None:
                return step.outcome, step.outcome
            answer = server_side.step(change(step.body))
            ours = answer if isinstance(answer, AuthStep) else await answer
            if ours.body is None:
                assert ours.outcome is not None
                return ours.outcome, ours.outcome
            step = client_side.step(ours.body)
            if ours.outcome is not None:
                assert step.outcome is not None
                return step.outcome, ours.outcome

    return asyncio.run(talk())


def layers(client: KerberosInitiator, server: KerberosAcceptor) -> tuple[GssapiLayer, GssapiLayer]:
    near, far = negotiate(client, server)
    assert isinstance(near.layer, GssapiLayer), near.reason
    assert isinstance(far.layer, GssapiLayer), far.reason
    return near.layer, far.layer


def refused(*arguments: Any) -> str:
    outcome, _ = negotiate(*arguments)
    assert outcome.identity is None
    return outcome.reason


# --- both together ---


@needs_realm
@pytest.mark.parametrize("level", [1, 2, 3])
def test_levels(home: Realm, level: int) -> None:
    chosen = Level(level)
    client = initiator(wish=chosen, accepted=(chosen,))
    near, far = negotiate(client, acceptor(levels=(chosen,)))
    assert (near.identity, far.identity) == ("ann@HOSIER.TEST", "ann@HOSIER.TEST")
    assert isinstance(near.layer, GssapiLayer)
    assert isinstance(far.layer, GssapiLayer)
    secret = b"nobody else shall read this"
    for size in (0, 1, len(secret), near.layer.max_payload):
        data = (secret * 4000)[:size]
        wire = near.layer.wrap(data)
        assert far.layer.unwrap(wire + b"more") == (data, len(wire))
        assert near.layer.unwrap(far.layer.wrap(data)) == (data, len(wire))
    assert (secret in near.layer.wrap(secret)) == (chosen is Level.INTEGRITY)
    assert len(near.layer.wrap(bytes(near.layer.max_payload))) == 65535


@needs_realm
def test_level_0(home: Realm) -> None:
    client = initiator(wish=Level.CLEAR, accepted=(Level.CLEAR,))
    assert negotiate(client, acceptor(levels=(Level.CLEAR,)))[1] == Outcome("ann@HOSIER.TEST")
    assert "level 0" in refused(client, acceptor())


@needs_realm
@pytest.mark.parametrize("service", ["socks", "socks@localhost", "socks/localhost", "socks/localhost@HOSIER.TEST"])
def test_service_of_the_server(home: Realm, service: str) -> None:
    layers(initiator(), acceptor(service=service))


@needs_realm
@pytest.mark.parametrize(
    ("client", "server"),
    [("rcmd", "rcmd"), ("rcmd/localhost", "rcmd@localhost"), ("rcmd/localhost@HOSIER.TEST", "rcmd")],
)
def test_other_services(home: Realm, client: str, server: str) -> None:
    layers(initiator(service=client), acceptor(service=server))


@needs_realm
@pytest.mark.parametrize(
    ("service", "host", "name"),
    [
        ("socks", "LocalHost", b"socks@localhost"),
        ("rcmd", "localhost", b"rcmd@localhost"),
        ("socks/localhost@HOSIER.TEST", "elsewhere", b"socks/localhost@HOSIER.TEST"),
    ],
)
def test_names(home: Realm, service: str, host: str, name: bytes) -> None:
    """GS-REQ-03: a name of a service at a host, in lower case; with a slash a principal, of no type. Both become the
    principal of GS-REQ-02."""
    from gssapi import raw

    target = initiator(host, service=service)._target
    found = raw.display_name(target, name_type=True)
    assert (found.name, found.name_type) == (name, None if b"/" in name else raw.NameType.hostbased_service)
    principal = raw.display_name(raw.canonicalize_name(target, raw.MechType.kerberos)).name
    assert principal == service.encode().partition(b"/")[0] + b"/localhost@HOSIER.TEST"


@needs_realm
def test_default_credentials(home: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    """GS-REQ-01: those of whoever the environment says is logged in."""
    home.add("bob")
    monkeypatch.setenv("KRB5CCNAME", home.tickets("bob")["KRB5CCNAME"])
    assert negotiate(initiator(), acceptor())[1].identity == "bob@HOSIER.TEST"


@needs_realm
@pytest.mark.parametrize(("level", "overhead"), [(Level.INTEGRITY, 28), (Level.CONFIDENTIALITY, 60)])
def test_overhead(home: Realm, level: Level, overhead: int) -> None:
    """GS-REQ-46, with AES: what the pages say a datagram holds depends on it."""
    near, _ = stream(home, level)
    for size in (0, 1, 15, 16, 1000, near.max_payload):
        assert len(near.wrap(bytes(size))) == 4 + overhead + size
    assert near.max_datagram == 65_507 - 4 - overhead


@needs_realm
def test_keytab(home: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRB5_KTNAME", "FILE:/nonexistent")
    with pytest.raises(ConfigError, match=r"no key for 'socks' in KRB5_KTNAME.*ktadd -k FILE socks/HOST"):
        acceptor()
    layers(initiator(), acceptor(keytab=home.folder / "service.keytab"))


@needs_realm
@pytest.mark.parametrize(
    ("service", "keytab", "complaint"),
    [
        ("socks", "krb5.conf", "format"),
        ("socks@elsewhere", "service.keytab", "socks/elsewhere"),
        ("imap", "service.keytab", "No key table entry found"),
        ("socks", "no.such.file", "not found"),
    ],
)
def test_no_such_key(home: Realm, service: str, keytab: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        acceptor(service=service, keytab=home.folder / keytab)
    assert "\n" not in str(caught.value)


@needs_realm
def test_identity_is_the_rules(home: Realm) -> None:
    def identify(principal: str) -> str:
        assert principal == "ann@HOSIER.TEST"
        return "ann"

    assert negotiate(initiator(), acceptor(identify=identify))[1].identity == "ann"


# --- refusals, with what an operator needs to know ---


@needs_realm
def test_wrong_service(home: Realm) -> None:
    reason = refused(initiator(service="rcmd"), acceptor())
    assert "rcmd/localhost@HOSIER.TEST" in reason
    assert "socks/" in reason


@needs_realm
def test_wrong_key(home: Realm) -> None:
    """The service has got a new key since the keytab was written."""
    home.add("socks/rekeyed")
    keytab = home.keytab("old.keytab", "socks/rekeyed")
    home.run("kadmin.local", "-q", "cpw -randkey socks/rekeyed")
    reason = refused(initiator(service="socks/rekeyed"), acceptor(keytab=keytab))
    assert "socks/rekeyed" in reason
    assert "keytab" in reason


@needs_realm
def test_ticket_for_another_host(home: Realm) -> None:
    home.add("socks/elsewhere")
    reason = refused(initiator(service="socks/elsewhere"), acceptor())
    assert "socks/elsewhere@HOSIER.TEST" in reason


@needs_realm
def test_unknown_service(home: Realm) -> None:
    """Before an octet is sent."""
    step = initiator("nosuchhost").exchange().step(None)
    assert step.outcome is not None
    assert "socks/nosuchhost@HOSIER.TEST not found in Kerberos database" in step.outcome.reason


@needs_realm
def test_no_ticket(home: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRB5CCNAME", "FILE:/nonexistent")
    step = initiator().exchange().step(None)
    assert step.outcome is not None
    assert "No Kerberos credentials available" in step.outcome.reason


@needs_realm
@pytest.mark.parametrize("octets", [b"", b"garbage", b"\x60" + b"\xff" * 70, bytes(65535)])
def test_garbage(home: Realm, octets: bytes) -> None:
    reason = refused(initiator(), acceptor(), lambda message: message._replace(token=octets))
    assert reason.startswith("GSSAPI: ")


@needs_realm
def test_what_the_library_says_little_about(home: Realm) -> None:
    """Its words for both are that no credentials were supplied, as if there were something wrong with the keytab."""
    from gssapi import raw

    name = raw.import_name(b"socks@localhost", raw.NameType.hostbased_service)
    spnego = raw.init_sec_context(name, mech=raw.OID.from_int_seq("1.3.6.1.5.5.2")).token
    assert spnego is not None
    for token, words in (
        (b"", "GSSAPI: an empty token"),
        (spnego, "GSSAPI: a token of SPNEGO, which is not spoken here, only Kerberos"),
    ):
        assert refused(initiator(), acceptor(), lambda message, token=token: message._replace(token=token)) == words


@needs_realm
@pytest.mark.parametrize("place", [10, 400, -1])
def test_forged_token(home: Realm, place: int) -> None:
    """A failed step has a token of its own, which nobody gets (GS-REQ-20)."""

    def change(message: GssapiMessage) -> GssapiMessage:
        spoiled = bytearray(message.token)
        spoiled[place] ^= 1
        return message._replace(token=bytes(spoiled))

    assert refused(initiator(), acceptor(), change).startswith("GSSAPI: ")


@needs_realm
def test_the_same_token_twice(home: Realm) -> None:
    server = acceptor()
    seen: list[GssapiMessage] = []

    def keep(message: GssapiMessage) -> GssapiMessage:
        seen.append(message)
        return message

    negotiate(initiator(), server, keep)
    assert "replay" in refused(initiator(), server, lambda _: seen[0])


@needs_realm
def test_forged_level(home: Realm) -> None:
    def change(message: GssapiMessage) -> GssapiMessage:
        if message.type != MessageType.LEVEL:
            return message
        return message._replace(token=message.token[:-1] + bytes((message.token[-1] ^ 1,)))

    assert refused(initiator(), acceptor(), change).startswith("GSSAPI: ")


# --- the layer ---


def stream(home: Realm, level: Level = Level.CONFIDENTIALITY) -> tuple[GssapiLayer, GssapiLayer]:
    return layers(initiator(wish=level, accepted=(level,)), acceptor(levels=(level,)))


@needs_realm
@pytest.mark.parametrize("level", [Level.INTEGRITY, Level.CONFIDENTIALITY])
def test_a_flipped_bit(home: Realm, level: Level) -> None:
    """B-21."""
    near, far = stream(home, level)
    size = len(near.wrap(b"payload"))
    for place in range(4, size, 5):
        near, far = stream(home, level)
        wire = bytearray(near.wrap(b"payload"))
        wire[place] ^= 0x10
        with pytest.raises(RemoteProtocolError, match=r"^GSSAPI: "):
            far.unwrap(wire)


@needs_realm
def test_a_stream_takes_each_frame_once_and_in_order(home: Realm) -> None:
    """Dante looks at errors only, and delivers both."""
    near, far = stream(home)
    one, two = near.wrap(b"one"), near.wrap(b"two")
    with pytest.raises(RemoteProtocolError, match="expected per-message token was not received"):
        far.unwrap(two)
    near, far = stream(home)
    one = near.wrap(b"one")
    assert far.unwrap(one) == (b"one", len(one))
    with pytest.raises(RemoteProtocolError, match="duplicate"):
        far.unwrap(one)


@needs_realm
def test_a_signed_frame_at_level_2(home: Realm) -> None:
    """Dante takes it."""
    near, far = stream(home)
    token = near._context.wrap(b"payload", False)
    with pytest.raises(RemoteProtocolError, match="not confidential"):
        far.unwrap(b"\x01\x03" + len(token).to_bytes(2, "big") + token)


@needs_realm
def test_a_peers_own_frame_does_not_pass_for_the_others(home: Realm) -> None:
    near, _ = stream(home)
    with pytest.raises(RemoteProtocolError):
        near.unwrap(near.wrap(b"reflected"))


@needs_realm
@pytest.mark.parametrize("level", [Level.INTEGRITY, Level.CONFIDENTIALITY])
def test_datagrams(home: Realm, level: Level) -> None:
    """B-23: what comes out of order is taken, what comes twice or is spoiled is dropped (GS-REQ-11, GS-REQ-41)."""
    near, far = layers(initiator(wish=level, accepted=(level,), datagrams=True), acceptor(levels=(level,)))
    datagrams = [near.wrap_datagram(b"datagram %d" % number) for number in range(5)]
    for number in (3, 0, 1, 4):
        assert far.unwrap_datagram(datagrams[number]) == b"datagram %d" % number
    for number in (0, 3, 4):
        with pytest.raises(RemoteProtocolError, match="duplicate"):
            far.unwrap_datagram(datagrams[number])
    spoiled = datagrams[2][:-1] + bytes((datagrams[2][-1] ^ 1,))
    with pytest.raises(RemoteProtocolError):
        far.unwrap_datagram(spoiled)
    assert far.unwrap_datagram(datagrams[2]) == b"datagram 2"
    largest = bytes(near.max_datagram)
    assert len(near.wrap_datagram(largest)) <= 65507
    assert far.unwrap_datagram(near.wrap_datagram(largest)) == largest


@needs_realm
@pytest.mark.parametrize("level", [Level.INTEGRITY, Level.CONFIDENTIALITY])
def test_datagrams_of_a_client_that_wants_order(home: Realm, level: Level) -> None:
    """Which it must not (GS-REQ-11). Kerberos finds gaps and disorder, python-gssapi keeps what was in such a message
    to itself: what comes late is lost, and the one behind a gap; the association goes on (GS-REQ-41)."""
    near, far = layers(initiator(wish=level, accepted=(level,)), acceptor(levels=(level,)))
    datagrams = [near.wrap_datagram(b"datagram %d" % number) for number in range(6)]
    assert far.unwrap_datagram(datagrams[0]) == b"datagram 0"
    for number, why in ((2, "expected per-message token was not received"), (1, "already been processed"), (0, "dupl")):
        with pytest.raises(RemoteProtocolError, match=why):
            far.unwrap_datagram(datagrams[number])
    for number in (3, 4, 5):
        assert far.unwrap_datagram(datagrams[number]) == b"datagram %d" % number


def resident() -> int:
    """Octets of this process's that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@needs_realm
@pytest.mark.parametrize("level", [Level.INTEGRITY, Level.CONFIDENTIALITY])
@pytest.mark.parametrize("in_order", [True, False])
def test_what_is_refused_takes_no_memory(home: Realm, level: Level, in_order: bool) -> None:
    """python-gssapi 1.12 keeps what was in a message that came twice, too late or behind a gap, for ever; a genuine one
    can be sent again as often as anybody likes."""
    client = initiator(wish=level, accepted=(level,), datagrams=not in_order)
    near, far = layers(client, acceptor(levels=(level,)))
    size = 60_000
    first, late = (near.wrap_datagram(bytes(size)) for _ in range(2))
    spoiled = near.wrap_datagram(bytes(size))
    spoiled = spoiled[:-1] + bytes((spoiled[-1] ^ 1,))
    for _ in range(100):  # more than the library remembers
        near.wrap_datagram(b"")
    newest = near.wrap_datagram(bytes(size))
    assert far.unwrap_datagram(first) == bytes(size)
    with suppress(RemoteProtocolError):  # it is behind a gap
        far.unwrap_datagram(newest)

    def refuse(times: int) -> None:
        for datagram in (first, late, spoiled, newest) * times:
            with pytest.raises(RemoteProtocolError):
                far.unwrap_datagram(datagram)

    refuse(10)
    before = resident()
    refuse(250)
    assert resident() - before < 200 * size


@needs_realm
@pytest.mark.parametrize("size", [1, 1000])
def test_the_first_message_is_taken_as_due_if_it_is_short(
    home: Realm, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """It is the level, in every session; nothing worth a mention can be forgotten in it."""
    with_care, raw = list[object](), pytest.importorskip("gssapi.raw")
    careful = raw.unwrap_iov

    def unwrap_iov(*arguments: Any) -> Any:
        with_care.append(arguments)
        return careful(*arguments)

    monkeypatch.setattr(raw, "unwrap_iov", unwrap_iov)
    client = initiator().exchange()

    def change(message: GssapiMessage) -> GssapiMessage:
        if message.type != MessageType.LEVEL or size == 1:
            return message
        return GssapiMessage(MessageType.LEVEL, client._context.wrap(bytes(size), False))

    monkeypatch.setattr(KerberosInitiator, "exchange", lambda _: client)
    near, _ = negotiate(initiator(), acceptor(), change)
    if size == 1:
        assert near.identity == "ann@HOSIER.TEST"
        assert not with_care  # neither by the server nor by the client, to whom the answer is the first one
    else:
        assert "expected per-message token" in near.reason  # the one that was replaced was the first
        assert len(with_care) == 1


@needs_realm
@pytest.mark.parametrize("library", ["without", "with another"])
def test_libraries_that_open_no_pieces(home: Realm, library: str) -> None:
    """Messages out of turn are opened as ever."""
    near, far = layers(initiator(datagrams=True), acceptor())
    context: Any = far._context
    genuine = context._gss

    class Heimdal:
        GSSError = genuine.GSSError
        unwrap = staticmethod(genuine.unwrap)

    if library != "without":
        Heimdal.IOV, Heimdal.IOVBufferType = genuine.IOV, genuine.IOVBufferType  # type: ignore[attr-defined]

        def unwrap_iov(*_: object) -> None:
            raise genuine.GSSError(13 << 16, 22)

        Heimdal.unwrap_iov = staticmethod(unwrap_iov)  # type: ignore[attr-defined]
    context._gss = Heimdal
    datagrams = [near.wrap_datagram(b"datagram %d" % number) for number in range(3)]
    for number in (2, 0, 1):
        assert far.unwrap_datagram(datagrams[number]) == b"datagram %d" % number
    with pytest.raises(RemoteProtocolError, match="duplicate"):
        far.unwrap_datagram(datagrams[1])


@needs_realm
def test_the_token_is_spoiled_in_nobodys_hands(home: Realm) -> None:
    """The library turns the octets of a sealed token in place; the same buffer must still be what the peer sent."""
    near, far = stream(home)
    wire = near.wrap(b"payload")
    kept = bytes(bytearray(wire))
    far.unwrap(wire)
    assert wire == kept


# --- what a context may not do ---


@needs_realm
def test_flags(home: Realm) -> None:
    """GS-REQ-09, GS-REQ-10, GS-REQ-11."""
    from gssapi.raw import RequirementFlag as Flag

    always = {Flag.mutual_authentication, Flag.replay_detection, Flag.integrity, Flag.confidentiality}
    assert set(initiator()._flags) == always | {Flag.out_of_sequence_detection}
    assert set(initiator(datagrams=True)._flags) == always
    assert set(initiator(datagrams=True, delegate=True)._flags) == always | {Flag.delegate_to_peer}


@needs_realm
def test_a_mechanism_that_does_not_seal(home: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    near, _ = stream(home)
    context: Any = near._context

    class Lax:
        GSSError = context._gss.GSSError

        @staticmethod
        def wrap(*_: object) -> tuple[bytes, bool]:
            return b"plain", False

    context._gss = Lax
    with pytest.raises(RemoteProtocolError, match="did not seal"):
        near.wrap(b"payload")


@needs_realm
def test_a_context_that_has_ended(home: Realm) -> None:
    """An error of ours, not the library's."""
    context: Any = initiator().exchange()._context
    context._raw = context._gss.SecurityContext()
    with pytest.raises(RemoteProtocolError, match=r"^GSSAPI: "):
        context.wrap(b"too early", True)


@needs_realm
def test_a_mechanism_with_another_round(home: Realm) -> None:
    """As SPNEGO may need one; Kerberos does not, so its library is played here."""
    exchange: Any = acceptor().exchange()
    context: Any = exchange._negotiation._context

    class Found:
        context = object()
        token = b"and then?"
        more_steps = True

    class Patient:
        GSSError = context._gss.GSSError

        @staticmethod
        def accept_sec_context(*_: object) -> Found:
            return Found()

    context._gss = Patient
    assert context.step(b"hello") == b"and then?"
    assert not context.complete
    assert context._raw is Found.context


@needs_realm
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_is_no_name(home: Realm, host: str) -> None:
    """GS-REQ-04."""
    with pytest.raises(ConfigError, match=f"not its address {host}"):
        initiator(host)
    assert initiator(host, service="socks/localhost")


@needs_realm
def test_host_in_capitals(home: Realm) -> None:
    layers(initiator("LocalHost"), acceptor())


@needs_realm
def test_place_of_tickets(home: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says, or else what the configuration does."""
    assert place_of_tickets() == home.environment["KRB5CCNAME"]
    monkeypatch.delenv("KRB5CCNAME")
    assert place_of_tickets().endswith(f"krb5cc_{os.getuid()}")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gssapi", None)
    for make in (acceptor, initiator):
        with pytest.raises(ConfigError, match=r"pip install 'hosier\[gssapi\]'.*libkrb5-dev") as caught:
            make()
        assert "\n" not in str(caught.value)
