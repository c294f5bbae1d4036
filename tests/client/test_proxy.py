"""What a proxy's URL means, and what it must not give away."""

import dataclasses
import re
import ssl
from typing import Any

import pytest

from hosier import ConfigError, Gssapi, Proxy
from hosier.client.proxy import chain_of


@pytest.mark.parametrize(
    ("url", "protocol", "remote_dns", "scheme"),
    [
        ("socks4://h", "socks4", False, "socks4"),
        ("socks4a://h", "socks4", True, "socks4a"),
        ("socks5://h", "socks5", False, "socks5"),
        ("socks5h://h", "socks5", True, "socks5h"),
        ("SOCKS5H://h", "socks5", True, "socks5h"),
        ("socks://h", "socks5", True, "socks5h"),
        ("h", "socks5", True, "socks5h"),
        ("http://h", "http", True, "http"),
    ],
)
def test_schemes(url: str, protocol: str, remote_dns: bool, scheme: str) -> None:
    """A-36, S4A-REQ-18: with curl's meaning of "a" and "h"; what desktops write is SOCKS5."""
    proxy = Proxy(url)
    assert (proxy.protocol, proxy.remote_dns, proxy.scheme, proxy.tls) == (protocol, remote_dns, scheme, False)
    assert (proxy.host, proxy.port) == ("h", 1080)


def test_who_looks_names_up_can_be_said() -> None:
    assert Proxy("socks5://h", remote_dns=True).scheme == "socks5h"
    assert Proxy("socks4a://h", remote_dns=False).scheme == "socks4"


@pytest.mark.parametrize(
    ("url", "host", "port", "text"),
    [
        ("socks5h://h:9050", "h", 9050, "socks5h://h:9050"),
        ("socks5h://h:9050/", "h", 9050, "socks5h://h:9050"),
        ("h:1", "h", 1, "socks5h://h:1"),
        ("[::1]:1081", "::1", 1081, "socks5h://[::1]:1081"),
        ("socks5://[2001:db8::1]", "2001:db8::1", 1080, "socks5://[2001:db8::1]:1080"),
        ("socks5://[fe80::1%25lo]:1", "fe80::1%lo", 1, "socks5://[fe80::1%lo]:1"),
        ("https://h", "h", 443, "https://h:443"),
        ("socks5h+tls://h", "h", 1080, "socks5h+tls://h:1080"),
        ("socks5+ssl://h", "h", 1080, "socks5+tls://h:1080"),
    ],
)
def test_places(url: str, host: str, port: int, text: str) -> None:
    proxy = Proxy(url)
    assert (proxy.host, proxy.port, str(proxy), proxy.path) == (host, port, text, None)


def test_unix_socket() -> None:
    """As curl writes it."""
    proxy = Proxy("socks5h://localhost/run/a%20b.sock")
    assert proxy.path == "/run/a b.sock"
    assert str(proxy) == "socks5h://localhost/run/a b.sock"


@pytest.mark.parametrize(
    ("url", "username", "password"),
    [
        ("socks5h://h", None, None),
        ("socks5h://ann@h", b"ann", b""),
        ("socks5h://ann:@h", b"ann", b""),
        ("socks5h://:@h", b"", b""),
        ("socks5h://ann:open%3Asesame%40home@h", b"ann", b"open:sesame@home"),
        ("socks5h://an@n:p@ss@h", b"an@n", b"p@ss"),
        ("socks5h://%ff:%00@h", b"\xff", b"\x00"),
        ("socks5h://\u00e4:\u00fc@h", b"\xc3\xa4", b"\xc3\xbc"),
        ("socks4://ann@h", b"ann", None),
    ],
)
def test_credentials(url: str, username: bytes | None, password: bytes | None) -> None:
    proxy = Proxy(url)
    assert (proxy.username, proxy.password) == (username, password)


def test_credentials_as_arguments() -> None:
    """They win over the URL's; octets are taken as they are."""
    proxy = Proxy("socks5h://ann:one@h", username="\u00e4", password=b"\xff")
    assert (proxy.username, proxy.password) == (b"\xc3\xa4", b"\xff")
    assert Proxy("h", username="n" * 255, password=b"").username == b"n" * 255


