"""Which targets are dialled, which never, and what the operator is told."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosier.errors import PolicyDenied, ReplyCode
from hosier.policy.networks import embedded_ipv4
from hosier.policy.targets import PROTECTED, Network, Ruling, TargetPolicy
from hosier.protocol.address import Address

steady = settings(derandomize=True, database=None, deadline=None)

PUBLIC = TargetPolicy(protect=True)
PRIVATE = TargetPolicy(protect=False)


def at(host: str, port: int = 80) -> Address:
    """An IP address in the form in which it is dialled; mapped ones keep their disguise here."""
    octets = ip_address(host).packed
    return Address(1 if len(octets) == 4 else 4, octets, port)


def nets(*texts: str) -> list[Network]:
    return [ip_network(text) for text in texts]


def denied(policy: TargetPolicy, host: str, port: int = 80) -> PolicyDenied:
    """The verdict, which must be the same asked alone, asked in a list, and through ``vet``."""
    verdict = policy.judge(at(host, port))
    assert verdict is not None, f"{host} may be dialled"
    with pytest.raises(PolicyDenied) as caught:
        policy.vet([at(host, port)])
    assert str(caught.value) == str(verdict)
    with pytest.raises(PolicyDenied):
        policy.vet([at(host, port), at(host, port)])
    return verdict


def allowed(policy: TargetPolicy, host: str, port: int = 80) -> bool:
    address = at(host, port)
    verdict = policy.judge(address) is None
    assert verdict == (vetted(policy, [address]) == [address])
    assert verdict == (vetted(policy, [address, address]) == [address, address])
    return verdict


def vetted(policy: TargetPolicy, addresses: list[Address]) -> list[Address] | None:
    try:
        return list(policy.vet(addresses))
    except PolicyDenied:
        return None


def edges(network: Network) -> list[str]:
    return [str(network[0]), str(network[-1]), str(network[network.num_addresses // 2])]


def neighbours(network: Network) -> list[str]:
    """The addresses just outside, where there are any."""
    last = (1 << network.max_prefixlen) - 1
    beside = (int(network.network_address) - 1, int(network.broadcast_address) + 1)
    return [str(type(network.network_address)(value)) for value in beside if 0 <= value <= last]


def is_protected(host: str) -> bool:
    address = ip_address(host)
    return any(address.version == network.version and address in network for network, _ in PROTECTED)


@pytest.mark.parametrize(("network", "what"), PROTECTED, ids=lambda value: str(value))
def test_protected(network: Network, what: str) -> None:
    """Refused from the first address to the last, with the reason and the way out; reply 2."""
    for host in edges(network):
        verdict = denied(PUBLIC, host)
        assert verdict.code == ReplyCode.NOT_ALLOWED
        if allowed(PRIVATE, host):  # else no setting opens it, and none is offered
            # 192.0.0.0/24 and its like lie in no other protected network, so the text names this one.
            assert verdict.reason == f"{host} is in {network} ({what})"
            assert verdict.advice == f"allow it with --allow {network}"
            assert allowed(TargetPolicy(protect=True, allow=[network]), host)
            assert allowed(TargetPolicy(protect=True, allow=nets(host)), host)
        else:
            assert verdict.advice == ""


@pytest.mark.parametrize(("network", "_"), PROTECTED, ids=lambda value: str(value))
def test_just_outside_is_not_protected(network: Network, _: str) -> None:
    for host in neighbours(network):
        if not is_protected(host) and embedded_ipv4(ip_address(host).packed) is None:
            assert allowed(PUBLIC, host)


@pytest.mark.parametrize(
    "host",
    [
        *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "127.0.0.1", "127.255.255.254"),
        *("169.254.169.254", "168.63.129.16", "192.0.0.192", "100.100.100.200"),  # cloud metadata
        *("::1", "fd00:ec2::254", "fc00::1", "fec0::1"),
    ],
)
def test_inner_networks(host: str) -> None:
    """The addresses that people protect, by name: a table that lost a row is noticed here."""
    assert not allowed(PUBLIC, host)
    assert allowed(PRIVATE, host)


@pytest.mark.parametrize("host", ["93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:2800:220:1::1", "1.1.1.1"])
def test_the_world_is_open(host: str) -> None:
    assert allowed(PUBLIC, host)
    assert allowed(PRIVATE, host)


NEVER = [
    ("0.0.0.0", "the unspecified address"),
    ("::", "the unspecified address"),
    ("224.0.0.1", "a multicast address"),
    ("239.255.255.255", "a multicast address"),
    ("255.255.255.255", "the broadcast address"),
    ("ff02::1", "a multicast address"),
    ("ff0e::1", "a multicast address"),
    ("fe80::1", "a link-local address, whose link a SOCKS request cannot name"),
    ("febf::1", "a link-local address, whose link a SOCKS request cannot name"),
]


@pytest.mark.parametrize(("host", "what"), NEVER)
@pytest.mark.parametrize("protect", [False, True])
def test_never(host: str, what: str, protect: bool) -> None:
    """S5-REQ-38, A-20: nothing opens these."""
    for policy in (TargetPolicy(protect=protect), TargetPolicy(protect=protect, allow=nets("0.0.0.0/0", "::/0"))):
        verdict = denied(policy, host)
        assert verdict.reason == f"{host} is {what}"
        assert verdict.advice == ""


def test_link_local_ipv4_can_be_allowed() -> None:
    """Unlike its IPv6 kin it needs no link's name."""
    assert allowed(PRIVATE, "169.254.1.1")
    assert allowed(TargetPolicy(protect=True, allow=nets("169.254.0.0/16")), "169.254.1.1")


