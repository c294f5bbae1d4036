"""What a proxy can do, found out by asking: versions, methods, commands, datagrams, kinds of addresses, and how fast.

Unless a target is named, the proxy is asked to reach ourselves, at the address from which we reach it, so that nobody
else is bothered. Where NAT or its rules are in the way, the answer tells that, and still that the command is known.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any, Final

from ..errors import (
    ConfigError,
    LocalProtocolError,
    ProxyConnectionError,
    ReplyCode,
    ReplyError,
    SocksError,
    reply_error,
)
from ..protocol.address import Address, AddressType
from ..protocol.messages import Command, Request
from ..protocol.socks4 import decode_reply, encode_request
from . import aio
from .proxy import Proxy

__all__ = ("Finding", "Report", "probe")

METHODS: Final = {"none": 0x00, "gssapi": 0x01, "password": 0x02}

# Documentation and test addresses (RFC 5737, 3849, 6761): nobody is there. That is no matter, the proxy's answer tells.
_NOBODY: Final = {"ipv4": "192.0.2.1", "ipv6": "2001:db8::1", "name": "nobody.invalid"}
_PORT: Final = 9

# Questions that log in, and the one that does so before them.
_LATER: Final = {
    **dict.fromkeys(("command bind", "command associate", *(f"address {name}" for name in _NOBODY)), "command connect"),
    "version socks4a": "version socks4",
}
_QUESTION: Final = b"hosier probe"


@dataclass(frozen=True)
class Finding:
    """One thing that was asked. ``works`` None: it is known, or may be, but could not be tried to the end."""

    works: bool | None
    says: str
    ms: float | None = None


@dataclass(frozen=True)
class Report:
    """All findings about one proxy, by name."""

    proxy: str
    reached: Finding
    versions: dict[str, Finding]
    methods: dict[str, Finding]
    commands: dict[str, Finding]
    addresses: dict[str, Finding]

    @property
    def speaks_socks(self) -> bool:
        """Whether it answers in any version, if only to refuse."""
        return any(found.works is not False for found in self.versions.values())

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


async def probe(proxy: Proxy, target: tuple[str, int] | None = None, *, timeout: float = 5.0) -> Report:
    """Asks everything; ``timeout``, in seconds, is each question's own.

    Without credentials all is asked at once. With them one question of each version goes first: where that one is not
    let in, those that would log in again are not asked, so that wrong credentials fail once for each version (SOCKS5,
    SOCKS4) and not once for each question.

    Args:
        target: where CONNECT is to lead; None: to ourselves.

    Raises ProxyConnectionError if the proxy cannot be reached, ConfigError for an HTTP proxy.
    """
    if proxy.protocol == "http":
        raise ConfigError("probe is for SOCKS proxies")
    began = perf_counter()
    try:
        async with asyncio.timeout(timeout):
            _, writer = await _open(proxy)
    except OSError as error:
        raise ProxyConnectionError(f"cannot reach {proxy}: {_reason(error)}") from error
    reached = Finding(True, "connected", _since(began))
    here = writer.get_extra_info("sockname")[0] if proxy.path is None else "127.0.0.1"
    writer.close()
    server = await asyncio.start_server(_greet, here, 0)
    transport, echo = await asyncio.get_running_loop().create_datagram_endpoint(_Echo, local_addr=(here, 0))
    try:
        place = target or (here, server.sockets[0].getsockname()[1])
        found = await _answers(_questions(proxy, place, (here, echo.port), timeout), timeout, _has_credentials(proxy))
    finally:
        transport.close()
        server.close()
    spoken = [found[f"method {name}"] for name in METHODS]
    return Report(
        str(proxy),
        reached,
        {
            "socks4": _version(found["version socks4"]),
            "socks4a": _names(found["version socks4a"], found["version socks4"]),
            "socks5": _greeting(spoken),
        },
        {name: found[f"method {name}"] for name in METHODS},
        {name: _command(found[f"command {name}"]) for name in ("connect", "bind", "associate")},
        {name: _kind(found[f"address {name}"]) for name in _NOBODY},
    )


# --- the questions ---

Question = Callable[[], Awaitable[str]]


def _questions(proxy: Proxy, target: tuple[str, int], echo: tuple[str, int], timeout: float) -> dict[str, Question]:
    five = _as(proxy, "socks5", remote_dns=True)
    asked: dict[str, Question] = {
        "version socks4": partial(_connect, _as(proxy, "socks4", remote_dns=False), target, timeout),
        "version socks4a": partial(_connect_by_name, _as(proxy, "socks4", remote_dns=True), target),
        "command connect": partial(_connect, five, target, timeout),
        "command bind": partial(_bind, five, target[0], timeout),
        "command associate": partial(_associate, five, echo, timeout),
    }
    asked |= {f"method {name}": partial(_method, proxy, code) for name, code in METHODS.items()}
    asked |= {f"address {name}": partial(_connect, five, (host, _PORT), timeout) for name, host in _NOBODY.items()}
    return asked


async def _answers(questions: dict[str, Question], timeout: float, logs_in: bool) -> dict[str, Finding]:
    found: dict[str, Finding] = {}
    for later in (False, True):
        turn = [name for name in questions if (logs_in and name in _LATER) == later]
        asked = [name for name in turn if not later or _was_let_in(_LATER[name], found[_LATER[name]])]
        answers = await asyncio.gather(*(_asked(questions[name], timeout) for name in asked))
        found |= dict(zip(asked, answers, strict=True))
        for name in turn:
            if name not in found:
                first = found[_LATER[name]]
                found[name] = replace(first, says=f"not asked: {first.says}", ms=None)
    return found


def _was_let_in(name: str, found: Finding) -> bool:
    """In SOCKS4 the request is the login, and the answer does not tell what was wrong with it."""
    return found.works is True if name == "version socks4" else not isinstance(found, _KeptOut)


async def _connect(proxy: Proxy, target: tuple[str, int], timeout: float) -> str:
    _, writer = await aio.open_connection(*target, proxy=proxy, timeout=timeout)
    writer.close()
    return "connects"


async def _connect_by_name(proxy: Proxy, target: tuple[str, int]) -> str:
    """To the place that SOCKS4 is asked for, as a name even if it is an address, which says the same of itself."""
    name = Address(AddressType.NAME, target[0].encode("idna"), target[1])
    reader, writer = await _open(proxy)
    try:
        writer.write(encode_request(Request(4, Command.CONNECT, name, proxy.username or b"")))
        answer = decode_reply(await reader.readexactly(8), lenient=True)
    finally:
        writer.close()
    assert answer is not None  # it is whole
    if answer[0].code != ReplyCode.SUCCEEDED:
        raise reply_error(answer[0].code)
    return "connects"


async def _bind(proxy: Proxy, peer: str, timeout: float) -> str:
    async with await aio.bind(proxy, peer, timeout=timeout) as listener:
        host, port = listener.address
        return f"listens on {f'[{host}]' if ':' in host else host}:{port}"


async def _associate(proxy: Proxy, echo: tuple[str, int], timeout: float) -> str:
    """Whether a datagram comes back; if not, the association counts for itself."""
    async with await aio.associate(proxy, timeout=timeout) as endpoint:
        await endpoint.sendto(_QUESTION, echo)
        try:
            async with asyncio.timeout(timeout / 2):
                await endpoint.recvfrom()
        except TimeoutError:
            return "associates; no datagram came back"
        return "associates; a datagram came back"


async def _method(proxy: Proxy, code: int) -> str:
    reader, writer = await _open(proxy)
    try:
        writer.write(bytes((5, 1, code)))
        answer = await reader.readexactly(2)
    finally:
        writer.close()
    if answer[0] != 5:
        raise ConnectionError("it does not answer in SOCKS5")
    return "accepted" if answer[1] == code else "refused"


# --- what the answers mean ---


async def _asked(question: Question, timeout: float) -> Finding:
    began = perf_counter()
    try:
        async with asyncio.timeout(timeout + 1):
            says = await question()
    except ReplyError as error:
        return _Refused(None, str(error.args[0]), _since(began), error.code)
    except LocalProtocolError as error:
        return _Unasked(None, str(error))
    except asyncio.IncompleteReadError:
        return Finding(None, "it closes the connection")
    except (SocksError, OSError) as error:
        kind = Finding if isinstance(error, SocksError) and _came_to_the_request(error) else _KeptOut
        return kind(None, _words(error))
    return Finding(says != "refused", says, _since(began))


def _came_to_the_request(error: SocksError) -> bool:
    """Whoever waits for the reply has logged in."""
    return error.place is not None and error.place.step == "reply"


def _words(error: SocksError | OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error.args[0]) if isinstance(error, SocksError) else _reason(error)


@dataclass(frozen=True)
class _KeptOut(Finding):
    """It did not come to a request that was understood: the credentials may be why."""


@dataclass(frozen=True)
class _Unasked(Finding):
    """There is no way to ask that."""


@dataclass(frozen=True)
class _Refused(Finding):
    """The proxy's reply was a failure."""

    code: int = 0


