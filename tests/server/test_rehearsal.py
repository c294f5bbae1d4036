"""What is explained is what happens: each question is asked of the explanation and, by a session, of the server."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, replace
from datetime import date
from ipaddress import ip_address, ip_network
from pathlib import Path
from time import time
from typing import Any

import pytest

from hosier.config.build import build_egress
from hosier.config.explain import Explanation, Question
from hosier.config.settings import ServeSettings
from hosier.policy.accounts import Account
from hosier.policy.budgets import Budget
from hosier.policy.periods import start_of
from hosier.policy.rules import Rule
from hosier.protocol.address import parse_address
from hosier.protocol.udp import encode_header
from hosier.server.ledger import Entry, Ledger
from hosier.server.settings import BindSettings, ListenAddress, ServerSettings, UdpSettings
from hosier.server.udp_relay import UdpRelay

from .harness import Peer, Stage, has_ipv6, login, request4, request5, run, stage, until

HERE = [ip_network("127.0.0.0/8")]
ELSEWHERE = [ip_network("10.0.0.0/8")]
NO_HERE = Rule(action="deny", networks=HERE)
ONLY_HERE = Rule(action="allow", networks=HERE)
ALL, NONE = Rule(action="allow"), Rule(action="deny")
NAMES = {b"one.test": ("127.0.0.1",), b"six.test": ("::1",), b"both.test": ("::1", "127.0.0.1")}
COMMANDS = {"connect": 1, "bind": 2, "associate": 3}
PAST = date(2020, 1, 1)
USERS: dict[str, Any] = {"users": {"ann": "x", "bob": "y"}}
ANYONE: dict[str, Any] = {"bind": BindSettings(anyone=True)}
SPENT: dict[str, Any] = {**USERS, "budgets": {"month": Budget(octets="1000")}, "usage_file": "usage.db"}
OVER: dict[str, Any] = {"budgets": {"old": Budget(expires=PAST)}}
OLD = Rule(action="allow", budgets=["old"])


def rules(*given: Rule) -> dict[str, Any]:
    return {"rules": given}


@dataclass(frozen=True)
class Case:
    """A server and a question, with what comes out. ``port``: None: where something listens;
    -1: where the server does."""

    settings: dict[str, Any]
    outcome: str
    to: str = "127.0.0.1"
    port: int | None = None
    command: str = "connect"
    version: int = 5
    user: str | None = None
    client: str = "127.0.0.1"
    upstream: str = ""


CASES = [
    Case({}, "granted"),
    Case({}, "granted", "one.test"),
    Case({}, "granted", "one.test."),
    Case({}, "granted", "six.test"),
    Case({}, "granted", "both.test"),
    Case({}, "granted", version=4),
    Case({}, "granted", "one.test", version=4),
    Case({}, "granted", "six.test", version=4),
    Case({}, "reply 2", port=0),
    Case({}, "reply 2", "224.0.0.1"),
    Case({}, "reply 2", port=-1),
    Case({"deny": HERE}, "reply 2", "both.test", version=5, port=0),
    Case({"deny": HERE}, "reply 91", "one.test", version=4),
    Case(rules(NO_HERE), "reply 2"),
    Case(rules(NO_HERE), "reply 2", "one.test"),
    Case(rules(NO_HERE), "granted", "both.test"),
    Case(rules(Rule(action="deny", reply="host-unreachable")), "reply 4"),
    Case(rules(Rule(action="deny", reply="host-unreachable")), "reply 91", version=4),
    Case(rules(Rule(action="deny", names=["x.test"]), ALL), "reply 2", "a\\b"),
    Case(rules(Rule(action="allow", egress=[ip_address("::1")])), "reply 3"),
    Case(rules(Rule(action="deny", listeners=["[::1]:0"]), ALL), "reply 2", client="::1"),
    Case(rules(Rule(action="deny", listeners=["[::1]:0"]), ALL), "granted"),
    Case(rules(Rule(action="deny", clients=[ip_network("::1/128")]), ALL), "reply 2", client="::1"),
    # what others look up
    Case(rules(NO_HERE), "granted", "one.test", upstream="socks5h"),
    Case(rules(ONLY_HERE, NONE), "reply 2", "one.test", upstream="socks5h"),
    Case(rules(ONLY_HERE, NONE), "granted", "one.test", upstream="socks5"),
    Case(rules(NO_HERE), "reply 2", "one.test", upstream="socks5"),
    Case(rules(NO_HERE), "reply 2", upstream="socks5h"),
    Case({}, "granted", "one.test", upstream="socks4a"),
    # who it is
    Case(USERS, "granted", user="ann"),
    Case(USERS, "the login fails", user="eve"),
    Case(USERS, "no acceptable method, X'FF'"),
    Case(USERS, "reply 91", version=4),
    Case({**USERS, "socks4_userid": True}, "granted", version=4, user="ann"),
    Case({**USERS, "socks4_userid": True}, "reply 91", version=4, user="eve"),
    Case({**USERS, "socks4_userid": True}, "reply 91", version=4),
    Case({"ident": True, "ident_port": 1, "methods": ["none"]}, "reply 92", version=4),
    Case({**USERS, "accounts": {"ann": Account(expires=PAST)}}, "reply 2", user="ann"),
    Case({**USERS, "accounts": {"ann": Account(clients=ELSEWHERE)}}, "reply 2", user="ann"),
    # what is left
    Case(OVER, "reply 2"),
    Case(OVER, "reply 91", version=4),
    Case({**OVER, **rules(OLD)}, "reply 2"),
    Case({**OVER, **rules(Rule(action="allow", networks=ELSEWHERE, budgets=["old"]), ALL)}, "granted"),
    Case(SPENT, "reply 2", user="ann"),
    Case(SPENT, "granted", user="bob"),
    # BIND
    Case({}, "granted", command="bind"),
    Case({}, "granted", "one.test", command="bind", version=4),
    Case({}, "reply 91", "six.test", command="bind", version=4),
    Case({}, "granted", "both.test", command="bind", version=4),
    Case({}, "reply 2", "0.0.0.0", 0, command="bind"),
    Case(ANYONE, "granted", "0.0.0.0", 0, command="bind"),
    Case({**ANYONE, **rules(NO_HERE)}, "granted", "0.0.0.0", 0, command="bind"),
    Case({**ANYONE, **rules(NONE)}, "reply 2", "0.0.0.0", 0, command="bind"),
    Case({**ANYONE, **rules(NONE)}, "reply 91", "0.0.0.0", 0, command="bind", version=4),
    Case({"bind": BindSettings(enabled=False)}, "reply 2", command="bind"),
    Case(rules(Rule(action="deny", commands=["bind"]), ALL), "reply 2", command="bind"),
    Case(rules(Rule(action="allow", networks=ELSEWHERE), NONE), "reply 2", command="bind"),
    Case({**OVER, **rules(OLD)}, "reply 2", command="bind"),
    Case({}, "granted", "one.test", command="bind", upstream="socks5h"),
    Case({}, "reply 91", "one.test", command="bind", upstream="socks5h", version=4),
    # UDP ASSOCIATE
    Case({}, "granted", command="associate"),
    Case({}, "granted", "one.test", command="associate"),
    Case({}, "reply 91", command="associate", version=4),
    Case({"udp": UdpSettings(enabled=False)}, "reply 2", command="associate"),
    Case(rules(Rule(action="deny", commands=["associate"]), ALL), "reply 2", command="associate"),
    Case(rules(NO_HERE), "the datagram is dropped", command="associate"),
    Case(rules(NO_HERE), "the datagram is dropped", "one.test", command="associate"),
    Case(rules(ONLY_HERE, NONE), "granted", "one.test", command="associate"),
    Case({**OVER, **rules(OLD)}, "reply 2", command="associate"),
    Case(
        {**OVER, **rules(Rule(action="allow", networks=ELSEWHERE), OLD)},
        "the datagram is dropped",
        command="associate",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.command}-{case.version}-{case.to}-{case.outcome}")
def test_the_explanation_is_what_happens(case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    needs = (case.to, case.client, *map(str, case.settings.get("rules", ())))
    if any("::1" in text or "six.test" in text or "both.test" in text for text in needs) and not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    resolve = socket.getaddrinfo

    def found(host: Any, *rest: Any, **more: Any) -> Any:
        known = NAMES.get(host) if isinstance(host, bytes) else None
        if known is None:
            return resolve(host, *rest, **more)
        return [answer for address in known for answer in resolve(address, 0, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", found)

    async def main() -> None:
        async with stage() as upstream:
            host, port = upstream.place
            chain = [f"{case.upstream}://{host}:{port}"] if case.upstream else []
            settings = ServeSettings(
                listen=["127.0.0.1:0", *(["[::1]:0"] if has_ipv6() else [])], upstream=chain, **placed(case, tmp_path)
            )
            egress = build_egress(settings)
            async with stage(settings=settings, listen=settings.listen, egress=egress) as scene:
                port = {None: listening(scene, case), -1: scene.place[1]}.get(case.port, case.port or 0)
                happened = await real(scene, case, port)
                explained = await asyncio.to_thread(outcome, as_it_listens(scene, settings), case, port)
        assert (explained, happened) == (case.outcome, case.outcome)

    run(main)


def placed(case: Case, folder: Path) -> dict[str, Any]:
    """The settings, with a usage file in which all of ann's octets are used up."""
    if "usage_file" not in case.settings:
        return case.settings
    path = folder / case.settings["usage_file"]
    ledger = Ledger(str(path))
    ledger.add({("month", "user ann"): Entry(start_of("month", time()), 1000)})
    ledger.close()
    return {**case.settings, "usage_file": path}


