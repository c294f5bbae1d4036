"""Hypothesis strategies for everything that has a wire form."""

from hypothesis import strategies as st

from hosier.protocol.address import Address, AddressType
from hosier.protocol.auth.password import Credentials, Status
from hosier.protocol.ident import IdentAnswer
from hosier.protocol.messages import Datagram, MethodSelected, MethodsOffered, Reply, Request

ports = st.integers(0, 0xFFFF)
octets = st.integers(0, 0xFF)
names = st.binary(min_size=1, max_size=255).filter(lambda name: 0 not in name)
ipv4 = st.builds(Address, st.just(int(AddressType.IPV4)), st.binary(min_size=4, max_size=4), ports)
ipv6 = st.builds(Address, st.just(int(AddressType.IPV6)), st.binary(min_size=16, max_size=16), ports)
named = st.builds(Address, st.just(int(AddressType.NAME)), names, ports)
addresses = ipv4 | ipv6 | named
user_ids = st.binary(max_size=255).filter(lambda user_id: 0 not in user_id)

offers = st.binary(min_size=1, max_size=255).filter(lambda methods: 0xFF not in methods).map(MethodsOffered)
selections = st.builds(MethodSelected, octets)
socks5_requests = st.builds(Request, st.just(5), st.integers(1, 3), addresses, st.just(b""))
# 0.0.0.x means that a name follows (S4A-REQ-05), so these four octets cannot be said as an address.
socks4_addresses = named | ipv4.filter(lambda a: a.octets[:3] != bytes(3) or a.octets[3] == 0)
socks4_requests = st.builds(Request, st.just(4), st.integers(1, 2), socks4_addresses, user_ids)
requests = socks4_requests | socks5_requests
socks5_successes = st.builds(Reply, st.just(0), addresses)
socks4_replies = st.builds(Reply, st.sampled_from((0, 0x5B, 0x5C, 0x5D)), ipv4)
datagrams = st.builds(Datagram, octets, addresses, st.binary(max_size=100))
credentials = st.builds(Credentials, st.binary(max_size=255), st.binary(max_size=255))
statuses = st.builds(Status, octets)
_no_line_ends = st.integers(1, 255).filter(lambda octet: octet not in b"\r\n")
_tokens = st.text(alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-", min_size=1, max_size=20).map(str.encode)
ident_answers = st.builds(
    IdentAnswer,
    st.integers(1, 0xFFFF),
    st.integers(1, 0xFFFF),
    st.lists(_no_line_ends, min_size=1, max_size=512).map(bytes),
    _tokens,
    _tokens,
    st.just(b""),
) | st.builds(
    IdentAnswer,
    st.integers(1, 0xFFFF),
    st.integers(1, 0xFFFF),
    st.none(),
    st.just(b""),
    st.just(b"US-ASCII"),
    st.sampled_from((b"INVALID-PORT", b"NO-USER", b"HIDDEN-USER", b"UNKNOWN-ERROR", b"X1")),
)
