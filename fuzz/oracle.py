"""What must be true of any octets, whoever decodes them, and the one list of errors that are allowed."""

from collections.abc import Callable
from typing import Any, NamedTuple

from hosier.errors import LocalProtocolError, RemoteProtocolError

__all__ = ("ALLOWED_FROM_DECODERS", "ALLOWED_FROM_ENCODERS", "Finding", "Target", "check_decoder", "require")

# Documented in every docstring of the core. Anything else that comes out is a finding.
ALLOWED_FROM_DECODERS = (RemoteProtocolError,)
ALLOWED_FROM_ENCODERS = (LocalProtocolError,)

Decode = Callable[[bytes], tuple[Any, int] | None]


class Finding(AssertionError):
    """A rule that does not hold."""


class Target(NamedTuple):
    """A decoder as the oracle sees it.

    ``whole``: what is decoded is a packet, not a stream: complete or wrong, and its size is that of the data.
    ``fields``: what is in it is a named tuple; otherwise octets.
    ``greedy``: a message may take more than it needs, as a failure reply does.
    ``lossy``: its encoder says some things in other words, and the same ones for several.
    """

    decode: Decode
    encode: Callable[[Any], bytes]
    seeds: tuple[str, ...]
    whole: bool = False
    fields: bool = True
    greedy: bool = False
    lossy: bool = False


def require(holds: bool, rule: str) -> None:
    """Raises Finding, if the rule does not hold."""
    if not holds:
        raise Finding(rule)


def _outcome(decode: Decode, data: bytes) -> tuple[object, int] | None:
    """The message and its size; an error in place of the message, described so that two can be compared."""
    try:
        return decode(data)
    except ALLOWED_FROM_DECODERS as error:
        return (type(error), str(error), error.reply_hint), 0


def check_decoder(target: Target, data: bytes) -> None:
    """Only allowed errors; the first octets that make a message or an error decide, whatever follows; sizes are true;
    what was decoded can be said again."""
    decode = target.decode
    whole = _outcome(decode, data)
    require(_outcome(decode, data) == whole, "the same octets, the same result")
    require(_outcome(decode, bytearray(data)) == whole, "the kind of buffer does not matter")  # type: ignore[arg-type]
    if not target.whole:
        _check_beginnings(target, data, whole)
    if whole is None or not whole[1]:
        require(whole is not None or not target.whole, "a packet is never incomplete")
        return
    message, size = whole
    require(0 < size <= len(data), "a message is made of octets that are there")
    require(not target.whole or size == len(data), "a packet is taken whole")
    try:
        again = target.encode(message)
    except ALLOWED_FROM_ENCODERS:
        return
    found = _outcome(decode, again)
    require(found is not None and found[1] > 0, "what is encoded is decoded")
    assert found is not None
    require(found[0] == message or target.lossy, "what is encoded is decoded to the same")
    require(target.encode(found[0]) == again, "what is said again is said in the same words")
    if target.whole:
        require(again[2:] == data[2:], "a packet is nothing but its fields")


def _check_beginnings(target: Target, data: bytes, whole: tuple[object, int] | None) -> None:
    for size in range(len(data)):
        early = _outcome(target.decode, data[:size])
        if early is None:
            continue
        require(whole is not None and early[0] == whole[0], "what follows a message does not change it")
        assert whole is not None
        if not target.greedy:
            require(early[1] == whole[1], "what follows a message does not change its size")
            require(early[1] in (0, size), "a message is complete with its last octet, and not before")
        return
    if whole is not None and whole[1] and not target.greedy:
        require(whole[1] == len(data), "a message is complete with its last octet, and not before")