EMBEDDED = ["::ffff:{0}", "::{0}", "64:ff9b::{0}", "2002:{1:02x}{2:02x}:{3:02x}{4:02x}::1", "teredo"]


def disguised(form: str, host: str) -> str:
    octets = ip_address(host).packed
    if form == "teredo":
        return str(ip_address(bytes.fromhex("20010000") + bytes(8) + bytes(octet ^ 0xFF for octet in octets)))
    return str(ip_address(form.format(host, *octets)))


@pytest.mark.parametrize("form", EMBEDDED)
@pytest.mark.parametrize("host", ["10.1.2.3", "127.0.0.1", "169.254.169.254", "192.168.0.1", "0.0.0.2"])
def test_disguise_does_not_help(form: str, host: str) -> None:
    """B-28: what is refused is refused in every form, and a form is opened by what opens the address."""
    verdict = denied(PUBLIC, disguised(form, host))
    assert verdict.reason.startswith(at(disguised(form, host)).host)
    assert verdict.advice == denied(PUBLIC, host).advice
    assert allowed(TargetPolicy(protect=True, allow=nets(f"{host}/32")), disguised(form, host))
    assert not allowed(TargetPolicy(protect=False, deny=nets(f"{host}/32")), disguised(form, host))


@pytest.mark.parametrize("form", EMBEDDED)
def test_disguised_never(form: str) -> None:
    for host in ("224.0.0.1", "255.255.255.255"):
        assert not allowed(PRIVATE, disguised(form, host))
    assert allowed(PUBLIC, disguised(form, "93.184.216.34"))


@pytest.mark.parametrize("form", [form for form in EMBEDDED if form != "::{0}"])
def test_disguised_unspecified(form: str) -> None:
    """(The compatible form of 0.0.0.0 is :: itself.)"""
    assert not allowed(PRIVATE, disguised(form, "0.0.0.0"))


def test_local_nat64_is_protected_as_a_whole() -> None:
    assert not allowed(PUBLIC, "64:ff9b:1::5db8:d822")


def test_outer_form_is_judged_too() -> None:
    """A rule may speak of the tunnel instead of what is in it."""
    policy = TargetPolicy(protect=False, deny=nets("2002::/16"))
    verdict = denied(policy, "2002:5db8:d822::1")
    assert verdict.reason == "2002:5db8:d822::1 is in 2002::/16, which is denied"


