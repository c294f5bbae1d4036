"""What would be decided, and why: the steps, and that the server decides the same."""

from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from hosier.config.explain import Explanation, Question
from hosier.errors import ConfigError
from hosier.policy.accounts import Account
from hosier.policy.budgets import Budget
from hosier.policy.rules import Rule
from hosier.protocol.address import parse_address
from hosier.server.settings import BindSettings, ServerSettings, UdpSettings

HERE = ip_address("192.0.2.7")


def told(
    settings: ServerSettings, target: str = "198.51.100.1", port: int = 443, **fields: Any
) -> tuple[bool, list[str]]:
    """Whether it is granted, and the steps without the first one."""
    question = Question(**{"client": HERE, "minute": 0, "target": parse_address(target, port), **fields})
    explanation = Explanation(settings, question)
    first, *steps = explanation.steps()
    assert first.startswith("request: ")
    return explanation.granted, steps


def public(*rules: Rule, **fields: Any) -> ServerSettings:
    return ServerSettings(**{"listen": ["*:1080"], "open": True, "rules": rules, **fields})


STAFF = public(
    Rule(action="deny", name="no mail", ports=[25, 465], reply="host-unreachable"),
    Rule(action="allow", groups=["staff"], networks=[ip_network("10.1.0.0/16")]),
    Rule(action="deny", names=[".bad.example"]),
    Rule(action="allow", egress=[ip_address("192.0.2.9")], budgets=["slow"], log_level="verbose"),
    groups={"staff": ["ann"]},
    users={"ann": "x", "bob": "y"},
    budgets={"slow": Budget()},
    open=False,
)


def test_the_request() -> None:
    question = Question(client=HERE, minute=61, target=parse_address("a.example", 443), user="ann")
    assert next(Explanation(STAFF, question).steps()) == (
        "request: connect a.example:443, by ann (groups: staff) from 192.0.2.7 at 0.0.0.0:1080; "
        "SOCKS5, method password; mon 01:01"
    )
    question = Question(
        client=ip_address("::ffff:192.0.2.7"), minute=0, target=parse_address("127.0.0.2", 1), version=4
    )
    assert next(Explanation(ServerSettings(), question).steps()) == (
        "request: connect 127.0.0.2:1, by nobody from 192.0.2.7 at 127.0.0.1:1080; SOCKS4, method none; mon 00:00"
    )


def test_the_first_rule_that_holds() -> None:
    assert told(STAFF, port=25, user="bob") == (
        False,
        [
            "198.51.100.1: rule 1 (no mail): holds (ports)",
            "refused: rule 1 (no mail) denies it (reply 4)",
        ],
    )
    assert told(STAFF, user="bob") == (
        True,
        [
            "198.51.100.1: rule 1 (no mail): passed over, ports: not 443",
            "198.51.100.1: rule 2: passed over, groups: not no group",
            "198.51.100.1: rule 3: passed over, names: not nothing",
            "198.51.100.1: rule 4: holds (it has no conditions)",
            "198.51.100.1: allowed: rule 4 allows it; leaves from 192.0.2.9, draws on slow, log level verbose",
            "granted",
        ],
    )


def test_protected_networks() -> None:
    assert told(STAFF, "10.1.2.3", user="ann")[0]
    granted, steps = told(STAFF, "10.1.2.3", user="bob")
    assert not granted
    assert steps[-1] == "refused: 10.1.2.3 is in 10.0.0.0/8 (private) (reply 2); name it in a rule's networks"


def test_what_no_rule_opens() -> None:
    everything = Rule(action="allow", networks=[ip_network("0.0.0.0/0")])
    for target, port, why in (
        ("127.0.0.1", 1080, "127.0.0.1:1080 is this server itself"),
        ("224.0.0.1", 80, "224.0.0.1 is a multicast address"),
        ("198.51.100.1", 0, "port 0 is no target"),
        ("203.0.113.1", 80, "203.0.113.1 is in 203.0.113.0/24, which is denied"),
    ):
        granted, steps = told(public(everything, deny=[ip_network("203.0.113.0/24")]), target, port)
        assert (granted, steps) == (False, [f"refused: {why} (reply 2)"])


def test_our_own_port_is_another_ones_for_datagrams() -> None:
    everything = Rule(action="allow", networks=[ip_network("127.0.0.0/8")])
    assert told(public(everything), "127.0.0.1", 1080, command="associate")[0]
    assert not told(public(everything), "127.0.0.1", 1080)[0]


def test_names() -> None:
    granted, steps = told(STAFF, "x.bad.example", user="ann", addresses=[ip_address("10.1.2.3")])
    assert granted, "a rule before it names the network"
    assert steps[0] == "x.bad.example: rule 2 allows it, as far as that can be said of the name"
    granted, steps = told(STAFF, "x.bad.example", user="bob")
    assert not granted
    assert steps[-2:] == ["rule 3: holds (names)", "refused: rule 3 denies it (reply 2)"]
    assert told(STAFF, "a\\b", user="bob")[1] == ["refused: a name with a backslash could be any name (reply 2)"]


