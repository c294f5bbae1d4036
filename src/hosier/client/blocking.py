"""Through proxies with plain sockets: ``connect``, ``bind``, ``associate``; ``resolve`` and ``resolve_ptr`` of Tor."""

import socket
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..errors import LocalProtocolError
from ..protocol.address import UNSPECIFIED, Address, parse_address
from ..protocol.client_connection import RESOLVE, RESOLVE_PTR
from ..protocol.messages import Command, Reply
from .journey import AnyHandshake, Journey, announced, host_of_proxy
from .lookup import look_up
from .proxy import ProxyChain, chain_for_bind, chain_for_datagrams, chain_of, chain_to_tor
from .steps import arrive, look_up_here, protected, raise_from, secure, talk
from .straight import connect_straight

if TYPE_CHECKING:
    from .datagrams import ProxiedDatagramSocket

__all__ = ("BindListener", "associate", "bind", "connect", "resolve", "resolve_ptr")


def connect(
    proxy: ProxyChain, host: str, port: int, *, timeout: float | None = None, early: bytes = b""
) -> socket.socket:
    """A plain socket that is connected to ``host`` through a proxy, or through several, the nearest first.

    Whatever the target has said already is still to be read from it. It blocks without limit, or as
    ``socket.setdefaulttimeout`` says; ``timeout`` is for the way there. Under TLS to a proxy,
    or where GSSAPI protects it, it is a ProtectedSocket.

    Args:
        timeout: seconds for everything together: names, TCP, TLS, each step at each proxy. None: no limit.
        early: payload to send along with the request, before the proxy has agreed (EX-16): it saves a round trip and is
            lost if the target cannot be reached.

    Raises TargetRefused, TargetTimedOut, TargetUnreachable or another ReplyError for what the proxy answered;
    AuthError; ProxyConnectionError, ProxyTimedOut; RemoteProtocolError if the proxy breaks the protocol. All of them
    are OSErrors with ``place``. ConfigError and LocalProtocolError, which are not, for arguments that cannot be used.
    """
    chain = chain_of(proxy)
    sock = None if early else connect_straight(chain, host, port, timeout)
    if sock is None:
        journey = Journey(chain, Command.CONNECT, parse_address(host, port), timeout, early)
        sock, _ = _travel(journey)
        sock = protected(sock, journey)
    return _released(sock, timeout)


def bind(proxy: ProxyChain, host: str, port: int = 0, *, timeout: float | None = None) -> "BindListener":
    """Has the proxy listen for one connection from ``host`` (RFC 1928 §4, BIND).

    Announce the listener's ``address`` to the peer, then ``accept()``. ``timeout`` is for the way to the first reply.
    Proxies expect the name or address of the peer, mostly that of an earlier ``connect``; many take "0.0.0.0" for
    anyone. Raises as :func:`connect` does.
    """
    journey = Journey(chain_for_bind(proxy), Command.BIND, parse_address(host, port), timeout)
    sock, handshake = _travel(journey)
    return BindListener(_released(sock, timeout), handshake, journey)