def _version(found: Finding) -> Finding:
    """Who refuses in the words of a version may still not serve it."""
    works = found.works or (None if isinstance(found, _Refused | _Unasked) else False)
    return Finding(works, found.says, found.ms)


def _names(by_name: Finding, by_address: Finding) -> Finding:
    """Who refuses a name may refuse the place: compared with what becomes of its address."""
    found = _version(by_name)
    if isinstance(by_name, _Refused) and by_address.works:
        return Finding(False, f"{found.says}, where SOCKS4 connects", found.ms)
    if isinstance(by_name, _Refused) and isinstance(by_address, _Refused):
        return Finding(None, f"{found.says}, as in SOCKS4: the target may be why", found.ms)
    return found


def _greeting(spoken: Sequence[Finding]) -> Finding:
    """Any answer to a greeting is one in SOCKS5, a refusal, too."""
    if any(one.works is not None for one in spoken):
        return Finding(True, "answers a greeting")
    return Finding(False, spoken[0].says)


def _reason(error: OSError) -> str:
    """asyncio puts the address into its text, and has none for what takes too long."""
    if error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error) or "no answer in time"


def _command(found: Finding) -> Finding:
    if isinstance(found, _Refused):
        known = None if found.code != ReplyCode.COMMAND_NOT_SUPPORTED else False
        return Finding(known, found.says, found.ms)
    return found