def test_each_address_of_a_name() -> None:
    rules = public(Rule(action="deny", networks=[ip_network("198.51.100.0/24")]), Rule(action="allow"))
    addresses = [ip_address("198.51.100.1"), ip_address("203.0.113.1"), ip_address("64:ff9b::c633:6401")]
    granted, steps = told(rules, "a.example", addresses=addresses)
    assert granted
    assert "198.51.100.1: not allowed: rule 1 denies it" in steps
    assert "203.0.113.1: allowed: rule 2 allows it" in steps
    assert "198.51.100.1: rule 1: holds (networks)" in steps, "the IPv4 address in an IPv6 one"
    assert "64:ff9b::c633:6401: not allowed: rule 1 denies it" in steps


def test_a_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    granted, steps = told(ServerSettings(), "localhost")
    assert granted
    assert steps[-2].endswith("allowed: there are no rules, and it is not protected")

    def fails(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    with pytest.raises(ConfigError, match=r"a.example cannot be looked up .*: say --address ADDRESS"):
        told(ServerSettings(), "a.example")


def test_without_rules() -> None:
    granted, steps = told(ServerSettings(listen=["*:1080"], open=True), "10.0.0.1")
    assert not granted
    assert steps[-1].endswith("(reply 2); allow it with --allow 10.0.0.0/8")


@pytest.mark.parametrize(
    ("settings", "fields", "why"),
    [
        (ServerSettings(users={"ann": "x"}), {}, "the method 'none' is not offered; there are: password"),
        (ServerSettings(users={"ann": "x"}), {"user": "bob"}, "there is no user 'bob'"),
        (ServerSettings(users={"ann": "x"}), {"version": 4}, "SOCKS4 cannot authenticate"),
        (ServerSettings(udp=UdpSettings(enabled=False)), {"command": "associate"}, "UDP ASSOCIATE is switched off"),
        (ServerSettings(bind=BindSettings(enabled=False)), {"command": "bind"}, "BIND is switched off"),
        (
            ServerSettings(users={"ann": "x"}, accounts={"ann": Account(clients=[ip_network("10.0.0.0/8")])}),
            {"user": "ann"},
            "'ann' may not come from this address",
        ),
        (public(Rule(action="allow", users=["ann"])), {}, "no rule holds for it"),
        (public(Rule(action="allow", egress=[ip_address("::1")])), {}, "rule 1 has no address of its family"),
    ],
)
def test_refused(settings: ServerSettings, fields: dict[str, Any], why: str) -> None:
    granted, steps = told(settings, **fields)
    assert not granted
    assert steps[-1].startswith(f"refused: {why}")
    assert ("reply 91" in steps[-1]) == ("version" in fields)


def test_accounts_and_socks4_names() -> None:
    settings = ServerSettings(users={"ann": "x"}, accounts={"ann": Account()}, socks4_userid=True)
    assert told(settings, user="ann")[1][0] == "account ann: not expired, and may come from there"
    assert told(settings, user="ann", version=4)[0]
    assert told(ServerSettings(ident=True), user="dan", version=4)[0]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"listener": "127.0.0.1:9"}, "--listener '127.0.0.1:9': the file listens on 127.0.0.1:1080, "),
        ({"user": "ann"}, "--user ann: the file has no method by which a client could be that"),
        ({"user": "ann", "version": 4}, "--user ann: the file has no method by which a client could be that"),
    ],
)
def test_questions_that_make_no_sense(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=f"^{why}"):
        told(ServerSettings(), **fields)


def test_bind_and_listener() -> None:
    rules = public(
        Rule(action="deny", listeners=["[::]:1080"]), Rule(action="allow", commands=["bind"]), Rule(action="deny")
    )
    assert told(rules, command="bind", port=0)[0]
    assert not told(rules, command="bind", listener="[::]:1080")[0]
    assert not told(rules)[0]


def test_nothing_is_changed(tmp_path: Path) -> None:
    """It reads, and that is all."""
    before = sorted(tmp_path.iterdir())
    told(STAFF, user="ann")
    assert sorted(tmp_path.iterdir()) == before


def test_what_socks4_cannot_ask_for() -> None:
    with pytest.raises(ConfigError, match=r"^SOCKS4 has no IPv6 addresses, and cannot ask for \[::2\]:1: "):
        told(ServerSettings(), "::2", 1, version=4)


def test_usage_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "usage.db"
    settings = public(budgets={"month": Budget(octets="1GB")}, usage_file=path)
    granted, steps = told(settings)
    assert granted
    assert not steps[0].startswith("how much"), "nothing was used yet"
    assert not path.exists(), "it makes no file"
    path.write_text("something else")
    granted, steps = told(settings)
    assert granted
    assert steps[0].startswith("how much of the budgets is used is not known: cannot keep usage in ")


def test_who_waits_for_anyone() -> None:
    granted, steps = told(public(Rule(action="allow"), bind=BindSettings(anyone=True)), "0.0.0.0", 0, command="bind")
    assert (granted, steps[-2]) == (
        True,
        "0.0.0.0: it may wait for anyone; who comes is judged then: rule 1 allows it",
    )


def test_the_listener_of_the_clients_family() -> None:
    question = Question(client=ip_address("2001:db8::7"), target=parse_address("198.51.100.1", 443))
    assert "from 2001:db8::7 at [::]:1080" in next(Explanation(public(), question).steps())
