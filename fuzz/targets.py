"""The table of decoders."""

from collections.abc import Callable
from functools import partial
from typing import Any

from oracle import Target

from hosier.errors import RemoteProtocolError
from hosier.protocol import ident, socks4, socks5, udp
from hosier.protocol.auth.base import AuthFraming
from hosier.protocol.auth.gssapi import GssapiFraming
from hosier.protocol.auth.gssapi_layer import GssapiLayer, Level
from hosier.protocol.auth.password import PasswordFraming
from hosier.testing import ToyFraming, ToyLayer

__all__ = ("DECODERS",)


def _framing(framing: AuthFraming, seeds: tuple[str, ...], *, from_client: bool) -> Target:
    return Target(
        partial(framing.decode, from_client=from_client), partial(framing.encode, from_client=from_client), seeds
    )


def _packet(decode: Callable[[bytes], Any]) -> Callable[[bytes], tuple[Any, int]]:
    return lambda data: (decode(data), len(data))


class ToyContext:
    """What a mechanism does with messages, without secrets or a memory: 0x57, whether it is sealed, and the data."""

    def wrap(self, data: bytes | bytearray, confidential: bool) -> bytes:
        return bytes((0x57, confidential)) + data

    def unwrap(self, token: bytes | bytearray) -> tuple[bytes, bool]:
        if len(token) < 2 or token[0] != 0x57 or token[1] > 1:
            raise RemoteProtocolError("a token that is not believed")
        return bytes(token[2:]), token[1] == 1

    def wrap_limit(self, size: int, confidential: bool) -> int:
        return size - 2


def _gssapi_layer() -> GssapiLayer:
    return GssapiLayer(ToyContext(), Level.CONFIDENTIALITY)


DECODERS: dict[str, Target] = {
    "socks4_request": Target(socks4.decode_request, socks4.encode_request, ("T4-", "T4A-")),
    "socks4_reply": Target(partial(socks4.decode_reply, lenient=True), socks4.encode_reply, ("T4-",), lossy=True),
    "socks5_offer": Target(socks5.decode_methods_offered, socks5.encode_methods_offered, ("T5N-",)),
    "socks5_selected": Target(socks5.decode_method_selected, socks5.encode_method_selected, ("T5N-",)),
    "socks5_request": Target(socks5.decode_request, socks5.encode_request, ("T5R-", "TX-")),
    "socks5_request_strict": Target(partial(socks5.decode_request, strict=True), socks5.encode_request, ("T5R-",)),
    "socks5_reply": Target(socks5.decode_reply, socks5.encode_reply, ("T5P-", "TX-"), greedy=True),
    "password_credentials": _framing(PasswordFraming(), ("TA-",), from_client=True),
    "password_status": _framing(PasswordFraming(), ("TA-",), from_client=False),
    "udp_datagram": Target(_packet(udp.decode_datagram), udp.encode_datagram, ("TU-",), whole=True),
    "ident_answer": Target(ident.decode_answer, ident.encode_answer, ("TI-",)),
    "ident_query": Target(ident.decode_query, lambda ports: ident.encode_query(*ports), ("TI-",)),
    "gssapi_from_client": _framing(GssapiFraming(), ("TG-",), from_client=True),
    "gssapi_from_server": _framing(GssapiFraming(), ("TG-",), from_client=False),
    "gssapi_layer": Target(_gssapi_layer().unwrap, _gssapi_layer().wrap, ("TG-",)),
    "gssapi_datagram": Target(
        _packet(_gssapi_layer().unwrap_datagram), _gssapi_layer().wrap_datagram, ("TG-",), whole=True, fields=False
    ),
    "toy_from_client": _framing(ToyFraming(), ("TG-",), from_client=True),
    "toy_from_server": _framing(ToyFraming(), ("TG-",), from_client=False),
    "toy_layer": Target(ToyLayer().unwrap, ToyLayer().wrap, ("TG-",)),
}
