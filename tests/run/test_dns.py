"""Answers of the name server, against dnspython's own reading of them."""

from __future__ import annotations

import builtins
from typing import Any

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest

from hosier.client.names import FakeNames
from hosier.errors import ConfigError
from hosier.run.dns import Answers, dns_package


@pytest.fixture
def names() -> FakeNames:
    return FakeNames()


@pytest.fixture
def answers(names: FakeNames) -> Answers:
    return Answers(names)


def ask(answers: Answers, name: str, kind: str, klass: str = "IN", **more: Any) -> dns.message.Message:
    query = dns.message.make_query(name, kind, klass, **more)
    wire = answers.to(query.to_wire())
    assert wire is not None
    answer = dns.message.from_wire(wire)
    assert query.is_response(answer)
    return answer


def texts(answer: dns.message.Message) -> list[str]:
    return [record.to_text() for rrset in answer.answer for record in rrset]


def test_a_name_has_the_same_addresses_whoever_asks(answers: Answers, names: FakeNames) -> None:
    """NG-REQ-09…12, 19."""
    for _ in range(2):
        for name in ("web.example", "WEB.example."):
            assert texts(ask(answers, name, "A")) == [names.addresses_for("web.example").ipv4]
            assert texts(ask(answers, name, "AAAA")) == [names.addresses_for("web.example").ipv6]
    assert len(names) == 1


@pytest.mark.parametrize("options", [{}, {"use_edns": 0}, {"use_edns": 0, "want_dnssec": True}])
def test_with_and_without_edns(answers: Answers, options: dict[str, Any]) -> None:
    answer = ask(answers, "web.example", "A", **options)
    assert answer.rcode() == dns.rcode.NOERROR
    assert answer.edns == (0 if options else -1)
    assert answer.flags & dns.flags.RA
    assert not answer.flags & dns.flags.AD


@pytest.mark.parametrize("kind", ["MX", "TXT", "HTTPS", "SRV", "NS", "SOA", "ANY"])
def test_other_types_are_empty_and_not_made_up(answers: Answers, kind: str) -> None:
    answer = ask(answers, "_443._https.web.example", kind)
    assert answer.rcode() == dns.rcode.NOERROR
    assert texts(answer) == []


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST.", "app.localhost"])
def test_localhost_is_not_faked(answers: Answers, names: FakeNames, name: str) -> None:
    assert texts(ask(answers, name, "A")) == ["127.0.0.1"]
    assert texts(ask(answers, name, "AAAA")) == ["::1"]
    assert len(names) == 0


def test_reverse(answers: Answers, names: FakeNames) -> None:
    """NG-REQ-21."""
    fake = names.addresses_for("web.example")
    for address in fake:
        assert texts(ask(answers, dns.reversename.from_address(address).to_text(), "PTR")) == ["web.example."]
    for address in ("127.0.0.1", "::1"):
        assert texts(ask(answers, dns.reversename.from_address(address).to_text(), "PTR")) == ["localhost."]


@pytest.mark.parametrize(
    "name", ["1.2.0.192.in-addr.arpa", "2.0.192.in-addr.arpa", "9.0.18.198.in-addr.arpa", "x.ip6.arpa"]
)
def test_reverse_of_strangers(answers: Answers, name: str) -> None:
    assert ask(answers, name, "PTR").rcode() == dns.rcode.NXDOMAIN


def test_a_name_that_no_proxy_can_be_told(answers: Answers, names: FakeNames) -> None:
    for name in ("sp\\032ace.example", "192.0.2.1", "\\200.example"):
        assert ask(answers, name, "A").rcode() == dns.rcode.NXDOMAIN
    assert len(names) == 0


def test_other_classes(answers: Answers) -> None:
    assert ask(answers, "version.bind", "TXT", "CH").rcode() == dns.rcode.REFUSED


def test_other_operations(answers: Answers) -> None:
    query = dns.message.make_query("web.example", "A")
    query.set_opcode(dns.opcode.NOTIFY)
    wire = answers.to(query.to_wire())
    assert wire is not None
    assert dns.message.from_wire(wire).rcode() == dns.rcode.NOTIMP


def test_no_question_or_two(answers: Answers) -> None:
    none = b"\x12\x34\x01\x00" + bytes(8)
    wire = answers.to(none)
    assert wire is not None
    assert wire[:2] == none[:2]
    assert wire[3] & 15 == dns.rcode.FORMERR


def test_what_is_no_question(answers: Answers) -> None:
    answer = dns.message.make_response(dns.message.make_query("web.example", "A"))
    assert answers.to(answer.to_wire()) is None  # two servers would talk for ever
    assert answers.to(b"") is None
    assert answers.to(b"\x12\x34\x80") is None
    broken = dns.message.make_query("web.example", "A").to_wire()[:-3]
    wire = answers.to(broken)
    assert wire is not None
    assert dns.message.from_wire(wire).rcode() == dns.rcode.FORMERR


def test_a_remembered_answer_is_not_older_than_its_name() -> None:
    names = FakeNames(capacity=1)
    answers = Answers(names)
    first = texts(ask(answers, "one.example", "A"))
    ask(answers, "two.example", "A")
    again = texts(ask(answers, "one.example", "A"))
    assert first != again
    assert names.name_of(again[0]) == "one.example"


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.startswith("dns."):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ConfigError, match=r"pip install 'hosier\[run\]'"):
        dns_package.__wrapped__()
