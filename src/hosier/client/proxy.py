"""A proxy as plain data: where it is, what it speaks, how to get in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import unquote_to_bytes

from ..errors import ConfigError

if TYPE_CHECKING:
    from ssl import SSLContext

    from .gssapi import Gssapi

__all__ = (
    "DEFAULT_PORT",
    "Protocol",
    "Proxy",
    "ProxyChain",
    "chain_for_bind",
    "chain_for_datagrams",
    "chain_of",
    "chain_to_tor",
)

DEFAULT_PORT: Final = 1080

Protocol = Literal["socks4", "socks5", "http"]

# What a scheme speaks, and whether the proxy looks names up: curl's meaning of "h" and "a".
_SCHEMES: Final[dict[str, tuple[Protocol, bool]]] = {
    "socks4": ("socks4", False),
    "socks4a": ("socks4", True),
    "socks5": ("socks5", False),
    "socks5h": ("socks5", True),
    "socks": ("socks5", True),  # desktops write it into the environment and mean SOCKS5
    "http": ("http", True),
    "https": ("http", True),
}
_TLS_SUFFIXES: Final = frozenset(("tls", "ssl"))
_GSSAPI_SUFFIX: Final = "gssapi"
_METHODS: Final = frozenset(("none", "password", "gssapi"))
_MAX_CREDENTIAL: Final = 255


@dataclass(frozen=True, init=False, repr=False)
class Proxy:
    """A proxy, told by its URL: ``scheme://user:password@host:port``, all but the host optional.

    Schemes: socks4, socks4a, socks5, socks5h (with "a" and "h" the proxy looks names up, as with curl), socks and none
    (both mean socks5h), http and https (CONNECT), each SOCKS one also with "+tls", those of SOCKS5 also with "+gssapi".
    Credentials are percent-encoded; IPv6 addresses stand in brackets; ``socks5h://localhost/run/tor.sock`` is a unix
    socket.

    Args:
        username, password: instead of those of the URL; text becomes UTF-8. A user without a password has an empty one.
        remote_dns: who looks names up, whatever the scheme says: the proxy (True) or this machine.
        ssl_context: for TLS to the proxy; without one that has TLS uses ``ssl.create_default_context()``.
        source_address: where connections to the proxy begin: a host, or host and port.
        gssapi: log in with Kerberos; "+gssapi" in the scheme stands for ``Gssapi()``.
        methods: of SOCKS5, those to offer, the preferred one first: "gssapi", "password", "none". Which one is used,
            the proxy says, and whoever can pass for it: so what protects (GSSAPI) is by default offered alone, and a
            password beside "none".

    Raises ConfigError, in one line and without the credentials.
    """

    protocol: Protocol
    host: str
    port: int
    remote_dns: bool
    username: bytes | None
    password: bytes | None
    tls: bool
    ssl_context: "SSLContext | None"
    source_address: tuple[str, int] | None
    path: str | None
    """The unix socket, where it is one."""
    gssapi: "Gssapi | None"
    methods: tuple[str, ...]

    def __init__(
        self,
        url: str,
        *,
        username: str | bytes | None = None,
        password: str | bytes | None = None,
        remote_dns: bool | None = None,
        ssl_context: "SSLContext | None" = None,
        source_address: str | tuple[str, int] | None = None,
        gssapi: "Gssapi | None" = None,
        methods: Sequence[str] | None = None,
    ) -> None:
        if not isinstance(url, str):
            raise ConfigError(_no_proxy(url))
        _check_kinds(ssl_context, source_address, gssapi, methods)
        scheme, user_info, place = _split(url)
        name, _, suffix = scheme.partition("+")
        suffixes = set(suffix.split("+")) if suffix else set()
        known = _SCHEMES.get(name)
        if known is None or not _may_have(known[0], suffixes):
            raise ConfigError(f"there is no proxy scheme {scheme!r}; known: {', '.join(_SCHEMES)}")
        protocol, resolves = known
        tls = bool(suffixes & _TLS_SUFFIXES) or name == "https" or ssl_context is not None
        host, port, path = _place(place, 443 if name == "https" else DEFAULT_PORT)
        url_username, url_password = _credentials(user_info)
        user = _octets(username) if username is not None else url_username
        secret = _octets(password) if password is not None else url_password
        _check_credentials(protocol, user, secret)
        if gssapi is None and (_GSSAPI_SUFFIX in suffixes or "gssapi" in (methods or ())):
            from .gssapi import Gssapi

            gssapi = Gssapi()
        _check_principal(gssapi, host)
        fields = {
            "protocol": protocol,
            "host": host,
            "port": port,
            "remote_dns": resolves if remote_dns is None else remote_dns,
            "username": user,
            "password": (secret or b"") if user is not None and protocol != "socks4" else None,
            "tls": tls,
            "ssl_context": ssl_context,
            "source_address": (source_address, 0) if isinstance(source_address, str) else source_address,
            "path": path,
            "gssapi": gssapi,
            "methods": _methods(protocol, methods, gssapi, has_password=user is not None and protocol == "socks5"),
        }
        for field, value in fields.items():
            object.__setattr__(self, field, value)

    @property
    def scheme(self) -> str:
        """The scheme that says the same."""
        if self.protocol == "http":
            return "https" if self.tls else "http"
        suffix = {("socks4", True): "a", ("socks5", True): "h"}.get((self.protocol, self.remote_dns), "")
        return f"{self.protocol}{suffix}{'+tls' if self.tls else ''}{'+gssapi' if self.gssapi else ''}"

    def __str__(self) -> str:
        """The URL without credentials."""
        if self.path is not None:
            return f"{self.scheme}://localhost{self.path}"
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def __repr__(self) -> str:
        user = "" if self.username is None else f", username={self.username!r}, password=<hidden>"
        return f"Proxy({str(self)!r}{user})"

    def with_remote_dns(self) -> "Proxy":
        """The same proxy, which is told names whatever its scheme says."""
        copy = self._copy()
        object.__setattr__(copy, "remote_dns", True)
        return copy

    def with_credentials(self, username: str | bytes, password: str | bytes = b"") -> "Proxy":
        """The same proxy for another user. Raises ConfigError for credentials that it cannot take."""
        copy = self._copy()
        _check_credentials(self.protocol, _octets(username), _octets(password) or None)
        if "password" not in self.methods:
            methods = _methods(self.protocol, None, self.gssapi, has_password=self.protocol == "socks5")
            object.__setattr__(copy, "methods", methods)
        object.__setattr__(copy, "username", _octets(username))
        object.__setattr__(copy, "password", None if self.protocol == "socks4" else _octets(password))
        return copy

    def _copy(self) -> "Proxy":
        copy = object.__new__(Proxy)
        for field in self.__dataclass_fields__:
            object.__setattr__(copy, field, getattr(self, field))
        return copy


ProxyChain = str | Proxy | Sequence[str | Proxy]
"""A proxy, or several that are gone through one after the other, the nearest one first."""


def chain_of(proxies: ProxyChain) -> tuple[Proxy, ...]:
    """The proxies one by one. Raises ConfigError for none at all and for a unix socket that is not the nearest."""
    if isinstance(proxies, Proxy):
        return (proxies,)
    if isinstance(proxies, str):
        return (Proxy(proxies),)
    if not isinstance(proxies, Iterable) or isinstance(proxies, bytes):
        raise ConfigError(_no_proxy(proxies))
    chain = tuple(one if isinstance(one, Proxy) else Proxy(one) for one in proxies)
    if not chain:
        raise ConfigError("a chain of proxies needs at least one")
    if any(one.path is not None for one in chain[1:]):
        raise ConfigError("only the first proxy of a chain can be a unix socket")
    return chain


def chain_for_bind(proxies: ProxyChain) -> tuple[Proxy, ...]:
    """The same; ConfigError also if the last one cannot BIND."""
    chain = chain_of(proxies)
    if chain[-1].protocol == "http":
        raise ConfigError("an HTTP proxy has no BIND; use a SOCKS proxy as the last one")
    return chain


def chain_for_datagrams(proxies: ProxyChain) -> tuple[Proxy, ...]:
    """The same; ConfigError also for anything but one SOCKS5 proxy that datagrams can reach."""
    chain = chain_of(proxies)
    if len(chain) != 1:
        raise ConfigError("datagrams go through one proxy, not through a chain")
    if chain[0].protocol != "socks5" or chain[0].path is not None or chain[0].tls:
        raise ConfigError("datagrams need a SOCKS5 proxy over TCP, without TLS")
    return chain


def chain_to_tor(proxies: ProxyChain) -> tuple[Proxy, ...]:
    """The same; ConfigError also if the last one does not speak SOCKS5."""
    chain = chain_of(proxies)
    if chain[-1].protocol != "socks5":
        raise ConfigError("Tor's look-ups need SOCKS5")
    return chain


def _no_proxy(given: object) -> str:
    found = "None" if given is None else type(given).__name__
    return (
        f'no proxy: expected a URL such as "socks5h://127.0.0.1:1080", a hosier.Proxy or a list of them, found {found}'
    )


def _check_kinds(ssl_context: object, source_address: object, gssapi: object, methods: object) -> None:
    """By what they can do: this module must not load what they are made of."""
    if ssl_context is not None and not hasattr(ssl_context, "wrap_bio"):
        raise ConfigError(f"ssl_context: expected an ssl.SSLContext, found {type(ssl_context).__name__}")
    if gssapi is not None and not hasattr(gssapi, "sealed_up_to"):
        raise ConfigError(f"gssapi: expected a hosier.Gssapi, found {type(gssapi).__name__}")
    if methods is not None and (isinstance(methods, str) or not isinstance(methods, Iterable)):
        raise ConfigError(f'methods: expected a list such as ["gssapi", "password"], found {type(methods).__name__}')
    match source_address:
        case None | str() | (str(), int()):
            pass
        case _:
            raise ConfigError("source_address: expected a host, or a tuple of host and port")


# --- the parts of a URL ---


def _split(url: str) -> tuple[str, str | None, str]:
    """Scheme, user information and the rest; a URL without a scheme is socks5h."""
    if not url.isprintable() or any(c.isspace() for c in url):
        raise ConfigError("a proxy's URL has no spaces or control characters; write them percent-encoded")
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "socks5h", url
    authority, slash, path = rest.partition("/")
    user_info, at, place = authority.rpartition("@")
    return scheme.lower(), user_info if at else None, place + slash + path


def _place(place: str, default_port: int) -> tuple[str, int, str | None]:
    """Host, port, and the path of a unix socket."""
    authority, slash, path = place.partition("/")
    if "?" in place or "#" in place:
        raise ConfigError("a proxy's URL ends with its port: no '?' and no '#'")
    if authority.startswith("["):
        host, bracket, rest = authority[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ConfigError(f"{authority!r} is no IPv6 address in brackets with a port")
        port = rest[1:]
    else:
        host, _, port = authority.partition(":")
        if ":" in port:
            raise ConfigError(f"{authority!r}: write IPv6 addresses in brackets, as in socks5h://[::1]:1080")
    host = _text(host)
    if not host or not host.isprintable() or " " in host:
        raise ConfigError("a proxy's URL needs a host, as in socks5h://127.0.0.1:1080")
    if path:
        if host != "localhost" or port:
            raise ConfigError("a path in a proxy's URL is a unix socket: socks5h://localhost/path/to/socket")
        return host, 0, _text(slash + path)
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) <= 0xFFFF):
        raise ConfigError(f"port {port!r} of the proxy is none of 1 to 65535")
    return host, int(port) if port else default_port, None


def _credentials(user_info: str | None) -> tuple[bytes | None, bytes | None]:
    if user_info is None:
        return None, None
    username, colon, password = user_info.partition(":")
    return unquote_to_bytes(username), unquote_to_bytes(password) if colon else None


def _check_credentials(protocol: Protocol, username: bytes | None, password: bytes | None) -> None:
    if username is None:
        if password is not None:
            raise ConfigError("there is a password for the proxy but no user name")
        return
    if len(username) > _MAX_CREDENTIAL or len(password or b"") > _MAX_CREDENTIAL:
        raise ConfigError(f"user name and password for a proxy have at most {_MAX_CREDENTIAL} octets each")
    if protocol == "socks4" and password:
        raise ConfigError("SOCKS4 has a user id but no password; leave it out or use SOCKS5")
    if protocol == "socks4" and 0 in username:
        raise ConfigError("a SOCKS4 user id cannot contain a zero octet")
    if protocol == "http" and b":" in username:
        raise ConfigError("a user name for an HTTP proxy cannot contain a colon")


def _may_have(protocol: Protocol, suffixes: set[str]) -> bool:
    """Whether there is a scheme with these."""
    allowed = {"http": frozenset[str](), "socks4": _TLS_SUFFIXES, "socks5": _TLS_SUFFIXES | {_GSSAPI_SUFFIX}}
    return suffixes <= allowed[protocol]


def _check_principal(gssapi: "Gssapi | None", host: str) -> None:
    """What principal is at an address, only a name service could say, and that can be forged (GS-REQ-04)."""
    if gssapi is None or gssapi.host or "/" in gssapi.service:
        return
    if ":" in host or host.replace(".", "").isdigit():
        raise ConfigError(f"GSSAPI needs the proxy's name, not its address {host}: write the name, or Gssapi(host=...)")


def _methods(
    protocol: Protocol, wanted: Sequence[str] | None, gssapi: "Gssapi | None", *, has_password: bool
) -> tuple[str, ...]:
    """The methods to offer; empty where the protocol has none."""
    if protocol != "socks5":
        if wanted is not None or gssapi is not None:
            raise ConfigError(f"{protocol} has no authentication methods; use SOCKS5")
        return ()
    if wanted is None:
        if gssapi is not None and has_password:
            raise ConfigError(
                'both GSSAPI and a password: say which, or in what order, as in methods=("gssapi", "password")'
            )
        return ("gssapi",) if gssapi is not None else ("none", "password") if has_password else ("none",)
    methods = tuple(wanted)
    if not methods or len(set(methods)) < len(methods) or not _METHODS.issuperset(methods):
        raise ConfigError('the methods are some of "gssapi", "password" and "none", each once')
    if "password" in methods and not has_password:
        raise ConfigError("the password method needs a user name and a password")
    return methods


def _octets(text: str | bytes) -> bytes:
    if isinstance(text, str):
        return text.encode()
    if isinstance(text, bytes):
        return text
    raise ConfigError(f"user names and passwords are texts or bytes, not {type(text).__name__}")


def _text(quoted: str) -> str:
    try:
        return unquote_to_bytes(quoted).decode()
    except UnicodeDecodeError:
        raise ConfigError("the host or path of the proxy is not UTF-8") from None