def test_deny() -> None:
    policy = TargetPolicy(protect=False, deny=nets("192.0.2.0/24", "2001:db8::/32"))
    verdict = denied(policy, "192.0.2.7")
    assert verdict.reason == "192.0.2.7 is in 192.0.2.0/24, which is denied"
    assert (verdict.advice, verdict.code) == ("", ReplyCode.NOT_ALLOWED)
    assert not allowed(policy, "2001:db8::1")
    assert allowed(policy, "192.0.3.1")
    assert allowed(policy, "10.0.0.1")


def test_deny_beats_allow() -> None:
    policy = TargetPolicy(protect=True, allow=nets("10.0.0.0/8"), deny=nets("10.1.0.0/16"))
    assert allowed(policy, "10.2.0.1")
    assert not allowed(policy, "10.1.0.1")
    assert not allowed(policy, "192.168.0.1")


def test_allow_is_an_exception_and_no_rule() -> None:
    """It opens what is protected; it does not close the rest."""
    policy = TargetPolicy(protect=True, allow=nets("10.0.0.0/8"))
    assert allowed(policy, "93.184.216.34")
    assert allowed(policy, "2606:2800:220:1::1")


@pytest.mark.parametrize("protect", [False, True])
def test_own_listener(protect: bool) -> None:
    """Whatever is allowed: a proxy that calls itself runs in circles."""
    listeners = [at("127.0.0.1", 1080), at("::1", 1080)]
    policy = TargetPolicy(protect=protect, allow=nets("127.0.0.0/8", "::1/128"), listeners=listeners)
    for host in ("127.0.0.1", "::1"):
        verdict = denied(policy, host, 1080)
        assert verdict.reason == f"{at(host, 1080)} is this server itself"
        assert verdict.advice == ""
        assert allowed(policy, host, 1081)
    assert allowed(policy, "127.0.0.2", 1080)
    assert allowed(policy, "93.184.216.34", 1080)
    for form in EMBEDDED:
        assert not allowed(policy, disguised(form, "127.0.0.1"), 1080)


def test_own_listener_on_a_boring_address() -> None:
    """The short cut for addresses of no interest does not jump over the listeners."""
    policy = TargetPolicy(protect=True, listeners=[at("93.184.216.34", 1080)])
    assert denied(policy, "93.184.216.34", 1080).reason == "93.184.216.34:1080 is this server itself"
    assert allowed(policy, "93.184.216.34", 1081)
    assert allowed(policy, "93.184.216.35", 1080)


def test_listener_everywhere() -> None:
    """One on every address is met at each address of the machine, and only those are asked about."""
    asked: list[Address] = []

    def is_local(address: Address) -> bool:
        asked.append(address)
        return address.host in ("127.0.0.1", "192.0.2.1", "2001:db8::1")

    listeners = [at("0.0.0.0", 1080), at("::", 1080), at("192.0.2.9", 1081)]
    policy = TargetPolicy(protect=False, listeners=listeners, is_local=is_local)
    for host in ("127.0.0.1", "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"):
        assert not allowed(policy, host, 1080)
    assert allowed(policy, "192.0.2.2", 1080)
    assert asked
    asked.clear()
    assert allowed(policy, "192.0.2.1", 80)
    assert allowed(policy, "192.0.2.1", 1081)  # that one listens on one address
    assert not allowed(policy, "192.0.2.9", 1081)
    assert asked == []


@pytest.mark.parametrize(("listener", "own", "other"), [("0.0.0.0", "127.0.0.1", "::1"), ("::", "::1", "127.0.0.1")])
def test_listener_everywhere_in_one_family(listener: str, own: str, other: str) -> None:
    """The same port of the other family is another program's."""
    policy = TargetPolicy(protect=False, listeners=[at(listener, 1080)], is_local=lambda _: True)
    assert not allowed(policy, own, 1080)
    assert allowed(policy, other, 1080)


def test_nobody_is_local_by_default() -> None:
    assert allowed(TargetPolicy(protect=False, listeners=[at("0.0.0.0", 1080)]), "127.0.0.1", 1080)