class BindListener:
    """A proxy that listens for us, for one peer. Leaving a with-block closes it, but not what it accepted."""

    def __init__(self, sock: socket.socket, handshake: AnyHandshake, journey: Journey) -> None:
        self._sock: socket.socket | None = sock
        self._handshake = handshake
        self._journey = journey
        assert handshake.first_reply is not None
        self.address: tuple[str, int] = announced(handshake.first_reply.bound, host_of_proxy(sock, journey.chain))
        """Host and port to announce to the peer; where the proxy gave zeros, its own address."""

    def accept(self, timeout: float | None = None) -> tuple[socket.socket, tuple[str, int]]:
        """Waits for the peer, at most ``timeout`` seconds: a plain socket to it and its address.

        Raises as :func:`connect` does; a listener accepts once, and is closed by a failure.
        """
        sock = self._sock
        if sock is None:
            raise LocalProtocolError("this listener has accepted its one peer, or is closed")
        self._sock = None
        journey = self._journey.resumed(self._handshake, timeout)
        reply = _answer(sock, journey, self._handshake)
        return _released(protected(sock, journey), timeout), (reply.bound.host, reply.bound.port)

    def fileno(self) -> int:
        """For select: readable when ``accept()`` has something to say."""
        return -1 if self._sock is None else self._sock.fileno()

    def close(self) -> None:
        """Ends the wait; harmless when there is none."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def associate(
    proxy: ProxyChain,
    *,
    timeout: float | None = None,
    announce: bool = False,
    fragment_size: int | None = None,
) -> "ProxiedDatagramSocket":
    """Datagrams through a proxy (RFC 1928 §7, UDP ASSOCIATE), of a single SOCKS5 proxy without TLS.

    Args:
        timeout: seconds for the way to the reply; the object's own limit is ``settimeout``.
        announce: tell the proxy the port that datagrams will come from, for proxies that insist; useless behind NAT
            (S5-REQ-72).
        fragment_size: split what is larger than so many octets, header included, into fragments (S5-REQ-93 advises
            against it, and many proxies drop them). None: never.

    Raises as :func:`connect` does.
    """
    from .datagrams import ProxiedDatagramSocket, relay_address, udp_socket, zeros_or
    from .envelope import Envelope

    chain = chain_for_datagrams(proxy)
    envelope = Envelope(fragment_size=fragment_size)
    journey = Journey(chain, Command.UDP_ASSOCIATE, UNSPECIFIED, timeout)
    udp: socket.socket | None = None
    try:
        control = arrive(journey)
        try:
            if announce:
                udp = udp_socket(control.family, (control.getsockname()[0], 0))
            reply = talk(control, journey, zeros_or(udp)).reply
            assert reply is not None
            envelope = envelope.under(journey.take_stream())
            journey.step = "connect"
            place = look_up(*relay_address(reply.bound, host_of_proxy(control, chain)), journey.left)[0]
            return ProxiedDatagramSocket(
                _released(control, timeout), udp, place, envelope, remote_dns=chain[0].remote_dns
            )
        except BaseException:
            control.close()
            raise
    except BaseException as error:
        if udp is not None:
            udp.close()
        if isinstance(error, OSError):
            raise_from(journey, error)
        raise


def resolve(proxy: ProxyChain, host: str, *, timeout: float | None = None) -> str:
    """The address of a name, looked up by Tor (EX-10). Raises as :func:`connect` does."""
    return _looked_up(Journey(chain_to_tor(proxy), RESOLVE, parse_address(host, 0), timeout)).host


def resolve_ptr(proxy: ProxyChain, address: str, *, timeout: float | None = None) -> str:
    """The name of an IP address, looked up by Tor (EX-11). Raises as :func:`connect` does."""
    target = parse_address(address, 0)
    if target.is_name:
        raise LocalProtocolError(f"{address!r} is no IP address")
    return _looked_up(Journey(chain_to_tor(proxy), RESOLVE_PTR, target, timeout)).host


# --- private ---


def _travel(journey: Journey) -> tuple[socket.socket, AnyHandshake]:
    """Through all proxies, up to the last one's answer; for BIND, its first answer."""
    try:
        sock = arrive(journey)
        try:
            while True:
                handshake = talk(sock, journey, look_up_here(journey))
                if not journey.passed():
                    return sock, handshake
                if journey.proxy.tls:
                    secure(sock, journey)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        raise_from(journey, error)


def _answer(sock: socket.socket, journey: Journey, handshake: AnyHandshake) -> Reply:
    """The second answer to BIND, however long it takes."""
    try:
        try:
            while not handshake.done:
                sock.settimeout(journey.left())
                handshake.feed(sock.recv(handshake.owed))
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        raise_from(journey, error)
    assert handshake.reply is not None
    return handshake.reply


def _looked_up(journey: Journey) -> Address:
    sock, handshake = _travel(journey)
    sock.close()
    assert handshake.reply is not None
    return handshake.reply.bound


def _released(sock: socket.socket, timeout: float | None) -> socket.socket:
    """The limit was for the way here, not for what follows."""
    if timeout is not None:
        sock.settimeout(socket.getdefaulttimeout())
    return sock
