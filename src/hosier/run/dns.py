"""What the name server inside answers: for each name the addresses that stand for it, and nothing of its own making.

Messages are dnspython's business (extra ``run``). Names are looked up by the last proxy, when they are connected to;
so nothing is known here of whether a name exists, and every name has addresses.
"""

from functools import cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from ..client.names import FakeAddresses, FakeNames
from ..engine.recent import Recent
from ..errors import ConfigError, LocalProtocolError

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ("Answers", "dns_package")

TTL: Final = 60
"""Seconds; the table keeps names longer."""

KEPT: Final = 4096
"""Answers that are remembered, octet by octet: making one costs more than all the rest of a look-up."""

_LOOPBACK: Final = FakeAddresses("127.0.0.1", "::1")


@cache
def dns_package() -> "ModuleType":
    """dnspython, with the modules that are used here. Raises ConfigError where it is not installed."""
    try:
        import dns.flags
        import dns.message
        import dns.rcode
        import dns.reversename
        import dns.rrset
    except ImportError:
        raise ConfigError("hosier run needs dnspython: pip install 'hosier[run]'") from None
    return dns


class Answers:
    """``to(query)`` for each message that comes."""

    def __init__(self, names: FakeNames) -> None:
        self._dns: Any = dns_package()
        self._names = names
        self._kept: Recent[bytes, tuple[bytes, FakeAddresses, bytes]] = Recent(KEPT)

    def to(self, query: bytes) -> bytes | None:
        """The message to send back; None for what deserves none."""
        kept = self._kept.get(query[2:])
        if kept is not None and self._names.addresses_for(kept[0]) == kept[1]:
            return query[:2] + kept[2]
        dns = self._dns
        try:
            asked = dns.message.from_wire(query)
            if asked.flags & dns.flags.QR:
                return None  # an answer; to answer it might never end
            answer = dns.message.make_response(asked, recursion_available=True)
        except Exception:  # noqa: BLE001  # it is not a message; the package has many words for that
            return _malformed(query)
        found = self._fill(asked, answer)
        wire: bytes = answer.to_wire()
        if found is not None:
            self._kept[query[2:]] = (*found, wire[2:])
        return wire

    # --- private ---

    def _fill(self, asked: Any, answer: Any) -> tuple[bytes, FakeAddresses] | None:
        """Writes the answer; the name and its addresses, if that is what it tells."""
        rcode = self._dns.rcode
        if asked.opcode() != 0:
            answer.set_rcode(rcode.NOTIMP)
        elif len(asked.question) != 1:
            answer.set_rcode(rcode.FORMERR)
        elif asked.question[0].rdclass != 1:  # IN
            answer.set_rcode(rcode.REFUSED)
        else:
            question = asked.question[0]
            name = b".".join(question.name.labels[:-1]).lower()
            if name.endswith((b".in-addr.arpa", b".ip6.arpa")):
                self._fill_reverse(question, answer)
            else:
                return self._fill_forward(name, question, answer)
        return None

    def _fill_forward(self, name: bytes, question: Any, answer: Any) -> tuple[bytes, FakeAddresses] | None:
        local = name == b"localhost" or name.endswith(b".localhost")  # RFC 6761 §6.3
        try:
            addresses = _LOOPBACK if local else self._names.addresses_for(name)
        except LocalProtocolError:
            answer.set_rcode(self._dns.rcode.NXDOMAIN)  # nobody can be connected to by it
            return None
        kinds = {1: addresses.ipv4, 28: addresses.ipv6}  # A, AAAA
        if question.rdtype in kinds:
            self._add(question, answer, kinds[question.rdtype])
        return None if local else (name, addresses)  # other types: it exists, and there is nothing of that type

    def _fill_reverse(self, question: Any, answer: Any) -> None:
        try:
            address = self._dns.reversename.to_address(question.name)
            name = "localhost" if ip_address(address).is_loopback else self._names.name_of(address)
        except Exception:  # noqa: BLE001  # not a whole address
            name = None
        if name is None:
            answer.set_rcode(self._dns.rcode.NXDOMAIN)
        elif question.rdtype == 12:  # PTR
            self._add(question, answer, f"{name}.")

    def _add(self, question: Any, answer: Any, text: str) -> None:
        answer.answer.append(self._dns.rrset.from_text(question.name, TTL, question.rdclass, question.rdtype, text))


def _malformed(query: bytes) -> bytes | None:
    """FORMERR, if there is a header to answer to."""
    if len(query) < 12 or query[2] & 0x80:
        return None
    return query[:2] + bytes((0x80 | query[2] & 0x79, 0x81)) + bytes(8)