def test_order_of_reasons() -> None:
    """The strongest reason is given, so that no advice leads nowhere."""
    own = at("127.0.0.1", 1080)
    policy = TargetPolicy(protect=True, deny=nets("127.0.0.0/8", "224.0.0.0/4"), listeners=[own])
    assert denied(policy, "224.0.0.1").reason == "224.0.0.1 is a multicast address"
    assert denied(policy, "127.0.0.1", 1080).reason == "127.0.0.1:1080 is this server itself"
    assert denied(policy, "127.0.0.1").reason == "127.0.0.1 is in 127.0.0.0/8, which is denied"


@pytest.mark.parametrize("host", ["93.184.216.34", "127.0.0.1", "::1", "::ffff:93.184.216.34"])
@pytest.mark.parametrize("policy", [PUBLIC, PRIVATE], ids=["public", "private"])
def test_port_0(policy: TargetPolicy, host: str) -> None:
    """It is no target, wherever it is; the short cut for addresses of no interest sees it, too."""
    verdict = denied(policy, host, 0)
    assert verdict.reason == "port 0 is no target"
    assert (verdict.advice, verdict.code) == ("", ReplyCode.NOT_ALLOWED)


def test_several_addresses() -> None:
    """Those that may be dialled stay, in their order."""
    inner, outer, six = at("10.0.0.1"), at("93.184.216.34"), at("2606:2800:220:1::1")
    assert list(PUBLIC.vet([six, inner, outer])) == [six, outer]
    assert list(PRIVATE.vet([six, inner, outer])) == [six, inner, outer]


def test_several_addresses_and_none_is_left() -> None:
    """The reason is the first one's."""
    with pytest.raises(PolicyDenied) as caught:
        PUBLIC.vet([at("192.168.0.1"), at("10.0.0.1")])
    assert caught.value.reason == "192.168.0.1 is in 192.168.0.0/16 (private)"


def test_one_dull_address_is_returned_as_it_came() -> None:
    """The way of nearly every request."""
    addresses = [at("93.184.216.34")]
    assert PUBLIC.vet(addresses) is addresses


@pytest.mark.parametrize("port", [0, 21, 1080])
def test_peers_are_judged_without_their_port(port: int) -> None:
    """Who connects to us chooses its port itself (S4-REQ-34); port 0 and our own ports mean nothing there."""
    own = at("127.0.0.1", 1080)
    peer = at("127.0.0.1", port)
    assert list(TargetPolicy(protect=False, listeners=[own]).vet_peers([peer])) == [peer]


def test_peers_that_may_come() -> None:
    """In every other respect a peer of BIND is judged as a target of CONNECT is (S5-REQ-58)."""
    inner, outer = at("10.0.0.1", 0), at("93.184.216.34", 0)
    assert list(PUBLIC.vet_peers([inner, outer])) == [outer]
    assert list(PRIVATE.vet_peers([inner, outer])) == [inner, outer]
    for host, reason in (
        ("192.168.0.1", "192.168.0.1 is in 192.168.0.0/16 (private)"),
        ("::ffff:192.168.0.1", "::ffff:192.168.0.1 is in 192.168.0.0/16 (private)"),
        ("224.0.0.1", "224.0.0.1 is a multicast address"),
        ("fe80::1", "fe80::1 is a link-local address, whose link a SOCKS request cannot name"),
    ):
        with pytest.raises(PolicyDenied) as caught:
            PUBLIC.vet_peers([at(host, 0)])
        assert caught.value.reason == reason


some_networks = st.lists(
    st.sampled_from(nets("10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24", "0.0.0.0/0", "::/0", "fc00::/7", "2002::/16")),
    max_size=3,
)
some_hosts = st.ip_addresses() | st.sampled_from(
    [ip_address(host) for host in ("10.1.2.3", "10.2.0.0", "192.0.2.1", "::ffff:10.1.2.3", "2002:a01:203::", "fd00::1")]
)