def test_other_credentials() -> None:
    proxy = Proxy("socks5h://ann:one@h:9")
    other = proxy.with_credentials("bob", "two")
    assert (other.username, other.password, other.port) == (b"bob", b"two", 9)
    assert proxy.username == b"ann"
    assert Proxy("socks4://h").with_credentials(b"bob").password is None
    with pytest.raises(ConfigError, match="SOCKS4"):
        Proxy("socks4://h").with_credentials("bob", "two")


def test_plain_data() -> None:
    proxy = Proxy("socks5h://ann:one@h")
    assert proxy == Proxy("socks5h://ann:one@h")
    assert len({proxy, Proxy("socks5h://ann:one@h"), Proxy("socks5h://ann:two@h")}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        proxy.host = "other"  # type: ignore[misc]


def test_tls() -> None:
    context = ssl.create_default_context()
    proxy = Proxy("socks5h://h", ssl_context=context)
    assert proxy.tls
    assert proxy.ssl_context is context
    assert str(proxy) == "socks5h+tls://h:1080"


@pytest.mark.parametrize(("given", "kept"), [("10.0.0.1", ("10.0.0.1", 0)), (("::1", 7), ("::1", 7)), (None, None)])
def test_source_address(given: str | tuple[str, int] | None, kept: tuple[str, int] | None) -> None:
    assert Proxy("h", source_address=given).source_address == kept


@pytest.mark.parametrize(
    "url", ["socks5h://ann:SeCrEt@h:1", "https://ann:SeCrEt@h", "socks5h://ann:SeCrEt@localhost/x"]
)
def test_secret_is_not_shown(url: str) -> None:
    proxy = Proxy(url)
    assert "SeCrEt" not in f"{proxy} {proxy!r} {proxy.with_credentials('bob', 'SeCrEt')!r}"
    assert "ann" in repr(proxy)
    assert "ann" not in str(proxy)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "needs a host"),
        ("socks5h://", "needs a host"),
        ("socks5h://ann:SeCrEt@", "needs a host"),
        ("socks5h://ann:SeCrEt@:1080", "needs a host"),
        ("socks6://ann:SeCrEt@h", "no proxy scheme 'socks6'"),
        ("http+tls://h", "no proxy scheme"),
        ("socks5h://ann:SeCrEt@h:port", "port 'port'"),
        ("socks5h://h:0", "port '0'"),
        ("socks5h://h:65536", "65536"),
        ("socks5h://h:\u0663", "port"),
        ("socks5h://::1", "brackets"),
        ("socks5h://[::1", "brackets"),
        ("socks5h://[::1]1080", "brackets"),
        ("socks5h://h/path", "unix socket"),
        ("socks5h://localhost:1/path", "unix socket"),
        ("socks5h://ann:SeCrEt@h?x=1", "no '?'"),
        ("socks5h://ann:SeCrEt@ h", "spaces"),
        ("socks5h://h\n", "control characters"),
        ("socks5h://%ff", "UTF-8"),
        ("socks5h://%0a", "needs a host"),
        ("socks4://ann:SeCrEt@h", "SOCKS4 has a user id but no password"),
        ("socks4://a%00b@h", "zero octet"),
        ("http://a%3ab:SeCrEt@h", "colon"),
        (f"socks5h://ann:{'SeCrEt' * 50}@h", "at most 255"),
        (f"socks5h://{'SeCrEt' * 50}@h", "at most 255"),
    ],
)
def test_mistakes(url: str, words: str) -> None:
    """One line that says what to do, without the secret."""
    with pytest.raises(ConfigError) as caught:
        Proxy(url)
    text = str(caught.value)
    assert words in text
    assert "\n" not in text
    assert "SeCrEt" not in text


@pytest.mark.parametrize("nothing", [None, 5, b"socks5h://h", [None], ["h", 5]])
def test_no_proxy(nothing: Any) -> None:
    with pytest.raises(
        ConfigError, match=r'^no proxy: expected a URL such as "socks5h://127\.0\.0\.1:1080", a hosier\.Prox'
    ):
        chain_of(nothing)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"username": 5}, "user names and passwords are texts or bytes, not int"),
        ({"username": "ann", "password": ["x"]}, "user names and passwords are texts or bytes, not list"),
        ({"ssl_context": True}, "ssl_context: expected an ssl.SSLContext, found bool"),
        ({"gssapi": True}, "gssapi: expected a hosier.Gssapi, found bool"),
        ({"methods": 5}, 'methods: expected a list such as ["gssapi", "password"], found int'),
        ({"methods": "none"}, 'methods: expected a list such as ["gssapi", "password"], found str'),
        ({"source_address": 5}, "source_address: expected a host, or a tuple of host and port"),
        ({"source_address": ("h", "5")}, "source_address: expected a host, or a tuple of host and port"),
    ],
)
def test_arguments_of_another_type(fields: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(line)}$"):
        Proxy("h", **fields)


