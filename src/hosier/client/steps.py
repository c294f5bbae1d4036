"""The steps of a way through proxies, on blocking sockets: look up, dial, talk."""

import errno
import socket
from collections.abc import Callable
from typing import Final, NoReturn

from ..protocol.address import Address
from .dial import dial
from .journey import AnyHandshake, Journey
from .lookup import look_up, pick
from .readiness import when_readable

__all__ = ("arrive", "converse", "look_up_here", "protected", "raise_from", "secure", "talk")

_AT_ONCE: Final = 1 << 16


def arrive(journey: Journey) -> socket.socket:
    """A connection to the nearest proxy, with TLS if it has that."""
    proxy = journey.proxy
    if proxy.path is not None:
        journey.step = "connect"
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(journey.left())
            sock.connect(proxy.path)
        except BaseException:
            sock.close()
            raise
    else:
        places = look_up(proxy.host, proxy.port, journey.left)
        journey.step = "connect"
        sock = dial(places, proxy.source_address, journey.left)
    if proxy.tls:
        try:
            secure(sock, journey)
        except BaseException:
            sock.close()
            raise
    return sock


def secure(sock: socket.socket, journey: Journey) -> None:
    """TLS with this proxy: all that follows on the journey goes within it."""
    from .tls_stream import TlsStream, usual_context  # who has no proxy with TLS needs none of it

    journey.step = "TLS"
    proxy = journey.proxy
    stream = TlsStream(proxy.ssl_context or usual_context(), proxy.host, journey.below)
    out = stream.shake()
    while True:
        sock.settimeout(journey.left())
        if out:
            sock.sendall(out)
        if stream.established:
            break
        data = sock.recv(_AT_ONCE)
        if not data:
            raise OSError(errno.ECONNRESET, "the proxy closed the connection")
        out = stream.shake(data)
    journey.lead_through(stream)


def protected(sock: socket.socket, journey: Journey) -> socket.socket:
    """The same connection under TLS and the layers that the proxies have agreed on, if there are any."""
    try:
        stream = journey.take_stream()
        if stream is None:
            return sock
        from .protected import ProtectedSocket

        return ProtectedSocket(sock, stream)
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError):
            raise_from(journey, error)
        raise


def look_up_here(journey: Journey) -> Address:
    """What to ask this proxy for: a name, or its address where names are looked up on this side."""
    target, proxy = journey.target, journey.proxy
    if proxy.remote_dns or not target.is_name:
        return target
    journey.step = "lookup target"
    return pick(look_up(target.host, target.port, journey.left), target.port, only_ipv4=proxy.protocol == "socks4")


def talk(sock: socket.socket, journey: Journey, target: Address) -> AnyHandshake:
    """The conversation with one proxy, up to its answer, reading nothing that comes behind it."""
    handshake = journey.begin(target)
    converse(sock, journey, handshake, handshake.start())
    return handshake


def converse(sock: socket.socket, journey: Journey, handshake: AnyHandshake, out: bytes) -> None:
    """A handshake that has begun, from where it has to send this, up to the answer."""
    if journey.timeout is not None:
        _converse_in_time(sock, journey, handshake, out)
        return
    while not (handshake.done or handshake.first_reply is not None):
        if out:
            sock.sendall(out)
        out = handshake.feed(sock.recv(handshake.owed))


def raise_from(journey: Journey, error: OSError) -> NoReturn:
    """Raises the error as one of ours, with its place."""
    explained = journey.explain(error)
    if explained is error:
        raise explained
    raise explained from error


# --- private ---


def _converse_in_time(sock: socket.socket, journey: Journey, handshake: AnyHandshake, out: bytes) -> None:
    """The same for a plain socket and a limit: the socket's own ``settimeout`` costs twice as many system calls."""
    if sock.gettimeout() != 0:
        sock.setblocking(False)
    wait = when_readable(sock)
    while not (handshake.done or handshake.first_reply is not None):
        if out:
            try:
                rest = out[sock.send(out) :]
            except BlockingIOError:
                rest = out
            if rest:
                sock.settimeout(journey.left())
                sock.sendall(rest)
                sock.setblocking(False)
            _wait(wait, journey)
        try:
            data = sock.recv(handshake.owed)
        except BlockingIOError:
            out = b""
            _wait(wait, journey)
        else:
            out = handshake.feed(data)


def _wait(wait: Callable[[float], object], journey: Journey) -> None:
    while not wait((journey.left() or 0) * 1000):
        pass