@steady
@given(some_networks, some_networks, st.booleans(), st.lists(some_hosts, min_size=1, max_size=4))
def test_vet_is_judge(allow: list[Network], deny: list[Network], protect: bool, hosts: list[object]) -> None:
    """No short cut changes a verdict; nothing denied is ever handed on."""
    policy = TargetPolicy(protect=protect, allow=allow, deny=deny)
    addresses = [at(str(host)) for host in hosts]
    expected = [address for address in addresses if policy.judge(address) is None]
    assert (vetted(policy, addresses) or []) == expected


@steady
@given(st.ip_addresses(v=4), st.sampled_from(EMBEDDED), some_networks, some_networks)
def test_a_disguise_is_never_better(inner: object, form: str, allow: list[Network], deny: list[Network]) -> None:
    policy = TargetPolicy(protect=True, allow=allow, deny=deny)
    if policy.judge(at(str(inner))) is not None and (form != "::{0}" or at(str(inner)).octets > b"\x00\x00\x00\x01"):
        assert policy.judge(at(disguised(form, str(inner)))) is not None


# --- with rules ---


def asking(answer: PolicyDenied | bool) -> tuple[list[str], Ruling]:
    """A ruling that always says the same, and what it was asked about."""
    asked: list[str] = []

    def ruling(octets: bytes) -> PolicyDenied | bool:
        asked.append(str(ip_address(octets)))
        return answer

    return asked, ruling


def test_no_rule_opens_what_nothing_opens() -> None:
    """Rules are not even asked about it."""
    policy = TargetPolicy(
        protect=True, deny=nets("203.0.113.0/24"), listeners=[at("192.0.2.1", 1080)], is_local=lambda _: True
    )
    asked, ruling = asking(True)
    for host, port in (("0.0.0.0", 80), ("224.0.0.1", 80), ("192.0.2.1", 1080), ("203.0.113.5", 80)):
        assert policy.judge(at(host, port), ruling) is not None
    assert policy.judge(at("198.51.100.1", 0), ruling) is not None
    assert asked == []


def test_a_rule_opens_what_is_protected_only_by_naming_it() -> None:
    assert PUBLIC.judge(at("10.0.0.1"), asking(True)[1]) is None
    denied = PUBLIC.judge(at("10.0.0.1"), asking(False)[1])
    assert denied is not None
    assert (str(denied), denied.advice) == ("10.0.0.1 is in 10.0.0.0/8 (private)", "name it in a rule's networks")
    assert TargetPolicy(protect=True, allow=nets("10.0.0.0/8")).judge(at("10.0.0.1"), asking(False)[1]) is None
    assert PUBLIC.judge(at("198.51.100.1"), asking(False)[1]) is None


def test_a_rule_denies() -> None:
    no = PolicyDenied("no")
    for policy in (PUBLIC, PRIVATE, TargetPolicy(protect=True, allow=nets("10.0.0.0/8"))):
        assert policy.judge(at("10.0.0.1"), asking(no)[1]) is no
    assert PRIVATE.judge_peer(at("198.51.100.1", 0), asking(no)[1]) is no
    assert PRIVATE.judge_peer(at("198.51.100.1", 0)) is None


def test_rules_see_each_face_of_an_address() -> None:
    asked, ruling = asking(False)
    assert PRIVATE.judge(at("64:ff9b::a00:1"), ruling) is None
    assert asked == ["10.0.0.1", "64:ff9b::a00:1"]


def test_what_may_be_the_servers_own_changes_with_the_machine() -> None:
    policy = TargetPolicy(protect=False, listeners=[at("0.0.0.0", 1080)])
    assert policy.may_be_own(at("192.0.2.1", 1080))
    assert not policy.may_be_own(at("192.0.2.1", 80))


def test_no_rule_has_said_anything() -> None:
    assert PUBLIC.verdict_of(at("192.0.2.1")) is None  # type: ignore[func-returns-value]


def test_names_are_passed_on() -> None:
    """For a proxy to look up: whoever does must judge what it stands for."""
    name = Address(3, b"localhost", 80)
    assert PUBLIC.vet([name]) == [name]