def test_password_of_nobody() -> None:
    with pytest.raises(ConfigError, match="no user name"):
        Proxy("h", password="x")


def test_chains() -> None:
    one, two = Proxy("one"), Proxy("two")
    assert chain_of("one") == chain_of(one) == (one,)
    assert chain_of([one, "two"]) == (one, two)
    with pytest.raises(ConfigError, match="at least one"):
        chain_of([])
    with pytest.raises(ConfigError, match="unix socket"):
        chain_of(["one", "socks5h://localhost/two"])


# --- Kerberos, and which methods are offered ---


def test_kerberos() -> None:
    proxy = Proxy("socks5h+gssapi://proxy.example.org")
    assert (proxy.gssapi, proxy.methods, str(proxy)) == (
        Gssapi(),
        ("gssapi",),
        "socks5h+gssapi://proxy.example.org:1080",
    )
    assert Proxy("socks5+tls+gssapi://h").scheme == Proxy("socks5+gssapi+ssl://h").scheme == "socks5+tls+gssapi"
    told = Gssapi(level=1, service="rcmd")
    assert Proxy("h", gssapi=told).gssapi == told
    assert Proxy("h", methods=["gssapi", "none"]).gssapi == Gssapi()
    assert Proxy("h").gssapi is None


def test_addresses_have_no_principal() -> None:
    """GS-REQ-04; but whoever says the name may connect to the address."""
    for host in ("127.0.0.1", "[::1]"):
        with pytest.raises(ConfigError, match="needs the proxy's name, not its address"):
            Proxy(f"socks5h+gssapi://{host}:1080")
        assert Proxy(f"{host}:1", gssapi=Gssapi(host="proxy.example.org")).host == host.strip("[]")
        assert Proxy(f"{host}:1", gssapi=Gssapi(service="socks/proxy.example.org")).gssapi is not None


def test_methods() -> None:
    """A-35, S5-REQ-23."""
    assert Proxy("h").methods == ("none",)
    assert Proxy("ann:x@h").methods == ("none", "password")
    assert Proxy("ann:x@h", methods=["password"]).methods == ("password",)
    assert Proxy("ann:x@h", gssapi=Gssapi(), methods=["gssapi", "password"]).methods == ("gssapi", "password")
    assert Proxy("http://h").methods == Proxy("socks4://h").methods == ()
    assert Proxy("h").with_credentials("ann").methods == ("none", "password")
    assert Proxy("ann:x@h", methods=["password"]).with_credentials("bob").methods == ("password",)


@pytest.mark.parametrize(
    ("url", "fields", "message"),
    [
        ("h", {"methods": []}, "the methods are some of"),
        ("h", {"methods": ["none", "none"]}, "the methods are some of"),
        ("h", {"methods": ["ident"]}, "the methods are some of"),
        ("h", {"methods": ["password"]}, "needs a user name"),
        ("ann:x@h", {"gssapi": Gssapi()}, "both GSSAPI and a password"),
        ("http://h", {"methods": ["none"]}, "http has no authentication methods"),
        ("socks4://h", {"gssapi": Gssapi()}, "socks4 has no authentication methods"),
        ("socks4+gssapi://h", {}, "there is no proxy scheme"),
        ("http+gssapi://h", {}, "there is no proxy scheme"),
        ("socks5+kerberos://h", {}, "there is no proxy scheme"),
    ],
)
def test_mistakes_about_methods(url: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Proxy(url, **fields)


def test_no_password_beside_kerberos_unless_it_is_said() -> None:
    with pytest.raises(ConfigError, match="both GSSAPI and a password"):
        Proxy("socks5h+gssapi://h").with_credentials("ann", "x")


def test_one_that_is_told_names_whatever_its_scheme_says() -> None:
    proxy = Proxy("socks5://ann:secret@127.0.0.1:9", source_address="127.0.0.2")
    told = proxy.with_remote_dns()
    assert (told.scheme, told.username, told.password) == ("socks5h", b"ann", b"secret")
    assert told.source_address == proxy.source_address
    assert not proxy.remote_dns