def _kind(found: Finding) -> Finding:
    """Nobody is there: any other failure than "type not supported" shows that the kind is understood."""
    if isinstance(found, _Refused):
        return Finding(found.code != ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED, found.says, found.ms)
    return found


def _since(began: float) -> float:
    return round((perf_counter() - began) * 1000, 3)


# --- our own side ---


def _has_credentials(proxy: Proxy) -> bool:
    return proxy.username is not None or proxy.gssapi is not None


def _as(proxy: Proxy, protocol: str, *, remote_dns: bool) -> Proxy:
    """The same place in other words."""
    scheme = f"{protocol}{'+tls' if proxy.tls else ''}"
    host = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
    place = f"localhost{proxy.path}" if proxy.path is not None else f"{host}:{proxy.port}"
    return Proxy(
        f"{scheme}://{place}",
        username=proxy.username,
        password=None if protocol == "socks4" else proxy.password,
        methods=None if protocol == "socks4" else proxy.methods or None,
        gssapi=None if protocol == "socks4" else proxy.gssapi,
        remote_dns=remote_dns,
        ssl_context=proxy.ssl_context,
        source_address=proxy.source_address,
    )


async def _open(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = (proxy.ssl_context or True) if proxy.tls else None
    if proxy.path is not None:
        name = proxy.host if proxy.tls else None
        return await asyncio.open_unix_connection(proxy.path, ssl=context, server_hostname=name)
    return await asyncio.open_connection(proxy.host, proxy.port, ssl=context, local_addr=proxy.source_address)


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Stays as long as the proxy does: some break off if their target leaves before they have told of it."""
    with suppress(OSError):
        await reader.read()
    writer.close()


class _Echo(asyncio.DatagramProtocol):
    """Sends back what comes."""

    port = 0

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.DatagramTransport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if data == _QUESTION:
            self._transport.sendto(data, addr)