def as_it_listens(scene: Stage, settings: ServeSettings) -> ServeSettings:
    """The settings with the ports that were taken for port 0, in rules, too."""
    actual = {
        f"[{host}]:0" if ":" in host else f"{host}:0": str(ListenAddress(host, port))
        for host, port in scene.server.addresses
    }
    changed = [
        replace(rule, listeners=[actual[text] for text in rule.listeners]) if rule.listeners else rule
        for rule in settings.rules
    ]
    return replace(settings, listen=list(actual.values()), rules=changed)


def listening(scene: Stage, case: Case) -> int:
    """A port of both families at which something listens."""
    if case.command == "associate":
        return int(udp_target(scene).getsockname()[1])
    target = scene.target()
    if has_ipv6():
        for _ in range(20):
            try:
                scene.target("::1", target.port)
                break
            except OSError:  # another has it
                target = scene.target()
    return target.port


def udp_target(scene: Stage) -> socket.socket:
    sock = scene.own(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


def outcome(settings: ServerSettings, case: Case, port: int) -> str:
    """What the explanation comes to."""
    question = Question(
        client=ip_address(case.client),
        target=parse_address(case.to, port),
        user=case.user,
        command=case.command,
        version=case.version,
    )
    explanation = Explanation(settings, question)
    *_, last = explanation.steps()
    if explanation.granted:
        return last
    assert last.startswith("refused: ")
    return last.rpartition(" (")[2].partition(")")[0]


async def real(scene: Stage, case: Case, port: int) -> str:
    """What a client gets who asks the same."""
    address = next(one for one in scene.server.addresses if one.host == case.client)
    client = await scene.client((address.host, address.port))
    number = COMMANDS[case.command]
    if case.version == 4:
        await client.send(request4(case.to, port, number, (case.user or "").encode()))
        code = (await client.exactly(8))[1]
        return "granted" if code == 0x5A else f"reply {code}"
    await client.send(b"\x05\x01\x02" if case.user else b"\x05\x01\x00")
    if (await client.exactly(2))[1] == 0xFF:
        return "no acceptable method, X'FF'"
    if case.user:
        await client.send(login(case.user.encode(), USERS["users"].get(case.user, "?").encode()))
        if (await client.exactly(2))[1]:
            return "the login fails"
    wanted = (case.to, port) if case.command != "associate" else ("0.0.0.0", 0)
    await client.send(request5(*wanted, number))
    reply = await client.reply5()
    if reply[1]:
        return f"reply {reply[1]}"
    return "granted" if case.command != "associate" else await datagram(scene, client, reply, case, port)


async def datagram(scene: Stage, client: Peer, reply: bytes, case: Case, port: int) -> str:
    """What becomes of one, through an association."""
    (session,) = scene.server.living()
    relay = session.relay
    assert isinstance(relay, UdpRelay)
    sender = scene.own(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    relayed_at = ".".join(map(str, reply[4:8])), int.from_bytes(reply[8:10], "big")
    sender.sendto(encode_header(parse_address(case.to, port)) + b"x", relayed_at)
    await until(lambda: relay.sent.datagrams or relay.sent.dropped, "the datagram is sent or dropped")
    assert not client.sock._closed  # type: ignore[attr-defined]  # its end would be the association's
    return "granted" if relay.sent.datagrams else "the datagram is dropped"
